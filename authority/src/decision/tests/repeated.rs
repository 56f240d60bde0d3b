//! What a policy said before and need not be asked again, and what it has to be.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

const RESULT: &str = r#"{"evaluation_status": "complete", "determining_policies": [{"id": "p"}], "diagnostics": [{"reason": "own"}]}"#;

/// A policy that allows where `condition` holds.
fn only_if(condition: &str) -> String {
    authored(&format!(
        r#"default decision := "deny"
decision := "allow" if {{ {condition} }}
result := object.union({RESULT}, {{"decision": decision}})"#
    ))
}

fn is_allow(outcome: (Result<Permit, Reason>, bool)) -> (bool, bool) {
    let (outcome, repeated) = outcome;
    if let Err(reason) = &outcome {
        assert_eq!(*reason, own("own"));
    }
    (outcome.is_ok(), repeated)
}

#[test]
fn a_policy_is_asked_once_about_calls_that_look_the_same_to_it() {
    let policy = only_if(
        r#"input.action.method == "GET"; "read" in split(input.context.subject_claims.scope, " ")"#,
    );
    let mut snapshot = snapshot_with(Some(&policy));
    let call = Call::with(json!({"scope": "read write"}));
    let mut asked = |call: &Call| is_allow(call.repeated_by(&mut snapshot));
    assert_eq!(asked(&call), (true, false));
    assert_eq!(asked(&call), (true, true));
    // Another path and query, and the same operation.
    assert_eq!(
        asked(&call.clone().to("GET", "/demo/items?page=2")),
        (true, true)
    );
    // Another operation, whose refusal is known afterwards as well.
    let write = call.clone().to("POST", "/demo/items");
    assert_eq!(asked(&write), (false, false));
    assert_eq!(asked(&write), (false, true));
    assert_eq!(
        asked(&call.clone().to("GET", "/demo/items/7")),
        (true, false)
    );
    // Another mandate, though it says nearly the same.
    assert_eq!(asked(&Call::with(json!({"jti": "jti-2"}))), (true, false));
}

#[test]
fn a_policy_that_reads_what_is_the_calls_own_is_asked_every_time() {
    let item = |target| read().to("GET", target);
    let (seventh, eighth) = (item("/demo/items/7"), item("/demo/items/8"));
    let here = "gateway.example.com:8081";
    for (condition, no) in [
        (r#"input.action.path == "/demo/items/7""#, &eighth),
        (r#"input["action"].path == "/demo/items/7""#, &eighth),
        (
            r#"some name, value in input.action; name == "path"; value == "/demo/items/7""#,
            &eighth,
        ),
        (r#"own(input)"#, &eighth),
        (
            r#"action := input.action; action.path == "/demo/items/7""#,
            &eighth,
        ),
        (
            &format!(r#"input.action.host == "{here}"; input.context.time > 0"#),
            &seventh.clone().at("other.example.com"),
        ),
    ] {
        let helper = r#"own(all) if all.action.path == "/demo/items/7""#;
        let mut snapshot = snapshot_with(Some(&format!("{}\n{helper}", only_if(condition))));
        let mut asked = |call: &Call| is_allow(call.repeated_by(&mut snapshot));
        for _ in 0..2 {
            assert_eq!(asked(&seventh), (true, false), "{condition}");
            assert_eq!(asked(no), (false, false), "{condition}");
        }
    }
}

#[test]
fn what_another_policy_said_does_not_count() {
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, false));
    assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, true));
    let mut next = snapshot_with(Some(&only_if("false")));
    next.keep_mandates(100, CACHE_KEY, Some(snapshot));
    assert_eq!(next.cached_mandates(), 1);
    assert_eq!(is_allow(read().repeated_by(&mut next)), (false, false));
    assert_eq!(is_allow(read().repeated_by(&mut next)), (false, true));
}

#[test]
fn what_is_known_spares_no_other_check() {
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    for _ in 0..2 {
        allowed("known", read().decided_by(&mut snapshot));
    }
    let revoked = revoking(&[(AnchorKind::Jti, "jti-1")]);
    let refused = read().judged_with(&mut snapshot, &revoked, NOW).0;
    denied("revoked", refused, Reason::TokenRevoked);
    let refused = read().to("POST", "/demo/items").decided_by(&mut snapshot);
    denied("another scope", refused, Reason::ScopeMissing);
    let refused = read().decided_at(&mut snapshot, NOW.plus(960));
    denied("expired", refused, Reason::TokenExpired);
}

#[test]
fn the_number_of_answers_that_are_kept_of_a_mandate_is_bounded() {
    // The resource has no operations, so any method will do.
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    let methods = ["A", "B", "C", "D", "E", "F", "G", "H"];
    let mut repeated = |method| is_allow(rpc().to(method, "/mcp").repeated_by(&mut snapshot)).1;
    for round in 0..2 {
        for method in methods {
            assert_eq!(repeated(method), round == 1, "{method}");
        }
    }
    assert!(!repeated("ONE-MORE"));
    assert!(!repeated("A"), "the oldest made room");
    assert!(repeated("H"));
}

#[test]
fn what_a_caller_or_a_policy_makes_long_is_not_kept() {
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    let long = "METHOD-OF-MORE-THAN-THIRTY-TWO-BYTES";
    for _ in 0..2 {
        let asked = rpc().to(long, "/mcp").repeated_by(&mut snapshot);
        assert_eq!(is_allow(asked), (true, false));
    }
    let remark = "x".repeat(1_100);
    let talkative = authored(&format!(
        r#"result := {{"decision": "allow", "evaluation_status": "complete", "determining_policies": [],
        "diagnostics": [{{"remark": "{remark}"}}]}}"#
    ));
    let mut snapshot = snapshot_with(Some(&talkative));
    for _ in 0..2 {
        assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, false));
    }
}

#[test]
fn mandates_share_what_is_said_of_them_where_it_is_the_same() {
    let policy = authored(
        r#"result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [],
	"diagnostics": [{"method": input.action.method}]}"#,
    );
    let mut snapshot = snapshot_with(Some(&policy));
    let mut said = |jti: &str, method: &'static str| {
        let call = Call::with(json!({"scope": "read write", "jti": jti})).to(method, "/demo/items");
        let (outcome, account) = call.accounted_by(&mut snapshot);
        assert!(outcome.is_ok(), "{outcome:?}");
        let evaluated = account.evaluated.unwrap();
        assert_eq!(json!(evaluated.diagnostics), json!([{"method": method}]));
        evaluated
    };
    let (first, second) = (said("jti-1", "GET"), said("jti-2", "GET"));
    assert!(Arc::ptr_eq(&first, &second));
    // Another answer takes no one's place.
    assert!(!Arc::ptr_eq(&first, &said("jti-1", "POST")));
    assert!(Arc::ptr_eq(&first, &said("jti-1", "GET")));
    said("jti-3", "GET");
}
