//! What the claims of a mandate must say: times, issuer, zone, use, completeness, and the published
//! schema.

use std::collections::BTreeMap;

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    mandate::{LIFECYCLE_SCOPE, sign},
    policy::{Members, Reads},
    testing::*,
};

#[test]
fn what_is_minted_is_verified_and_says_what_was_claimed() {
    let token = sign(&claims(), &kid(KID), &zone_key()).unwrap();
    let mandate = verified(&token).unwrap();
    assert_eq!(mandate.claims(), &claims());
    let header: Value =
        serde_json::from_slice(&unbase64(token.split('.').next().unwrap())).unwrap();
    assert_eq!(header, header_with(json!({})));
    let payload = unbase64(token.split('.').nth(1).unwrap());
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(payload, claims_with(json!({})));
}

#[test]
fn a_delegated_mandate_comes_back_whole() {
    let delegated = Claims {
        nbf: Some(NOW),
        sub_type: SubjectType::User,
        agent_session_id: Some("s2".into()),
        session_path: vec!["s1".into(), "s2".into()],
        labels: vec!["nightly".into()],
        delegation_edge_id: Some("d1".into()),
        source_session_id: Some("s1".into()),
        target_session_id: Some("s2".into()),
        delegation_path: vec!["d1".into()],
        delegation_chain: vec![
            DelegationHop {
                application_id: "app-0".into(),
                agent_session_id: Some("s1".into()),
                delegation_edge_id: Some("d1".into()),
            },
            DelegationHop {
                application_id: APP.into(),
                agent_session_id: Some("s2".into()),
                delegation_edge_id: None,
            },
        ],
        hop_count: Some(1),
        act: Some(Actor {
            sub: APP.into(),
            agent_session_id: Some("s2".into()),
            act: None,
        }),
        once: true,
        ..claims()
    };
    assert_eq!(Actor::of_chain(&delegated.delegation_chain), delegated.act);
    let token = sign(&delegated, &kid(KID), &zone_key()).unwrap();
    assert_eq!(verified(&token).unwrap().claims(), &delegated);
}

#[test]
fn times_are_checked_with_sixty_seconds_of_leeway() {
    let at = |changes: Value, now: u64| {
        let result = verify_as(&token(changes), &GATEWAY, Timestamp(now));
        result.err().map(|refusal| refusal.reason().clone())
    };
    let base = NOW.seconds();
    let expired = Some(Reason::TokenExpired);
    for (past, expected) in [(0, None), (59, None), (60, expired.clone()), (61, expired)] {
        let answer = at(json!({"iat": base - 900, "exp": base}), base + past);
        assert_eq!(answer, expected, "exp {past} s ago");
    }
    for claim in ["iat", "nbf"] {
        for (ahead, expected) in [
            (0, None),
            (59, None),
            (60, None),
            (61, Some(Reason::TokenNotYetValid)),
            (u64::MAX - base, Some(Reason::TokenNotYetValid)),
        ] {
            let answer = at(json!({claim: base + ahead}), base);
            assert_eq!(answer, expected, "{claim} {ahead} s ahead");
        }
    }
    let future_nbf = json!({"iat": base - 10, "nbf": base + 61});
    assert_eq!(at(future_nbf, base), Some(Reason::TokenNotYetValid));
    let past_nbf = json!({"iat": base + 61, "nbf": base});
    assert_eq!(at(past_nbf, base), Some(Reason::TokenNotYetValid));
    assert_eq!(
        at(json!({"exp": u64::MAX}), u64::MAX - 1),
        None,
        "the end of time"
    );
    assert_eq!(
        at(json!({"exp": 0, "iat": 0}), base),
        Some(Reason::TokenExpired)
    );
}

#[test]
fn a_verified_mandate_expires_all_the_same() {
    let mandate = verified(&token(json!({}))).unwrap();
    assert!(mandate.check_time(NOW.plus(959)).is_ok());
    let refusal = mandate.check_time(NOW.plus(960)).unwrap_err();
    assert_eq!(refusal.reason(), &Reason::TokenExpired);
}

#[test]
fn another_issuer_zone_or_use_is_refused() {
    for (changes, reason) in [
        (
            json!({"iss": "https://sts.example.com/"}),
            Reason::IssuerMismatch,
        ),
        (
            json!({"iss": "https://evil.example"}),
            Reason::IssuerMismatch,
        ),
        (json!({"zone_id": "zone-2"}), Reason::ZoneMismatch),
        (json!({"zone_id": ""}), Reason::ZoneMismatch),
        (json!({"use": "session"}), Reason::UseNotAllowed),
        (json!({"use": "Gateway"}), Reason::UseNotAllowed),
        (json!({"use": "admin"}), Reason::UseNotAllowed),
    ] {
        refused(&changes.to_string(), &token(changes.clone()), reason);
    }
    let resource = json!({"use": "resource", "aud": [DEMO]});
    assert!(verified(&token(resource.clone())).is_ok());
    let answer = verify_as(&token(resource), &[MandateUse::Session], NOW);
    assert_eq!(answer.unwrap_err().reason(), &Reason::UseNotAllowed);
}

#[test]
fn a_session_mandate_is_addressed_to_its_issuer() {
    let session = |aud: Value| {
        let token = token(json!({"use": "session", "aud": aud, "scope": LIFECYCLE_SCOPE}));
        verify_as(&token, &[MandateUse::Session], NOW)
    };
    for aud in [json!([ISSUER]), json!(ISSUER), json!([DEMO, ISSUER])] {
        assert_eq!(
            session(aud).unwrap().claims().mandate_use,
            MandateUse::Session
        );
    }
    for aud in [json!([DEMO]), json!(DEMO), json!([""])] {
        assert_eq!(
            session(aud).unwrap_err().reason(),
            &Reason::AudienceMismatch
        );
    }
}

#[test]
fn every_required_claim_is_required_and_not_empty() {
    for claim in ["iss", "sub", "jti", "client_id", "sid", "root_sid", "use"] {
        for value in [json!(null), json!("")] {
            let token = token(json!({claim: value}));
            refused(claim, &token, Reason::ClaimMissing);
            let told = verified(&token).unwrap_err();
            assert!(told.description().contains(claim), "{told}");
        }
    }
    for claim in ["exp", "iat", "aud", "zone_id", "sub_type"] {
        refused(claim, &token(json!({claim: null})), Reason::ClaimMissing);
    }
    refused(
        "an empty aud",
        &token(json!({"aud": []})),
        Reason::ClaimMissing,
    );
    refused(
        "no claims at all",
        &payload_token(b"{}"),
        Reason::ClaimMissing,
    );
    let null = claims_with(json!({}))
        .to_string()
        .replace(r#""sub":"app-1""#, r#""sub":null"#);
    refused(
        "null for a claim",
        &payload_token(null.as_bytes()),
        Reason::ClaimMissing,
    );
}

#[test]
fn claims_of_the_wrong_type_are_malformed() {
    for (claim, value) in [
        ("exp", json!("1790000900")),
        ("exp", json!(-1)),
        ("exp", json!(1.5)),
        ("exp", json!(1e300)),
        ("exp", json!([1_790_000_900])),
        ("iat", json!(true)),
        ("nbf", json!("soon")),
        ("iss", json!([ISSUER])),
        ("sub", json!(7)),
        ("aud", json!(7)),
        ("aud", json!([7])),
        ("aud", json!({"0": ISSUER})),
        ("zone_id", json!([ZONE])),
        ("client_id", json!({})),
        ("use", json!(["gateway"])),
        ("sub_type", json!("robot")),
        ("scope", json!(["read"])),
        ("target", json!(DEMO)),
        ("target", json!([1])),
        ("labels", json!("x")),
        ("hop_count", json!(-1)),
        ("delegation_chain", json!([{"agent_session_id": "s1"}])),
    ] {
        let name = format!("{claim}: {value}");
        refused(&name, &token(json!({claim: value})), Reason::ClaimMalformed);
    }
    for payload in ["", "null", "[]", "\"claims\"", "{", "{} {}", "\u{feff}{}"] {
        refused(
            payload,
            &payload_token(payload.as_bytes()),
            Reason::ClaimMalformed,
        );
    }
    refused(
        "not UTF-8",
        &payload_token(b"{\"iss\":\"\xff\"}"),
        Reason::ClaimMalformed,
    );
    // In a claim that nobody knows, what no document holds.
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    for value in [
        deep.as_bytes(),
        b"1e999",
        br#"{"of": ["\ud800"]}"#,
        b"\"\xff\"",
    ] {
        let known = claims_with(json!({})).to_string();
        let unknown = [br#"{"unknown":"#, value, b",", &known.as_bytes()[1..]].concat();
        let name = String::from_utf8_lossy(value);
        refused(&name, &payload_token(&unknown), Reason::ClaimMalformed);
    }
    // And within those that are known.
    for claim in [
        r#""act":{"sub":"app-0","unknown":1e999}"#,
        r#""act":{"sub":"app-0","act":{"sub":"app-1","unknown":"\ud800"}}"#,
        r#""delegation_chain":[{"application_id":"app-1","unknown":1e999}]"#,
    ] {
        let known = claims_with(json!({})).to_string();
        let with = format!("{{{claim},{}", &known[1..]);
        refused(
            claim,
            &payload_token(with.as_bytes()),
            Reason::ClaimMalformed,
        );
        let fine = with.replace("1e999", "1").replace("\\ud800", "");
        assert!(verified(&payload_token(fine.as_bytes())).is_ok(), "{fine}");
    }
}

#[test]
fn a_claim_is_named_once() {
    for (first, again) in [
        (r#""sub":"app-1""#, r#""sub":"app-2","sub":"app-1""#),
        (
            r#""exp":1790000900"#,
            r#""exp":1790000900,"exp":1890000900"#,
        ),
        (r#""scope":"read""#, r#""scope":"read","scope":"write""#),
        (r#""scope":"read""#, r#""scope":null,"scope":"read""#),
        (r#""use":"gateway""#, r#""use":"session","use":"gateway""#),
        (
            r#""zone_id":"zone-1""#,
            r#""zone_id":"zone-1","zone_id":"zone-1""#,
        ),
        (r#""sub":"app-1""#, r#""sub":"app-1","\u0073ub":"app-2""#),
    ] {
        let payload = claims_with(json!({})).to_string();
        let doubled = payload.replace(first, again);
        assert_ne!(payload, doubled);
        refused(
            again,
            &payload_token(doubled.as_bytes()),
            Reason::ClaimMalformed,
        );
    }
}

#[test]
fn an_audience_may_be_one_string() {
    let mandate = verified(&token(json!({"aud": ISSUER}))).unwrap();
    assert_eq!(mandate.claims().aud, [ISSUER]);
}

#[test]
fn scopes_are_separated_by_spaces() {
    let scopes = |scope: Value| {
        let mandate = verified(&token(json!({"scope": scope}))).unwrap();
        mandate
            .claims()
            .scopes()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(scopes(json!("read write")), ["read", "write"]);
    assert_eq!(scopes(json!("  read  ")), ["read"]);
    assert!(scopes(json!("")).is_empty());
    assert!(scopes(json!(null)).is_empty());
    let mandate = verified(&token(json!({"scope": "read:all write"}))).unwrap();
    assert!(mandate.claims().has_scope("write"));
    assert!(!mandate.claims().has_scope("read") && !mandate.claims().has_scope("read:all write"));
}

#[test]
fn unknown_claims_are_kept_for_the_policy() {
    let act = json!({"sub": "agent", "act": {"sub": "first"}});
    let mandate = verified(&token(json!({"act": act, "tier": 3}))).unwrap();
    // However often it is asked.
    for _ in 0..3 {
        let document = serde_json::to_value(told_claims(&mandate, &Reads::all())).unwrap();
        assert_eq!(document, claims_with(json!({"act": act, "tier": 3})));
    }
}

#[test]
fn claims_that_are_kept_are_told_as_they_were_sent() {
    let all = Reads::all();
    for changes in [
        json!({}),
        json!({"scope": "one  two", "agent_session_id": "s", "delegation_edge_id": "d"}),
        json!({"scope": null, "agent_session_id": null, "nbf": 1, "tier": 3, "aud": ISSUER}),
        json!({"sub": "a \"name\" beyond ASCII: \u{e9}", "use": "resource"}),
    ] {
        let claims = claims_with(changes.clone());
        let mandate = verified(&token(changes)).unwrap();
        let whole = told_claims(&mandate, &all);
        let names = claims.as_object().unwrap().keys();
        for name in names.map(String::as_str).chain(["absent"]) {
            for other in ["sub", "tier"] {
                let mut reads = Reads::nothing();
                reads.add(["claims", name]);
                reads.add(["claims", other]);
                let document = told_claims(&mandate, &reads);
                for name in [name, other] {
                    let name = regorus::Value::from(name);
                    assert_eq!(document[&name], whole[&name], "{name} of {claims}");
                }
            }
        }
    }
    let mandate = verified(&token(json!({}))).unwrap();
    let mut object = BTreeMap::new();
    mandate.tell_claims(&mut Members::new(&Reads::nothing(), &mut object), "claims");
    assert!(object.is_empty());
}

/// The published schema and an example of it.
mod interop {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::mandate::{Expected, verify};

    #[test]
    fn the_published_example_is_a_mandate() {
        let example =
            include_str!("../../../testdata/interop/fixtures/jwt-claims.resource.valid.json");
        let zone = "zone-1".into();
        let expected = Expected {
            issuer: "https://sts.example.com",
            zone: &zone,
            uses: &[MandateUse::Resource],
        };
        let mandate = verify(&payload_token(example.as_bytes()), &keys(), &expected, NOW).unwrap();
        assert_eq!(mandate.claims().aud, ["resource://api"]);
        assert_eq!(mandate.claims().delegation_chain.len(), 2);
        let document = serde_json::to_value(told_claims(&mandate, &Reads::all())).unwrap();
        assert_eq!(document["delegation_graph_epoch"], 7);
        assert_eq!(document, serde_json::from_str::<Value>(example).unwrap());
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn what_is_minted_fits_the_published_schema() {
        let schema = include_str!(
            "../../../testdata/interop/schemas/caracal-jwt-claims-2026-05-21.schema.json"
        );
        let validator = validator(schema);
        let user = Claims {
            sub_type: SubjectType::User,
            mandate_use: MandateUse::Resource,
            aud: vec![DEMO.into()],
            nbf: Some(NOW),
            delegation_chain: vec![DelegationHop {
                application_id: APP.into(),
                agent_session_id: None,
                delegation_edge_id: None,
            }],
            hop_count: Some(0),
            ..claims()
        };
        let session = Claims {
            mandate_use: MandateUse::Session,
            scope: None,
            target: Vec::new(),
            ..claims()
        };
        for claims in [claims(), user, session] {
            let token = sign(&claims, &kid(KID), &zone_key()).unwrap();
            let payload = unbase64(token.split('.').nth(1).unwrap());
            let payload: Value = serde_json::from_slice(&payload).unwrap();
            assert_valid(&validator, &payload);
        }
        assert!(!validator.is_valid(&claims_with(json!({"sid": null}))));
    }
}
