//! Policies at a real gateway: whatever is not a plain, complete yes is a no with a reason.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use e2e::{
    http::Request,
    mandates::{APPLICATION, Issuer, RESOURCE, claims, grants, stand_alone},
    publisher::{Publisher, bundle},
    refusals::{denied, scope_missing},
    site::Site,
};
use serde_json::json;

/// Decides by the last segment of the path, each in another way.
const AUTHORED: &str = r#"package caracal.authz

import rego.v1

allow := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"id": "own"}], "diagnostics": []}

deny(reason) := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": reason}]}

ten := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]

result := allow if input.action.path == "/demo/items/allowed"

result := deny("closed_on_mondays") if input.action.path == "/demo/items/denied"

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.action.path == "/demo/items/denied-without-a-word"
}

result := true if input.action.path == "/demo/items/true"

result := {"decision": "allow"} if input.action.path == "/demo/items/incomplete"

result := object.union(allow, {"evaluation_status": "partial"}) if input.action.path == "/demo/items/partial"

result := object.union(allow, {"decision": "perhaps"}) if input.action.path == "/demo/items/perhaps"

# Two rules that contradict each other.
result := allow if input.action.path == "/demo/items/contradiction"

result := deny("no") if input.action.path == "/demo/items/contradiction"

result := allow if {
	input.action.path == "/demo/items/endless"
	count([1 | some a in ten; some b in ten; some c in ten; some d in ten; some e in ten; some f in ten]) > 0
}

result := allow if {
	input.action.path == "/demo/items/context"
	input.action.id == "Request"
	input.action.method == "GET"
	input.action.operation.scope == "demo:read"
	input.principal.id == "app-1"
	input.resource.identifier == "resource://demo"
	input.context.subject_claims.department == "sales"
}
"#;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));
static SITE: LazyLock<Site> = LazyLock::new(|| {
    let mut plugin = stand_alone(&ISSUER);
    plugin["policy"] = json!(AUTHORED);
    Site::stand_alone(plugin)
});

fn call(case: &str) -> Request {
    Request::get(format!("/demo/items/{case}")).bearer(&ISSUER.mandate("demo:read"))
}

#[test]
fn a_policy_denies_with_its_own_reason() {
    SITE.allowed(call("allowed"));
    SITE.refused(call("denied"), &denied("closed_on_mondays"));
    SITE.refused(call("denied-without-a-word"), &denied("policy_denied"));
}

#[test]
fn no_result_is_a_no() {
    SITE.refused(call("nothing-applies"), &denied("policy_undefined"));
}

#[test]
fn a_result_that_is_not_well_formed_and_complete_is_a_no() {
    for case in ["true", "incomplete", "partial", "perhaps"] {
        SITE.refused(call(case), &denied("policy_eval_failed"));
    }
}

/// As in OPA, where two rules contradict each other the evaluation fails; none of them is picked.
#[test]
fn rules_that_contradict_each_other_are_a_no() {
    SITE.refused(call("contradiction"), &denied("policy_eval_failed"));
}

#[test]
fn a_policy_that_exceeds_its_bound_is_a_no_and_leaves_nothing_behind() {
    for _ in 0..3 {
        SITE.refused(call("endless"), &denied("policy_eval_failed"));
        SITE.allowed(call("allowed"));
    }
}

#[test]
fn a_policy_sees_the_request_the_operation_and_every_claim() {
    let sales = ISSUER.changed(|claims| claims["department"] = json!("sales"));
    SITE.allowed(Request::get("/demo/items/context").bearer(&sales));
    SITE.refused(call("context"), &denied("policy_undefined"));
}

#[test]
fn a_policy_is_not_asked_about_what_the_mandate_does_not_cover() {
    let write_only = Request::get("/demo/items/denied").bearer(&ISSUER.mandate("demo:write"));
    SITE.refused(write_only, &scope_missing());
}

#[test]
fn the_decision_contract_refuses_what_the_data_documents_do_not_grant() {
    let mut plugin = stand_alone(&ISSUER);
    plugin["policy"] = json!(grants(APPLICATION, &[RESOURCE], &["demo:read"]));
    let site = Site::stand_alone(plugin);
    let call = |token: &str| Request::get("/demo/items").bearer(token);
    site.allowed(call(&ISSUER.mandate("demo:read")));
    // A mandate that carries more than is granted now is not cut down but refused.
    let wide = ISSUER.mandate("demo:read demo:write");
    site.refused(call(&wide), &denied("role_scope_mismatch"));
    let mut stranger = claims("demo:read");
    stranger.client_id = "app-2".into();
    stranger.sub = "app-2".into();
    site.refused(
        call(&ISSUER.sign(&stranger)),
        &denied("resource_not_granted"),
    );
}

#[test]
fn without_an_active_policy_set_everything_is_refused_until_there_is_one() {
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, None));
    let site = publisher.site();
    let call = || Request::get("/demo/items").bearer(&ISSUER.mandate("demo:read"));
    site.until_refused(call, &denied("no_active_policy_set"));
    let policy = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    publisher.publish(&ISSUER, &bundle(&ISSUER, 2, Some(&policy)));
    site.until_allowed(call);
}
