//! Whether the mandate covers the operation and the policy allows it.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

#[test]
fn the_scope_that_is_missing_is_named() {
    let refusal = deny(
        "write",
        read().to("POST", "/demo/items"),
        Reason::ScopeMissing,
    );
    assert_eq!(refusal.scope(), Some("write"));
    assert_eq!(
        (refusal.reason().status(), refusal.reason().error()),
        (403, "insufficient_scope")
    );
}

#[test]
fn a_uniform_transport_takes_any_scope_of_its_resource_and_no_other() {
    allowed("call", rpc().decided_by(&mut snapshot()));
    allowed(
        "any path",
        rpc().to("PUT", "/a/b").decided_by(&mut snapshot()),
    );
    for scope in [json!(null), json!("write"), json!("agent:lifecycle")] {
        let mut call = Call::with(json!({"target": [RPC], "scope": scope})).to("POST", "/mcp");
        call.host = "rpc.example.com";
        let refusal = deny("another scope", call, Reason::ScopeMissing);
        assert_eq!(refusal.scope(), None);
    }
    let enforced = Call::with(json!({"target": [UNBOUND]}))
        .to("GET", "/x")
        .naming(&[UNBOUND]);
    deny(
        "no operations at all",
        enforced,
        Reason::OperationNotPermitted,
    );
}

#[test]
fn a_zone_without_a_policy_denies_everything() {
    let mut snapshot = snapshot_with(None);
    assert!(snapshot.policy_origin().is_none());
    denied(
        "read",
        read().decided_by(&mut snapshot),
        Reason::NoActivePolicySet,
    );
}

#[test]
fn only_a_complete_yes_of_the_policy_is_a_yes() {
    let result = |decision: &str, rest: &str| {
        authored(&format!(
            r#"result := {{"decision": "{decision}", "determining_policies": [], {rest}}}"#
        ))
    };
    let complete = r#""evaluation_status": "complete", "diagnostics": []"#;
    let endless = r#"r := [d | some d in split("0123456789012345678901234567890123456789", "")]
        result := count([1 | some a in r; some b in r; some c in r; some d in r])"#;
    for (name, policy, reason) in [
        ("deny", result("deny", complete), own("policy_denied")),
        (
            "deny with a reason",
            result(
                "deny",
                r#""evaluation_status": "complete", "diagnostics": [{"note": 1}, {"reason": "too_late"}]"#,
            ),
            own("too_late"),
        ),
        (
            "undefined",
            authored("result := 1 if input.action.id == \"Nothing\""),
            Reason::PolicyUndefined,
        ),
        (
            "another decision",
            result("maybe", complete),
            Reason::PolicyEvalFailed,
        ),
        (
            "incomplete",
            result(
                "allow",
                r#""evaluation_status": "partial", "diagnostics": []"#,
            ),
            Reason::PolicyEvalFailed,
        ),
        (
            "no status",
            result("allow", r#""diagnostics": []"#),
            Reason::PolicyEvalFailed,
        ),
        ("true", authored("result := true"), Reason::PolicyEvalFailed),
        (
            "over its bound",
            authored(endless),
            Reason::PolicyEvalFailed,
        ),
    ] {
        let mut snapshot = snapshot_with(Some(&policy));
        for _ in 0..2 {
            let refusal = denied(name, read().decided_by(&mut snapshot), reason.clone());
            assert_eq!(refusal.reason().status(), 403, "{name}");
            let told = refusal.description().contains("bound");
            assert_eq!(told, name == "over its bound", "{refusal}");
        }
    }
    let mut snapshot = snapshot_with(Some(&result("allow", complete)));
    allowed("allow", read().decided_by(&mut snapshot));
}

#[test]
fn the_policy_sees_the_call() {
    let policy = authored(
        r#"result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [],
            "diagnostics": [{"reason": json.marshal([input.action, input.context.subject_claims.tier, input.principal.id])}]}"#,
    );
    let call = Call::with(json!({"tier": 3})).to("GET", "/demo/items/%37?secret=1");
    let Decision::Deny(refusal) = call.decided_by(&mut snapshot_with(Some(&policy))) else {
        panic!("passed");
    };
    let seen: Value = serde_json::from_str(refusal.reason().code()).unwrap();
    let action = json!({
        "id": "Request",
        "method": "GET",
        "path": "/demo/items/7",
        "host": "gateway.example.com:8081",
        "operation": {"method": "GET", "path": "/demo/items/{id}", "scope": "read"},
    });
    assert_eq!(seen, json!([action, 3, APP]));
}
