//! A wrong plugin configuration at a real gateway: Envoy does not start, and its log names the key.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use e2e::{
    gateway::{GatewaySpec, TOKEN_VARIABLE},
    http::Request,
    mandates::{Issuer, RESOURCE, claims, stand_alone},
    refusals::unavailable,
    site::Site,
    upstream::Upstream,
};
use serde_json::{Value, json};

/// What Envoy writes when it refuses `plugin`.
fn refusal(plugin: Value) -> String {
    // Nothing is forwarded, so nothing need be there.
    let upstream = "127.0.0.1:9".parse().unwrap();
    let log = GatewaySpec::new(plugin, upstream).refused();
    let line = log
        .lines()
        .find_map(|line| line.split_once("the configuration is refused: "));
    line.unwrap_or_else(|| panic!("the plugin says nothing: {log}"))
        .1
        .to_owned()
}

fn with_sts() -> Value {
    json!({
        "zone": "demo",
        "issuer": "http://127.0.0.1:9",
        "sts": {"cluster": "caracal_sts", "authority": "sts.internal", "token_env": TOKEN_VARIABLE},
        "resources": [{"identifier": RESOURCE, "path_prefix": "/demo/"}],
    })
}

fn changed(mut plugin: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    plugin.pointer_mut(parent).unwrap()[key] = value;
    plugin
}

#[test]
fn an_unknown_key_is_named() {
    let text = refusal(changed(with_sts(), "/sts/tokn", json!("gt_x")));
    assert!(
        text.starts_with("sts.tokn: ") && text.contains("unknown field"),
        "{text}"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let issuer = Issuer::new("key-1", 7);
    let text = refusal(changed(
        stand_alone(&issuer),
        "/mandate_cache",
        json!("many"),
    ));
    assert!(
        text.starts_with("mandate_cache: ") && text.contains("many"),
        "{text}"
    );
}

#[test]
fn a_token_that_is_not_in_the_environment_is_named_with_the_way_to_bring_it_there() {
    let text = refusal(with_sts());
    assert!(text.starts_with("sts.token_env: "), "{text}");
    assert!(
        text.contains(TOKEN_VARIABLE) && text.contains("host_env_keys"),
        "{text}"
    );
}

#[test]
fn a_policy_that_does_not_compile_is_shown_with_its_place() {
    let issuer = Issuer::new("key-1", 7);
    let policy = json!("package caracal.authz\n\nresult := {\"a\": [}\n");
    let text = refusal(changed(stand_alone(&issuer), "/policy", policy));
    assert!(
        text.starts_with("policy: ") && text.contains("3:18"),
        "{text}"
    );
}

#[test]
fn a_gateway_that_never_reached_its_sts_refuses_everything() {
    let upstream = Upstream::start();
    let spec = GatewaySpec {
        sts: Some("127.0.0.1:9".parse().unwrap()),
        token: Some("gt_unheard_of".to_owned()),
        ..GatewaySpec::new(with_sts(), upstream.address())
    };
    let site = Site {
        gateway: spec.start(),
        upstream,
    };
    let mandate = Issuer::new("key-1", 7).mandate("demo:read");
    for request in [
        Request::get("/demo/items"),
        Request::get("/demo/items").bearer(&mandate),
    ] {
        site.refused(request, &unavailable("not_ready"));
    }
    assert!(!site.gateway.log().contains("gt_unheard_of"));
}

/// Each of two configurations in one VM decides on its own requests, by its own operations.
#[test]
fn configurations_that_share_a_vm_are_told_apart() {
    let issuer = Issuer::new("key-1", 7);
    let upstream = Upstream::start();
    let without = |method: &str| {
        let mut plugin = changed(stand_alone(&issuer), "/forward", json!("mandate"));
        let operations = plugin["resources"][0]["operations"].as_array_mut();
        operations
            .unwrap()
            .retain(|operation| operation["method"] != method);
        plugin
    };
    let mut spec = GatewaySpec::new(without("DELETE"), upstream.address());
    spec.second = Some(without("POST"));
    let gateway = spec.start();
    let mandate = issuer.sign(&claims("demo:read demo:write"));
    for _ in 0..3 {
        for (request, status) in [
            (Request::new("POST", "/demo/items"), 403),
            (Request::new("DELETE", "/demo/items/1"), 403),
            (Request::get("/demo/items"), 200),
        ] {
            let answer = request.bearer(&mandate).send(gateway.address()).unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    assert_eq!(upstream.count(), 3);
}
