//! Trying policies out: on an input, on many, and on what was decided of late.

use serde_json::{Value, json};

use crate::world::{Demo, World, Zone, grants};

const HEAD: &str = "package caracal.authz\nimport rego.v1\n";

/// A new set of this one policy; its path and its version's id. Nothing of it is in force.
fn candidate(zone: &Zone<'_>, name: &str, content: &str) -> (String, String) {
    let sets = zone.path("/policy-sets");
    let set = zone.world.post(&sets, json!({"name": name})).expect(201);
    let set = format!("{sets}/{}", set.text("id"));
    let manifest = json!({"manifest": [{"policy_version_id": zone.policy(content)}]});
    let version = zone
        .world
        .post(&format!("{set}/versions"), manifest)
        .expect(201);
    (set, version.text("version_id"))
}

fn input(demo: &Demo<'_>, agent: &str) -> Value {
    json!({
        "principal": {"type": "Application", "id": agent, "zone_id": demo.zone.id},
        "resource": {"type": "Resource", "identifier": "resource://demo", "scopes": ["read"]},
        "action": {"id": "TokenExchange"},
        "context": {"requested_scopes": ["read"], "actor_claims": {}, "challenge_resolved": false},
    })
}

#[test]
fn a_version_answers_for_one_input_and_for_many() {
    let world = World::new();
    let demo = world.demo();
    let (set, version) = candidate(&demo.zone, "main", &grants(&demo.agent));
    let simulate = |body: Value| world.post(&format!("{set}/simulate"), body);
    let one = simulate(json!({"version_id": version, "input": input(&demo, &demo.agent)}))
        .expect(200)
        .body;
    assert_eq!(
        (&one["decision"], &one["evaluation_status"]),
        (&json!("allow"), &json!("complete"))
    );
    assert_eq!(
        (&one["version"], &one["version_id"]),
        (&json!(1), &json!(version))
    );
    assert_eq!(one["manifest_sha256"].as_str().unwrap().len(), 64);
    let inputs = json!([input(&demo, &demo.agent), input(&demo, "stranger")]);
    let many = simulate(json!({"version_id": version, "inputs": inputs}))
        .expect(200)
        .body;
    assert_eq!(
        (&many["evaluated"], &many["complete"]),
        (&json!(2), &json!(true))
    );
    assert_eq!(many["results"][0]["decision"], "allow");
    assert_eq!(many["results"][1]["reason"], "resource_not_granted");

    let small = json!({});
    for body in [
        json!({"version_id": version}),
        json!({"version_id": version, "input": {}, "replay": 1}),
        json!({"version_id": version, "replay": 0}),
        json!({"version_id": version, "replay": 1001}),
        json!({"version_id": version, "inputs": vec![small; 1001]}),
        json!({"version_id": version, "input": []}),
    ] {
        assert_eq!(simulate(body).error(), (400, "invalid_request"));
    }
}

#[test]
fn an_allow_that_waits_for_an_approval_is_answered_as_the_denial_that_it_is() {
    let world = World::new();
    let demo = world.demo();
    let rule = r#"result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [],
        "diagnostics": [{"step_up_required": true}]}"#;
    let (set, version) = candidate(&demo.zone, "approval", &format!("{HEAD}{rule}\n"));
    let body = json!({"version_id": version, "input": {}});
    let answer = world
        .post(&format!("{set}/simulate"), body)
        .expect(200)
        .body;
    assert_eq!(
        (&answer["decision"], &answer["reason"]),
        (&json!("deny"), &json!("step_up_required"))
    );
}

#[test]
fn a_version_without_a_result_answers_with_the_denial_that_a_gateway_would_give() {
    let world = World::new();
    let demo = world.demo();
    for (name, rule, reason) in [
        (
            "undefined",
            "result := 1 if input.never",
            "policy_undefined",
        ),
        ("malformed", "result := 1", "policy_eval_failed"),
    ] {
        let (set, version) = candidate(&demo.zone, name, &format!("{HEAD}{rule}\n"));
        let answer = world
            .post(
                &format!("{set}/simulate"),
                json!({"version_id": version, "input": {}}),
            )
            .expect(200)
            .body;
        assert_eq!(answer["decision"], "deny");
        for told in [
            &answer["reason"],
            &answer["evaluation_status"],
            &answer["diagnostics"][0]["reason"],
        ] {
            assert_eq!(told, reason);
        }
        assert!(answer["diagnostics"][0]["message"].is_string());
        assert_eq!(answer["determining_policies"], json!([]));
    }
}

#[test]
fn a_candidate_is_replayed_on_what_was_decided_and_names_every_decision_that_would_change() {
    let world = World::new();
    let demo = world.demo();
    let narrow = grants(&demo.agent).replace(r#"["read", "write"]"#, r#"["read"]"#);
    let (set, version) = candidate(&demo.zone, "narrow", &narrow);
    let replay = |most: u32| {
        let body = json!({"version_id": version, "replay": most});
        world
            .post(&format!("{set}/simulate"), body)
            .expect(200)
            .body
    };
    assert_eq!(replay(10)["evaluated"], 0);

    demo.exchange(&[]).expect(200);
    let written = world
        .token_form(
            &demo.fields_with(&[("scope", "write")]),
            &[("x-request-id", "the-write")],
        )
        .expect(200);
    // A session's claims are a part of the input; the token is not.
    let session = demo.session();
    demo.exchange(&[
        ("subject_token", &session),
        ("subject_token_type", crate::world::ACCESS_TOKEN),
    ])
    .expect(200);
    demo.exchange(&[("resource", "resource://other"), ("scope", "write")])
        .expect(403);

    let found = replay(1000);
    assert_eq!(
        (&found["evaluated"], &found["complete"], &found["errors"]),
        (&json!(5), &json!(true), &json!(0)),
        "{found}"
    );
    let changed = found["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "{found}");
    assert_eq!(changed[0]["request_id"], "the-write");
    assert_eq!(changed[0]["resource"], "resource://demo");
    assert_eq!(changed[0]["before"], json!({"decision": "allow"}));
    assert_eq!(
        changed[0]["after"],
        json!({"decision": "deny", "reason": "role_scope_mismatch"})
    );
    assert!(changed[0]["occurred_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(replay(2)["changed"], json!([]), "the newest two are others");

    let kept = std::fs::read(world.dir.path().join("caracal.db-wal")).unwrap();
    for token in [&session, &written.text("access_token"), &demo.secret] {
        let signature = token.rsplit('.').next().unwrap().as_bytes();
        assert!(!kept.windows(signature.len()).any(|part| part == signature));
    }
}
