//! The filter without a compiler of policies: bytecode of an STS decides, text does not.

// The lints let tests fail loudly.
#![allow(clippy::unwrap_used)]

use e2e::{
    eventually,
    gateway::GatewaySpec,
    http::Request,
    mandates::{Issuer, RESOURCE, grants, stand_alone},
    parts,
    refusals::{denied, unavailable},
    site::Site,
    sts::{Sts, Zone},
    upstream::Upstream,
};

/// Denies everything, and runs on the interpreter: `some` without `in`.
const TEXT: &str = r#"package caracal.authz

import rego.v1

deny := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := deny if {
	some place
	input.resource.scopes[place] == "demo:read"
}
"#;

/// A gateway of two workers with this filter.
fn site(zone: &Zone<'_>) -> Site {
    let upstream = Upstream::start();
    let mut spec = zone.gateway_spec(2, upstream.address());
    spec.wasm = Some(parts::bytecode_wasm());
    Site {
        gateway: spec.start(),
        upstream,
    }
}

/// Waits until both workers have met a policy that they cannot run. They count it, and hand that over with a tick.
fn until_not_taken_over(site: &Site) {
    eventually("both workers say that they did not take it over", || {
        let log = site.gateway.log();
        let told = log.matches("bundle not taken over: the policy is no bytecode");
        let failures = site.gateway.stats("caracal_sync_failures.artifact.bundle");
        let counted = failures.iter().any(|(_, count)| *count >= 2);
        (told.count() >= 2 && counted).then_some(())
    });
}

#[test]
fn what_is_bytecode_decides_and_what_is_not_leaves_the_policy_before_in_force() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = site(&zone);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);

    let text = zone.policy("text", TEXT);
    zone.activate(&text);
    until_not_taken_over(&site);
    for (response, arrival) in site.on_every_worker(call) {
        assert_eq!(response.status, 200, "{response}");
        assert!(arrival.is_some());
    }

    let narrow = grants(&application.id, &[RESOURCE], &["demo:write"]);
    zone.activate(&zone.next_policy(&text, "narrow", &narrow));
    site.until_refused(call, &denied("role_scope_mismatch"));
}

#[test]
fn a_gateway_that_has_no_policy_yet_refuses_everything() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    zone.activate(&zone.policy("text", TEXT));
    let site = site(&zone);
    until_not_taken_over(&site);
    let call = Request::get("/demo/items").bearer(&mandate);
    site.refused(call, &unavailable("not_ready"));
}

#[test]
fn a_policy_in_the_configuration_stops_envoy_with_the_name_of_the_filter_that_takes_it() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let mut spec = GatewaySpec::new(stand_alone(&Issuer::new("key-1", 7)), nowhere);
    spec.wasm = Some(parts::bytecode_wasm());
    let log = spec.refused();
    assert!(
        log.contains("the configuration is refused: policy: ") && log.contains("caracal.wasm has"),
        "{log}"
    );
}
