//! Policies from the command line: checked, tried, put in force, shadowed and taken back.

use serde_json::{Value, json};

use crate::world::*;

#[test]
fn activating_again_stores_only_what_changed_and_an_earlier_version_can_come_back() {
    let world = World::start();
    let app = world.govern();
    let activate = ["policy", "activate", "--zone", "demo", "grants.rego"];
    let again = world.json(&activate);
    assert_eq!(
        (&again["version"], &again["policies"][0]["changed"]),
        (&1.into(), &false.into())
    );

    world.write(
        "grants.rego",
        &grants(&app).replace("demo:read", "demo:write"),
    );
    let changed = world.json(&activate);
    assert_eq!(
        (&changed["version"], &changed["policies"][0]["version"]),
        (&2.into(), &2.into())
    );
    assert!(
        !world
            .run(&[MINT.as_slice(), &["--scope", "demo:read"]].concat(), "")
            .status
            .success()
    );

    world.ok(&["policy-set", "activate", "main", "1", "--zone", "demo"]);
    world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    let versions = world.json(&["policy-set", "versions", "main", "--zone", "demo"]);
    let active: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["active"])
        .collect();
    assert_eq!(active, [true, false]);
    assert_eq!(
        world.ok(&[
            "policy",
            "show",
            "grants",
            "--zone",
            "demo",
            "--version",
            "1"
        ]),
        grants(&app)
    );
}

#[test]
fn a_policy_with_an_error_is_shown_in_place_and_never_reaches_the_server() {
    let world = World::start();
    world.ok(&["zone", "create", "demo"]);
    world.write(
        "bad.rego",
        "package caracal.authz\n\nresult := {\"a\": [}\n",
    );
    for line in [
        ["policy", "check", "bad.rego"].as_slice(),
        &["policy", "activate", "--zone", "demo", "bad.rego"],
        &["policy", "create", "bad", "bad.rego", "--zone", "demo"],
    ] {
        let output = world.run(line, "");
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stderr);
        assert!(shown.contains("bad.rego:3:18: "), "{shown}");
        assert!(
            shown.contains("  3 | result := {\"a\": [}\n    |                  ^"),
            "{shown}"
        );
    }
    assert_eq!(
        world.json(&["policy", "list", "--zone", "demo"])["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

const HEAD: &str = "package caracal.authz\n\nimport rego.v1\n\n";

/// The agent's input for one scope, as the exchange would make it.
fn input(app: &str, scope: &str) -> String {
    json!({
        "principal": {"type": "Application", "id": app, "zone_id": "z"},
        "resource": {"type": "Resource", "identifier": "resource://demo", "scopes": ["demo:read", "demo:write"]},
        "action": {"id": "TokenExchange"},
        "context": {"requested_scopes": [scope], "actor_claims": {}, "challenge_resolved": false},
    })
    .to_string()
}

#[test]
fn eval_decides_without_a_server_and_fails_only_where_there_is_no_decision() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("grants.rego", &grants("app-1"));
    write("input.json", &input("app-1", "demo:read"));
    let eval = |line: &[&str], input: &str| {
        caracal(dir.path(), &[&["policy", "eval"], line].concat(), input)
    };
    let allowed = eval(&["grants.rego", "--input", "input.json"], "");
    assert!(allowed.status.success(), "{allowed:?}");
    assert!(
        text(&allowed.stdout).starts_with("decision       allow\n"),
        "{allowed:?}"
    );
    let denied = eval(
        &["grants.rego", "--input", "-", "--output", "json"],
        &input("app-1", "demo:write"),
    );
    assert!(denied.status.success(), "a no is an answer: {denied:?}");
    let denied: Value = serde_json::from_slice(&denied.stdout).unwrap();
    assert_eq!(
        (&denied["decision"], &denied["reason"]),
        (&json!("deny"), &json!("role_scope_mismatch"))
    );
    write(
        "undefined.rego",
        &format!("{HEAD}result := 1 if input.never\n"),
    );
    write("broken.rego", &format!("{HEAD}result := {{\n"));
    for (file, input, code, told) in [
        ("undefined.rego", "{}", 1, "no result"),
        ("broken.rego", "{}", 1, "broken.rego:6:"),
        ("grants.rego", "{", 2, "not JSON"),
    ] {
        let failed = eval(&[file, "--input", "-"], input);
        assert_eq!(failed.status.code(), Some(code), "{failed:?}");
        assert!(failed.stdout.is_empty());
        assert!(text(&failed.stderr).contains(told), "{failed:?}");
    }
}

#[test]
fn a_candidate_is_tried_compared_shadowed_activated_and_taken_back() {
    let world = World::start();
    let app = world.govern();
    let wide = grants(&app).replace("[\"demo:read\"]", "[\"demo:read\", \"demo:write\"]");
    std::fs::create_dir(world.path("next")).unwrap();
    world.write("next/grants.rego", &wide);
    world.write("read.json", &input(&app, "demo:read"));
    let lines = format!(
        "{}\n{}\n",
        input(&app, "demo:read"),
        input(&app, "demo:write")
    );
    world.write("inputs.jsonl", &lines);
    let write = [&MINT[..], &["--scope", "demo:write"]].concat();
    world.ok(&[&MINT[..], &["--scope", "demo:read"]].concat());
    assert!(!world.run(&write, "").status.success());

    // Tried, and nothing of it in force.
    let of_zone = |line: &[&str]| world.json(&[&["policy"], line, &["--zone", "demo"]].concat());
    let present = of_zone(&["simulate", "--input", "read.json"]);
    assert_eq!(
        (&present["decision"], &present["version"]),
        (&json!("allow"), &json!(1))
    );
    let replayed = of_zone(&["simulate", "next/grants.rego", "--replay", "100"]);
    assert_eq!(
        (&replayed["evaluated"], &replayed["version"]),
        (&json!(2), &json!(2))
    );
    let changed = replayed["changed"].as_array().unwrap();
    assert_eq!(changed.len(), 1, "{replayed}");
    assert_eq!(changed[0]["before"]["reason"], "role_scope_mismatch");
    assert_eq!(changed[0]["after"]["decision"], "allow");
    let compared = of_zone(&["simulate", "--version", "2", "--replay", "inputs.jsonl"]);
    assert_eq!(compared["evaluated"], 2);
    assert_eq!(compared["changed"][0]["input"], 2);
    let shown = world.ok(&[
        "policy",
        "simulate",
        "--version",
        "2",
        "--replay",
        "inputs.jsonl",
        "--zone",
        "demo",
    ]);
    assert!(
        shown.contains("deny (role_scope_mismatch)  allow"),
        "{shown}"
    );
    assert!(shown.contains("2 evaluated, 1 would change"), "{shown}");
    assert!(!world.run(&write, "").status.success());
    let diff = world.ok(&["policy", "diff", "1", "2", "--zone", "demo"]);
    assert!(diff.starts_with("changed grants\n--- a/grants\n"), "{diff}");
    assert!(
        diff.contains("demo:read\",\"demo:write") || diff.contains("demo:read\", \"demo:write"),
        "{diff}"
    );

    // Shadowed: evaluated, not enforced.
    assert_eq!(of_zone(&["shadow", "next"])["version"], 2);
    assert!(!world.run(&write, "").status.success());
    let listed = of_zone(&["shadow", "--list"]);
    assert_eq!(listed["different"], 1);
    let shown = world.ok(&["policy", "shadow", "--list", "--zone", "demo"]);
    assert!(
        shown.contains("TokenExchange") && shown.contains("deny (role_scope_mismatch)  allow"),
        "{shown}"
    );
    of_zone(&["shadow", "--off"]);

    // In force, and back.
    assert_eq!(of_zone(&["activate", "next"])["version"], 2);
    world.ok(&write);
    let back = of_zone(&["rollback"]);
    assert_eq!(back["version"], 1);
    assert!(!world.run(&write, "").status.success());
    let again = world.run(&["policy", "rollback", "--zone", "demo"], "");
    assert!(
        text(&again.stderr).contains("no_earlier_version"),
        "{again:?}"
    );
}

#[test]
fn json_data_stands_beside_rego_from_the_file_to_the_decision() {
    let world = World::start();
    let app = world.govern();
    let decided = r#""evaluation_status": "complete", "determining_policies": []"#;
    let own = format!(
        r#"result := {{"decision": "allow", {decided}, "diagnostics": []}} if input.principal.id in data.teams.readers

else := {{"decision": "deny", {decided}, "diagnostics": [{{"reason": "no_team"}}]}}
"#
    );
    world.write("own.rego", &format!("{HEAD}{own}"));
    world.write("teams.json", r#"{"teams": {"readers": ["somebody"]}}"#);
    let activate = [
        "policy",
        "activate",
        "--zone",
        "demo",
        "own.rego",
        "teams.json",
    ];
    let activated = world.json(&activate);
    assert_eq!(activated["policies"][1]["name"], "teams.json");
    let mint = [&MINT[..], &["--scope", "demo:read"]].concat();
    let refused = world.run(&mint, "");
    assert!(text(&refused.stderr).contains("no_team"), "{refused:?}");
    world.write(
        "teams.json",
        &json!({"teams": {"readers": [app]}}).to_string(),
    );
    let activated = world.json(&activate);
    assert_eq!(activated["policies"][1]["version"], 2);
    world.ok(&mint);

    world.write("teams.json", "{\n  \"teams\": oops\n}\n");
    let broken = world.run(&activate, "");
    assert!(
        text(&broken.stderr).contains("teams.json:2:") && text(&broken.stderr).contains("oops"),
        "{broken:?}"
    );
}

#[test]
fn what_makes_a_policy_slower_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "result := 1 if input.a\n\nresult := 2 if input.b\n";
    std::fs::write(dir.path().join("two.rego"), format!("{HEAD}{rules}")).unwrap();
    let checked = caracal(dir.path(), &["policy", "check", "two.rego"], "");
    assert!(checked.status.success(), "{checked:?}");
    let told = text(&checked.stderr);
    assert!(
        told.contains("note: two.rego:7:1: ") && told.contains("  7 | result := 2 if input.b\n"),
        "{told}"
    );
    let line = ["policy", "check", "two.rego", "--output", "json"];
    let checked = caracal(dir.path(), &line, "");
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["notes"][0]["line"], 7);
}
