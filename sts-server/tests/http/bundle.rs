//! The bundle, as gateways get it.

use std::time::{Duration, Instant};

use authority::bundle::{Bundle, open};
use serde_json::json;

use crate::world::{Reply, World, Zone};

fn fetch(zone: &Zone<'_>, token: &str, query: &str, etag: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("authorization", bearer.as_str())];
    if !etag.is_empty() {
        headers.push(("if-none-match", etag));
    }
    zone.world.send(
        "GET",
        &zone.path(&format!("/gateway/bundle{query}")),
        &headers,
        None,
    )
}

fn opened(zone: &Zone<'_>, reply: &Reply) -> Bundle {
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

#[test]
fn a_bundle_holds_what_a_gateway_decides_by_and_is_signed() {
    let world = World::new();
    let demo = world.demo();
    let token = demo.zone.gateway("edge");
    let reply = fetch(&demo.zone, &token, "", "").expect(200);
    assert_eq!(reply.header("cache-control"), "no-cache");
    assert_eq!(reply.header("content-type"), "application/json");
    let bundle = opened(&demo.zone, &reply);
    assert!(
        reply
            .header("etag")
            .starts_with(&format!("\"{}-", bundle.sequence))
    );
    assert_eq!(bundle.zone_id.as_str(), demo.zone.id);
    assert_eq!(bundle.resources.len(), 2);
    assert_eq!(bundle.resources[0].operations[0].scope, "read");
    assert_eq!(bundle.keys.keys.len(), 1);
    let policy = bundle.policy.unwrap();
    authority::policy::Policy::load(&policy.program().unwrap()).unwrap();
    assert_eq!(policy.compiler, authority::policy::COMPILER);

    let etag = reply.header("etag");
    assert_eq!(fetch(&demo.zone, &token, "", etag).expect(304).bytes, b"");
    fetch(&demo.zone, &token, "", &format!("\"x\", W/{etag}")).expect(304);
    fetch(&demo.zone, &token, "", "\"x\"").expect(200);
    assert_eq!(
        fetch(&demo.zone, &token, "?wait=x", "").error(),
        (400, "invalid_request")
    );
}

#[test]
fn every_change_to_it_raises_the_sequence_and_is_told_at_once() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let mut known = fetch(zone, &token, "", "").expect(200);
    let resource = zone.resource("resource://third");
    known = fetch(zone, &token, "", known.header("etag")).expect(200);

    let resource = zone.path(&format!("/resources/{resource}"));
    let changes: [(&str, &str, Option<serde_json::Value>); 3] = [
        ("PATCH", &resource, Some(json!({"scopes": ["read"]}))),
        ("DELETE", &resource, None),
        ("POST", &zone.path("/keys/rotate"), None),
    ];
    for (method, path, body) in changes {
        let sequence = opened(zone, &known).sequence;
        let etag = known.header("etag").to_owned();
        let (newer, waited) = std::thread::scope(|scope| {
            let poll = scope.spawn(|| fetch(zone, &token, "?wait=20", &etag));
            std::thread::sleep(Duration::from_millis(300));
            assert!(!poll.is_finished(), "{method} {path}");
            let changed = Instant::now();
            assert!(
                world.admin(method, path, body.as_ref()).status < 300,
                "{method} {path}"
            );
            (poll.join().unwrap(), changed.elapsed())
        });
        known = newer.expect(200);
        assert!(
            waited < Duration::from_secs(5),
            "{method} {path}: {waited:?}"
        );
        assert!(opened(zone, &known).sequence > sequence, "{method} {path}");
    }
    let last = opened(zone, &known);
    assert_eq!(last.keys.keys.len(), 2);
}

#[test]
fn without_news_the_wait_ends_in_304() {
    let world = World::new();
    let zone = world.zone("quiet");
    let token = zone.gateway("edge");
    let etag = fetch(&zone, &token, "", "")
        .expect(200)
        .header("etag")
        .to_owned();
    let started = Instant::now();
    fetch(&zone, &token, "?wait=1", &etag).expect(304);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_gateway_token_is_good_for_its_own_zone_until_it_is_revoked() {
    let world = World::new();
    let (one, other) = (world.zone("one"), world.zone("other"));
    let token = one.gateway("edge");
    fetch(&one, &token, "", "").expect(200);
    let by_slug = Zone {
        id: "one".to_owned(),
        slug: "one".to_owned(),
        world: &world,
    };
    fetch(&by_slug, &token, "", "").expect(200);
    assert_eq!(
        fetch(&other, &token, "", "").error(),
        (403, "zone_mismatch")
    );
    let nowhere = Zone {
        id: "nowhere".to_owned(),
        slug: String::new(),
        world: &world,
    };
    assert_eq!(
        fetch(&nowhere, &token, "", "").error(),
        (403, "zone_mismatch")
    );
    for wrong in ["gt_wrong", &world.admin_token] {
        let reply = fetch(&one, wrong, "", "");
        assert_eq!(reply.error(), (401, "invalid_token"));
        assert!(reply.header("www-authenticate").starts_with("Bearer "));
    }
    let admin_with_it = world.send(
        "GET",
        "/v1/zones",
        &[("authorization", &format!("Bearer {token}"))],
        None,
    );
    assert_eq!(admin_with_it.error(), (401, "invalid_token"));

    let listed = world.get(&one.path("/gateways")).expect(200);
    assert!(!String::from_utf8_lossy(&listed.bytes).contains(&token));
    let id = listed.body["items"][0]["id"].as_str().unwrap().to_owned();
    world
        .admin("DELETE", &one.path(&format!("/gateways/{id}")), None)
        .expect(204);
    assert_eq!(fetch(&one, &token, "", "").error(), (401, "invalid_token"));
    let again = world.admin("DELETE", &one.path(&format!("/gateways/{id}")), None);
    assert_eq!(again.error(), (404, "gateway_not_found"));
}

#[test]
fn an_archived_zone_has_no_bundle() {
    let world = World::new();
    let zone = world.zone("gone");
    let token = zone.gateway("edge");
    let etag = fetch(&zone, &token, "", "")
        .expect(200)
        .header("etag")
        .to_owned();
    let poll = std::thread::scope(|scope| {
        let poll = scope.spawn(|| fetch(&zone, &token, "?wait=20", &etag));
        std::thread::sleep(Duration::from_millis(200));
        world.admin("DELETE", &zone.path(""), None).expect(204);
        poll.join().unwrap()
    });
    assert_eq!(poll.error(), (404, "zone_not_found"));
    assert_eq!(
        fetch(&zone, &token, "", "").error(),
        (404, "zone_not_found")
    );
    let by_slug = Zone {
        id: "gone".to_owned(),
        slug: String::new(),
        world: &world,
    };
    assert_eq!(
        fetch(&by_slug, &token, "", "").error(),
        (404, "zone_not_found")
    );
}

#[test]
fn the_key_that_signs_it_is_known_to_whoever_knew_the_one_before() {
    let world = World::with(|config| config.key_publish_lead = Duration::ZERO);
    let demo = world.demo();
    let token = demo.zone.gateway("edge");
    let known = demo.zone.keys();
    for _ in 0..3 {
        world
            .admin("POST", &demo.zone.path("/keys/rotate"), None)
            .expect(200);
    }
    let reply = fetch(&demo.zone, &token, "", "").expect(200);
    let signature = reply.header("x-caracal-signature");
    let bundle = open(
        &reply.bytes,
        signature,
        &known,
        "demo",
        "http://sts.test",
        0,
    )
    .unwrap();
    assert_eq!(bundle.keys.keys.len(), 4);
}

#[test]
fn a_shutdown_ends_long_polls_at_once() {
    let mut world = World::new();
    let (etag, path, token) = {
        let zone = world.zone("demo");
        let token = zone.gateway("edge");
        (
            fetch(&zone, &token, "", "")
                .expect(200)
                .header("etag")
                .to_owned(),
            zone.path("/gateway/bundle?wait=25"),
            token,
        )
    };
    let url = format!("{}{path}", world.url);
    let poll = std::thread::spawn(move || {
        let request = ureq::get(url)
            .header("authorization", format!("Bearer {token}"))
            .header("if-none-match", etag);
        request.call().unwrap().status().as_u16()
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(world.stop() < Duration::from_secs(5));
    assert_eq!(poll.join().unwrap(), 304);
}

#[test]
fn how_gateways_treat_a_resource_is_told_and_can_be_changed() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let token = zone.gateway("edge");
    let told = || {
        let bundle = opened(zone, &fetch(zone, &token, "", "").expect(200));
        let mut resources = bundle.resources.into_iter();
        resources
            .find(|resource| resource.identifier == "resource://demo")
            .unwrap()
    };
    let id = told().id;
    let path = format!("/resources/{id}");
    for (settings, expected) in [
        (json!({"end_streams_at_expiry": true}), (true, false)),
        (json!({"single_use": true}), (true, true)),
        (json!({"end_streams_at_expiry": false}), (false, true)),
    ] {
        let shown = zone.admin("PATCH", &path, Some(&settings)).expect(200);
        for (name, value) in settings.as_object().unwrap() {
            assert_eq!(&shown.body[name], value);
        }
        let told = told();
        assert_eq!((told.end_streams_at_expiry, told.single_use), expected);
    }
    let wrong = json!({"end_streams_at_expiry": "yes"});
    let reply = zone.admin("PATCH", &path, Some(&wrong));
    assert_eq!(reply.error(), (400, "invalid_request"));
}
