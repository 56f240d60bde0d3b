//! Mandates that were verified before.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn a_kept_mandate_is_checked_anew_in_all_but_its_signature() {
    let mut snapshot = snapshot();
    let call = read();
    assert_eq!(snapshot.cached_mandates(), 0);
    allowed("fresh", call.decided_by(&mut snapshot));
    assert_eq!(snapshot.cached_mandates(), 1);
    allowed("kept", call.decided_at(&mut snapshot, NOW.plus(959)));
    denied(
        "another operation",
        call.clone()
            .to("POST", "/demo/items")
            .decided_by(&mut snapshot),
        Reason::ScopeMissing,
    );
    denied(
        "another resource",
        rpc_with(&call).decided_by(&mut snapshot),
        Reason::AudienceMismatch,
    );
    denied(
        "expired",
        call.decided_at(&mut snapshot, NOW.plus(960)),
        Reason::TokenExpired,
    );
    assert_eq!(
        snapshot.cached_mandates(),
        0,
        "an expired mandate is forgotten"
    );
    allowed("earlier", call.decided_by(&mut snapshot));
    let revoked = revoking(&[(AnchorKind::Jti, "jti-1")]);
    denied(
        "revoked",
        call.judged_with(&mut snapshot, &revoked, NOW).0,
        Reason::TokenRevoked,
    );
    snapshot.replace_keys(KeySet::from_jwks(&other_jwks()).unwrap());
    denied(
        "other keys",
        call.decided_by(&mut snapshot),
        Reason::SignatureInvalid,
    );
    assert_eq!(snapshot.cached_mandates(), 0);
}

fn rpc_with(call: &Call) -> Call {
    call.clone().to("POST", "/mcp").at("rpc.example.com")
}

#[test]
fn what_is_refused_is_not_kept() {
    let mut snapshot = snapshot();
    for token in [
        forged(),
        token(json!({"exp": 1})),
        token(json!({"use": "session"})),
    ] {
        assert!(matches!(
            Call::bearing(&token).decided_by(&mut snapshot),
            Decision::Deny(_)
        ));
    }
    assert_eq!(snapshot.cached_mandates(), 0);
}

#[test]
fn mandates_are_kept_across_snapshots_only_under_the_same_keys() {
    let kept = |change: fn(&mut Snapshot), capacity: usize| {
        let mut first = snapshot();
        allowed("first", read().decided_by(&mut first));
        let mut next = snapshot();
        change(&mut next);
        next.keep_mandates(capacity, TAG_KEY, Some(first));
        next.cached_mandates()
    };
    assert_eq!(kept(|_| {}, 100), 1);
    assert_eq!(kept(|_| {}, 50), 0);
    assert_eq!(
        kept(|next| next.issuer = "https://x.example".to_owned(), 100),
        0
    );
    assert_eq!(kept(|next| next.zone = "zone-2".into(), 100), 0);
    let rotated = |next: &mut Snapshot| next.keys = KeySet::from_jwks(&other_jwks()).unwrap();
    assert_eq!(kept(rotated, 100), 0);
}

fn other_jwks() -> JwkSet {
    let keys = vec![Jwk::new(&kid(KID), &key(2).verifying_key())];
    JwkSet { keys }
}
