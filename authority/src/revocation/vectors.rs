//! The samples in `testdata/revocation` that other implementations can be held against: publications,
//! and what each of them says. A Python script reads them as well, in the end-to-end tests.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::{
    signature::{self, Artifact},
    testing::{HASH_KEY, KID, ZONE, jwks, keys, kid, whole, zone_key},
};

/// Set to write the samples anew, when the format gets another version.
const BLESS: &str = "CARACAL_BLESS_VECTORS";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/revocation")
}

fn anchor(kind: AnchorKind, id: &str) -> Anchor<'_> {
    Anchor { kind, id }
}

fn digest(kind: AnchorKind, id: &str) -> Digest {
    HASH_KEY.digest(anchor(kind, id))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn samples() -> Vec<(&'static str, Publication)> {
    use AnchorKind as K;
    let session = digest(K::Session, "01980000-0000-7000-8000-000000000001");
    let edge = digest(K::Delegation, "01980000-0000-7000-8000-000000000002");
    let application = digest(K::Application, "01980000-0000-7000-8000-000000000003");
    let many = (0..5_000)
        .map(|number| digest(K::Jti, &format!("jti-{number}")))
        .collect();
    let mut filter = whole(41, many);
    filter.changed_at = 1_790_000_000_250;
    filter.changes = Changes {
        cutoffs: vec![(digest(K::Subject, "alice@example.com"), 1_790_000_000)],
        added: vec![session],
        removed: vec![digest(K::Jti, "jti-17")],
    };
    let exact = whole(7, vec![session, edge, application]);
    let delta = Publication {
        changes: Changes {
            cutoffs: vec![
                (application, 1_790_000_100),
                (digest(K::Subject, "alice@example.com"), 0),
            ],
            added: vec![edge],
            removed: vec![session],
        },
        content: Content::Delta { after: 40 },
        ..whole(43, Vec::new())
    };
    vec![
        ("empty", whole(0, Vec::new())),
        ("exact", exact),
        ("bloom", filter),
        ("delta", delta),
    ]
}

/// Of which anchors it is said what each filter makes of them.
fn questions() -> Vec<(AnchorKind, String)> {
    use AnchorKind as K;
    let named = [
        (K::Session, "01980000-0000-7000-8000-000000000001"),
        (K::Delegation, "01980000-0000-7000-8000-000000000001"),
        (K::Delegation, "01980000-0000-7000-8000-000000000002"),
        (K::Application, "01980000-0000-7000-8000-000000000003"),
        (K::Subject, "zürich/日本"),
        (K::Jti, ""),
        (K::Jti, "jti-17"),
    ];
    let named = named.map(|(kind, id)| (kind, id.to_owned()));
    let numbered = (0..60).map(|number| (K::Jti, format!("jti-{}", number * 97)));
    named.into_iter().chain(numbered).collect()
}

fn described(name: &str, publication: &Publication) -> Value {
    let bytes = publication.encode();
    let (kind, after, load) = match &publication.content {
        Content::Delta { after } => ("delta", Some(*after), None),
        Content::Whole {
            load,
            base: Base::Exact(_),
        } => ("exact", None, Some(*load)),
        Content::Whole {
            load,
            base: Base::Bloom(_),
        } => ("bloom", None, Some(*load)),
    };
    let filter = match kind {
        "delta" => {
            let samples = samples();
            let (_, bloom) = samples
                .into_iter()
                .find(|(name, _)| *name == "bloom")
                .unwrap();
            let mut filter = Filter::new(bloom).unwrap();
            filter.apply(publication.clone()).unwrap();
            filter
        }
        _ => Filter::new(publication.clone()).unwrap(),
    };
    let answers: Vec<Value> = questions()
        .into_iter()
        .map(|(kind, id)| {
            let answer = match filter.is_revoked(anchor(kind, &id)) {
                Some(true) => "revoked",
                Some(false) => "clear",
                None => "suspect",
            };
            json!({"kind": kind.name(), "id": id, "digest": hex(&digest(kind, &id).0), "answer": answer})
        })
        .collect();
    json!({
        "file": format!("{name}.bin"),
        "on": (kind == "delta").then_some("bloom.bin"),
        "signature": sign(&bytes, &kid(KID), &zone_key()),
        "zone_id": publication.zone_id,
        "hash_key": hex(&publication.key.0),
        "kind": kind,
        "after": after,
        "epoch": publication.epoch,
        "changed_at": publication.changed_at,
        "load": load,
        "cutoffs": publication.changes.cutoffs.iter().map(|(digest, until)| json!([hex(&digest.0), until])).collect::<Vec<_>>(),
        "added": publication.changes.added.iter().map(|digest| hex(&digest.0)).collect::<Vec<_>>(),
        "removed": publication.changes.removed.iter().map(|digest| hex(&digest.0)).collect::<Vec<_>>(),
        "answers": answers,
    })
}

fn expected() -> Value {
    let vectors: Vec<Value> = samples()
        .iter()
        .map(|(name, publication)| described(name, publication))
        .collect();
    let kinds: serde_json::Map<String, Value> = AnchorKind::ALL
        .into_iter()
        .map(|kind| (kind.name().to_owned(), json!(kind as u8)))
        .collect();
    json!({"format": "CRVF version 1", "jwks": jwks(), "kinds": kinds, "vectors": vectors})
}

#[test]
fn the_samples_say_what_they_are_said_to_say() {
    let directory = directory();
    let mut expected = expected();
    if std::env::var_os(BLESS).is_some() {
        for (name, publication) in samples() {
            fs::write(directory.join(format!("{name}.bin")), publication.encode()).unwrap();
        }
        let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
        fs::write(directory.join("vectors.json"), text).unwrap();
    }
    let text = fs::read_to_string(directory.join("vectors.json")).unwrap();
    let mut written: Value = serde_json::from_str(&text).unwrap();
    for (vector, (name, publication)) in written["vectors"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(samples())
    {
        let bytes = fs::read(directory.join(format!("{name}.bin"))).unwrap();
        assert_eq!(bytes, publication.encode(), "{name}");
        let signature = vector["signature"].take();
        let signature = signature.as_str().unwrap();
        assert_eq!(
            open(&bytes, signature, &keys(), &ZONE.into()),
            Ok(publication),
            "{name}"
        );
        assert!(signature::verify(Artifact::Bundle, &bytes, signature, &keys()).is_err());
    }
    // A signature is another one each time.
    for vector in expected["vectors"].as_array_mut().unwrap() {
        vector["signature"].take();
    }
    assert_eq!(written, expected);
}
