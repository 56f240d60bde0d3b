//! Which bundles a gateway takes in, and what becomes of them.

use std::sync::Arc;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    binding::Bindings,
    mandate,
    policy::{COMPILER, Module, compile},
    snapshot::{Snapshot, SnapshotError},
    testing::{self, *},
};

fn body(bundle: &Bundle) -> Vec<u8> {
    serde_json::to_vec(bundle).unwrap()
}

fn open_signed(bundle: &Bundle) -> Result<Bundle, BundleError> {
    let body = body(bundle);
    let signature = sign(&body, &kid(KID), &zone_key());
    open(&body, &signature, &keys(), ZONE, ISSUER, 7)
}

fn with_policy() -> Bundle {
    let module = Module {
        name: "policy.rego".to_owned(),
        source: "package caracal.authz\nimport rego.v1\nresult := 1\n".to_owned(),
    };
    let compiled = compile(&[module]).unwrap();
    let policy = BundlePolicy::new(
        "set-1".into(),
        "version-1".into(),
        "00".to_owned(),
        &compiled,
    );
    assert_eq!(policy.program().unwrap(), compiled.program);
    Bundle {
        policy: Some(policy),
        ..bundle()
    }
}

#[test]
fn a_bundle_opens_for_its_zone_by_id_or_slug() {
    let bundle = with_policy();
    let body = body(&bundle);
    let signature = sign(&body, &kid(KID), &zone_key());
    for zone in [ZONE, SLUG] {
        for known in [0, 6, 7] {
            let opened = open(&body, &signature, &keys(), zone, ISSUER, known).unwrap();
            assert_eq!(opened, bundle);
        }
    }
    let snapshot = Snapshot::from_bundle(bundle, Bindings::default(), None).unwrap();
    assert_eq!(snapshot.zone().as_str(), ZONE);
    assert_eq!(
        snapshot.policy_origin().unwrap().policy_set_version_id,
        "version-1"
    );
    assert_eq!(snapshot.keys(), &keys());
}

#[test]
fn another_zone_issuer_format_or_an_older_sequence_is_refused() {
    let other = |change: fn(&mut Bundle)| {
        let mut bundle = bundle();
        change(&mut bundle);
        open_signed(&bundle)
    };
    assert!(other(|_| {}).is_ok());
    assert!(matches!(
        other(|bundle| bundle.zone_id = "zone-2".into()),
        Err(BundleError::OtherZone { found, .. }) if found == SLUG
    ));
    assert!(matches!(
        other(|bundle| bundle.issuer.push('/')),
        Err(BundleError::OtherIssuer { .. })
    ));
    assert!(matches!(
        other(|bundle| bundle.sequence = 6),
        Err(BundleError::RolledBack { found: 6, known: 7 })
    ));
    for format in ["caracal-bundle/2", "caracal-bundle", ""] {
        let answer = open_signed(&Bundle {
            format: format.to_owned(),
            ..bundle()
        });
        let Err(BundleError::Malformed(told)) = answer else {
            panic!("{format:?}: {answer:?}");
        };
        assert!(told.contains(FORMAT), "{told}");
    }
}

#[test]
fn only_the_exact_bytes_that_were_signed_open() {
    let body = body(&bundle());
    let signature = sign(&body, &kid(KID), &zone_key());
    let answer = |body: &[u8], signature: &str, keys: &KeySet| match open(
        body, signature, keys, ZONE, ISSUER, 0,
    ) {
        Err(BundleError::Signature(error)) => error,
        other => panic!("{other:?}"),
    };
    let mut changed = body.clone();
    *changed.last_mut().unwrap() = b' ';
    assert_eq!(
        answer(&changed, &signature, &keys()),
        SignatureError::Invalid
    );
    let spaced = [&body[..], b" "].concat();
    assert_eq!(
        answer(&spaced, &signature, &keys()),
        SignatureError::Invalid
    );
    let strangers = sign(&body, &kid(KID), &key(2));
    assert_eq!(answer(&body, &strangers, &keys()), SignatureError::Invalid);
    let unknown = sign(&body, &kid("key-2"), &zone_key());
    assert_eq!(
        answer(&body, &unknown, &keys()),
        SignatureError::UnknownKey("key-2".to_owned())
    );
    assert_eq!(
        answer(&body, &signature, &KeySet::default()),
        SignatureError::UnknownKey(KID.to_owned())
    );
}

#[test]
fn rightly_signed_nonsense_is_malformed() {
    for text in [
        "",
        "{}",
        "null",
        "[]",
        "{",
        r#"{"format": "caracal-bundle/1"}"#,
    ] {
        let signature = sign(text.as_bytes(), &kid(KID), &zone_key());
        let answer = open(text.as_bytes(), &signature, &keys(), ZONE, ISSUER, 0);
        assert!(
            matches!(answer, Err(BundleError::Malformed(_))),
            "{text}: {answer:?}"
        );
    }
    let large = vec![b' '; MAX_BUNDLE_BYTES + 1];
    let answer = open(&large, "", &keys(), ZONE, ISSUER, 0);
    assert!(matches!(answer, Err(BundleError::TooLarge)));
}

#[test]
fn a_mandate_does_not_sign_a_bundle_nor_a_bundle_a_mandate() {
    let body = body(&bundle());
    // A token of the zone whose payload is a bundle, taken apart into body and detached signature.
    let token = payload_token(&body);
    let parts: Vec<&str> = token.split('.').collect();
    let detached = format!("{}..{}", parts[0], parts[2]);
    let answer = open(&body, &detached, &keys(), ZONE, ISSUER, 0);
    assert!(matches!(
        answer,
        Err(BundleError::Signature(SignatureError::WrongType { .. }))
    ));
    // A bundle's signature over claims, put together into a token.
    let claims = claims_with(serde_json::json!({})).to_string();
    let signature = sign(claims.as_bytes(), &kid(KID), &zone_key());
    let token = signature.replace("..", &format!(".{}.", testing::base64(claims.as_bytes())));
    refused(
        "a bundle's signature",
        &token,
        crate::refusal::Reason::TypeNotAllowed,
    );
    let minted = mandate::sign(&testing::claims(), &kid(KID), &zone_key()).unwrap();
    assert!(verified(&minted).is_ok());
}

#[test]
fn a_resource_is_taken_over_only_as_it_was() {
    let after = |previous: &Snapshot, change: fn(&mut Bundle)| {
        let mut bundle = with_policy();
        change(&mut bundle);
        Snapshot::from_bundle(bundle, Bindings::default(), Some(previous)).unwrap()
    };
    let identifier = demo_resource().identifier;
    let first = Snapshot::from_bundle(with_policy(), Bindings::default(), None).unwrap();
    let same = after(&first, |_| {});
    let taken_over =
        |next: &Snapshot| Arc::ptr_eq(&first.resources[&identifier], &next.resources[&identifier]);
    assert!(taken_over(&same));
    let changed = after(&first, |bundle| {
        bundle.resources[0].operations.clear();
    });
    assert!(!taken_over(&changed));
    assert!(changed.resources[&identifier].spec().operations.is_empty());
    let without = after(&first, |bundle| bundle.resources.clear());
    assert!(without.resources.is_empty());
}

#[test]
fn what_does_not_hold_together_never_becomes_a_snapshot() {
    let made = |change: fn(&mut Bundle)| {
        let mut bundle = with_policy();
        change(&mut bundle);
        Snapshot::from_bundle(bundle, Bindings::default(), None)
    };
    let policy = |change: fn(&mut BundlePolicy)| {
        let mut bundle = with_policy();
        bundle.policy.iter_mut().for_each(change);
        Snapshot::from_bundle(bundle, Bindings::default(), None)
    };
    assert!(made(|_| {}).is_ok());
    assert!(matches!(
        made(|bundle| bundle.keys.keys.clear()),
        Err(SnapshotError::Keys(_))
    ));
    assert!(matches!(
        made(|bundle| bundle.resources.push(demo_resource())),
        Err(SnapshotError::DuplicateResource(identifier)) if identifier == DEMO
    ));
    assert!(matches!(
        made(|bundle| bundle.resources[0].scopes.clear()),
        Err(SnapshotError::Resource { identifier, .. }) if identifier == DEMO
    ));
    assert!(matches!(
        policy(|policy| policy.compiler = "regorus-0.1/rvm-1".to_owned()),
        Err(SnapshotError::Compiler { found }) if found != COMPILER
    ));
    assert!(matches!(
        policy(|policy| policy.program.push('!')),
        Err(SnapshotError::Bundle(BundleError::Malformed(_)))
    ));
    assert!(matches!(
        policy(|policy| policy.program = Base64::encode_string(b"not bytecode")),
        Err(SnapshotError::Policy(_))
    ));
}

#[test]
fn the_hash_of_a_manifest_depends_on_every_field_and_their_order() {
    let all = [
        manifest_sha256([]),
        manifest_sha256([("v1", "aa")]),
        manifest_sha256([("v1a", "a")]),
        manifest_sha256([("v1", "aa"), ("v2", "bb")]),
        manifest_sha256([("v2", "bb"), ("v1", "aa")]),
    ];
    for (place, hash) in all.iter().enumerate() {
        assert_eq!(hash.len(), 64);
        assert!(!all[..place].contains(hash));
    }
    assert_eq!(
        content_sha256(b"abc"),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(
        manifest_sha256([("v1", "aa")]),
        content_sha256(b"v1\x1faa\x1f")
    );
}

#[test]
fn a_bundle_without_a_shadow_reads_as_one_from_before_there_were_shadows() {
    let written = serde_json::to_value(with_policy()).unwrap();
    assert!(written.get("shadow").is_none());
    assert_eq!(
        serde_json::from_value::<Bundle>(written).unwrap(),
        with_policy()
    );
}
