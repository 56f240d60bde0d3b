//! Evidence: what is on record, how it is found, and that nothing can be done to it unseen.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use authority::{
    audit::{Event, EventType, Fault, OccurredAt, SignedCheckpoint, Summary, Verifier},
    ids::ZoneId,
    jwks::KeySet,
};
use serde_json::{Value, json};
use sqlx::SqlitePool;

use crate::world::{GRANT_TYPE, Reply, World, Zone};

/// Everything that a zone's ledger holds, oldest first.
fn events(zone: &Zone<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = zone.admin("GET", &format!("/audit?limit=3{cursor}"), None);
        let page = page.expect(200).body;
        found.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.sort_by_key(|event| event["seq"].as_u64());
    found
}

fn find(zone: &Zone<'_>, query: &str) -> Vec<Value> {
    let page = zone.admin("GET", &format!("/audit?{query}"), None);
    page.expect(200).body["items"].as_array().unwrap().clone()
}

fn export(zone: &Zone<'_>, query: &str) -> Vec<String> {
    let reply = zone.admin("GET", &format!("/audit/export?{query}"), None);
    let text = String::from_utf8(reply.expect(200).bytes).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn audit_keys(zone: &Zone<'_>) -> KeySet {
    KeySet::parse_history(&zone.admin("GET", "/audit/keys", None).expect(200).bytes).unwrap()
}

fn verify(
    zone: &Zone<'_>,
    lines: &[String],
    pin: Option<&SignedCheckpoint>,
) -> Result<Summary, Fault> {
    let keys = audit_keys(zone);
    let mut verifier = Verifier::new(&keys);
    if let Some(pin) = pin {
        verifier.pin(pin).unwrap();
    }
    lines.iter().try_for_each(|line| verifier.push(line))?;
    verifier.finish()
}

fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "this never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn database(world: &World) -> SqlitePool {
    let url = format!("sqlite:{}", world.dir.path().join("caracal.db").display());
    SqlitePool::connect(&url).await.unwrap()
}

#[test]
fn every_change_is_on_record_with_who_made_it_and_shows_no_secret() {
    let world = World::new();
    let governed = world.governed();
    let zone = &governed.demo.zone;
    let (app, secret) = zone.application("third");
    let path = format!("/applications/{app}");
    zone.admin("PATCH", &path, Some(&json!({"name": "fourth"})))
        .expect(200);
    let rotated = zone
        .admin("POST", &format!("{path}/rotate-secret"), None)
        .expect(200)
        .text("client_secret");
    zone.admin("DELETE", &path, None).expect(204);
    let resource = zone.resource("resource://fourth");
    let path = format!("/resources/{resource}");
    zone.admin("PATCH", &path, Some(&json!({"name": "renamed"})))
        .expect(200);
    zone.admin("DELETE", &path, None).expect(204);
    zone.admin("POST", "/keys/rotate", None).expect(200);
    let gateway = zone.admin("POST", "/gateways", Some(&json!({"name": "edge"})));
    let gateway = gateway.expect(201);
    let id = gateway.text("id");
    zone.admin("DELETE", &format!("/gateways/{id}"), None)
        .expect(204);
    let cut = json!({"anchor_type": "sub", "id": "alice", "reason": "left"});
    zone.admin("POST", "/revocations", Some(&cut)).expect(200);
    zone.admin("DELETE", "/revocations/sub/alice", None)
        .expect(204);
    let started = json!({"application_id": governed.demo.agent});
    let session = governed
        .call("POST", "/agents", &governed.token, Some(started))
        .expect(201)
        .text("agent_session_id");
    for (method, verb) in [("PATCH", "/suspend"), ("PATCH", "/resume"), ("DELETE", "")] {
        let path = format!("/agents/{session}{verb}");
        let reply = governed.call(method, &path, &governed.token, None);
        assert!(reply.status < 300, "{reply:?}");
    }

    let found = events(zone);
    let actions: Vec<&str> = found
        .iter()
        .filter_map(|event| event["action"].as_str())
        .collect();
    let expected = [
        "zone.create",
        "application.create",
        "application.create",
        "resource.create",
        "resource.create",
        "resource.create",
        "policy.create",
        "policy_version.create",
        "policy_set.create",
        "policy_set_version.create",
        "policy_set_version.activate",
        "application.create",
        "application.update",
        "application.rotate_secret",
        "application.archive",
        "resource.create",
        "resource.update",
        "resource.archive",
        "key.rotate",
        "gateway.create",
        "gateway.revoke",
        "revocation.create",
        "revocation.withdraw",
        "session.start",
        "session.suspend",
        "session.resume",
        "session.terminate",
    ];
    assert_eq!(actions, expected);
    let one = |action: &str| {
        let mut with = found.iter().filter(|event| event["action"] == action);
        with.next_back().unwrap()
    };
    let updated = one("application.update");
    assert_eq!(updated["actor"], json!({"type": "operator"}));
    assert_eq!(updated["object"], json!({"type": "application", "id": app}));
    assert_eq!(
        (&updated["before"]["name"], &updated["after"]["name"]),
        (&json!("third"), &json!("fourth"))
    );
    let terminated = one("session.terminate");
    let agent = json!({"type": "application", "id": governed.demo.agent});
    assert_eq!(terminated["actor"], agent);
    assert_eq!(terminated["session_path"], json!([session]));
    assert_eq!(
        find(zone, &format!("object_id={session}")).len(),
        4,
        "a session's life"
    );
    let text = export(zone, "").join("\n");
    let secrets = [
        &secret,
        &rotated,
        &governed.demo.secret,
        &governed.peer_secret,
        &gateway.text("token"),
        &governed.token,
        &governed.peer_token,
        &world.admin_token,
    ];
    for secret in secrets {
        assert!(secret.len() > 20 && !text.contains(secret.as_str()));
    }
}

#[test]
fn a_malformed_request_is_on_record_and_a_flood_becomes_a_number() {
    let world = World::with(|config| {
        config.auth_failures_per_minute = 3;
        config.ledger.checkpoint_interval = Duration::from_millis(50);
    });
    let demo = world.demo();
    for _ in 0..10 {
        let form = [("grant_type", GRANT_TYPE), ("zone_id", "demo")];
        assert_eq!(world.token_form(&form, &[]).status, 400);
    }
    for _ in 0..10 {
        let reply = demo.exchange(&[("client_secret", "wrong")]);
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
    }
    let counted = eventually("the rest is counted", || {
        let denied = find(&demo.zone, "event_type=token_exchange&decision=deny");
        let counted: Vec<u64> = denied
            .iter()
            .filter_map(|event| event["stands_for"].as_u64())
            .collect();
        let alone = denied.len() - counted.len();
        (u64::try_from(alone).unwrap() + counted.iter().sum::<u64>() == 20).then_some(denied)
    });
    let statuses: Vec<&str> = counted
        .iter()
        .filter_map(|event| event["evaluation_status"].as_str())
        .collect();
    let count = |status: &str| statuses.iter().filter(|own| **own == status).count();
    assert_eq!(
        (count("malformed_request"), count("authentication_failed")),
        (3, 3)
    );
}

/// An event as a gateway makes it.
fn decided(zone: &str, number: u64) -> Event {
    let mut event = Event::new(
        uuid(number),
        ZoneId::from(zone),
        EventType::GatewayRequest,
        format!("gateway-request-{number}"),
        OccurredAt(1_790_000_000_000_000 + number * 1_000_000),
    );
    event.resource = Some("resource://demo".to_owned());
    event.method = Some("GET".to_owned());
    event.path = Some(format!("/demo/items/{number}"));
    event.mandate.client_id = Some(format!("application-{}", number % 3));
    event.mandate.agent_session_id = Some("child".to_owned());
    event.mandate.session_path = vec!["root".to_owned(), "child".to_owned()];
    event.mandate.delegation_path = vec!["edge-1".to_owned(), "edge-2".to_owned()];
    if number.is_multiple_of(5) {
        event.decision = authority::audit::Decision::Deny;
        event.reason = Some("scope_missing".to_owned());
    }
    event
}

fn uuid(number: u64) -> String {
    format!("01980000-0000-7000-8000-{number:012}")
}

fn send(zone: &Zone<'_>, token: &str, batch: &Value) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let body = serde_json::to_vec(batch).unwrap();
    let path = zone.path("/gateway/decisions");
    zone.world.send("POST", &path, &headers, Some(&body))
}

#[test]
fn a_gateways_events_are_taken_once_each_and_only_its_own() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let other = zone.gateway("other");
    let batch = |numbers: std::ops::Range<u64>| {
        let events: Vec<Event> = numbers.map(|number| decided(&zone.id, number)).collect();
        json!({"events": events})
    };
    let taken = send(zone, &token, &batch(0..600)).expect(200).body;
    assert_eq!(taken, json!({"accepted": 600, "duplicates": 0}));
    let taken = send(zone, &token, &batch(590..610)).expect(200).body;
    assert_eq!(taken, json!({"accepted": 10, "duplicates": 10}));
    let mut twice = batch(700..701);
    let event = twice["events"][0].clone();
    twice["events"].as_array_mut().unwrap().push(event);
    let taken = send(zone, &token, &twice).expect(200).body;
    assert_eq!(taken, json!({"accepted": 1, "duplicates": 1}));

    // In the name of another gateway, of an administrator, for another zone, or what is no event.
    assert_eq!(
        send(zone, &other, &batch(0..1)).error(),
        (409, "audit_event_conflict")
    );
    let before = events(zone).len();
    for (member, value) in [
        ("zone_id", json!("elsewhere")),
        ("event_type", json!("admin_change")),
        ("event_type", json!("session")),
        ("actor", json!({"type": "operator"})),
        ("id", json!("1")),
        ("path", json!("x".repeat(20_000))),
        ("occurred_at", json!("yesterday")),
        ("decision", json!("maybe")),
    ] {
        let mut forged = batch(900..901);
        forged["events"][0][member] = value;
        let reply = send(zone, &token, &forged);
        assert_eq!(reply.status, 400, "{member}: {reply:?}");
    }
    assert_eq!(
        send(zone, &token, &batch(2000..3001)).error().0,
        413,
        "too many at once"
    );
    assert_eq!(events(zone).len(), before);
    // The gateway is the one that the token is of, whatever the event says.
    let mut renamed = batch(901..902);
    renamed["events"][0]["gateway_id"] = json!("another");
    send(zone, &token, &renamed).expect(200);
    let found = find(zone, "request_id=gateway-request-901");
    assert_ne!(found[0]["gateway_id"], "another");
    assert_eq!(
        world
            .send("POST", &zone.path("/gateway/decisions"), &[], None)
            .status,
        401
    );
    verify(zone, &export(zone, ""), None).unwrap();
}

#[test]
fn events_are_found_by_all_that_they_say() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let batch: Vec<Event> = (0..30).map(|number| decided(&zone.id, number)).collect();
    send(zone, &token, &json!({"events": batch})).expect(200);
    let mandate = demo.exchange(&[]).expect(200).text("access_token");
    let claims = zone.claims(&mandate, authority::mandate::MandateUse::Gateway);
    let at = |number: u64| OccurredAt(1_790_000_000_000_000 + number * 1_000_000).to_string();
    for (query, expected) in [
        ("event_type=gateway_request".to_owned(), 30),
        ("decision=deny".to_owned(), 6),
        ("decision=deny&application_id=application-1".to_owned(), 2),
        (
            "reason=scope_missing&resource=resource://demo".to_owned(),
            6,
        ),
        ("reason=never".to_owned(), 0),
        ("request_id=gateway-request-7".to_owned(), 1),
        ("session_id=child".to_owned(), 30),
        ("session_id=root".to_owned(), 0),
        ("session_tree=root".to_owned(), 30),
        ("delegation_id=edge-1".to_owned(), 30),
        (format!("since={}&until={}", at(3), at(9)), 6),
        (format!("since={}&until={}&decision=deny", at(3), at(9)), 1),
        (format!("jti={}", claims.jti), 1),
        (format!("authority_record_id={}", claims.sid), 1),
        ("authority_record_id=nobody".to_owned(), 0),
        (format!("application_id={}", demo.agent), 1),
        (
            "resource=resource://demo&event_type=token_exchange".to_owned(),
            1,
        ),
    ] {
        let found = find(zone, &format!("{query}&limit=1000"));
        assert_eq!(found.len(), expected, "{query}");
        assert!(
            found.is_sorted_by(
                |one, next| one["occurred_at"].as_str() >= next["occurred_at"].as_str()
            )
        );
    }
    // Page by page, each once, while more comes in.
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = zone.admin(
            "GET",
            &format!("/audit?session_tree=root&limit=7{cursor}"),
            None,
        );
        let page = page.expect(200).body;
        let ids = page["items"].as_array().unwrap().iter();
        seen.extend(ids.map(|event| event["id"].as_str().unwrap().to_owned()));
        send(
            zone,
            &token,
            &json!({"events": [decided(&zone.id, 100 + u64::try_from(seen.len()).unwrap())]}),
        )
        .expect(200);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 30);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 30);

    let reply = zone.admin("GET", "/audit?decision=deny&format=csv&limit=2", None);
    let reply = reply.expect(200);
    assert!(reply.header("content-type").starts_with("text/csv"));
    let text = String::from_utf8_lossy(&reply.bytes).into_owned();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("seq,occurred_at,") && !reply.header("x-next-cursor").is_empty());
    for query in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "since=yesterday",
        "decision=maybe",
        "event_type=party",
        "colour=red",
    ] {
        let reply = zone.admin("GET", &format!("/audit?{query}"), None);
        assert_eq!(reply.error(), (400, "invalid_request"), "{query}");
    }
    assert_eq!(
        world.send("GET", &zone.path("/audit"), &[], None).status,
        401
    );
    // What is in another zone is not found in this one.
    assert!(find(&world.zone("elsewhere"), "event_type=gateway_request").is_empty());
}

#[test]
fn a_request_is_explained_from_the_call_to_the_root() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let minted = demo.exchange(&[]).expect(200);
    let claims = zone.claims(
        &minted.text("access_token"),
        authority::mandate::MandateUse::Gateway,
    );
    let version = find(zone, &format!("jti={}", claims.jti))[0]["policy_set_version_id"].clone();
    let mut event = decided(&zone.id, 1);
    event.mandate = (&claims).into();
    event.policy.policy_set_version_id = version.as_str().map(str::to_owned);
    let determining = json!({"id": "caracal-direct-use"});
    event.determining_policies_json = vec![determining.as_object().unwrap().clone()];
    send(zone, &token, &json!({"events": [event]})).expect(200);
    let path = "/audit/by-request/gateway-request-1";
    let story = zone.admin("GET", &format!("{path}/explain"), None);
    let story = story.expect(200).body;
    assert_eq!(story["final_decision"], "allow");
    assert_eq!(story["application"]["name"], "agent");
    let exchange = &story["exchanges"][0];
    assert_eq!(exchange["sid"], claims.sid.as_str());
    assert_eq!(exchange["request_id"], minted.header("x-request-id"));
    assert_eq!(
        exchange["determining_policies"][0]["id"],
        "caracal-direct-mint"
    );
    let policy = &story["policy"];
    assert_eq!(policy["in_force_now"], true);
    assert!(
        policy["modules"][0]["content"]
            .as_str()
            .unwrap()
            .contains("app_ids")
    );
    let rule = policy["decided"][0]["rules"][0]["text"].as_str().unwrap();
    assert!(rule.contains("direct_use"), "{rule}");
    assert_eq!(story["revocations"], json!([]));

    let revoked = json!({"anchor_type": "sid", "id": claims.sid, "reason": "misbehaves"});
    zone.admin("POST", "/revocations", Some(&revoked))
        .expect(200);
    let story = zone
        .admin("GET", &format!("{path}/explain"), None)
        .expect(200);
    let reasons: Vec<&Value> = story.body["revocations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["reason"])
        .collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| **reason == "misbehaves"));
    let events = zone.admin("GET", path, None).expect(200).body;
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
    for rest in ["/explain", ""] {
        let reply = zone.admin("GET", &format!("/audit/by-request/never{rest}"), None);
        assert_eq!(reply.error(), (404, "request_not_found"));
    }
}

#[tokio::test]
async fn an_export_verifies_and_what_is_done_to_the_database_shows_in_it() {
    let mut world = World::with(|config| {
        config.ledger.checkpoint_interval = Duration::from_millis(100);
    });
    let id = {
        let demo = world.demo();
        for _ in 0..10 {
            demo.exchange(&[]).expect(200);
        }
        demo.zone.id.clone()
    };
    let kept: SignedCheckpoint = {
        let zone = zone(&world, &id);
        serde_json::from_value(
            zone.admin("GET", "/audit/checkpoint", None)
                .expect(200)
                .body,
        )
        .unwrap()
    };
    let last = kept.checkpoint.seq;
    eventually("a checkpoint of it all", || {
        let lines = export(&zone(&world, &id), "");
        let is_at_end = lines
            .iter()
            .rev()
            .nth(1)?
            .starts_with(r#"{"line":"checkpoint""#);
        is_at_end.then_some(())
    });
    let whole = export(&zone(&world, &id), "");
    let summary = verify(&zone(&world, &id), &whole, Some(&kept)).unwrap();
    assert_eq!((summary.first_seq, summary.last_seq), (1, last));

    // Each of these by somebody who may write to the database, and knows what triggers are.
    let place = format!("(SELECT number << 40 FROM ledgers WHERE zone_id = '{id}')");
    let tampering = [
        (
            format!(
                "UPDATE audit_entries SET event = replace(event, 'token_exchange', 'session') WHERE entry = {place} + 12"
            ),
            12,
        ),
        (
            format!("DELETE FROM audit_entries WHERE entry = {place} + 13"),
            13,
        ),
        (
            format!(
                "UPDATE audit_entries SET event = CASE entry & 255 WHEN 12 THEN
                   (SELECT event FROM audit_entries WHERE entry = {place} + 13) ELSE
                   (SELECT event FROM audit_entries WHERE entry = {place} + 12) END
                 WHERE entry IN ({place} + 12, {place} + 13)"
            ),
            12,
        ),
        (
            format!(
                "DELETE FROM audit_entries WHERE entry > {place} + {last} - 2 AND entry <= {place} + {last}"
            ),
            last - 1,
        ),
        (
            format!("UPDATE audit_entries SET mac = zeroblob(32) WHERE entry = {place} + 14"),
            14,
        ),
    ];
    for (sql, seq) in tampering {
        world.stop();
        let copy = tempfile::tempdir().unwrap();
        let file = world.dir.path().join("caracal.db");
        std::fs::copy(&file, copy.path().join("kept")).unwrap();
        let pool = database(&world).await;
        for trigger in ["audit_entries_never_change", "audit_entries_stay"] {
            sqlx::query(sqlx::AssertSqlSafe(format!("DROP TRIGGER {trigger}")))
                .execute(&pool)
                .await
                .unwrap();
        }
        let done = sqlx::query(sqlx::AssertSqlSafe(sql.clone()))
            .execute(&pool)
            .await
            .unwrap();
        assert!(done.rows_affected() > 0, "{sql}");
        pool.close().await;
        world.start();
        let zone = zone(&world, &id);
        let fault = verify(&zone, &export(&zone, ""), Some(&kept)).unwrap_err();
        assert_eq!(fault.seq, Some(seq), "{sql}: {fault}");
        world.stop();
        for rest in ["caracal.db-wal", "caracal.db-shm"] {
            let _ = std::fs::remove_file(world.dir.path().join(rest));
        }
        std::fs::copy(copy.path().join("kept"), &file).unwrap();
    }
    // The end cut off, and the ledger made to look as if it had never been there.
    let pool = database(&world).await;
    for sql in [
        "DROP TRIGGER audit_entries_stay".to_owned(),
        format!(
            "DELETE FROM audit_entries WHERE entry > {place} + {last} - 2 AND entry <= {place} + {last}"
        ),
        format!(
            "UPDATE ledgers SET seq = {last} - 2, hash = (SELECT hash FROM audit_entries
             WHERE entry = {place} + {last} - 2) WHERE zone_id = '{id}'"
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
    world.start();
    assert!(world.log.text().contains("events were removed or altered"));
    assert!(
        world
            .send("GET", "/metrics", &[], None)
            .bytes
            .windows(40)
            .any(|window| window.starts_with(b"caracal_sts_ledger_faults_total 1")),
    );
    let zone = zone(&world, &id);
    let fault = verify(&zone, &export(&zone, ""), Some(&kept)).unwrap_err();
    assert_eq!(fault.seq, Some(last - 1), "{fault}");
}

fn zone<'a>(world: &'a World, id: &str) -> Zone<'a> {
    Zone {
        world,
        id: id.to_owned(),
        slug: String::new(),
    }
}

#[test]
fn an_export_goes_on_where_it_was_broken_off_and_keys_that_sign_no_more_verify() {
    let world = World::with(|config| {
        config.key_publish_lead = Duration::ZERO;
        config.ledger.checkpoint_interval = Duration::from_millis(50);
    });
    let demo = world.demo();
    for _ in 0..3 {
        demo.exchange(&[]).expect(200);
        eventually("a checkpoint", || {
            let lines = export(&demo.zone, "");
            let is_there = lines
                .iter()
                .rev()
                .nth(1)?
                .starts_with(r#"{"line":"checkpoint""#);
            is_there.then_some(())
        });
        demo.zone.admin("POST", "/keys/rotate", None).expect(200);
    }
    let whole = export(&demo.zone, "");
    let summary = verify(&demo.zone, &whole, None).unwrap();
    assert!(summary.checkpoints >= 3);
    // A checkpoint may belong behind an event that is the last line, so that one is fetched again.
    let mut broken: Vec<String> = whole[..whole.len() / 2].to_vec();
    broken.pop_if(|line| line.starts_with(r#"{"line":"event""#));
    let after = broken
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seq"].as_u64())
        .max()
        .unwrap();
    let rest = export(&demo.zone, &format!("first=1&after={after}"));
    let mended: Vec<String> = broken.iter().chain(&rest).cloned().collect();
    let mended_summary = verify(&demo.zone, &mended, None).unwrap();
    assert!(mended_summary.events >= summary.events);
    for query in ["first=1", "first=9&after=3", "first=1&after=9999999"] {
        let reply = demo
            .zone
            .admin("GET", &format!("/audit/export?{query}"), None);
        assert!(matches!(reply.status, 400 | 409), "{query}: {reply:?}");
    }
    // A part of it begins at a checkpoint: there are some before its last event.
    let last = whole
        .iter()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| Some(line["recorded_at"].as_str()?.to_owned()))
        .unwrap();
    let part = export(&demo.zone, &format!("since={last}"));
    let part = verify(&demo.zone, &part, None).unwrap();
    assert!((1..summary.events).contains(&part.events), "{part:?}");
}

/// A checkpoint that is stored while an export is written is of its events, and not among its lines.
#[test]
fn an_export_verifies_while_checkpoints_are_made() {
    let world = World::with(|config| config.ledger.checkpoint_interval = Duration::from_millis(1));
    let demo = world.demo();
    for _ in 0..60 {
        demo.exchange(&[]).expect(200);
        verify(&demo.zone, &export(&demo.zone, ""), None).unwrap();
    }
}

#[test]
fn the_evidence_of_an_archived_zone_is_there_under_its_id() {
    let world = World::new();
    let demo = world.demo();
    demo.exchange(&[]).expect(200);
    demo.zone.admin("DELETE", "", None).expect(204);
    let zone = zone(&world, &demo.zone.id);
    assert_eq!(events(&zone).last().unwrap()["action"], "zone.archive");
    verify(&zone, &export(&zone, ""), None).unwrap();
    let by_slug = world.get("/v1/zones/demo/audit");
    assert_eq!(by_slug.error(), (404, "zone_not_found"));
}

#[tokio::test]
async fn old_segments_go_whole_and_what_is_left_still_verifies() {
    let world = World::with(|config| {
        config.ledger.retention = Some(Duration::from_secs(1));
        config.ledger.segment_events = 10;
        config.ledger.checkpoint_interval = Duration::from_millis(50);
    });
    let demo = world.demo();
    let first = find(&demo.zone, "event_type=admin_change&limit=1000");
    assert!(!first.is_empty());
    let lines = eventually("the first segment is gone", || {
        demo.exchange(&[]).expect(200);
        let lines = export(&demo.zone, "");
        let header: Value = serde_json::from_str(lines.first()?).ok()?;
        (header["first_seq"].as_u64()? > 10).then_some(lines)
    });
    let summary = verify(&demo.zone, &lines, None).unwrap();
    assert!(summary.first_seq > 10 && summary.events > 0, "{summary:?}");
    // That it begins is told before it is done, and in time goes the way of the others.
    eventually("the first events are gone", || {
        find(&demo.zone, "event_type=admin_change&limit=1000")
            .is_empty()
            .then_some(())
    });
    eventually("what goes is told of", || {
        demo.exchange(&[]).expect(200);
        let pruned = find(&demo.zone, "event_type=audit_pruned&limit=1000");
        let told = &pruned.first()?["metadata_json"];
        (told["first_seq"].as_u64()? <= told["last_seq"].as_u64()?).then_some(())
    });
    // What is let go of is not only not found but goes, and nobody can remove what is not sealed.
    let pool = database(&world).await;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let going: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM audit_entries JOIN ledgers ON number = entry >> 40
             WHERE entry & 0xffffffffff <= pruned",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        if going == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "{going} are still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = sqlx::query(
        "DELETE FROM audit_entries WHERE entry = (SELECT max(entry) FROM audit_entries)",
    )
    .execute(&pool)
    .await
    .unwrap_err();
    assert!(
        refused.to_string().contains("from the beginning"),
        "{refused}"
    );
}

/// A ledger of more than one run of its index, and then the same from before its index was made anew.
#[tokio::test]
async fn a_ledger_of_many_events_is_searched_whole_also_if_it_was_indexed_otherwise() {
    const EVENTS: u64 = 17_000;
    let mut world = World::new();
    let (id, token) = {
        let demo = world.demo();
        (demo.zone.id.clone(), demo.zone.gateway("edge"))
    };
    let written = |world: &World, numbers: std::ops::Range<u64>| {
        let events: Vec<Event> = numbers
            .map(|number| {
                let mut event = decided(&id, number);
                event.occurred_at = OccurredAt(1_790_000_000_000_000 + number * 100);
                event
            })
            .collect();
        for events in events.chunks(1_000) {
            send(&zone(world, &id), &token, &json!({"events": events})).expect(200);
        }
    };
    let all_found = |world: &World, events: u64| {
        let zone = zone(world, &id);
        for number in [0, 4_000, 16_000, events - 1] {
            let found = find(&zone, &format!("request_id=gateway-request-{number}"));
            assert_eq!(found.len(), 1, "{number}");
            assert_eq!(found[0]["path"], format!("/demo/items/{number}"));
        }
        let query = "decision=deny&application_id=application-1&limit=1000";
        let (mut paths, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = zone.admin("GET", &format!("/audit?{query}{cursor}"), None);
            let page = page.expect(200).body;
            let items = page["items"].as_array().unwrap().iter();
            paths.extend(items.map(|event| event["path"].as_str().unwrap().to_owned()));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let numbers = (0..events).rev();
        let expected = numbers.filter(|number| number % 5 == 0 && number % 3 == 1);
        let expected = expected.map(|number| format!("/demo/items/{number}"));
        assert_eq!(paths, expected.collect::<Vec<_>>());
    };
    written(&world, 0..EVENTS);
    all_found(&world, EVENTS);

    world.stop();
    let pool = database(&world).await;
    sqlx::raw_sql(
        "DROP VIEW exchange_appends;
         DROP VIEW ledger_appends;
         DROP TABLE audit_index;
         DROP TABLE numbers;
         CREATE TABLE audit_terms (run INTEGER NOT NULL, term INTEGER NOT NULL, at INTEGER NOT NULL,
           entry INTEGER NOT NULL, events BLOB NOT NULL DEFAULT (x''), PRIMARY KEY (run, term, at, entry)
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE audit_segments (first INTEGER PRIMARY KEY, events INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
         ALTER TABLE ledgers DROP COLUMN indexed;
         ALTER TABLE ledgers ADD COLUMN first_run INTEGER NOT NULL DEFAULT 0;
         DELETE FROM _sqlx_migrations WHERE version >= 10",
    )
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
    world.start();
    let pool = database(&world).await;
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_runs")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(runs, 1);
    pool.close().await;
    all_found(&world, EVENTS);
    written(&world, EVENTS..2 * EVENTS);
    all_found(&world, 2 * EVENTS);
}

#[test]
fn a_tail_tells_what_is_written_and_goes_on_where_it_was_left() {
    let world = World::new();
    let demo = world.demo();
    let follow = |query: &str, headers: &str| {
        let address = world.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let path = demo.zone.path(&format!("/audit/tail{query}"));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: sts\r\nAuthorization: Bearer {}\r\n{headers}\r\n",
            world.admin_token
        )
        .unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        assert!(lines.next().unwrap().contains("200"));
        // The head is there; what is written from now on is told.
        assert!(lines.any(|line| line.is_empty()));
        lines.filter_map(|line| {
            let event: Value = serde_json::from_str(line.strip_prefix("data: ")?).unwrap();
            Some(event)
        })
    };
    let mut denied = follow("?decision=deny", "");
    demo.exchange(&[]).expect(200);
    let reply = demo.exchange(&[("scope", "admin")]);
    let first = denied.next().unwrap();
    assert_eq!(first["request_id"], reply.header("x-request-id"));
    let seq = first["seq"].as_u64().unwrap();
    drop(denied);
    demo.zone.resource("resource://later");
    let mut again = follow("", &format!("Last-Event-ID: {seq}\r\n"));
    let next = again.next().unwrap();
    assert_eq!(
        (&next["action"], next["seq"].as_u64()),
        (&json!("resource.create"), Some(seq + 1))
    );
    let mut behind = follow(&format!("?after={}&decision=deny", seq - 2), "");
    assert_eq!(behind.next().unwrap()["seq"], seq);
}
