//! Headers at a real gateway: what a client may not say about itself, what must be said once, and
//! what comes back.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use e2e::{
    http::Request,
    mandates::{APPLICATION, Issuer, RESOURCE, claims, grants, stand_alone},
    refusals::{bad_request, denied, unauthorized},
    site::Site,
};
use serde_json::json;

const UNBOUND: &str = "resource://unbound";

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));
/// Beside the resource bound to `/demo/`, one that only the routing header names.
static SITE: LazyLock<Site> = LazyLock::new(|| {
    let mut plugin = stand_alone(&ISSUER);
    plugin["resources"].as_array_mut().unwrap().push(json!({
        "identifier": UNBOUND,
        "scopes": ["demo:read"],
        "operations": [{"method": "GET", "path": "/free/**", "scope": "demo:read"}],
    }));
    plugin["policy"] = json!(grants(
        APPLICATION,
        &[RESOURCE, UNBOUND],
        &["demo:read", "demo:write"]
    ));
    Site::stand_alone(plugin)
});

fn call() -> Request {
    Request::get("/demo/items").bearer(&ISSUER.mandate("demo:read"))
}

#[test]
fn what_a_client_says_about_itself_never_arrives() {
    let mut request = call().header("x-request-id", "r-1");
    for name in [
        "x-caracal-client-id",
        "X-Caracal-Subject",
        "x-caracal-scope",
        "x-caracal-session",
        "x-caracal-anything",
        "x_caracal_subject",
        "X_CARACAL_CLIENT_ID",
        "x-caracal_scope",
    ] {
        request = request
            .header(name, "spoofed")
            .header(name, "spoofed twice");
    }
    let arrival = SITE.allowed(request);
    assert_eq!(arrival.header("x-caracal-client-id"), [APPLICATION]);
    assert_eq!(arrival.header("x-caracal-subject"), [APPLICATION]);
    assert_eq!(arrival.header("x-caracal-scope"), ["demo:read"]);
    let family: Vec<_> = arrival
        .header_names()
        .filter(|name| name.replace('_', "-").starts_with("x-caracal-"))
        .collect();
    assert_eq!(family.len(), 3, "{family:?}");
    assert_eq!(arrival.header("x-request-id"), ["r-1"]);
}

#[test]
fn a_claim_cannot_break_out_of_its_header() {
    let mut breaking = claims("demo:read");
    breaking.sub = "me\r\nx-admin: true, 100% caf\u{e9}".into();
    let request = Request::get("/demo/items").bearer(&ISSUER.sign(&breaking));
    let arrival = SITE.allowed(request);
    assert_eq!(
        arrival.header("x-caracal-subject"),
        ["me%0D%0Ax-admin: true, 100%25 caf%C3%A9"]
    );
    assert!(arrival.header("x-admin").is_empty());
}

#[test]
fn a_second_authorization_header_is_refused_whatever_it_holds() {
    let good = ISSUER.mandate("demo:read");
    for request in [
        call().bearer(&good),
        call().bearer("x"),
        call().header("Authorization", "Basic YTpi"),
        Request::get("/demo/items")
            .header("authorization", &format!("Bearer {good}, Bearer {good}")),
        Request::get("/demo/items").header("authorization", &format!("Basic YTpi, Bearer {good}")),
    ] {
        SITE.refused(request, &bad_request("authorization_ambiguous"));
    }
}

/// Envoy drops an empty header of a name that it has already, before any filter sees it.
#[test]
fn an_empty_second_authorization_header_is_none() {
    SITE.allowed(call().header("authorization", ""));
}

#[test]
fn the_scheme_is_bearer_in_any_case() {
    let good = ISSUER.mandate("demo:read");
    for scheme in ["bearer", "BEARER", "Bearer "] {
        let request =
            Request::get("/demo/items").header("authorization", &format!("{scheme} {good}"));
        SITE.allowed(request);
    }
    for value in [
        good.clone(),
        format!("Bearer:{good}"),
        format!("Token {good}"),
    ] {
        let request = Request::get("/demo/items").header("authorization", &value);
        SITE.refused(request, &unauthorized("token_missing"));
    }
}

#[test]
fn a_resource_is_named_by_its_binding_or_else_by_the_routing_header() {
    let mut claims = claims("demo:read");
    claims.target = vec![RESOURCE.into(), UNBOUND.into()];
    let mandate = ISSUER.sign(&claims);
    let free = || Request::get("/free/things").bearer(&mandate);
    SITE.allowed(free().header("x-caracal-resource", UNBOUND));
    SITE.allowed(call().header("x-caracal-resource", RESOURCE));

    SITE.refused(free(), &bad_request("resource_missing"));
    let unknown = free().header("x-caracal-resource", "resource://unknown");
    SITE.refused(unknown, &denied("resource_unknown"));
    let contradicting = call().header("x-caracal-resource", UNBOUND);
    SITE.refused(contradicting, &bad_request("resource_conflict"));
    let twice = free()
        .header("x-caracal-resource", UNBOUND)
        .header("x-caracal-resource", UNBOUND);
    SITE.refused(twice, &bad_request("resource_ambiguous"));
    // The operations of one resource say nothing about another's.
    let other = free().header("x-caracal-resource", RESOURCE);
    SITE.refused(other, &denied("operation_not_permitted"));
    let untargeted = Request::get("/free/things")
        .bearer(&ISSUER.mandate("demo:read"))
        .header("x-caracal-resource", UNBOUND);
    SITE.refused(untargeted, &unauthorized("audience_mismatch"));
}

#[test]
fn a_request_id_of_the_clients_comes_back_and_an_unusable_one_is_replaced() {
    let response = SITE.refused(
        Request::get("/demo/items").header("x-request-id", "my-request-1"),
        &unauthorized("token_missing"),
    );
    assert_eq!(response.json()["requestId"], "my-request-1");
    let long = "x".repeat(129);
    for unusable in ["a b", long.as_str()] {
        let response = SITE.refused(
            Request::get("/demo/items").header("x-request-id", unusable),
            &unauthorized("token_missing"),
        );
        assert_ne!(response.json()["requestId"], unusable);
    }
}

#[test]
fn the_mandate_arrives_only_where_the_configuration_says_so() {
    assert!(SITE.allowed(call()).header("authorization").is_empty());

    let mut plugin = stand_alone(&ISSUER);
    plugin["forward"] = json!("mandate");
    plugin["resource_metadata_url"] =
        json!("https://demo.test/.well-known/oauth-protected-resource");
    let site = Site::stand_alone(plugin);
    let mandate = ISSUER.mandate("demo:read");
    let arrival = site.allowed(Request::get("/demo/items").bearer(&mandate));
    assert_eq!(
        arrival.header("authorization"),
        [format!("Bearer {mandate}")]
    );

    let response = site.refused(Request::get("/demo/items"), &unauthorized("token_missing"));
    assert_eq!(
        response.header("www-authenticate").unwrap(),
        "Bearer realm=\"caracal\", resource_metadata=\"https://demo.test/.well-known/oauth-protected-resource\""
    );
}
