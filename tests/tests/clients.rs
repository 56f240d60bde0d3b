//! The published Caracal 1.0.0 Python clients, unmodified, against the STS and a real gateway: each flow
//! is a program that asserts what it sees; here stands what reached the upstream.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use e2e::{
    clients::{Server, run},
    eventually,
    gateway::Gateway,
    http::Request,
    site::Site,
    sts::{Sts, Zone},
};
use serde_json::{Value, json};

/// A zone as `caracalai-admin` has set it up: what it printed.
struct Known {
    sts: Sts,
    printed: Value,
}

impl Known {
    fn set_up(resource: &Value) -> Self {
        let sts = Sts::start();
        let printed = set_up(&sts, resource);
        Self { sts, printed }
    }

    fn zone(&self) -> Zone<'_> {
        let text = |name: &str| self.printed[name].as_str().unwrap();
        self.sts.known_zone(text("zone"), text("slug"))
    }

    /// Runs a flow against `gateway`, once that has heard of the zone.
    fn flow(&self, name: &str, gateway: &Gateway) {
        eventually("the gateway knows its zone", || {
            let answer = Request::get("/demo/items").send(gateway.address()).ok()?;
            (answer.status == 401).then_some(())
        });
        let gateway = format!("http://{}", gateway.address());
        let printed = run(
            "agent.py",
            &[name],
            &[
                ("CARACAL_STS_URL", &self.sts.issuer()),
                ("CARACAL_GATEWAY_URL", &gateway),
                ("CARACAL_SITE", &self.printed.to_string()),
            ],
        );
        assert_eq!(printed, "ok\n");
    }

    /// The same with an upstream that remembers; gives it.
    fn flow_on_a_site(&self, name: &str) -> Site {
        // One worker: it knows all of the zone once it knows any of it.
        let site = self.zone().site(1);
        self.flow(name, &site.gateway);
        site
    }
}

fn set_up(sts: &Sts, resource: &Value) -> Value {
    let printed = run(
        "set_up.py",
        &[&resource.to_string()],
        &[
            ("CARACAL_URL", &sts.issuer()),
            ("CARACAL_ADMIN_TOKEN", &sts.admin_token()),
        ],
    );
    serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
}

#[test]
fn the_admin_client_sets_a_zone_up_and_finds_it_as_it_should_be() {
    let known = Known::set_up(&json!({}));
    assert_eq!(set_up(&known.sts, &json!({})), known.printed);
    assert!(known.printed["active"][0].is_string(), "{}", known.printed);
}

#[test]
fn an_application_calls_through_its_transport() {
    let known = Known::set_up(&json!({}));
    let site = known.flow_on_a_site("application_transport");
    assert_eq!(site.upstream.count(), 3);
    let sessions = known
        .zone()
        .governed("GET", "/agents?status=active", &Value::Null)
        .ok();
    assert_eq!(
        sessions["items"],
        json!([]),
        "the transport ends its sessions"
    );
}

#[test]
fn nested_sessions_hand_down_less_than_they_hold() {
    let known = Known::set_up(&json!({}));
    let site = known.flow_on_a_site("nested_sessions");
    assert_eq!(site.upstream.count(), 3);
}

#[test]
fn a_delegation_is_given_accepted_and_taken_back_between_two_applications() {
    let known = Known::set_up(&json!({}));
    let site = known.flow_on_a_site("delegation");
    assert_eq!(site.upstream.count(), 1);
}

#[test]
fn a_service_session_has_one_holder_at_a_time() {
    let known = Known::set_up(&json!({}));
    known.flow_on_a_site("service");
}

#[test]
fn the_verifiers_take_our_mandates_for_what_they_are() {
    let known = Known::set_up(&json!({}));
    known.flow_on_a_site("verification");
}

#[test]
fn an_upstream_that_verifies_for_itself_gets_the_mandate_that_it_wants() {
    let known = Known::set_up(&json!({"forward": "resource_mandate"}));
    let zone = known.printed["zone"].as_str().unwrap();
    let upstream = Server::start(
        "upstream.py",
        &[
            ("CARACAL_STS_URL", &known.sts.issuer()),
            ("CARACAL_ZONE_ID", zone),
        ],
    );
    // It does not take just anything.
    let refused = Request::get("/demo/items")
        .send(upstream.address())
        .unwrap();
    assert_eq!(
        (refused.status, &refused.json()["error"]),
        (401, &json!("missing_token"))
    );
    let gateway = known.zone().gateway(1, upstream.address());
    known.flow("behind_asgi", &gateway);
}
