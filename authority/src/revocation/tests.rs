#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use std::sync::Arc;

use serde_json::json;

use super::{filter::MAX_CHANGES, *};
use crate::{
    ids::ZoneId,
    jwks::{Jwk, JwkSet, KeySet},
    mandate::Mandate,
    signature::{Artifact, SignatureError},
    testing::*,
};

fn digest(name: &str) -> Digest {
    HASH_KEY.digest(Anchor {
        kind: AnchorKind::Jti,
        id: name,
    })
}

fn digests(names: std::ops::Range<usize>) -> Vec<Digest> {
    names.map(|number| digest(&number.to_string())).collect()
}

fn delta(after: u64, epoch: u64, added: &[&str], removed: &[&str]) -> Publication {
    let of = |names: &[&str]| names.iter().map(|name| digest(name)).collect();
    Publication {
        changes: Changes {
            cutoffs: Vec::new(),
            added: of(added),
            removed: of(removed),
        },
        content: Content::Delta { after },
        ..whole(epoch, Vec::new())
    }
}

fn is_revoked(filter: &Filter, name: &str) -> Option<bool> {
    filter.is_revoked(Anchor {
        kind: AnchorKind::Jti,
        id: name,
    })
}

fn mandate(changes: serde_json::Value) -> Arc<Mandate> {
    verified(&token(changes)).unwrap()
}

#[test]
fn every_id_that_a_mandate_rests_on_kills_it_as_its_own_kind_only() {
    let token = json!({
        "sub": "alice",
        "agent_session_id": "session-3", "session_path": ["session-1", "session-2", "session-3"],
        "granting_sessions": ["session-7", "session-8"],
        "source_session_id": "session-8", "target_session_id": "session-3",
        "delegation_edge_id": "edge-2", "delegation_path": ["edge-1", "edge-2"],
        "delegation_chain": [
            {"application_id": "app-0", "agent_session_id": "session-8", "delegation_edge_id": "edge-1"},
            {"application_id": "app-5", "agent_session_id": "session-9", "delegation_edge_id": "edge-2"},
            {"application_id": "app-1", "agent_session_id": "session-3"},
        ],
        "hop_count": 2,
    });
    let mandate = mandate(token);
    use AnchorKind as K;
    let mut expected = vec![
        (K::Jti, "jti-1"),
        (K::Sid, "sid-1"),
        (K::RootSid, "root-1"),
        (K::Application, "app-0"),
        (K::Application, "app-1"),
        (K::Application, "app-5"),
        (K::Zone, ZONE),
        (K::Key, KID),
        (K::Subject, "alice"),
        (K::Delegation, "edge-1"),
        (K::Delegation, "edge-2"),
    ];
    expected.extend(
        [
            "session-1",
            "session-2",
            "session-3",
            "session-7",
            "session-8",
            "session-9",
        ]
        .map(|id| (K::Session, id)),
    );
    expected.sort_unstable();
    let mut found: Vec<_> = mandate.anchors().iter().map(|a| (a.kind, a.id)).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    for (kind, id) in expected {
        assert_eq!(
            revoking(&[(kind, id)]).find(&mandate),
            Finding::Revoked,
            "{kind:?} {id}"
        );
        for other in K::ALL.into_iter().filter(|other| *other != kind) {
            assert_eq!(
                revoking(&[(other, id)]).find(&mandate),
                Finding::Clear,
                "{other:?} {id}"
            );
        }
        assert_eq!(K::named(kind.name()), Some(kind));
    }
}

#[test]
fn a_cutoff_kills_what_was_issued_up_to_it() {
    let cutoff = |kind: AnchorKind, id: &str, until: u64| {
        let mut publication = whole(1, Vec::new());
        let digest = HASH_KEY.digest(Anchor { kind, id });
        publication.changes.cutoffs.push((digest, until));
        Filter::new(publication).unwrap()
    };
    let now = NOW.seconds();
    for (kind, id) in [
        (AnchorKind::Application, APP),
        (AnchorKind::Subject, "alice"),
    ] {
        let issued = |at: u64| mandate(json!({"sub": "alice", "iat": at}));
        let filter = cutoff(kind, id, now);
        assert_eq!(filter.find(&issued(now - 1)), Finding::Revoked);
        assert_eq!(filter.find(&issued(now)), Finding::Revoked);
        assert_eq!(filter.find(&issued(now + 1)), Finding::Clear);
        let mut filter = cutoff(kind, "other", now);
        assert_eq!(filter.find(&issued(now)), Finding::Clear);
        let digest = HASH_KEY.digest(Anchor { kind, id });
        for (epoch, until, finding) in [(2, now, Finding::Revoked), (3, 0, Finding::Clear)] {
            let mut change = delta(epoch - 1, epoch, &[], &[]);
            change.changes.cutoffs.push((digest, until));
            assert_eq!(filter.apply(change), Ok(true));
            assert_eq!(filter.find(&issued(now)), finding);
        }
    }
}

#[test]
fn a_filter_misses_nothing_and_finds_too_much_less_than_once_in_a_million() {
    let filter = Filter::new(whole(1, digests(0..20_000))).unwrap();
    for number in 0..20_000 {
        assert_eq!(is_revoked(&filter, &number.to_string()), None, "{number}");
    }
    // 0.44 is to be expected.
    let wrong = (20_000..2_020_000)
        .filter(|number| is_revoked(&filter, &number.to_string()) != Some(false))
        .count();
    assert!(wrong <= 2, "{wrong}");
    // As many as travel exactly are known exactly.
    let filter = Filter::new(whole(1, digests(0..MAX_EXACT))).unwrap();
    assert_eq!(is_revoked(&filter, "0"), Some(true));
    assert_eq!(is_revoked(&filter, &MAX_EXACT.to_string()), Some(false));
    assert_eq!(filter.size_bytes(), 2 * MAX_EXACT * Digest::BYTES);
}

#[test]
fn what_is_only_suspected_is_settled_by_the_sts_for_one_epoch() {
    let mut names = digests(0..5_000);
    let victim = mandate(json!({"jti": "4999"}));
    let place = victim
        .anchors()
        .iter()
        .position(|a| a.id == "4999")
        .unwrap();
    let mut filter = Filter::new(whole(5, std::mem::take(&mut names))).unwrap();
    assert_eq!(filter.find(&victim), Finding::Suspect(vec![place]));
    let anchor = victim.anchors()[place];
    filter.answer(anchor, 4, false);
    assert_eq!(
        filter.find(&victim),
        Finding::Suspect(vec![place]),
        "of another epoch"
    );
    filter.answer(anchor, 5, false);
    assert_eq!(filter.find(&victim), Finding::Clear);
    filter.answer(anchor, 5, true);
    assert_eq!(filter.find(&victim), Finding::Revoked);
    assert_eq!(filter.apply(delta(5, 6, &["x"], &[])), Ok(true));
    assert_eq!(filter.find(&victim), Finding::Suspect(vec![place]));
    // An exception needs no answer.
    assert_eq!(filter.apply(delta(6, 7, &[], &["4999"])), Ok(true));
    assert_eq!(filter.find(&victim), Finding::Clear);
    for number in 0..30_000 {
        let id = number.to_string();
        let kind = AnchorKind::Sid;
        filter.answer(Anchor { kind, id: &id }, 7, true);
    }
    assert_eq!(filter.find(&victim), Finding::Clear);
}

#[test]
fn a_publication_applies_only_where_it_leads_on() {
    let mut filter = Filter::new(whole(5, vec![digest("a")])).unwrap();
    assert_eq!(filter.since_whole(), None);
    assert_eq!(
        filter.apply(delta(6, 8, &["b"], &[])),
        Err(ApplyError::Gap { after: 6, known: 5 })
    );
    assert_eq!(
        filter.apply(delta(3, 5, &["b"], &[])),
        Ok(false),
        "a replay"
    );
    assert_eq!(is_revoked(&filter, "b"), Some(false));
    assert_eq!(filter.apply(delta(3, 7, &["b"], &["a"])), Ok(true));
    assert_eq!(
        (is_revoked(&filter, "a"), is_revoked(&filter, "b")),
        (Some(false), Some(true))
    );
    assert_eq!(
        filter.apply(whole(6, vec![])),
        Err(ApplyError::RolledBack { found: 6, known: 7 })
    );
    let mut foreign = delta(7, 8, &["c"], &[]);
    foreign.key = HashKey([8; 16]);
    assert_eq!(filter.apply(foreign), Err(ApplyError::OtherKey));
    let mut foreign = delta(7, 8, &["c"], &[]);
    foreign.zone_id = "zone-2".into();
    assert_eq!(filter.apply(foreign), Err(ApplyError::OtherKey));
    assert!(matches!(
        Filter::new(delta(0, 8, &[], &[])),
        Err(ApplyError::NotWhole)
    ));
    assert_eq!(filter.epoch(), 7);
    // Who has the same whole filter gets there with what changed since.
    let mut other = Filter::new(whole(5, vec![digest("a")])).unwrap();
    assert_eq!(other.apply(filter.since_whole().unwrap()), Ok(true));
    assert_eq!(
        (is_revoked(&other, "a"), is_revoked(&other, "b")),
        (Some(false), Some(true))
    );
    assert_eq!(other.epoch(), 7);
    // The same epoch again, rotated.
    assert_eq!(filter.apply(whole(7, vec![digest("b")])), Ok(false));
    assert_eq!(
        (is_revoked(&filter, "a"), is_revoked(&filter, "b")),
        (Some(false), Some(true))
    );
    let mut worn = delta(7, 9, &[], &[]);
    worn.changes.added = digests(0..MAX_CHANGES + 1);
    assert!(!filter.is_worn());
    assert_eq!(filter.apply(worn), Ok(true));
    assert!(filter.is_worn());
}

#[test]
fn what_is_encoded_is_decoded_and_nothing_else_is() {
    let mut exact = whole(9, digests(0..3));
    exact.changes = Changes {
        cutoffs: vec![(digest("x"), 17)],
        added: digests(10..12),
        removed: digests(12..15),
    };
    exact.changed_at = 1_790_000_000_123;
    for publication in [
        exact.clone(),
        whole(1, Vec::new()),
        whole(2, digests(0..5_000)),
        delta(3, 4, &["a"], &["b"]),
    ] {
        let bytes = publication.encode();
        assert_eq!(Publication::decode(&bytes).as_ref(), Ok(&publication));
        let step = (bytes.len() / 500).max(1);
        for length in (0..bytes.len()).step_by(step) {
            assert!(
                Publication::decode(&bytes[..length]).is_err(),
                "cut at {length}"
            );
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Publication::decode(&longer).is_err());
        for (place, byte) in [(0, b'X'), (4, 2), (5, 3), (6, 255)] {
            let mut changed = bytes.clone();
            changed[place] = byte;
            assert!(Publication::decode(&changed).is_err(), "{place}");
        }
    }
    let mut nowhere = delta(4, 4, &[], &[]);
    assert!(Publication::decode(&nowhere.encode()).is_err());
    nowhere.content = Content::Delta { after: 5 };
    assert!(Publication::decode(&nowhere.encode()).is_err());
    let unordered = Content::Whole {
        load: 2,
        base: Base::Exact(vec![Digest([2; 16]), Digest([1; 16])]),
    };
    let unordered = Publication {
        content: unordered,
        ..exact.clone()
    };
    assert!(Publication::decode(&unordered.encode()).is_err());
    // A count that promises more than there is costs nothing.
    let mut bytes = exact.encode();
    let counts = 8 + ZONE.len() + 16 + 24;
    bytes[counts..counts + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(
        Publication::decode(&bytes),
        Err(PublicationError::Malformed("it is cut off"))
    );
}

#[test]
fn only_what_the_zone_signed_as_this_is_opened() {
    let zone = ZoneId::from(ZONE);
    let body = whole(1, digests(0..3)).encode();
    let signature = sign(&body, &kid(KID), &zone_key());
    assert!(open(&body, &signature, &keys(), &zone).is_ok());
    let wrong = |error: SignatureError| Err(PublicationError::Signature(error));
    let mut tampered = body.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert_eq!(
        open(&tampered, &signature, &keys(), &zone),
        wrong(SignatureError::Invalid)
    );
    assert_eq!(
        open(&body[..body.len() - 1], &signature, &keys(), &zone),
        wrong(SignatureError::Invalid)
    );
    let as_bundle = crate::signature::sign(Artifact::Bundle, &body, &kid(KID), &zone_key());
    let other = SignatureError::WrongType {
        expected: "caracal-revocations+jws",
    };
    assert_eq!(open(&body, &as_bundle, &keys(), &zone), wrong(other));
    let strangers = JwkSet {
        keys: vec![Jwk::new(&kid(KID), &key(2).verifying_key())],
    };
    let strangers = KeySet::from_jwks(&strangers).unwrap();
    assert_eq!(
        open(&body, &signature, &strangers, &zone),
        wrong(SignatureError::Invalid)
    );
    let elsewhere = open(&body, &signature, &keys(), &"zone-2".into());
    assert!(
        matches!(elsewhere, Err(PublicationError::OtherZone { .. })),
        "{elsewhere:?}"
    );
    let large = vec![0; MAX_PUBLICATION_BYTES + 1];
    assert_eq!(
        open(&large, &signature, &keys(), &zone),
        Err(PublicationError::TooLarge)
    );
}
