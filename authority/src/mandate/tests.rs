//! What a token must be before its claims are looked at: size, form, algorithm, header, key and
//! signature. Every way of being wrong has its reason.

use serde_json::json;
use sha2::{Digest, Sha256};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    jwks::{Jwk, JwkSet},
    policy::Reads,
    testing::*,
};

/// HMAC (RFC 2104), for the token of someone who takes a public key for a secret.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

fn der(signature: [u8; 64]) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let start = bytes.iter().position(|&byte| byte != 0).unwrap();
        let mut content = bytes[start..].to_vec();
        if content[0] & 0x80 != 0 {
            content.insert(0, 0);
        }
        let mut encoded = vec![0x02, u8::try_from(content.len()).unwrap()];
        encoded.extend(content);
        encoded
    };
    let content = [integer(&signature[..32]), integer(&signature[32..])].concat();
    let mut encoded = vec![0x30, u8::try_from(content.len()).unwrap()];
    encoded.extend(content);
    encoded
}

#[test]
fn size_and_form_are_checked_first() {
    let good = token(json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let whole = |padding: usize| token(json!({"padding": "x".repeat(padding)}));
    // Base64 grows by steps: look for the longest token that may pass and the next one.
    let longest = (5000..7000)
        .rev()
        .find(|&padding| whole(padding).len() <= MAX_TOKEN_BYTES)
        .unwrap();
    assert!(verified(&whole(longest)).is_ok());
    refused("one byte more", &whole(longest + 2), Reason::TokenTooLarge);
    refused(
        "all dots",
        &".".repeat(MAX_TOKEN_BYTES + 1),
        Reason::TokenTooLarge,
    );
    for (name, token) in [
        ("nothing", String::new()),
        ("a word", "token".to_owned()),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{good}.{signature}")),
        ("encrypted", format!("{header}....")),
        ("a trailing dot", format!("{good}.")),
        ("padding", format!("{good}==")),
        (
            "standard base64",
            format!("{header}.{payload}.++//{}", &signature[4..]),
        ),
        ("a space inside", format!("{header}. {payload}.{signature}")),
        ("a line break", format!("{good}\n")),
        ("not base64", format!("{header}.!.{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("a header that is no JSON", jws("{", b"{}", &zone_key())),
        ("a header that is no object", jws("[]", b"{}", &zone_key())),
        ("no alg", header_token(json!({"alg": null}))),
        (
            "alg of another type",
            header_token(json!({"alg": ["ES256"]})),
        ),
        ("kid of another type", header_token(json!({"kid": 1}))),
        (
            "two algs",
            jws(
                r#"{"alg":"none","alg":"ES256","kid":"key-1","typ":"JWT"}"#,
                b"{}",
                &zone_key(),
            ),
        ),
        (
            "two kids",
            jws(
                r#"{"alg":"ES256","kid":"key-1","kid":"key-1","typ":"JWT"}"#,
                b"{}",
                &zone_key(),
            ),
        ),
        ("another content", header_token(json!({"cty": "JWE"}))),
    ] {
        refused(name, &token, Reason::TokenMalformed);
    }
}

#[test]
fn a_mandate_shows_nobody_its_token() {
    let text = token(json!({}));
    let mandate = verified(&text).unwrap();
    let mut cache = MandateCache::new(2, TAG_KEY);
    let token = cache.tagged(text.as_bytes());
    cache.insert(&token, Arc::clone(&mandate));
    let again = cache.get(&token).unwrap();
    let signature = text.rsplit('.').next().unwrap();
    for shown in [
        format!("{mandate:?}"),
        format!("{again:?}"),
        format!("{cache:?}"),
    ] {
        assert!(
            shown.contains("jti-1") && !shown.contains(signature),
            "{shown}"
        );
    }
}

#[test]
fn only_es256_is_an_algorithm() {
    let payload = claims_with(json!({})).to_string();
    let with_alg = |alg: &str, signature: &[u8]| {
        let header = header_with(json!({"alg": alg})).to_string();
        format!(
            "{}.{}",
            signing_input(&header, payload.as_bytes()),
            base64(signature)
        )
    };
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        refused(alg, &with_alg(alg, b""), Reason::AlgorithmNotAllowed);
    }
    let signed = signing_input(
        &header_with(json!({"alg": "HS256"})).to_string(),
        payload.as_bytes(),
    );
    let (x, y) = zone_key().verifying_key().coordinates();
    let sec1 = [&[4][..], &x, &y].concat();
    let jwk = serde_json::to_vec(&jwks().keys[0]).unwrap();
    for secret in [&x[..], &sec1, &jwk, b""] {
        let forged = format!(
            "{signed}.{}",
            base64(&hmac_sha256(secret, signed.as_bytes()))
        );
        refused(
            "HS256 keyed with the public key",
            &forged,
            Reason::AlgorithmNotAllowed,
        );
    }
    refused(
        "RS256",
        &with_alg("RS256", &[7; 256]),
        Reason::AlgorithmNotAllowed,
    );
    for alg in [
        "es256", "ES256 ", "ES256K", "ES384", "HS256", "RS256", "PS256", "EdDSA",
    ] {
        // A right ES256 signature under another name is still under another name.
        refused(
            alg,
            &header_token(json!({"alg": alg})),
            Reason::AlgorithmNotAllowed,
        );
    }
}

#[test]
fn a_header_neither_brings_a_key_nor_changes_the_rules() {
    let intruder = serde_json::to_value(crate::jwks::Jwk::new(&kid(KID), &key(9).verifying_key()));
    let intruder = intruder.unwrap();
    for (name, value) in [
        ("jwk", intruder),
        ("jwk", json!(null)),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!("b64")),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        let mut header = header_with(json!({}));
        header[name] = value;
        let payload = claims_with(json!({})).to_string();
        for signer in [zone_key(), key(9)] {
            let token = jws(&header.to_string(), payload.as_bytes(), &signer);
            refused(name, &token, Reason::HeaderNotAllowed);
        }
    }
    // What nobody has declared critical is passed over (RFC 7515 section 4).
    assert!(verified(&header_token(json!({"x-trace": "1", "cty": "json"}))).is_ok());
}

/// One after the other with the same keys, as a gateway has them.
#[test]
fn a_header_that_is_known_lets_nothing_pass_that_its_key_did_not_sign() {
    let other = kid("key-9");
    let mut set = jwks();
    set.keys
        .push(crate::jwks::Jwk::new(&other, &key(9).verifying_key()));
    let keys = KeySet::from_jwks(&set).unwrap();
    let zone = ZONE.into();
    let expected = Expected {
        issuer: ISSUER,
        zone: &zone,
        uses: &GATEWAY,
    };
    let check = |token: &str| {
        let verified = verify(token, &keys, &expected, NOW);
        verified
            .map(|mandate| mandate.key_id().to_string())
            .map_err(|refusal| refusal.reason().clone())
    };
    let payload = claims_with(json!({})).to_string();
    let by = |changes: serde_json::Value, signer: &SigningKey| {
        jws(
            &header_with(changes).to_string(),
            payload.as_bytes(),
            signer,
        )
    };
    let named = json!({"kid": "key-9"});
    for _ in 0..2 {
        assert_eq!(
            check(&by(json!({}), &key(9))),
            Err(Reason::SignatureInvalid)
        );
        assert_eq!(
            check(&by(named.clone(), &zone_key())),
            Err(Reason::SignatureInvalid)
        );
        assert_eq!(check(&by(json!({}), &zone_key())), Ok(KID.to_owned()));
        assert_eq!(check(&by(named.clone(), &key(9))), Ok("key-9".to_owned()));
        let with_key = json!({"jwk": {"kty": "EC"}});
        assert_eq!(
            check(&by(with_key, &zone_key())),
            Err(Reason::HeaderNotAllowed)
        );
        // Written another way, it is read again.
        assert_eq!(
            check(&by(json!({"x-trace": "1"}), &zone_key())),
            Ok(KID.to_owned())
        );
    }
    let known = header_with(json!({})).to_string();
    let (key_id, _) = keys.by_header(&base64(known.as_bytes())).unwrap();
    assert_eq!(key_id.as_str(), KID);
}

#[test]
fn another_typ_is_not_a_mandate() {
    for typ in [
        json!(null),
        json!(""),
        json!("jwt"),
        json!("at+jwt"),
        json!("caracal-bundle+jws"),
    ] {
        let name = format!("typ {typ}");
        refused(
            &name,
            &header_token(json!({"typ": typ})),
            Reason::TypeNotAllowed,
        );
    }
}

#[test]
fn a_kid_is_looked_up_and_nothing_else_is_done_with_it() {
    for kid in [json!(null), json!("")] {
        refused(
            "no kid",
            &header_token(json!({"kid": kid})),
            Reason::KeyIdMissing,
        );
    }
    for kid in [
        "key-2",
        "KEY-1",
        "key-1 ",
        "key-1\u{0}",
        "../../etc/passwd",
        "/dev/null",
        "key-1/../key-1",
        "http://evil.example/key",
        "' OR '1'='1",
        "%6bey-1",
    ] {
        refused(kid, &header_token(json!({"kid": kid})), Reason::KeyUnknown);
    }
    let other_zone = jws(
        &header_with(json!({})).to_string(),
        claims_with(json!({"zone_id": "zone-2"}))
            .to_string()
            .as_bytes(),
        &key(2),
    );
    refused(
        "the kid of another zone's key",
        &other_zone,
        Reason::SignatureInvalid,
    );
}

#[test]
fn only_the_zones_key_signs() {
    let header = header_with(json!({})).to_string();
    let payload = claims_with(json!({})).to_string();
    let signed = signing_input(&header, payload.as_bytes());
    let good = raw_signature(&signed, &zone_key());
    let with = |signature: &[u8]| format!("{signed}.{}", base64(signature));
    let halves = |r: &[u8], s: &[u8]| [r, s].concat();
    let (r, s) = good.split_at(32);
    let one = [&[0; 31][..], &[1]].concat();
    for (name, signature) in [
        ("nothing", vec![]),
        ("zeros", vec![0; 64]),
        ("r = 0", halves(&[0; 32], s)),
        ("s = 0", halves(r, &[0; 32])),
        ("r = n", halves(&ORDER, s)),
        ("s = n", halves(r, &ORDER)),
        ("r over n", halves(&[0xff; 32], s)),
        ("s over n", halves(r, &[0xff; 32])),
        ("r = s = 1", halves(&one, &one)),
        ("r and s exchanged", halves(s, r)),
        ("truncated", good[..63].to_vec()),
        ("half", r.to_vec()),
        ("one byte more", halves(&good, &[0])),
        ("a zero in front", halves(&[0], &good)),
        ("twice", halves(&good, &good)),
        ("DER", der(good)),
        (
            "one bit off",
            good.iter()
                .enumerate()
                .map(|(at, byte)| byte ^ u8::from(at == 5))
                .collect(),
        ),
        ("another key's", raw_signature(&signed, &key(2)).to_vec()),
        (
            "another message's",
            raw_signature("other", &zone_key()).to_vec(),
        ),
    ] {
        refused(name, &with(&signature), Reason::SignatureInvalid);
    }
    let (other_payload, _) = (claims_with(json!({"scope": "read write"})).to_string(), ());
    let changed = signing_input(&header, other_payload.as_bytes());
    refused(
        "other claims",
        &format!("{changed}.{}", base64(&good)),
        Reason::SignatureInvalid,
    );

    assert!(verified(&with(&good)).is_ok());
    assert_ne!(twin(good), good);
    // RFC 7518 section 3.4 does not ask for the lower s, so both twins are signatures.
    assert!(
        verified(&with(&twin(good))).is_ok(),
        "the twin of a signature"
    );
}

#[test]
fn base64_has_one_spelling() {
    // 64 bytes are 86 characters, the last of which carries four bits that must be zero.
    let good = token(json!({}));
    let (rest, last) = good.split_at(good.len() - 1);
    let others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in others.chars().filter(|other| !last.starts_with(*other)) {
        assert!(
            verified(&format!("{rest}{other}")).is_err(),
            "{other} for {last}"
        );
    }
}

#[test]
fn a_known_mandate_is_verified_once_and_refused_as_soon_as_it_would_be_if_it_were_not_known() {
    let known = Mutex::new(MandateCache::new(10, TAG_KEY));
    let (keys, zone, other) = (keys(), ZoneId::from(ZONE), ZoneId::from("another"));
    let expected = Expected {
        issuer: ISSUER,
        zone: &zone,
        uses: &[MandateUse::Gateway],
    };
    let token = token(json!({}));
    let first = verify_once(&known, &token, &keys, &expected, NOW).unwrap();
    let again = verify_once(&known, &token, &keys, &expected, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    for mandate in [first, again] {
        let document = told_claims(&mandate, &Reads::all());
        let document = serde_json::to_value(document).unwrap();
        assert_eq!(document, claims_with(json!({})));
    }
    let session = Expected {
        uses: &[MandateUse::Session],
        ..expected
    };
    let elsewhere = Expected {
        zone: &other,
        ..expected
    };
    let issuer = Expected {
        issuer: "https://another.test",
        ..expected
    };
    let withdrawn = Jwk::new(&"another".into(), &key(2).verifying_key());
    let withdrawn = KeySet::from_jwks(&JwkSet {
        keys: vec![withdrawn],
    })
    .unwrap();
    for (keys, expected, now, reason) in [
        (&keys, expected, NOW.plus(10_000), Reason::TokenExpired),
        (&keys, session, NOW, Reason::UseNotAllowed),
        (&keys, elsewhere, NOW, Reason::ZoneMismatch),
        (&keys, issuer, NOW, Reason::IssuerMismatch),
        (&withdrawn, expected, NOW, Reason::KeyUnknown),
    ] {
        let refusal = verify_once(&known, &token, keys, &expected, now).unwrap_err();
        assert_eq!(*refusal.reason(), reason);
    }
    let unsigned = token.replace('.', ".x");
    assert!(verify_once(&known, &unsigned, &keys, &expected, NOW).is_err());
    assert_eq!(known.into_inner().unwrap().len(), 1);
}
