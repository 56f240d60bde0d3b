//! Key sets as published and as strangers write them.

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::testing::*;

fn jwk(changes: Value) -> Value {
    let mut jwk = serde_json::to_value(&jwks().keys[0]).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            jwk.as_object_mut().unwrap().remove(name);
        } else {
            jwk[name] = value.clone();
        }
    }
    jwk
}

fn parse(keys: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
}

#[test]
fn a_published_key_has_exactly_its_public_members() {
    let published = serde_json::to_value(jwks()).unwrap();
    let members: Vec<&String> = published["keys"][0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(published["keys"][0]["kid"], KID);
    let read = KeySet::parse(published.to_string().as_bytes()).unwrap();
    assert_eq!(read.get(KID), Some(&zone_key().verifying_key()));
    assert_eq!((read.len(), read.is_empty()), (1, false));
    assert!(read.get("key-2").is_none() && read.get("").is_none());
}

#[test]
fn keys_for_something_else_are_passed_over() {
    let good = jwk(json!({"kid": "good", "x": jwks().keys[0].x}));
    for other in [
        jwk(json!({"use": "enc"})),
        jwk(json!({"alg": "ES384"})),
        jwk(json!({"alg": "ECDH-ES"})),
        jwk(json!({"crv": "secp256k1"})),
        jwk(json!({"crv": "P-384"})),
        jwk(json!({"crv": null})),
        jwk(json!({"kty": "RSA"})),
        jwk(json!({"kty": "oct", "k": "c2VjcmV0"})),
        jwk(json!({"kid": null})),
        jwk(json!({"key_ops": ["sign"]})),
        jwk(json!({"key_ops": []})),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": KID, "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    ] {
        assert!(
            matches!(parse(std::slice::from_ref(&other)), Err(JwksError::Empty)),
            "{other}"
        );
        let set = parse(&[other.clone(), good.clone()]).unwrap();
        assert!(
            set.get(KID).is_none() && set.get("good").is_some(),
            "{other}"
        );
    }
    for usable in [
        jwk(json!({"use": null})),
        jwk(json!({"alg": null})),
        jwk(json!({"key_ops": ["verify"], "use": null})),
        jwk(json!({"d": base64(&[1; 32]), "x5c": ["MIIB"]})),
    ] {
        assert!(
            parse(std::slice::from_ref(&usable))
                .unwrap()
                .get(KID)
                .is_some(),
            "{usable}"
        );
    }
}

#[test]
fn a_damaged_key_is_an_error_that_names_it() {
    let (x, y) = zone_key().verifying_key().coordinates();
    for (name, changes) in [
        ("no x", json!({"x": null})),
        ("no y", json!({"y": null})),
        ("empty", json!({"x": ""})),
        ("short", json!({"x": base64(&x[1..])})),
        ("long", json!({"y": base64(&[&[0][..], &y].concat())})),
        ("padded", json!({"y": format!("{}=", base64(&y))})),
        ("not base64url", json!({"x": "+/".repeat(21) + "A"})),
        (
            "not on the curve",
            json!({"x": base64(&y), "y": base64(&x)}),
        ),
        (
            "zero",
            json!({"x": base64(&[0; 32]), "y": base64(&[0; 32])}),
        ),
    ] {
        match parse(&[jwk(changes)]) {
            Err(JwksError::BadKey { kid, .. }) => assert_eq!(kid, KID, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_set_is_bounded_and_unambiguous() {
    let numbered = |count: usize| {
        let keys: Vec<Value> = (0..count)
            .map(|n| jwk(json!({"kid": format!("k{n}")})))
            .collect();
        parse(&keys)
    };
    assert_eq!(numbered(MAX_KEYS).unwrap().len(), MAX_KEYS);
    assert!(matches!(numbered(MAX_KEYS + 1), Err(JwksError::TooMany(_))));
    let twice = parse(&[jwk(json!({})), jwk(json!({}))]);
    assert!(matches!(twice, Err(JwksError::Duplicate(kid)) if kid == KID));
    assert!(matches!(parse(&[]), Err(JwksError::Empty)));
    for text in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"keys": {}}"#,
        r#"{"keys": [1]}"#,
        r#"{"keys": null}"#,
    ] {
        let parsed = KeySet::parse(text.as_bytes());
        assert!(
            matches!(parsed, Err(JwksError::Malformed(_))),
            "{text}: {parsed:?}"
        );
    }
}

/// Whether a JWS is one by a key of `set` for ES256. Its payload is no mandate, so this is what
/// [`mandate::verify`](crate::mandate::verify) does up to the signature, without `typ`.
fn accepts(set: &KeySet, jws: &str) -> bool {
    let Some((signed, signature)) = jws.rsplit_once('.') else {
        return false;
    };
    let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).ok();
    let header = signed
        .split_once('.')
        .and_then(|(header, _)| decode(header));
    let Some(header) = header.and_then(|header| serde_json::from_slice::<Value>(&header).ok())
    else {
        return false;
    };
    header["alg"] == "ES256"
        && header["kid"]
            .as_str()
            .and_then(|kid| set.get(kid))
            .is_some_and(|key| {
                decode(signature).is_some_and(|raw| key.verifies(signed.as_bytes(), &raw))
            })
}

/// Runs a file of Wycheproof's JOSE vectors; what is not for ES256 must not be accepted, whatever
/// its verdict elsewhere. Returns how many vectors there were, and how many were accepted.
fn run_jose_vectors(file: &str) -> (usize, usize) {
    let file: Value = serde_json::from_str(file).unwrap();
    let (mut run, mut accepted) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = group.get("public").unwrap_or(&group["private"]);
        let keys = match key.get("keys") {
            Some(keys) => keys.as_array().unwrap().clone(),
            None => vec![key.clone()],
        };
        let for_es256 = keys
            .iter()
            .any(|key| key["alg"] == "ES256" && key["crv"] == "P-256");
        let set = parse(&keys).unwrap_or_default();
        for vector in group["tests"].as_array().unwrap() {
            let jws = vector["jws"].as_str().unwrap();
            let expected = for_es256 && vector["result"] == "valid";
            assert_eq!(
                accepts(&set, jws),
                expected,
                "{}: {}",
                group["comment"],
                vector
            );
            // None of them is a mandate.
            let zone = ZONE.into();
            let mandate = crate::mandate::Expected {
                issuer: ISSUER,
                zone: &zone,
                uses: &GATEWAY,
            };
            assert!(
                crate::mandate::verify(jws, &set, &mandate, NOW).is_err(),
                "{vector}"
            );
            run += 1;
            accepted += usize::from(expected);
        }
    }
    assert_eq!(
        run,
        usize::try_from(file["numberOfTests"].as_u64().unwrap()).unwrap()
    );
    (run, accepted)
}

#[test]
fn wycheproofs_signatures_in_compact_form_get_their_verdict() {
    let file = include_str!("../../testdata/wycheproof/json_web_signature_test.json");
    assert_eq!(run_jose_vectors(file), (401, 2));
}

#[test]
fn wycheproofs_key_sets_get_their_verdict() {
    let file = include_str!("../../testdata/wycheproof/json_web_key_test.json");
    assert_eq!(run_jose_vectors(file), (26, 0));
}
