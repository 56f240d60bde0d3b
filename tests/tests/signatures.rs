//! ES256 by Envoy's own library, and by us in its V8: both say the same of every signature, and the plugin
//! takes the one that it is told to.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};

use authority::key::{SigningKey as Es256Key, VerifyingKey};
use base64ct::{Base64UrlUnpadded, Encoding};
use e2e::{
    eventually,
    gateway::GatewaySpec,
    http::Request,
    mandates::{Issuer, stand_alone},
    parts,
    refusals::unauthorized,
    site::Site,
};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::{Value, json};

/// A case for the filter, and whether its signature is good.
type Known = ([String; 4], bool);

fn case(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> [String; 4] {
    let (x, y) = key.coordinates();
    [&x[..], &y, message, signature].map(Base64UrlUnpadded::encode_string)
}

/// Every vector that Wycheproof has.
fn wycheproof() -> Vec<Known> {
    let vectors: Value = serde_json::from_str(include_str!(
        "../../authority/testdata/wycheproof/ecdsa_secp256r1_sha256_p1363_test.json"
    ))
    .unwrap();
    let bytes = |value: &Value| -> Vec<u8> {
        let text = value.as_str().unwrap();
        let pairs = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair));
        pairs
            .map(|pair| u8::from_str_radix(pair.unwrap(), 16).unwrap())
            .collect()
    };
    let mut known = Vec::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        let point = bytes(&group["publicKey"]["uncompressed"]);
        let (x, y) = point[1..].split_at(32);
        let key = VerifyingKey::from_coordinates(x.try_into().unwrap(), y.try_into().unwrap());
        let key = key.unwrap();
        for vector in group["tests"].as_array().unwrap() {
            let case = case(&key, &bytes(&vector["msg"]), &bytes(&vector["sig"]));
            known.push((case, vector["result"] != "invalid"));
        }
    }
    assert_eq!(known.len(), 262);
    known
}

/// Signatures good and damaged, of messages of any length, as the p256 crate sees them here.
fn drawn() -> Vec<Known> {
    // Numbers as good as random, the same ones every time (xorshift64: Marsaglia 2003).
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let mut known = Vec::new();
    for _ in 0..20 {
        let secret: Vec<u8> = (0..32).map(|_| draw(256) as u8).collect();
        let key = Es256Key::from_bytes(&secret).unwrap().verifying_key();
        let secret = SigningKey::from_slice(&secret).unwrap();
        for _ in 0..20 {
            let length = draw(1_500);
            let mut message: Vec<u8> = (0..length).map(|_| draw(256) as u8).collect();
            let signature: Signature = secret.sign(&message);
            let mut signature = signature.to_bytes();
            match draw(4) {
                0 => signature[draw(64)] ^= 1 << draw(8),
                1 => message.push(0),
                _ => {}
            }
            let good = key.verifies(&message, &signature);
            known.push((case(&key, &message, &signature), good));
        }
    }
    known
}

#[test]
fn the_host_the_tables_and_the_crate_say_the_same_of_every_signature() {
    let known: Vec<Known> = wycheproof().into_iter().chain(drawn()).collect();
    let expected: String = known
        .iter()
        .map(|(_, good)| if *good { '1' } else { '0' })
        .collect();
    assert!(expected.matches('1').count() > 300 && expected.matches('0').count() > 200);
    let cases: Vec<&[String; 4]> = known.iter().map(|(case, _)| case).collect();
    let filter = json!({
        "name": "signatures",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "vm_config": {
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": parts::micro()}},
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": json!(cases).to_string(),
                },
            },
        },
    });
    let gateway = GatewaySpec {
        others: Some(vec![filter]),
        answers_itself: true,
        ..GatewaySpec::new(json!({}), SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }
    .start();
    let told = eventually("the filter has looked at all signatures", || {
        let log = gateway.log();
        let (_, told) = log.split_once("signatures=")?;
        Some(told.split_once(" end")?.0.to_owned())
    });
    let told: Vec<&str> = told.split(',').collect();
    for (way, said) in ["host", "tables", "crate"].into_iter().zip(&told) {
        assert_eq!(said.len(), expected.len(), "{way}");
        for (place, (said, expected)) in said.chars().zip(expected.chars()).enumerate() {
            assert_eq!(said, expected, "{way}: {:?}", known[place].0);
        }
    }
    // What is no number below the order never gets that far.
    let answers: usize = told[3].parse().unwrap();
    assert!(answers > 500, "the host has answered {answers} times");
}

#[test]
fn whoever_is_told_to_verify_does_so() {
    for (wish, told) in [
        (json!("host"), "are verified by: host"),
        (json!("wasm"), "are verified by: wasm"),
        (json!("fastest"), "one takes the host"),
    ] {
        let issuer = Issuer::new("key-1", 7);
        let mut plugin = stand_alone(&issuer);
        plugin["signature_verification"] = wish;
        let site = Site::stand_alone(plugin);
        assert!(site.gateway.log().contains(told), "{told}");
        let good = issuer.mandate("demo:read");
        site.allowed(Request::get("/demo/items").bearer(&good));
        let strangers = Issuer::new("key-1", 8).mandate("demo:read");
        let request = Request::get("/demo/items").bearer(&strangers);
        site.refused(request, &unauthorized("signature_invalid"));
    }
}
