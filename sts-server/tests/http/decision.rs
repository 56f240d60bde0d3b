//! What the policy says to an exchange, and what becomes of it.

use authority::mandate::MandateUse;
use serde_json::json;

use crate::world::{Demo, World, grants};

#[test]
fn no_active_policy_set_denies_everything() {
    let world = World::new();
    let zone = world.zone("bare");
    let (agent, secret) = zone.application("agent");
    zone.resource("resource://demo");
    let demo = Demo {
        zone,
        agent,
        secret,
    };
    for scope in ["read", "agent:lifecycle"] {
        let reply = demo.exchange(&[("scope", scope)]);
        assert_eq!(reply.error(), (403, "access_denied"));
        assert_eq!(reply.body["reason"], "no_active_policy_set");
    }
}

#[test]
fn a_policy_that_gives_no_result_denies() {
    let world = World::new();
    let demo = world.demo();
    let head = "package caracal.authz\nimport rego.v1\n";
    for (rules, reason) in [
        (
            "result := {\"decision\": \"allow\"} if input.never",
            "policy_undefined",
        ),
        ("result := {\"decision\": \"allow\"}", "policy_eval_failed"),
        ("result := x if { some x in [1, 2] }", "policy_eval_failed"),
        (
            "result := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \
             \"diagnostics\": [{\"reason\": \"my_reason\"}]}",
            "my_reason",
        ),
    ] {
        demo.zone
            .activate(&demo.zone.policy(&format!("{head}{rules}\n")));
        let reply = demo.exchange(&[]);
        assert_eq!(reply.error(), (403, "access_denied"), "{rules}: {reply:?}");
        assert_eq!(reply.body["reason"], reason, "{rules}");
        assert_eq!(
            reply.body["error_description"],
            format!("policy denied ({reason})")
        );
    }
}

#[test]
fn an_activated_set_decides_from_the_next_exchange_on() {
    let world = World::new();
    let demo = world.demo();
    demo.exchange(&[]).expect(200);
    let closed = format!("{}restrict := [\"incident\"]\n", grants(&demo.agent));
    demo.zone.activate(&demo.zone.policy(&closed));
    assert_eq!(
        demo.exchange(&[]).expect(403).body["reason"],
        "restriction_active"
    );
    demo.zone.activate(&demo.zone.policy(&grants(&demo.agent)));
    demo.exchange(&[]).expect(200);
}

#[test]
fn what_is_denied_of_several_resources_is_left_out() {
    let world = World::new();
    let demo = world.demo();
    let mut fields = demo.fields_with(&[("scope", "read write")]);
    fields.extend([
        ("resource", "resource://other"),
        ("resource", "resource://unknown"),
    ]);
    let reply = world.token_form(&fields, &[]).expect(200);
    assert_eq!(reply.body["target_resources"], json!(["resource://demo"]));
    assert_eq!(reply.body["scope"], "read write");
    let claims = demo
        .zone
        .claims(&reply.text("access_token"), MandateUse::Gateway);
    assert_eq!(claims.target, ["resource://demo"]);

    fields.retain(|(name, _)| *name != "scope");
    fields.push(("scope", "read"));
    let reply = world.token_form(&fields, &[]).expect(200);
    assert_eq!(
        reply.body["target_resources"],
        json!(["resource://demo", "resource://other"])
    );
}
