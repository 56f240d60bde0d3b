//! Policies and policy sets, from upload to activation.

use serde_json::json;

use crate::world::{World, grants};

#[test]
fn policies_are_checked_on_upload_with_the_place_of_each_error() {
    let world = World::new();
    let zone = world.zone("demo");
    let valid = world
        .post("/v1/policies/validate", json!({"content": grants("a")}))
        .expect(200);
    assert_eq!(valid.body, json!({"valid": true, "kind": "data"}));
    let broken = json!({"name": "broken", "content": "package caracal.authz\nimport rego.v1\nresult := {\n"});
    for (path, body) in [
        (
            "/v1/policies/validate".to_owned(),
            json!({"content": broken["content"]}),
        ),
        (zone.path("/policies"), broken),
    ] {
        let reply = world.post(&path, body);
        assert_eq!(reply.error(), (422, "invalid_rego"), "{reply:?}");
        let first = &reply.body["errors"][0];
        assert!(
            first["line"].as_u64().unwrap() >= 3 && first["column"].as_u64().unwrap() >= 1,
            "{first}"
        );
        assert!(
            reply
                .text("error_description")
                .contains(first["message"].as_str().unwrap())
        );
    }
    let created = world
        .post(
            &zone.path("/policies"),
            json!({"name": "p", "content": grants("a")}),
        )
        .expect(201);
    let policy = zone.path(&format!("/policies/{}", created.text("id")));
    assert_eq!(created.body["version"]["version"], 1);
    assert_eq!(created.body["version"]["id"], created.body["version_id"]);
    let second = world
        .post(
            &format!("{policy}/versions"),
            json!({"content": grants("b")}),
        )
        .expect(201);
    assert_eq!(second.body["version"], 2);
    let versions = world.get(&format!("{policy}/versions")).expect(200).body;
    assert_eq!(versions["items"][0]["content"], grants("a"));
    assert_eq!(
        versions["items"][1]["content_sha256"],
        second.body["content_sha256"]
    );
}

#[test]
fn a_set_compiles_before_it_is_activated_and_can_be_tried_out() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let sets = zone.path("/policy-sets");
    let set = format!(
        "{sets}/{}",
        world
            .post(&sets, json!({"name": "main"}))
            .expect(201)
            .text("id")
    );
    assert_eq!(
        world.post(&sets, json!({"name": "main"})).error(),
        (409, "policy_set_name_conflict")
    );

    let authored = zone.policy("package caracal.authz\nimport rego.v1\nother := 1\n");
    let manifest = |ids: &[&str]| json!({"manifest": ids.iter().map(|id| json!({"policy_version_id": id})).collect::<Vec<_>>()});
    let versions = format!("{set}/versions");
    let reply = world.post(&versions, manifest(&[&authored]));
    assert_eq!(reply.error(), (422, "invalid_policy_contract"));
    assert!(reply.body["errors"][0]["message"].is_string());
    let data = zone.policy(&grants(&demo.agent));
    assert_eq!(
        world.post(&versions, manifest(&[])).error(),
        (400, "invalid_request")
    );
    assert_eq!(
        world.post(&versions, manifest(&[&data, &data])).error(),
        (400, "invalid_request")
    );
    let elsewhere = world.zone("elsewhere").policy(&grants("x"));
    assert_eq!(
        world.post(&versions, manifest(&[&elsewhere])).error(),
        (404, "policy_version_not_found")
    );

    let version = world.post(&versions, manifest(&[&data])).expect(201);
    assert_eq!(
        (
            version.body["version"].as_i64(),
            version.text("manifest_sha256").len()
        ),
        (Some(1), 64)
    );
    let id = version.text("version_id");
    let input = |agent: &str| {
        json!({"version_id": id, "input": {
            "principal": {"type": "Application", "id": agent, "zone_id": zone.id},
            "resource": {"type": "Resource", "identifier": "resource://demo", "scopes": ["read"]},
            "action": {"id": "TokenExchange"},
            "context": {"requested_scopes": ["read"], "actor_claims": {}, "challenge_resolved": false},
        }})
    };
    let simulate = |agent: &str| {
        world
            .post(&format!("{set}/simulate"), input(agent))
            .expect(200)
            .body
    };
    assert_eq!(simulate(&demo.agent)["decision"], "allow");
    assert_eq!(
        simulate("stranger")["diagnostics"],
        json!([{"reason": "resource_not_granted"}])
    );

    let activate = |set: &str| world.post(&format!("{set}/activate"), json!({"version_id": id}));
    let other_set = format!(
        "{sets}/{}",
        world
            .post(&sets, json!({"name": "side"}))
            .expect(201)
            .text("id")
    );
    assert_eq!(
        activate(&other_set).error(),
        (404, "policy_set_version_not_found")
    );
    let activated = activate(&set).expect(200);
    assert_eq!(
        (&activated.body["activated"], &activated.body["version_id"]),
        (&json!(true), &json!(id))
    );
    assert_eq!(
        activate(&set).expect(200).body["sequence"],
        activated.body["sequence"].as_u64().unwrap() + 1
    );
    assert_eq!(
        world.get(&zone.path("")).expect(200).body["active_policy_set_version_id"],
        json!(id)
    );
}

#[test]
fn every_way_in_tells_what_is_wrong_and_where() {
    let world = World::new();
    let zone = world.zone("demo");
    let created = world.post(
        &zone.path("/policies"),
        json!({"name": "p", "content": grants("a")}),
    );
    let policy = zone.path(&format!("/policies/{}", created.expect(201).text("id")));
    let broken = "package caracal.authz\nimport rego.v1\nresult := http.send({})\n";
    for (path, body) in [
        (
            "/v1/policies/validate".to_owned(),
            json!({"name": "broken", "content": broken}),
        ),
        (
            zone.path("/policies"),
            json!({"name": "broken", "content": broken}),
        ),
        (format!("{policy}/versions"), json!({"content": broken})),
    ] {
        let reply = world.post(&path, body);
        assert_eq!(reply.error(), (422, "invalid_rego"), "{reply:?}");
        let first = &reply.body["errors"][0];
        assert_eq!(
            (&first["line"], &first["column"]),
            (&json!(3), &json!(11)),
            "{first}"
        );
        assert!(first["message"].as_str().unwrap().contains("http.send"));
        assert_eq!(first["snippet"], "result := http.send({})");
        assert!(["broken", "p"].contains(&first["file"].as_str().unwrap()));
    }
    // What is wrong only with the whole is said when the set is made.
    let sets = zone.path("/policy-sets");
    let set = world.post(&sets, json!({"name": "main"})).expect(201);
    let one = zone.policy("package caracal.authz\nimport rego.v1\nother := 1\n");
    let reply = world.post(
        &format!("{sets}/{}/versions", set.text("id")),
        json!({"manifest": [{"policy_version_id": one}]}),
    );
    assert_eq!(reply.error(), (422, "invalid_policy_contract"));
    for member in ["file", "line", "column", "message"] {
        assert!(reply.body["errors"][0].get(member).is_some(), "{reply:?}");
    }
}

#[test]
fn the_same_content_makes_no_other_version() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let created = world.post(
        &zone.path("/policies"),
        json!({"name": "p", "content": grants("a")}),
    );
    let policy = zone.path(&format!("/policies/{}", created.expect(201).text("id")));
    let store = |agent: &str| {
        world.post(
            &format!("{policy}/versions"),
            json!({"content": grants(agent)}),
        )
    };
    let again = store("a").expect(200);
    assert_eq!(again.body["version"], 1);
    assert!(again.body.get("content").is_none());
    let second = store("b").expect(201).text("id");
    // The newest is what counts: going back to an earlier text is a change.
    assert_eq!(store("a").expect(201).body["version"], 3);

    let sets = zone.path("/policy-sets");
    let set = world.post(&sets, json!({"name": "main"})).expect(201);
    let versions = format!("{sets}/{}/versions", set.text("id"));
    let make = |id: &str| world.post(&versions, json!({"manifest": [{"policy_version_id": id}]}));
    let first = make(&second).expect(201);
    make(&zone.policy(&grants("c"))).expect(201);
    let same = make(&second).expect(200);
    assert_eq!(
        (same.text("version_id"), &same.body["version"]),
        (first.text("version_id"), &json!(1))
    );
}

#[test]
fn rolling_back_puts_the_version_before_in_force_one_step_each_time() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let (set, first) = zone.activate(&zone.policy(&grants(&demo.agent)));
    let roll_back = || world.admin("POST", &format!("{set}/rollback"), None);
    assert_eq!(roll_back().error(), (409, "no_earlier_version"));
    let mut versions = vec![first];
    for restriction in ["one", "two"] {
        let closed = format!("{}restrict := [\"{restriction}\"]\n", grants(&demo.agent));
        let manifest = json!({"manifest": [{"policy_version_id": zone.policy(&closed)}]});
        let version = world.post(&format!("{set}/versions"), manifest).expect(201);
        versions.push(version.text("version_id"));
        world
            .post(
                &format!("{set}/activate"),
                json!({"version_id": versions.last()}),
            )
            .expect(200);
    }
    demo.exchange(&[]).expect(403);
    let back = roll_back().expect(200);
    assert_eq!(
        (back.text("version_id"), &back.body["version"]),
        (versions[1].clone(), &json!(2))
    );
    let sequence = back.body["sequence"].as_u64().unwrap();
    let back = roll_back().expect(200);
    assert_eq!(back.text("version_id"), versions[0]);
    assert_eq!(
        back.body["sequence"],
        sequence + 1,
        "gateways only go forward"
    );
    demo.exchange(&[]).expect(200);
    assert_eq!(roll_back().error(), (409, "no_earlier_version"));
    // Another set that is in force is not this set's to take away.
    zone.activate(&zone.policy(&grants("x")));
    assert_eq!(roll_back().error(), (409, "no_earlier_version"));
}

#[test]
fn two_versions_are_compared_module_by_module() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let (set, first) = zone.activate(&zone.policy(&grants(&demo.agent)));
    let changed = grants(&demo.agent).replace(r#"["read", "write"]"#, r#"["read"]"#);
    let manifest = json!({"manifest": [{"policy_version_id": zone.policy(&changed)}]});
    let second = world
        .post(&format!("{set}/versions"), manifest)
        .expect(201)
        .text("version_id");
    let diff =
        |from: &str, to: &str| world.post(&format!("{set}/diff"), json!({"from": from, "to": to}));
    let found = diff(&first, &second).expect(200).body;
    assert_eq!(
        (&found["from"]["version"], &found["to"]["version"]),
        (&json!(1), &json!(2))
    );
    let module = &found["modules"][0];
    assert_eq!(
        (&module["name"], &module["change"]),
        (&json!("policy"), &json!("changed"))
    );
    let text = module["diff"].as_str().unwrap();
    assert!(
        text.contains("\n-    \"resource://demo\"") && text.contains("\n+    \"resource://demo\""),
        "{text}"
    );
    assert_eq!(diff(&first, &first).expect(200).body["modules"], json!([]));
    assert_eq!(
        diff(&first, "nothing").error(),
        (404, "policy_set_version_not_found")
    );
}

#[test]
fn a_policy_named_after_a_json_file_holds_json_data() {
    let world = World::new();
    let zone = world.zone("demo");
    let store = |name: &str, content: &str| {
        world.post(
            &zone.path("/policies"),
            json!({"name": name, "content": content}),
        )
    };
    let data = store("teams.json", r#"{"teams": ["a"]}"#).expect(201);
    let twin = store("teams.json", r#"{"guests": ["b"]}"#).expect(201);
    let broken = store("teams.json", "{\n\"teams\": oops}");
    assert_eq!(broken.error(), (422, "invalid_rego"));
    assert_eq!(
        (
            &broken.body["errors"][0]["file"],
            &broken.body["errors"][0]["line"]
        ),
        (&json!("teams.json"), &json!(2))
    );
    assert_eq!(store("teams", r#"{"teams": ["a"]}"#).status, 422);
    let draft = json!({"name": "teams.json", "content": "{}"});
    world.post("/v1/policies/validate", draft).expect(200);

    // Two policies of one name are told apart, and stay JSON.
    let own = zone.policy(
        "package caracal.authz\nimport rego.v1\nresult := {\"decision\": \"deny\", \"evaluation_status\": \"complete\",\n\
         \"determining_policies\": [], \"diagnostics\": [{\"reason\": concat(\"\", array.concat(data.teams, data.guests))}]}\n",
    );
    let sets = zone.path("/policy-sets");
    let set = world.post(&sets, json!({"name": "main"})).expect(201);
    let set = format!("{sets}/{}", set.text("id"));
    let manifest: Vec<_> = [data.text("version_id"), twin.text("version_id"), own]
        .iter()
        .map(|id| json!({"policy_version_id": id}))
        .collect();
    let version = world
        .post(&format!("{set}/versions"), json!({"manifest": manifest}))
        .expect(201)
        .text("version_id");
    let answer = world.post(
        &format!("{set}/simulate"),
        json!({"version_id": version, "input": {}}),
    );
    assert_eq!(answer.expect(200).body["reason"], "ab");
}
