//! Mandates at a real gateway: the good ones pass, every bad one is refused with its own reason and
//! reaches nobody.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::LazyLock,
};

use e2e::{
    eventually,
    gateway::GatewaySpec,
    http::Request,
    mandates::{APPLICATION, Issuer, PublicKeyForm, claims, now, resource_claims, stand_alone},
    refusals::{Expected, bad_request, scope_missing, unauthorized},
    site::Site,
};
use p256::{NistP256, elliptic_curve::Curve};
use serde_json::{Value, json};

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));
static SITE: LazyLock<Site> = LazyLock::new(|| Site::stand_alone(stand_alone(&ISSUER)));

fn call(token: &str) -> Request {
    Request::get("/demo/items").bearer(token)
}

fn refused(token: &str, expected: &Expected) {
    SITE.refused(call(token), expected);
}

/// The order of the group, in big-endian bytes.
fn order() -> [u8; 32] {
    let bytes = NistP256::ORDER.as_ref().to_be_bytes();
    bytes.as_ref().try_into().unwrap()
}

#[test]
fn a_good_mandate_passes_and_the_upstream_learns_who_calls_and_not_by_what() {
    for token in [
        ISSUER.mandate("demo:read"),
        ISSUER.mandate("demo:write demo:read"),
        ISSUER.changed(|claims| claims["aud"] = json!(e2e::mandates::ISSUER)),
        ISSUER.sign(&resource_claims("demo:read")),
    ] {
        let arrival = SITE.allowed(call(&token));
        assert_eq!(arrival.target, "/demo/items");
        assert_eq!(arrival.header("x-caracal-client-id"), [APPLICATION]);
        assert_eq!(arrival.header("x-caracal-subject"), [APPLICATION]);
        assert!(arrival.header("authorization").is_empty());
    }
    let arrival = SITE.allowed(
        Request::new("POST", "/demo/items")
            .bearer(&ISSUER.mandate("demo:write"))
            .body("{\"name\":\"new\"}"),
    );
    assert_eq!(
        (arrival.method.as_str(), arrival.body.as_str()),
        ("POST", "{\"name\":\"new\"}")
    );
    assert_eq!(arrival.header("x-caracal-scope"), ["demo:write"]);
}

#[test]
fn with_a_host_that_gives_no_random_bytes_each_mandate_is_verified_each_time() {
    let token = ISSUER.mandate("demo:read");
    for random in [true, false] {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let mut spec = GatewaySpec::new(stand_alone(&ISSUER), nowhere);
        spec.answers_itself = true;
        spec.capabilities
            .retain(|name| random || *name != "random_get");
        let gateway = spec.start();
        for _ in 0..3 {
            let answer = call(&token).send(gateway.address()).unwrap();
            assert_eq!(answer.status, 200, "{answer}");
        }
        let count = |name| -> u64 {
            let stats = gateway.stats(name);
            stats.iter().map(|(_, count)| count).sum()
        };
        let verified = if random { 1 } else { 3 };
        eventually("the worker has counted", || {
            let hits = count("caracal_mandate_cache_hits");
            let misses = count("caracal_mandate_cache_misses");
            (hits + misses == 3).then(|| assert_eq!(misses, verified, "random bytes: {random}"))
        });
        assert_eq!(gateway.log().contains("no random bytes"), !random);
        let forged = Issuer::new("key-1", 8).mandate("demo:read");
        let answer = call(&forged).send(gateway.address()).unwrap();
        assert_eq!(answer.status, 401, "{answer}");
    }
}

#[test]
fn without_a_mandate_nothing_passes_and_the_challenge_has_no_error_code() {
    SITE.refused(Request::get("/demo/items"), &unauthorized("token_missing"));
    for other in ["Basic YTpi", "Bearer", "Token abc", "", "bearer"] {
        let request = Request::get("/demo/items").header("authorization", other);
        SITE.refused(request, &unauthorized("token_missing"));
    }
}

#[test]
fn what_is_no_jwt_in_compact_form_is_refused() {
    let good = ISSUER.mandate("demo:read");
    let parts: Vec<&str> = good.split('.').collect();
    for token in [
        "abc".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        "{}".to_owned(),
        parts[..2].join("."),
        format!("{}.{}", parts[0], parts[2]),
        format!("{good}.x.y"),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        format!("{} {}", parts[0], parts[1]),
    ] {
        refused(&token, &unauthorized("token_malformed"));
    }
}

#[test]
fn a_mandate_over_8192_bytes_is_refused_unread() {
    let padded =
        |bytes: usize| ISSUER.changed(|claims| claims["padding"] = json!("x".repeat(bytes)));
    let small = padded(0);
    // Three bytes of claims are four of base64.
    let fitting = padded((8192 - small.len()) / 4 * 3 - 3);
    assert!((8180..=8192).contains(&fitting.len()), "{}", fitting.len());
    SITE.allowed(call(&fitting));
    refused(&padded(8192), &unauthorized("token_too_large"));
    refused(&"x".repeat(8193), &unauthorized("token_too_large"));
}

#[test]
fn no_algorithm_but_es256_counts_whoever_signed() {
    let none = |alg: &str, signature: &str| {
        let token = ISSUER.with_header(|header| header["alg"] = json!(alg));
        let (signed, _) = token.rsplit_once('.').unwrap();
        format!("{signed}.{signature}")
    };
    for token in [
        none("none", ""),
        none("None", ""),
        none("none", "AAAA"),
        ISSUER.keyed_with_public_key(PublicKeyForm::Point),
        ISSUER.keyed_with_public_key(PublicKeyForm::Jwk),
        // The right signature under a wrong name is no better.
        ISSUER.with_header(|header| header["alg"] = json!("RS256")),
        ISSUER.with_header(|header| header["alg"] = json!("ES384")),
        ISSUER.with_header(|header| header["alg"] = json!("es256")),
        ISSUER.with_header(|header| header["alg"] = json!("EdDSA")),
    ] {
        refused(&token, &unauthorized("algorithm_not_allowed"));
    }
}

#[test]
fn a_key_id_is_looked_up_among_the_zones_keys_and_nowhere_else() {
    for kid in [
        "key-2",
        "KEY-1",
        "../../etc/passwd",
        "/dev/null",
        "file:///dev/null",
        "key-1/../key-1",
        "key-1\u{0}",
        "' OR '1'='1",
        "http://attacker.test/jwks.json",
    ] {
        let token = ISSUER.with_header(|header| header["kid"] = json!(kid));
        refused(&token, &unauthorized("key_unknown"));
    }
    for change in [
        (|header: &mut Value| header["kid"] = json!("")) as fn(&mut Value),
        |header| {
            header.as_object_mut().unwrap().remove("kid");
        },
    ] {
        refused(&ISSUER.with_header(change), &unauthorized("key_id_missing"));
    }
}

#[test]
fn a_header_that_brings_a_key_or_new_rules_is_refused() {
    let attacker = Issuer::new("key-1", 9);
    for (name, value) in [
        ("jwk", attacker.jwks()["keys"][0].clone()),
        ("jku", json!("https://attacker.test/jwks.json")),
        ("x5u", json!("https://attacker.test/cert.pem")),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
    ] {
        for signer in [&*ISSUER, &attacker] {
            let token = signer.with_header(|header| header[name] = value.clone());
            refused(&token, &unauthorized("header_not_allowed"));
        }
    }
}

#[test]
fn another_kind_of_signed_token_is_no_mandate() {
    for kind in ["at+jwt", "secevent+jwt", "caracal-bundle"] {
        let token = ISSUER.with_header(|header| header["typ"] = json!(kind));
        refused(&token, &unauthorized("type_not_allowed"));
    }
}

#[test]
fn a_signature_counts_only_as_two_numbers_in_range_made_by_the_named_key() {
    let replaced = |r: Option<[u8; 32]>, s: Option<[u8; 32]>| {
        ISSUER.with_signature(|signature| {
            let (own_r, own_s) = signature.split_bytes();
            let r = r.map_or_else(|| own_r.to_vec(), Vec::from);
            let s = s.map_or_else(|| own_s.to_vec(), Vec::from);
            [r, s].concat()
        })
    };
    let zero = [0; 32];
    let full = [0xff; 32];
    let n = order();
    for token in [
        replaced(Some(zero), Some(zero)),
        replaced(Some(zero), None),
        replaced(None, Some(zero)),
        replaced(Some(n), None),
        replaced(None, Some(n)),
        replaced(Some(full), None),
        replaced(None, Some(full)),
        ISSUER.with_signature(|signature| signature.to_bytes()[..63].to_vec()),
        ISSUER.with_signature(|signature| signature.to_bytes()[..32].to_vec()),
        ISSUER.with_signature(|_| Vec::new()),
        ISSUER.with_signature(|signature| [&signature.to_bytes()[..], &[0]].concat()),
        ISSUER.with_signature(|signature| signature.to_der().as_bytes().to_vec()),
        // A key of somebody else's under the kid of ours.
        Issuer::new("key-1", 9).mandate("demo:read"),
    ] {
        refused(&token, &unauthorized("signature_invalid"));
    }
}

#[test]
fn changed_claims_under_the_old_signature_are_refused() {
    let (read, write) = (ISSUER.mandate("demo:read"), ISSUER.mandate("demo:write"));
    let (read, write): (Vec<_>, Vec<_>) = (read.split('.').collect(), write.split('.').collect());
    let token = [read[0], write[1], read[2]].join(".");
    refused(&token, &unauthorized("signature_invalid"));
}

#[test]
fn both_twins_of_a_signature_are_accepted_because_es256_forbids_neither() {
    let low = ISSUER.with_signature(|signature| signature.normalize_s().to_bytes().to_vec());
    let high = ISSUER.with_signature(|signature| {
        let (r, s) = signature.normalize_s().split_scalars();
        p256::ecdsa::Signature::from_scalars(*r, -*s)
            .unwrap()
            .to_bytes()
            .to_vec()
    });
    assert_ne!(low, high);
    SITE.allowed(call(&low));
    SITE.allowed(call(&high));
}

#[test]
fn a_mandate_counts_in_its_time_only() {
    let at = |name: &'static str, time: u64| ISSUER.changed(|claims| claims[name] = json!(time));
    let now = now();
    // A minute's difference between clocks is forgiven, and no more.
    SITE.allowed(call(&at("exp", now - 30)));
    SITE.allowed(call(&at("nbf", now + 30)));
    refused(&at("exp", now - 61), &unauthorized("token_expired"));
    refused(&at("exp", 0), &unauthorized("token_expired"));
    refused(&at("nbf", now + 120), &unauthorized("token_not_yet_valid"));
    refused(&at("iat", now + 120), &unauthorized("token_not_yet_valid"));
    for wrong in [
        json!("tomorrow"),
        json!(-1),
        json!([now + 900]),
        json!(true),
    ] {
        let token = ISSUER.changed(|claims| claims["exp"] = wrong);
        refused(&token, &unauthorized("claim_malformed"));
    }
}

#[test]
fn a_required_claim_that_is_missing_is_named() {
    for name in [
        "exp",
        "iat",
        "iss",
        "zone_id",
        "use",
        "aud",
        "sub",
        "jti",
        "client_id",
        "sid",
        "root_sid",
        "sub_type",
    ] {
        let token = ISSUER.changed(|claims| {
            claims.as_object_mut().unwrap().remove(name);
        });
        let response = SITE.refused(call(&token), &unauthorized("claim_missing"));
        let body = response.json();
        let description = body["error_description"].as_str().unwrap();
        assert!(
            description.contains(&format!(" {name} ")),
            "{name}: {description}"
        );
    }
}

#[test]
fn a_mandate_counts_for_its_issuer_zone_use_and_resource_only() {
    let changed = |name: &'static str, value: Value| ISSUER.changed(|claims| claims[name] = value);
    let own = e2e::mandates::ISSUER;
    for (token, reason) in [
        (
            changed("iss", json!("https://other.test")),
            "issuer_mismatch",
        ),
        (changed("iss", json!(format!("{own}/"))), "issuer_mismatch"),
        (changed("zone_id", json!("zone-2")), "zone_mismatch"),
        (changed("use", json!("session")), "use_not_allowed"),
        (changed("use", json!("refresh")), "use_not_allowed"),
        (
            changed("aud", json!(["https://other.test"])),
            "audience_mismatch",
        ),
        (
            changed("target", json!(["resource://other"])),
            "audience_mismatch",
        ),
        (changed("target", json!([])), "audience_mismatch"),
        // A resource mandate is for whom it is addressed to, whatever its target says.
        (changed("use", json!("resource")), "audience_mismatch"),
    ] {
        refused(&token, &unauthorized(reason));
    }
}

#[test]
fn a_mandate_of_another_zone_is_refused_even_if_its_key_has_the_same_kid() {
    let other = Issuer::new("key-1", 11);
    let mut foreign = claims("demo:read");
    foreign.zone_id = "zone-2".into();
    refused(&other.sign(&foreign), &unauthorized("signature_invalid"));
    refused(&ISSUER.sign(&foreign), &unauthorized("zone_mismatch"));
}

#[test]
fn a_scope_that_the_operation_needs_and_the_mandate_lacks_is_named() {
    for (request, scope) in [
        (
            Request::get("/demo/items").bearer(&ISSUER.mandate("demo:write")),
            "demo:read",
        ),
        (
            Request::new("POST", "/demo/items").bearer(&ISSUER.mandate("demo:read")),
            "demo:write",
        ),
        (
            Request::get("/demo/items").bearer(&ISSUER.mandate("demo:reader demo")),
            "demo:read",
        ),
        (
            Request::get("/demo/items").bearer(&ISSUER.mandate("DEMO:READ")),
            "demo:read",
        ),
    ] {
        let response = SITE.refused(request, &scope_missing());
        let challenge = response.header("www-authenticate").unwrap();
        assert!(
            challenge.contains(&format!("scope=\"{scope}\"")),
            "{challenge}"
        );
    }
    let without = ISSUER.changed(|claims| {
        claims.as_object_mut().unwrap().remove("scope");
    });
    refused(&without, &scope_missing());
}

#[test]
fn a_refusal_is_the_same_the_second_time_and_a_good_mandate_stays_good() {
    let (good, bad) = (
        ISSUER.mandate("demo:read"),
        Issuer::new("key-1", 9).mandate("demo:read"),
    );
    for _ in 0..3 {
        SITE.allowed(call(&good));
        refused(&bad, &unauthorized("signature_invalid"));
    }
    let twice = call(&good).bearer(&good);
    SITE.refused(twice, &bad_request("authorization_ambiguous"));
}
