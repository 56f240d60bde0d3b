//! Random bytes in every place that a stranger can fill: nothing panics, nothing passes.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

thread_local! {
    static SNAPSHOT: RefCell<Snapshot> = RefCell::new(snapshot());
}

fn decision(target: &str, authorization: &[u8], resource: Option<&[u8]>) -> Decision {
    let request = Request {
        method: "GET",
        target,
        authority: "gateway.example.com",
        authorization: SingleHeader::One(authorization),
        resource: resource.map_or(SingleHeader::Absent, SingleHeader::One),
    };
    SNAPSHOT.with_borrow_mut(|snapshot| decide(snapshot, None, &request, NOW).0)
}

proptest! {
    #[test]
    fn bytes_are_no_mandate(token in prop::collection::vec(any::<u8>(), 0..400)) {
        let header = [b"Bearer ", token.as_slice()].concat();
        for header in [header.as_slice(), &token] {
            prop_assert!(matches!(decision("/demo/items", header, None), Decision::Deny(_)));
        }
    }

    #[test]
    fn text_in_the_shape_of_a_mandate_is_none(
        header in any::<String>(), payload in any::<String>(), signature in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let token = format!("Bearer {}.{}", signing_input(&header, payload.as_bytes()), base64(&signature));
        prop_assert!(matches!(decision("/demo/items", token.as_bytes(), None), Decision::Deny(_)));
    }

    #[test]
    fn a_mandate_with_any_byte_changed_is_none(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut token = token(json!({})).into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        let header = [b"Bearer ", token.as_slice()].concat();
        prop_assert!(matches!(decision("/demo/items", &header, None), Decision::Deny(_)));
    }

    #[test]
    fn rightly_signed_nonsense_is_no_mandate(payload in prop::collection::vec(any::<u8>(), 0..400)) {
        let token = format!("Bearer {}", payload_token(&payload));
        prop_assert!(matches!(decision("/demo/items", token.as_bytes(), None), Decision::Deny(_)));
    }

    #[test]
    fn a_path_outside_the_operations_is_denied(path in "[/.%;\\\\a-z0-9?#]{0,40}|\\PC{0,40}", named: bool) {
        let header = format!("Bearer {}", token(json!({})));
        let name = named.then_some(DEMO.as_bytes());
        for target in [path.clone(), format!("/demo/{path}"), format!("/demo/items/{path}/x")] {
            let plain = target.split('?').next().unwrap();
            let covered = matches!(plain.split('/').collect::<Vec<_>>()[..], ["", "demo", "items"] | ["", "demo", "items", _]);
            let outcome = decision(&target, header.as_bytes(), name);
            prop_assert!(covered || matches!(outcome, Decision::Deny(_)), "{target}");
        }
    }

    #[test]
    fn a_routing_header_does_not_change_what_is_bound(name in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assume!(name != DEMO.as_bytes());
        let header = format!("Bearer {}", token(json!({})));
        let outcome = decision("/demo/items", header.as_bytes(), Some(&name));
        prop_assert!(matches!(outcome, Decision::Deny(_)));
    }
}
