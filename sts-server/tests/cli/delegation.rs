//! Sessions and delegations from the command line.

use serde_json::Value;

use crate::world::*;

/// Roles for the sessions of the application.
fn roles(app: &str) -> String {
    format!(
        "# caracal:data-document\npackage caracal.authz\nimport rego.v1\napp_ids := {{\"reader\": \"{app}\"}}\n\
         grants := {{\"resource://demo\": {{\"application\": \"reader\", \"roles\": {{\"lead\": [\"demo:read\", \
         \"demo:write\"], \"worker\": [\"demo:read\"]}}}}}}\n"
    )
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_lead_hands_a_worker_less_than_it_has_and_takes_it_back() {
    let world = World::start();
    let app = world.govern();
    world.write("grants.rego", &roles(&app));
    world.ok(&["policy", "activate", "--zone", "demo", "grants.rego"]);
    let start = ["session", "start", "reader", "--zone", "demo", "--label"];
    let lead = id(&world.json(&[&start[..], &["lead"]].concat()));
    let below = ["worker", "--parent", &lead, "--bare", "--ttl", "600"];
    let worker = id(&world.json(&[&start[..], &below].concat()));
    let edge = id(&world.json(&[
        "delegation",
        "create",
        "--zone",
        "demo",
        "--from",
        &lead,
        "--to",
        &worker,
        "--scope",
        "demo:read",
        "--resource",
        "resource://demo",
        "--ttl",
        "300",
    ]));

    let tree = world.ok(&["delegation", "tree", "--zone", "demo"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines.len(), 3, "{tree}");
    let short = |id: &str| id[id.len() - 12..].to_owned();
    assert!(
        lines[0].starts_with(&format!("reader …{}  [lead]  active", short(&lead))),
        "{tree}"
    );
    assert!(
        lines[1].starts_with(&format!("└─ reader …{}  [worker]  active", short(&worker))),
        "{tree}"
    );
    let from = format!(
        "   └─ may demo:read on resource://demo  from reader …{}",
        short(&lead)
    );
    assert!(lines[2].starts_with(&from), "{tree}");

    let mint = [
        "mint",
        "--zone",
        "demo",
        "--app",
        "reader",
        "--client-secret-file",
        "reader.secret",
        "--resource",
        "resource://demo",
        "--session",
        &worker,
        "--delegation",
        &edge,
        "--scope",
    ];
    let mandate = world.ok(&[&mint[..], &["demo:read"]].concat());
    let inspected = world.run(&["inspect", "-", "--output", "json"], &mandate);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["claims"]["delegation_edge_id"], edge.as_str());
    assert_eq!(inspected["claims"]["hop_count"], 1);
    let wider = world.run(&[&mint[..], &["demo:write"]].concat(), "");
    assert!(!wider.status.success());
    assert!(
        text(&wider.stderr).contains("delegation_scope_exceeded"),
        "{}",
        text(&wider.stderr)
    );

    let shown = world.ok(&["session", "list", "--zone", "demo", "--status", "active"]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let children = world.json(&["session", "children", &lead, "--zone", "demo"]);
    assert_eq!(id(&children["items"][0]), worker);
    let held = world.ok(&["session", "authority", &worker, "--zone", "demo"]);
    assert!(held.contains(&edge), "{held}");
    let listed = world.json(&["delegation", "list", "--zone", "demo", "--from", &lead]);
    assert_eq!(id(&listed["items"][0]), edge);
    world.ok(&["session", "suspend", &lead, "--zone", "demo"]);
    assert!(
        world
            .ok(&["session", "show", &worker, "--zone", "demo"])
            .contains("suspended")
    );
    world.ok(&["session", "resume", &lead, "--zone", "demo"]);
    let impact = world.json(&["delegation", "impact", &edge, "--zone", "demo"]);
    assert_eq!(impact["affected_sessions"], 1);
    let revoked = world.json(&["delegation", "revoke", &edge, "--zone", "demo"]);
    assert_eq!(revoked["revoked_edges"], 1);
    assert!(
        !world
            .run(&[&mint[..], &["demo:read"]].concat(), "")
            .status
            .success()
    );
    let tree = world.ok(&["delegation", "tree", "--zone", "demo", "--all"]);
    assert!(tree.contains("revoked"), "{tree}");
    world.ok(&[
        "session", "end", &lead, "--zone", "demo", "--reason", "done",
    ]);
    assert_eq!(
        world.ok(&["delegation", "tree", "--zone", "demo"]),
        "no sessions\n"
    );
}

#[test]
fn two_session_mandates_delegate_without_another_call() {
    let world = World::start();
    let app = world.govern();
    world.write("grants.rego", &roles(&app));
    world.ok(&["policy", "activate", "--zone", "demo", "grants.rego"]);
    let start = ["session", "start", "reader", "--zone", "demo", "--label"];
    let lead = id(&world.json(&[&start[..], &["lead"]].concat()));
    let worker = id(&world.json(&[&start[..], &["worker"]].concat()));
    let mint = [
        "mint",
        "--zone",
        "demo",
        "--app",
        "reader",
        "--resource",
        "resource://demo",
    ];
    for (session, file) in [(&lead, "lead.jwt"), (&worker, "worker.jwt")] {
        let bind = [
            "--client-secret-file",
            "reader.secret",
            "--use",
            "session",
            "--session",
            session,
        ];
        world.write(file, &world.ok(&[&mint[..], &bind].concat()));
    }
    let tokens = [
        "--scope",
        "demo:read",
        "--subject-token-file",
        "lead.jwt",
        "--actor-token-file",
        "worker.jwt",
    ];
    let mandate = world.ok(&[&mint[..], &tokens].concat());
    let inspected = world.run(&["inspect", "-", "--output", "json"], &mandate);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["claims"]["source_session_id"], lead.as_str());
    assert_eq!(
        inspected["claims"]["act"]["agent_session_id"],
        worker.as_str()
    );
}
