//! The admin API.

use serde_json::{Value, json};

use crate::world::World;

/// Every admin route; `{z}` and `{id}` stand for a zone and for something that is not in it. The last
/// member says whether the route takes a body.
const ROUTES: [(&str, &str, bool); 32] = [
    ("POST", "/v1/zones", true),
    ("GET", "/v1/zones", false),
    ("GET", "/v1/zones/{z}", false),
    ("PATCH", "/v1/zones/{z}", true),
    ("DELETE", "/v1/zones/{z}", false),
    ("POST", "/v1/zones/{z}/applications", true),
    ("GET", "/v1/zones/{z}/applications", false),
    ("GET", "/v1/zones/{z}/applications/{id}", false),
    ("PATCH", "/v1/zones/{z}/applications/{id}", true),
    ("DELETE", "/v1/zones/{z}/applications/{id}", false),
    (
        "POST",
        "/v1/zones/{z}/applications/{id}/rotate-secret",
        false,
    ),
    ("POST", "/v1/zones/{z}/resources", true),
    ("GET", "/v1/zones/{z}/resources", false),
    ("GET", "/v1/zones/{z}/resources/{id}", false),
    ("PATCH", "/v1/zones/{z}/resources/{id}", true),
    ("DELETE", "/v1/zones/{z}/resources/{id}", false),
    ("POST", "/v1/policies/validate", true),
    ("POST", "/v1/zones/{z}/policies", true),
    ("GET", "/v1/zones/{z}/policies", false),
    ("GET", "/v1/zones/{z}/policies/{id}", false),
    ("POST", "/v1/zones/{z}/policies/{id}/versions", true),
    ("GET", "/v1/zones/{z}/policies/{id}/versions", false),
    ("POST", "/v1/zones/{z}/policy-sets", true),
    ("GET", "/v1/zones/{z}/policy-sets", false),
    ("GET", "/v1/zones/{z}/policy-sets/{id}", false),
    ("POST", "/v1/zones/{z}/policy-sets/{id}/versions", true),
    ("POST", "/v1/zones/{z}/policy-sets/{id}/activate", true),
    ("POST", "/v1/zones/{z}/policy-sets/{id}/simulate", true),
    ("POST", "/v1/zones/{z}/keys/rotate", false),
    ("POST", "/v1/zones/{z}/gateways", true),
    ("GET", "/v1/zones/{z}/gateways", false),
    ("DELETE", "/v1/zones/{z}/gateways/{id}", false),
];

#[test]
fn every_route_refuses_strangers_and_garbage() {
    let world = World::new();
    let zone = world.zone("demo");
    let admin = format!("Bearer {}", world.admin_token);
    let json_type = ("content-type", "application/json");
    for (method, route, takes_body) in ROUTES {
        let path = route.replace("{z}", &zone.id).replace("{id}", "none");
        let body = takes_body.then_some(&b"{}"[..]);
        for (authorization, error) in [
            ("", "missing_token"),
            ("Basic eDp5", "missing_token"),
            ("Bearer at_wrong", "invalid_token"),
        ] {
            let reply = world.send(
                method,
                &path,
                &[("authorization", authorization), json_type],
                body,
            );
            assert_eq!(reply.error(), (401, error), "{method} {route}");
            assert!(
                reply.header("www-authenticate").starts_with("Bearer "),
                "{method} {route}"
            );
        }
        if route.contains("{z}") {
            let elsewhere = route.replace("{z}", "nowhere").replace("{id}", "none");
            let reply = world.send(
                method,
                &elsewhere,
                &[("authorization", &admin), json_type],
                body,
            );
            assert_eq!(reply.error(), (404, "zone_not_found"), "{method} {route}");
        }
        if takes_body {
            let send = |media_type: &str, body: &[u8]| {
                world.send(
                    method,
                    &path,
                    &[("authorization", &admin), ("content-type", media_type)],
                    Some(body),
                )
            };
            for garbage in [
                &b""[..],
                b"{",
                b"[]",
                b"null",
                b"\"x\"",
                b"{\"unknown\": 1}",
                b"\xff\xfe",
                b"{} {}",
            ] {
                let reply = send("application/json", garbage);
                assert_eq!(
                    reply.error(),
                    (400, "invalid_request"),
                    "{method} {route} {garbage:?}"
                );
                let description = reply.text("error_description");
                assert!(
                    description.contains("line 1 column"),
                    "{method} {route}: {description}"
                );
            }
            assert_eq!(
                send("text/plain", b"{}").error(),
                (415, "invalid_request"),
                "{method} {route}"
            );
            let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
            assert_eq!(
                send("application/json", large.as_bytes()).error(),
                (413, "invalid_request"),
                "{method} {route}"
            );
        }
    }
}

#[test]
fn what_is_not_there_is_named() {
    let world = World::new();
    let zone = world.zone("demo");
    let set = world
        .post(&zone.path("/policy-sets"), json!({"name": "main"}))
        .expect(201)
        .text("id");
    for (method, path, body, error) in [
        ("GET", "/applications/none", None, "application_not_found"),
        (
            "PATCH",
            "/applications/none",
            Some(json!({"name": "x"})),
            "application_not_found",
        ),
        (
            "DELETE",
            "/applications/none",
            None,
            "application_not_found",
        ),
        (
            "POST",
            "/applications/none/rotate-secret",
            None,
            "application_not_found",
        ),
        ("GET", "/resources/none", None, "resource_not_found"),
        (
            "PATCH",
            "/resources/none",
            Some(json!({})),
            "resource_not_found",
        ),
        ("DELETE", "/resources/none", None, "resource_not_found"),
        ("GET", "/policies/none", None, "policy_not_found"),
        ("GET", "/policies/none/versions", None, "policy_not_found"),
        (
            "POST",
            "/policies/none/versions",
            Some(json!({"content": ""})),
            "policy_not_found",
        ),
        ("GET", "/policy-sets/none", None, "policy_set_not_found"),
        (
            "POST",
            "/policy-sets/none/versions",
            Some(json!({"manifest": []})),
            "policy_set_not_found",
        ),
        (
            "POST",
            &format!("/policy-sets/{set}/activate"),
            Some(json!({"version_id": "none"})),
            "policy_set_version_not_found",
        ),
        (
            "POST",
            &format!("/policy-sets/{set}/versions"),
            Some(json!({"manifest": [{"policy_version_id": "none"}]})),
            "policy_version_not_found",
        ),
        ("DELETE", "/gateways/none", None, "gateway_not_found"),
    ] {
        let reply = world.admin(method, &zone.path(path), body.as_ref());
        assert_eq!(reply.error(), (404, error), "{method} {path}: {reply:?}");
    }
}

#[test]
fn a_zone_goes_by_id_and_slug_until_it_is_archived() {
    let world = World::new();
    let created = world
        .post("/v1/zones", json!({"name": "My Zone!"}))
        .expect(201);
    assert_eq!(created.body["slug"], "my-zone");
    let id = created.text("id");
    for name in [id.as_str(), "my-zone"] {
        assert_eq!(
            world
                .get(&format!("/v1/zones/{name}"))
                .expect(200)
                .text("id"),
            id
        );
    }
    for (body, status, error) in [
        (json!({"name": "my zone"}), 409, "zone_slug_conflict"),
        (json!({"name": "x", "slug": "A B"}), 400, "invalid_request"),
        (json!({"name": "x", "slug": id}), 400, "invalid_request"),
        (json!({"name": ""}), 400, "invalid_request"),
        (json!({}), 400, "invalid_request"),
    ] {
        assert_eq!(
            world.post("/v1/zones", body.clone()).error(),
            (status, error),
            "{body}"
        );
    }
    let renamed = world
        .admin("PATCH", "/v1/zones/my-zone", Some(&json!({"name": "New"})))
        .expect(200);
    assert_eq!(
        (renamed.text("name"), renamed.text("slug")),
        ("New".to_owned(), "my-zone".to_owned())
    );
    world.admin("DELETE", "/v1/zones/my-zone", None).expect(204);
    assert_eq!(
        world.get("/v1/zones/my-zone").error(),
        (404, "zone_not_found")
    );
    assert_eq!(
        world.post("/v1/zones", json!({"name": "my zone"})).error(),
        (409, "zone_slug_conflict")
    );
}

#[test]
fn an_application_shows_its_secret_once() {
    let world = World::new();
    let zone = world.zone("demo");
    let created = world
        .post(
            &zone.path("/applications"),
            json!({"name": "Agent", "traits": ["a"]}),
        )
        .expect(201);
    let (id, secret) = (created.text("id"), created.text("client_secret"));
    assert!(secret.starts_with("cs_") && secret.len() == 46, "{secret}");
    assert_eq!(created.body["registration_method"], "managed");
    for path in ["/applications", &format!("/applications/{id}")] {
        let shown = world.get(&zone.path(path)).expect(200);
        assert!(
            !String::from_utf8_lossy(&shown.bytes).contains("secret"),
            "{shown:?}"
        );
    }
    let conflict = world.post(&zone.path("/applications"), json!({"name": "AGENT"}));
    assert_eq!(conflict.error(), (409, "application_name_conflict"));
    let dcr = world.post(
        &zone.path("/applications"),
        json!({"name": "x", "registration_method": "dcr"}),
    );
    assert_eq!(dcr.error(), (400, "invalid_request"));
    world.zone("other").application("agent");
    world
        .admin("DELETE", &zone.path(&format!("/applications/{id}")), None)
        .expect(204);
    zone.application("agent");
}

#[test]
fn a_resource_must_hold_together() {
    let world = World::new();
    let zone = world.zone("demo");
    let good = json!({
        "name": "Demo", "identifier": "resource://demo", "scopes": ["read"],
        "operations": [{"method": "GET", "path": "/items/{id}", "scope": "read"}],
        "upstream_url": "http://demo.internal/",
    });
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    for (body, error) in [
        (
            with("identifier", json!("demo")),
            "invalid_resource_identifier",
        ),
        (with("scopes", json!([])), "invalid_resource"),
        (with("scopes", json!(["a b"])), "invalid_resource"),
        (with("upstream_url", json!("ftp://x")), "invalid_resource"),
        (
            with(
                "operations",
                json!([{"method": "get", "path": "/", "scope": "read"}]),
            ),
            "operation_invalid",
        ),
        (
            with(
                "operations",
                json!([{"method": "GET", "path": "/a/../b", "scope": "read"}]),
            ),
            "operation_invalid",
        ),
        (
            with(
                "operations",
                json!([{"method": "GET", "path": "/", "scope": "write"}]),
            ),
            "operation_invalid",
        ),
        (
            with("operation_enforcement", json!("none")),
            "invalid_request",
        ),
    ] {
        assert_eq!(
            world.post(&zone.path("/resources"), body.clone()).error(),
            (400, error),
            "{body}"
        );
    }
    let created = world
        .post(&zone.path("/resources"), good.clone())
        .expect(201);
    assert_eq!(created.body["operation_enforcement"], "enforced");
    assert_eq!(
        world.post(&zone.path("/resources"), good).error(),
        (409, "resource_identifier_conflict")
    );

    let path = zone.path(&format!("/resources/{}", created.text("id")));
    let patch = json!({"scopes": ["read", "write"], "operation_enforcement": "transport_uniform", "upstream_url": null});
    let patched = world.admin("PATCH", &path, Some(&patch)).expect(200);
    assert_eq!(patched.body["scopes"], json!(["read", "write"]));
    assert_eq!(patched.body["upstream_url"], Value::Null);
    assert_eq!(patched.body["operations"], created.body["operations"]);
    assert_eq!(world.get(&path).expect(200).body, patched.body);
    let broken = world.admin("PATCH", &path, Some(&json!({"scopes": ["write"]})));
    assert_eq!(broken.error(), (400, "operation_invalid"));
    world.admin("DELETE", &path, None).expect(204);
    assert_eq!(world.get(&path).error(), (404, "resource_not_found"));
}

#[test]
fn lists_come_in_pages() {
    let world = World::new();
    let zone = world.zone("demo");
    let ids: Vec<_> = (0..5)
        .map(|n| zone.resource(&format!("resource://r{n}")))
        .collect();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .get(&zone.path(&format!("/resources?limit=2&cursor={cursor}")))
            .expect(200)
            .body;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for query in ["limit=0", "limit=501", "limit=x", "cursor=x", "unknown=1"] {
        assert_eq!(
            world
                .get(&zone.path(&format!("/resources?{query}")))
                .error(),
            (400, "invalid_request"),
            "{query}"
        );
    }
}
