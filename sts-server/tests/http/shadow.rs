//! Shadow policies: evaluated beside the one in force, never enforced, and their disagreements told.

use authority::bundle::{Bundle, open};
use serde_json::{Value, json};

use crate::world::{Demo, Reply, World, Zone, grants, instant};

/// A set with two versions: the first lets the agent write, the second does not; the first is in force.
struct Versions {
    set: String,
    wide: String,
    narrow: String,
}

fn versions(demo: &Demo<'_>) -> Versions {
    let zone = &demo.zone;
    let (set, wide) = zone.activate(&zone.policy(&grants(&demo.agent)));
    let narrow = grants(&demo.agent).replace(r#"["read", "write"]"#, r#"["read"]"#);
    let manifest = json!({"manifest": [{"policy_version_id": zone.policy(&narrow)}]});
    let narrow = zone
        .world
        .post(&format!("{set}/versions"), manifest)
        .expect(201)
        .text("version_id");
    Versions { set, wide, narrow }
}

fn bundle(zone: &Zone<'_>, token: &str) -> Bundle {
    let bearer = format!("Bearer {token}");
    let path = zone.path("/gateway/bundle");
    let reply = zone
        .world
        .send("GET", &path, &[("authorization", &bearer)], None)
        .expect(200);
    let signature = reply.header("x-caracal-signature");
    open(
        &reply.bytes,
        signature,
        &zone.keys(),
        &zone.slug,
        "http://sts.test",
        0,
    )
    .unwrap()
}

fn report(zone: &Zone<'_>, token: &str, body: &Value) -> Reply {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let path = zone.path("/gateway/shadow");
    let body = serde_json::to_vec(body).unwrap();
    zone.world.send("POST", &path, &headers, Some(&body))
}

fn row(path: &str, count: u64) -> Value {
    json!({
        "moment": "Request", "client_id": "app-1", "resource": "resource://demo",
        "method": "POST", "path": path,
        "enforced": {"decision": "allow"}, "shadow": {"decision": "deny", "reason": "too_late"},
        "count": count,
    })
}

#[test]
fn a_shadow_rides_along_and_its_disagreements_in_exchanges_are_counted_and_listed() {
    let world = World::new();
    let demo = world.demo();
    let Versions { set, wide, narrow } = versions(&demo);
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let account = || world.get(&zone.path("/shadow"));
    assert_eq!(account().error(), (404, "shadow_not_found"));
    assert!(bundle(zone, &token).shadow.is_none());

    let begun = world
        .post(&format!("{set}/shadow"), json!({"version_id": narrow}))
        .expect(200);
    let published = bundle(zone, &token);
    assert_eq!(begun.body["sequence"], published.sequence);
    let of = |policy: Option<authority::bundle::BundlePolicy>| {
        policy.unwrap().policy_set_version_id.to_string()
    };
    assert_eq!(
        (&*of(published.policy), &*of(published.shadow)),
        (wide.as_str(), narrow.as_str())
    );

    demo.exchange(&[]).expect(200);
    for _ in 0..2 {
        demo.exchange(&[("scope", "write")]).expect(200);
    }
    let told = account().expect(200).body;
    assert_eq!(
        (&told["version_id"], &told["ended_at"]),
        (&json!(narrow), &Value::Null)
    );
    assert_eq!((&told["same"], &told["different"]), (&json!(1), &json!(2)));
    let item = &told["items"][0];
    assert_eq!(
        (&item["moment"], &item["client_id"], &item["resource"]),
        (
            &json!("TokenExchange"),
            &json!(demo.agent),
            &json!("resource://demo")
        )
    );
    assert_eq!(
        (&item["enforced"], &item["shadow"], &item["count"]),
        (
            &json!({"decision": "allow"}),
            &json!({"decision": "deny", "reason": "role_scope_mismatch"}),
            &json!(2)
        )
    );
    assert!(instant(&item["first_seen"]) <= instant(&item["last_seen"]));
    let metrics = world.send("GET", "/metrics", &[], None);
    let metrics = String::from_utf8(metrics.bytes).unwrap();
    assert!(metrics.contains("caracal_sts_shadow_decisions_total{agreement=\"different\"} 2"));

    world
        .admin("DELETE", &format!("{set}/shadow"), None)
        .expect(204);
    assert!(bundle(zone, &token).shadow.is_none());
    demo.exchange(&[("scope", "write")]).expect(200);
    let told = account().expect(200).body;
    assert_eq!(told["different"], 2, "an ended shadow's account stays");
    assert!(told["ended_at"].is_string());
    let again = world.admin("DELETE", &format!("{set}/shadow"), None);
    assert_eq!(again.error(), (404, "shadow_not_found"));
}

#[test]
fn a_shadow_that_fails_costs_an_exchange_nothing() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let broken = zone.policy(
        "package caracal.authz\nimport rego.v1\nr := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\
         result := count([1 | some a in r; some b in r; some c in r; some d in r; some e in r; some f in r])\n",
    );
    let set = world.post(&zone.path("/policy-sets"), json!({"name": "trial"}));
    let set = zone.path(&format!("/policy-sets/{}", set.text("id")));
    let manifest = json!({"manifest": [{"policy_version_id": broken}]});
    let version = world
        .post(&format!("{set}/versions"), manifest)
        .expect(201)
        .text("version_id");
    world
        .post(&format!("{set}/shadow"), json!({"version_id": version}))
        .expect(200);
    demo.exchange(&[]).expect(200);
    let told = world.get(&zone.path("/shadow")).expect(200).body;
    assert_eq!(
        told["items"][0]["shadow"],
        json!({"decision": "deny", "reason": "policy_eval_failed"})
    );
}

#[test]
fn what_gateways_report_is_added_up_within_bounds_and_only_for_the_present_shadow() {
    let world = World::new();
    let demo = world.demo();
    let Versions { set, wide, narrow } = versions(&demo);
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let body = |rows: &[Value], different: u64| json!({"version_id": narrow, "same": 5, "different": different, "rows": rows});
    assert_eq!(
        report(zone, &token, &body(&[row("/a", 1)], 1)).error(),
        (409, "shadow_not_current")
    );
    world
        .post(&format!("{set}/shadow"), json!({"version_id": narrow}))
        .expect(200);
    for _ in 0..2 {
        report(zone, &token, &body(&[row("/a", 2), row("/b", 1)], 4)).expect(204);
    }
    let told = world.get(&zone.path("/shadow")).expect(200).body;
    assert_eq!((&told["same"], &told["different"]), (&json!(10), &json!(8)));
    let counts: Vec<_> = told["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["path"].as_str().unwrap(),
                item["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(counts, [("/a", 4), ("/b", 2)]);

    let with = |name: &str, value: Value| {
        let mut row = row("/c", 1);
        row[name] = value;
        row
    };
    for wrong in [
        body(&[row("/a", 2)], 1),
        body(&[row("/a", 0)], 1),
        body(&[with("moment", json!("TokenExchange"))], 1),
        body(&[with("moment", json!("Never"))], 1),
        body(&[with("path", json!("x".repeat(513)))], 1),
        body(&[with("client_id", json!("x".repeat(129)))], 1),
        body(&[with("method", json!("x".repeat(129)))], 1),
        body(&[with("resource", json!("x".repeat(513)))], 1),
        body(
            &[with(
                "shadow",
                json!({"decision": "deny", "reason": "x".repeat(129)}),
            )],
            1,
        ),
        body(&vec![row("/d", 1); 257], 257),
        body(&[], u64::MAX),
    ] {
        assert_eq!(
            report(zone, &token, &wrong).error(),
            (400, "invalid_request"),
            "{wrong}"
        );
    }
    let other = world.zone("other").gateway("edge");
    assert_eq!(
        report(zone, &other, &body(&[], 1)).error(),
        (403, "zone_mismatch")
    );
    assert_eq!(
        report(zone, &world.admin_token, &body(&[], 1)).error(),
        (401, "invalid_token")
    );

    // Past the bound, disagreements are counted and not listed.
    for page in 0..5 {
        let rows: Vec<Value> = (0..250).map(|n| row(&format!("/{page}/{n}"), 1)).collect();
        report(zone, &token, &body(&rows, 250)).expect(204);
    }
    let told = world.get(&zone.path("/shadow")).expect(200).body;
    assert_eq!(told["items"].as_array().unwrap().len(), 1000);
    assert_eq!(told["different"], 8 + 5 * 250);

    // What is in force needs no shadow, and a shadow of it is none.
    world
        .post(&format!("{set}/activate"), json!({"version_id": narrow}))
        .expect(200);
    assert!(bundle(zone, &token).shadow.is_none());
    let same = world.post(&format!("{set}/shadow"), json!({"version_id": narrow}));
    assert_eq!(same.error(), (400, "invalid_request"));
    world
        .post(&format!("{set}/shadow"), json!({"version_id": wide}))
        .expect(200);
    let told = world.get(&zone.path("/shadow")).expect(200).body;
    assert_eq!(
        (&told["version_id"], &told["different"], &told["items"]),
        (&json!(wide), &json!(0), &json!([]))
    );
}
