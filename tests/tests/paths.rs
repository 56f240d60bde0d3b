//! Methods and paths at a real gateway: what no operation covers is refused, and so is every disguise
//! under which a path could mean one thing here and another upstream.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use e2e::{
    http::Request,
    mandates::{Issuer, stand_alone},
    refusals::{bad_request, denied, scope_missing},
    site::Site,
};

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));
static SITE: LazyLock<Site> = LazyLock::new(|| Site::stand_alone(stand_alone(&ISSUER)));

/// A request that only its path or its method can fail.
fn call(method: &str, target: impl Into<Vec<u8>>) -> Request {
    Request::new(method, target).bearer(&ISSUER.mandate("demo:read demo:write"))
}

#[test]
fn a_path_that_an_operation_covers_arrives_as_it_was_sent() {
    for (method, target) in [
        ("GET", "/demo/items"),
        ("GET", "/demo/items?limit=10"),
        ("GET", "/demo/items/7"),
        ("GET", "/demo/items/a%20b"),
        ("GET", "/demo/items/caf%C3%A9"),
        ("GET", "/demo/items/...?q=%2e%2e"),
        ("GET", "/d%65mo/items"),
        ("DELETE", "/demo/items/7"),
    ] {
        let arrival = SITE.allowed(call(method, target));
        assert_eq!(
            (arrival.method.as_str(), arrival.target.as_str()),
            (method, target)
        );
    }
}

#[test]
fn a_method_or_path_that_no_operation_covers_is_refused() {
    for (method, target) in [
        ("PUT", "/demo/items"),
        ("PATCH", "/demo/items/7"),
        ("OPTIONS", "/demo/items"),
        ("PROPFIND", "/demo/items"),
        ("GET", "/demo/"),
        ("GET", "/demo/items/"),
        ("GET", "/demo/items/7/"),
        ("GET", "/demo/items/7/8"),
        ("GET", "/demo/Items"),
        ("GET", "/demo/item"),
        ("GET", "/demo/itemss"),
        ("GET", "/demo/admin"),
        ("GET", "/demo/items%20"),
        ("GET", "/demo/items.json"),
    ] {
        SITE.refused(call(method, target), &denied("operation_not_permitted"));
    }
}

#[test]
fn a_query_that_looks_like_a_path_changes_nothing() {
    for target in [
        "/demo/items?/../../admin",
        "/demo/items?path=/demo/admin",
        "/demo/items?x=//;\\%2F%2e%2e",
        "/demo/items??",
    ] {
        assert_eq!(SITE.allowed(call("GET", target)).target, target);
    }
    for target in [
        "/demo/admin?/demo/items",
        "/demo/?/items",
        "/demo/admin?x=/../items",
    ] {
        SITE.refused(call("GET", target), &denied("operation_not_permitted"));
    }
    let read =
        Request::new("POST", "/demo/items?/demo/items/7").bearer(&ISSUER.mandate("demo:read"));
    SITE.refused(read, &scope_missing());
}

#[test]
fn every_disguise_of_a_path_is_refused() {
    for target in [
        "/demo/../demo/items",
        "/demo/./items",
        "/demo/items/..",
        "/demo/items/.",
        "/../demo/items",
        "/demo/x/%2e%2e/items",
        "/demo/x/%2E%2E/items",
        "/demo/x/%2e%2E/items",
        "/demo/x/.%2e/items",
        "/demo/x/%2e./items",
        "/demo/%2e/items",
        "/demo%2Fitems",
        "/demo%2fitems",
        "/demo/items%2F7",
        "/demo/items/..%2Fadmin",
        "/demo/items/..%2fadmin",
        "//demo/items",
        "/demo//items",
        "/demo/items//",
        "/demo/items;v=1",
        "/demo;x/items",
        "/demo/items%3Bv=1",
        "/demo/items%3bv=1",
        "/demo\\items",
        "/demo/items\\..\\admin",
        "/demo%5Citems",
        "/demo%5citems",
        "/demo/items/%252e%252e",
        "/demo/items/%25",
        "/demo/items/%",
        "/demo/items/%2",
        "/demo/items/%zz",
        "/demo/items/%0d%0aX:y",
        "/demo/items/%7f",
        "/demo/items%3Fx",
        "/demo/items%23x",
        "/demo/items/%ff",
        "/demo/items/%c0%ae%c0%ae",
        "/demo/items/%C0%AE",
    ] {
        SITE.refused(call("GET", target), &bad_request("path_ambiguous"));
    }
}

/// Envoy answers some requests itself, with 400 and no JSON, before any filter sees them. What counts
/// is that they end there.
#[test]
fn what_is_no_method_or_no_path_ends_at_the_gateway() {
    let lines: [(&str, &[u8]); 9] = [
        ("get", b"/demo/items"),
        ("GET", b"demo/items"),
        ("GET", b"*"),
        ("GET", b""),
        ("GET", b"/demo/items#x"),
        ("GET", b"/demo items"),
        ("GET", b"/demo/items/%00"),
        ("GET", b"/demo/items/\xc3\xa9"),
        ("GET", b"/demo/items/\x01"),
    ];
    for (method, target) in lines {
        let shown = format!("{method} {:?}", String::from_utf8_lossy(target));
        let (response, arrival) = SITE.send(call(method, target));
        assert_eq!(response.status, 400, "{shown}: {response}");
        assert!(arrival.is_none(), "{shown} arrived");
    }
}

#[test]
fn a_target_in_absolute_form_is_decided_on_by_its_path() {
    let arrival = SITE.allowed(call("GET", "http://localhost/demo/items"));
    assert_eq!(arrival.target, "/demo/items");
    let disguised = call("GET", "http://localhost/demo/x/../items");
    SITE.refused(disguised, &bad_request("path_ambiguous"));
    let other = call("GET", "http://localhost/demo/admin");
    SITE.refused(other, &denied("operation_not_permitted"));
}
