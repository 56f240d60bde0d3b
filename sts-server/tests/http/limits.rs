//! Limits, each with its own answer.

use serde_json::json;

use crate::world::World;

#[test]
fn failed_authentications_of_an_application_are_limited_and_others_are_not_kept_out() {
    let world = World::with(|config| config.auth_failures_per_minute = 3);
    let demo = world.demo();
    let (other, other_secret) = demo.zone.application("other");
    for _ in 0..3 {
        assert_eq!(
            demo.exchange(&[("client_secret", "wrong")]).error(),
            (401, "invalid_client")
        );
    }
    for secret in ["wrong", &demo.secret] {
        let reply = demo.exchange(&[("client_secret", secret)]);
        assert_eq!(reply.error(), (429, "temporarily_unavailable"));
        assert_eq!(reply.body["reason"], "rate_limited");
        assert!((1..=60).contains(&reply.header("retry-after").parse::<u32>().unwrap()));
    }
    let reply = demo.exchange(&[("application_id", &other), ("client_secret", &other_secret)]);
    assert_eq!(reply.error(), (403, "access_denied"));
    for status in [401, 401, 401, 429] {
        demo.exchange(&[("application_id", "unknown")])
            .expect(status);
    }
}

#[test]
fn mandates_for_an_application_and_a_resource_are_limited() {
    let world = World::with(|config| config.mints_per_minute = 2);
    let demo = world.demo();
    demo.exchange(&[]).expect(200);
    demo.exchange(&[]).expect(200);
    let reply = demo.exchange(&[]);
    assert_eq!(reply.error(), (429, "temporarily_unavailable"));
    assert_eq!(reply.body["reason"], "rate_limited");
    assert!(!reply.header("retry-after").is_empty());
    let mut fields = demo.fields();
    fields.push(("resource", "resource://other"));
    let reply = world.token_form(&fields, &[]).expect(200);
    assert_eq!(reply.body["target_resources"], json!(["resource://other"]));
}

#[test]
fn headers_over_the_bound_are_refused() {
    let world = World::new();
    let fits = "a".repeat(15 * 1024);
    world
        .send("GET", "/health", &[("x-filler", &fits)], None)
        .expect(200);
    let over = "a".repeat(16 * 1024);
    let reply = world.send("GET", "/health", &[("x-filler", &over)], None);
    assert_eq!(reply.error(), (431, "invalid_request"));
    assert_eq!(reply.text("requestId"), reply.header("x-request-id"));
}
