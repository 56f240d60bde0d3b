//! From the token endpoint through the gateway: what the STS mints passes, and what it takes back does
//! not.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use e2e::{
    http::Request,
    mandates::{RESOURCE, claims_of},
    refusals::{scope_missing, unauthorized},
    sts::Sts,
};
use serde_json::json;

fn call(token: &str) -> Request {
    Request::get("/demo/items").bearer(token)
}

#[test]
fn a_mandate_by_secret_by_session_and_for_the_resource_itself_all_pass() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(1);
    let by_secret = zone.mint(&application, "demo:read");
    let arrival = site.until_allowed(|| call(&by_secret));
    assert_eq!(
        arrival.header("x-caracal-client-id"),
        [application.id.as_str()]
    );
    assert_eq!(arrival.header("x-caracal-scope"), ["demo:read"]);
    let write = Request::new("POST", "/demo/items")
        .bearer(&by_secret)
        .body("{}");
    site.refused(write, &scope_missing());

    let session = sts
        .token(&[
            ("zone_id", "demo"),
            ("application_id", &application.id),
            ("client_secret", &application.secret),
            ("resource", RESOURCE),
            ("scope", "agent:lifecycle"),
        ])
        .text("access_token");
    site.refused(call(&session), &unauthorized("use_not_allowed"));

    let exchange = [
        ("zone_id", "demo"),
        ("subject_token", session.as_str()),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("resource", RESOURCE),
        ("scope", "demo:write"),
    ];
    let by_session = sts.token(&exchange).text("access_token");
    let claims = claims_of(&by_session);
    assert_eq!(claims["root_sid"], claims_of(&session)["root_sid"]);
    let write = Request::new("POST", "/demo/items")
        .bearer(&by_session)
        .body("{}");
    site.allowed(write);

    let kind = (
        "requested_token_type",
        "urn:caracal:params:oauth:token-type:resource-mandate",
    );
    let direct = sts.token(&[&exchange[..4], &[("scope", "demo:read"), kind]].concat());
    let direct = direct.text("access_token");
    assert_eq!(claims_of(&direct)["aud"], json!([RESOURCE]));
    site.allowed(call(&direct));
}

#[test]
fn an_archived_application_is_refused_at_the_gateway_though_its_mandate_is_in_date() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(2);
    let mandate = zone.mint(&application, "demo:read");
    site.until_allowed(|| call(&mandate));
    let path = format!("/applications/{}", application.id);
    zone.admin("DELETE", &path, &json!(null)).ok();
    // Every worker hears of it; none lets the mandate pass once it has.
    for _ in 0..8 {
        site.until_refused(|| call(&mandate), &unauthorized("token_revoked"));
    }
    let again = sts.token(&[
        ("zone_id", "demo"),
        ("application_id", &application.id),
        ("client_secret", &application.secret),
        ("resource", RESOURCE),
        ("scope", "demo:read"),
    ]);
    assert_eq!(
        (again.status, &again.body["error"]),
        (401, &json!("invalid_client"))
    );
}
