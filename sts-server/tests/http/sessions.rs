//! Governed sessions: starting, listing, holding and ending them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    governed::Governed,
    world::{Reply, World, instant},
};

fn get(zone: &Governed<'_>, rest: &str) -> Reply {
    zone.call("GET", rest, &zone.token, None)
}

fn ids(reply: Reply) -> Vec<String> {
    let items = reply.expect(200).body["items"].clone();
    let id = |item: &Value| item["id"].as_str().unwrap().to_owned();
    items.as_array().unwrap().iter().map(id).collect()
}

#[test]
fn sessions_are_a_tree_that_is_listed_and_ends_as_a_whole() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({"labels": ["nightly"], "metadata": {"task": "report"}}));
    let children = [zone.child(&root), zone.child(&root)];
    let leaf = zone.child(&children[0]);
    let other = zone.start(json!({}));

    let shown = get(&zone, &format!("/agents/{root}")).expect(200).body;
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["lifecycle"], "task");
    assert_eq!(shown["child_count"], 2);
    assert_eq!(shown["labels"], json!(["nightly"]));
    assert_eq!(shown["metadata"], json!({"task": "report"}));
    assert_eq!(shown["lease_generation"], 0);
    assert_eq!(shown["depth"], 0);
    let shown = get(&zone, &format!("/agents/{leaf}")).expect(200).body;
    assert_eq!(shown["session_path"], json!([root, children[0], leaf]));
    assert_eq!(
        ids(get(&zone, &format!("/agents/{root}/children"))),
        children
    );

    let page = get(&zone, "/agents?limit=2").expect(200);
    let cursor = page.text("next_cursor");
    let first = ids(page);
    let rest = ids(get(&zone, &format!("/agents?cursor={cursor}")));
    let all = [
        root.clone(),
        children[0].clone(),
        children[1].clone(),
        leaf.clone(),
        other.clone(),
    ];
    assert_eq!([first, rest].concat(), all);
    assert_eq!(
        ids(get(&zone, "/agents?label=nightly")),
        std::slice::from_ref(&root)
    );
    assert!(ids(get(&zone, "/agents?lifecycle=service")).is_empty());

    let suspend = format!("/agents/{}/suspend", children[0]);
    let suspended = zone.call("PATCH", &suspend, &zone.token, None).expect(200);
    assert_eq!(suspended.body["suspended"], 2);
    assert_eq!(
        ids(get(&zone, "/agents?status=suspended")),
        [children[0].clone(), leaf.clone()]
    );
    let again = zone.call("PATCH", &suspend, &zone.token, None);
    assert_eq!(again.error(), (409, "session_not_found_or_not_active"));
    let resume = format!("/agents/{leaf}/resume");
    let reply = zone.call("PATCH", &resume, &zone.token, None);
    assert_eq!(reply.error(), (409, "session_not_suspended"));
    let below = zone.try_start(json!({"parent_id": leaf}));
    assert_eq!(below.error(), (409, "parent_not_active"));

    let end = format!("/agents/{root}?reason=done");
    zone.call("DELETE", &end, &zone.token, None).expect(204);
    zone.call("DELETE", &end, &zone.token, None).expect(204);
    let ended = ids(get(&zone, "/agents?status=terminated"));
    assert_eq!(ended, all[..4]);
    assert_eq!(ids(get(&zone, "/agents?status=active")), [other]);
    let shown = get(&zone, &format!("/agents/{leaf}")).expect(200).body;
    assert_eq!(
        (&shown["status"], &shown["end_reason"]),
        (&json!("terminated"), &json!("done"))
    );
    let reply = get(&zone, "/agents/none");
    assert_eq!(reply.error(), (404, "session_not_found"));
}

#[test]
fn an_operator_lists_all_and_its_suspension_is_not_the_applications_to_lift() {
    let world = World::new();
    let zone = world.governed();
    let session = zone.start(json!({}));
    let theirs = zone.start_peer();
    assert_eq!(ids(get(&zone, "/agents")), std::slice::from_ref(&session));
    let path = |rest: &str| zone.path(rest);
    assert_eq!(ids(world.get(&path("/agents"))), [session.clone(), theirs]);
    let suspend = path(&format!("/agents/{session}/suspend"));
    world.admin("PATCH", &suspend, None).expect(200);
    let resume = format!("/agents/{session}/resume");
    let reply = zone.call("PATCH", &resume, &zone.token, None);
    assert_eq!(reply.error(), (403, "operator_suspension"));
    world.admin("PATCH", &path(&resume), None).expect(200);
}

#[test]
fn who_may_not_call_is_told_why() {
    let world = World::new();
    let zone = world.governed();
    let elsewhere = world.zone("elsewhere");
    let mandate = zone.start(json!({}));
    let child = zone.start(json!({}));
    let edge = zone.delegate(&mandate, &child, json!({}));
    let gateway = zone
        .mint(&child, &edge, &[])
        .expect(200)
        .text("access_token");
    for (path, bearer, status, error) in [
        (zone.path("/agents"), String::new(), 401, "missing_token"),
        (
            zone.path("/agents"),
            "Bearer nonsense".to_owned(),
            401,
            "invalid_token",
        ),
        (
            zone.path("/agents"),
            format!("Bearer {gateway}"),
            401,
            "invalid_token",
        ),
        (
            format!("/zones/{}/agents", elsewhere.id),
            format!("Bearer {}", zone.token),
            401,
            "invalid_token",
        ),
    ] {
        let headers = [("authorization", bearer.as_str())];
        let headers = if bearer.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        let reply = world.send("GET", &path, headers, None);
        assert_eq!(reply.error(), (status, error), "{path}: {reply:?}");
    }
    let application = zone
        .demo
        .zone
        .path(&format!("/applications/{}", zone.demo.agent));
    world.admin("DELETE", &application, None).expect(204);
    let reply = get(&zone, "/agents");
    assert_eq!(reply.body["reason"], "token_revoked");
}

#[test]
fn what_is_asked_wrongly_is_refused_before_anything_is_made() {
    let world = World::new();
    let zone = world.governed();
    let long = "x".repeat(65);
    let many: Vec<String> = (0..33).map(|number| number.to_string()).collect();
    for (more, status, error) in [
        (json!({"ttl_seconds": 0}), 400, "invalid_request"),
        (json!({"ttl_seconds": 86_401}), 400, "invalid_request"),
        (
            json!({"lifecycle": "service", "ttl_seconds": 60}),
            400,
            "invalid_request",
        ),
        (json!({"lifecycle": "eternal"}), 400, "invalid_request"),
        (json!({"labels": [""]}), 400, "invalid_request"),
        (json!({"labels": [long]}), 400, "invalid_request"),
        (json!({"labels": many}), 400, "invalid_request"),
        (
            json!({"metadata": {"a": "x".repeat(9000)}}),
            400,
            "invalid_request",
        ),
        (json!({"unknown": 1}), 400, "invalid_request"),
        (json!({"subject_token": "x"}), 400, "invalid_request"),
        (
            json!({"inherit_parent_edge_id": "x"}),
            400,
            "invalid_request",
        ),
        (json!({"parent_id": "none"}), 404, "parent_not_found"),
        (
            json!({"subject_session_id": "none"}),
            404,
            "session_not_found",
        ),
    ] {
        let reply = zone.try_start(more.clone());
        assert_eq!(reply.error(), (status, error), "{more}: {reply:?}");
    }
    assert!(ids(get(&zone, "/agents")).is_empty());
}

#[test]
fn each_limit_has_its_error() {
    let world = World::with(|config| {
        config.session_limits.per_zone = 5;
        config.session_limits.per_application = 4;
        config.session_limits.children = 2;
        config.session_limits.depth = 1;
        config.session_limits.receipts = 1;
    });
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let deep = zone.try_start(json!({"parent_id": child}));
    assert_eq!(deep.error(), (429, "session_depth_limit_exceeded"));
    zone.child(&root);
    let third = zone.try_start(json!({"parent_id": root}));
    assert_eq!(third.error(), (429, "session_children_limit_exceeded"));
    zone.start(json!({}));
    assert_eq!(
        zone.try_start(json!({})).error(),
        (429, "session_limit_exceeded")
    );
    zone.start_peer();
    let body = json!({"application_id": zone.peer});
    let reply = zone.call("POST", "/agents", &zone.peer_token, Some(body));
    assert_eq!(reply.error(), (429, "session_zone_limit_exceeded"));
    // What has ended counts no more.
    zone.terminate(&root);
    let keyed = |key: &str| start_with_key(&zone, key, json!({}));
    keyed("one").expect(201);
    assert_eq!(
        keyed("two").error(),
        (429, "idempotency_receipt_limit_exceeded")
    );
    keyed("one").expect(201);
}

fn start_with_key(zone: &Governed<'_>, key: &str, more: Value) -> Reply {
    let mut body = json!({"application_id": zone.demo.agent});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let bearer = format!("Bearer {}", zone.token);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let body = serde_json::to_vec(&body).unwrap();
    let path = zone.path("/agents");
    zone.demo
        .zone
        .world
        .send("POST", &path, &headers, Some(&body))
}

#[test]
fn a_start_that_comes_again_is_answered_again() {
    let world = World::new();
    let zone = world.governed();
    let first = start_with_key(&zone, "k-1", json!({})).expect(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = start_with_key(&zone, "k-1", json!({})).expect(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.body, first.body);
    let other = start_with_key(&zone, "k-1", json!({"labels": ["x"]}));
    assert_eq!(other.error(), (409, "idempotency_key_conflict"));
    assert_ne!(
        start_with_key(&zone, "k-2", json!({})).expect(201).body,
        first.body
    );
    zone.terminate(&first.text("id"));
    let late = start_with_key(&zone, "k-1", json!({}));
    assert_eq!(late.error(), (409, "idempotency_result_inactive"));
    assert_eq!(
        start_with_key(&zone, "", json!({})).error(),
        (400, "invalid_request")
    );
}

#[test]
fn a_service_is_its_holders_and_nobody_elses() {
    let world = World::new();
    let zone = world.governed();
    let reply = zone.try_start(json!({"lifecycle": "service"})).expect(201);
    assert_eq!(reply.body["lease_generation"], 1);
    assert_eq!(reply.body["expires_at"], Value::Null);
    let service = reply.text("id");
    let post = |what: &str, body: Option<Value>| {
        zone.call(
            "POST",
            &format!("/agents/{service}/{what}"),
            &zone.token,
            body,
        )
    };
    let beat = |generation: i64| post("heartbeat", Some(json!({"lease_generation": generation})));
    let agent = beat(1).expect(200).body["agent"].clone();
    assert_eq!(
        (&agent["status"], &agent["lease_generation"]),
        (&json!("active"), &json!(1))
    );
    let deadline = |session: &Value| instant(&session["heartbeat_deadline_at"]);
    assert!(deadline(&agent) >= deadline(&reply.body));
    // Somebody takes over, and who held it before is fenced off.
    assert_eq!(post("lease", None).expect(200).body["lease_generation"], 2);
    assert_eq!(beat(1).error(), (409, "session_lease_fenced"));
    beat(2).expect(200);
    let end =
        |body: Option<Value>| zone.call("DELETE", &format!("/agents/{service}"), &zone.token, body);
    assert_eq!(end(None).error(), (400, "lease_generation_required"));
    assert_eq!(
        end(Some(json!({"lease_generation": 1}))).error(),
        (409, "session_lease_fenced")
    );
    let task = zone.start(json!({"parent_id": service}));
    let worker = zone.try_start(json!({"parent_id": task, "lifecycle": "service"}));
    assert_eq!(worker.error(), (409, "task_session_cannot_start_service"));
    let suspend = format!("/agents/{service}/suspend");
    zone.call("PATCH", &suspend, &zone.token, None).expect(200);
    assert_eq!(beat(2).error(), (409, "session_suspended"));
    assert_eq!(post("lease", None).error(), (409, "session_suspended"));
    end(Some(json!({"lease_generation": 2}))).expect(204);
    assert_eq!(beat(2).error(), (409, "session_not_live"));
    end(None).expect(204);
    let reply = zone.call("POST", &format!("/agents/{task}/lease"), &zone.token, None);
    assert_eq!(reply.error(), (409, "session_not_service"));
}

#[test]
fn a_task_ends_when_its_time_is_up_also_over_a_restart() {
    let mut world = World::new();
    let (path, short, parent) = {
        let zone = world.governed();
        let parent = zone.start(json!({"ttl_seconds": 5}));
        // A child ends with its parent at the latest.
        let short = zone.start(json!({"parent_id": parent, "ttl_seconds": 3600}));
        let shown = get(&zone, &format!("/agents/{short}")).expect(200).body;
        let parents = get(&zone, &format!("/agents/{parent}")).expect(200).body;
        assert_eq!(shown["expires_at"], parents["expires_at"]);
        (zone.path(""), short, parent)
    };
    world.stop();
    std::thread::sleep(Duration::from_millis(5100));
    world.start();
    let shown = world
        .get(&format!("{path}/agents/{short}"))
        .expect(200)
        .body;
    assert_eq!(shown["status"], "expired");
    // It is written down too, for what counts the live ones.
    for id in [&short, &parent] {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while world.get(&format!("{path}/agents/{id}")).body["end_reason"] != "ttl" {
            assert!(std::time::Instant::now() < deadline, "not swept");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let path = format!("{path}/agents?status=expired");
    assert_eq!(ids(world.get(&path)).len(), 2);
}

#[test]
fn a_child_begins_with_what_its_parent_has_or_with_nothing() {
    let world = World::new();
    let zone = world.governed();
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let held = zone.delegate(&root, &child, json!({}));
    let reply = zone.try_start(json!({"parent_id": child})).expect(201);
    let (heir, inherited) = (reply.text("id"), reply.text("delegation_edge_id"));
    let edge = get(&zone, &format!("/delegations/{inherited}"))
        .expect(200)
        .body;
    assert_eq!(edge["delegation_path"], json!([held, inherited]));
    assert_eq!(
        (&edge["inherited"], &edge["max_hops"]),
        (&json!(true), &json!(1))
    );
    zone.mint(&heir, &inherited, &[]).expect(200);
    let wider = zone.mint(&heir, &inherited, &[("scope", "write")]);
    assert_eq!(wider.body["reason"], "delegation_scope_exceeded");

    let bare = zone.try_start(json!({"parent_id": child, "parent_authority": "none"}));
    assert_eq!(bare.expect(201).body["delegation_edge_id"], Value::Null);
    let second = zone.delegate(&root, &child, json!({"scopes": ["write"]}));
    let either = zone.try_start(json!({"parent_id": child}));
    assert_eq!(either.error(), (409, "inherit_parent_edge_ambiguous"));
    let named = json!({"parent_id": child, "inherit_parent_edge_id": second});
    let reply = zone.try_start(named.clone()).expect(201);
    let authority = get(
        &zone,
        &format!("/agents/{}/effective-authority", reply.text("id")),
    );
    let authority = authority.expect(200).body;
    assert_eq!(authority["originates"], false);
    assert_eq!(authority["inbound_edges"][0]["scopes"], json!(["write"]));
    zone.revoke(&second).expect(200);
    assert_eq!(
        zone.try_start(named).error(),
        (409, "inherit_parent_edge_not_active")
    );
    zone.revoke(&held).expect(200);
    let gone = zone.mint(&heir, &inherited, &[]);
    assert_eq!(gone.body["reason"], "delegation_inactive");
}
