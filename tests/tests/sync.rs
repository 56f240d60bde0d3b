//! A gateway and its STS: what is new takes effect while requests flow, what is wrong is not taken
//! over, and a gateway that is cut off stops deciding, and starts again by itself.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    sync::{Barrier, LazyLock},
    thread,
};

use e2e::{
    Load, eventually,
    gateway::GatewaySpec,
    http::{Connection, Request},
    mandates::{APPLICATION, Issuer, RESOURCE, grants},
    publisher::{Publisher, bundle},
    refusals::{self, denied, unauthorized, unavailable},
    site::Site,
    sts::Sts,
    upstream::Upstream,
};
use serde_json::json;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));

#[test]
fn cut_off_a_gateway_goes_on_until_it_knows_too_little_and_recovers_by_itself() {
    let mut sts = Sts::start();
    let (site, mandate) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        (zone.site(2), zone.mint(&application, "demo:read"))
    };
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);

    sts.stop();
    // What is known is fresh enough for a while, so the first answers after the stop are still yes.
    site.allowed(call());
    site.until_refused(call, &unavailable("stale_state"));
    // Nothing gets through any more, and nobody learns more than that.
    for _ in 0..20 {
        site.refused(call(), &unavailable("stale_state"));
        site.refused(Request::get("/demo/items"), &unavailable("stale_state"));
    }

    sts.resume();
    site.until_allowed(call);
    for _ in 0..20 {
        site.allowed(call());
    }
}

#[test]
fn a_policy_activated_while_requests_flow_takes_effect_on_all_workers_without_a_restart() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let narrow = grants(&application.id, &[RESOURCE], &["demo:write"]);
    let narrow = zone.policy("narrow", &narrow);
    let wide = grants(&application.id, &[RESOURCE], &["demo:read", "demo:write"]);
    let wide = zone.policy("wide", &wide);
    let site = zone.site(4);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    let expected = denied("role_scope_mismatch");

    // Each connection stays with its worker, and two of eight are each worker's.
    let mut connections: Vec<Connection> = (0..8)
        .map(|_| Connection::open(site.gateway.address()).unwrap())
        .collect();
    let every_connection = |connections: &mut Vec<Connection>, allowed: bool| {
        eventually("all workers decide by what is new", || {
            let all = connections.iter_mut().all(|connection| {
                let (response, arrival) = site.send_on(connection, call());
                match response.status {
                    200 => assert!(arrival.is_some(), "{response}"),
                    // In between a worker may decide by either, but by nothing else.
                    403 => refusals::check(&response, &expected, "in flight"),
                    // Only before its first bundle.
                    _ => refusals::check(&response, &unavailable("not_ready"), "in flight"),
                }
                (response.status == 200) == allowed && response.status != 503
            });
            all.then_some(())
        });
    };
    every_connection(&mut connections, true);
    assert_eq!(site.workers_with_connections(), 4);
    for _ in 0..3 {
        zone.activate(&narrow);
        every_connection(&mut connections, false);
        zone.activate(&wide);
        every_connection(&mut connections, true);
    }
}

#[test]
fn while_policies_change_no_request_is_decided_by_anything_but_one_of_them() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    // Both let the caller read; they differ in what they say of others.
    let one = zone.policy("one", &grants(&application.id, &[RESOURCE], &["demo:read"]));
    let both = ["demo:read", "demo:write"];
    let other = zone.policy("other", &grants(&application.id, &[RESOURCE], &both));
    let site = zone.site(4);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);
    let load = Load::default();
    let begin = Barrier::new(5);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                begin.wait();
                load.run(|| {
                    site.allowed(call());
                    let request = Request::get("/demo/items");
                    site.refused(request, &unauthorized("token_missing"));
                });
            });
        }
        begin.wait();
        let _ending = load.ending();
        for _ in 0..10 {
            load.check();
            zone.activate(&one);
            zone.activate(&other);
        }
    });
}

#[test]
fn a_gateway_with_a_wrong_token_or_another_zones_gets_nothing_and_decides_nothing() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let other = sts.zone("other").gateway_token();
    for (token, status) in [("gt_wrong", 401), (other.as_str(), 403)] {
        let upstream = Upstream::start();
        let spec = GatewaySpec {
            sts: Some(sts.address()),
            token: Some(token.to_owned()),
            ..GatewaySpec::new(zone.plugin(), upstream.address())
        };
        let site = Site {
            gateway: spec.start(),
            upstream,
        };
        let told = format!("the STS answered {status}");
        eventually(&told, || site.gateway.log().contains(&told).then_some(()));
        let call = Request::get("/demo/items").bearer(&mandate);
        site.refused(call, &unavailable("not_ready"));
        assert!(
            !site.gateway.log().contains(token),
            "the token is in the log"
        );
    }
}

#[test]
fn a_revoked_gateway_stops_deciding() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    let site = zone.site(1);
    site.until_allowed(call);
    let gateways = zone.admin("GET", "/gateways", &json!(null)).ok();
    let id = gateways["items"][0]["id"].as_str().unwrap();
    zone.admin("DELETE", &format!("/gateways/{id}"), &json!(null))
        .ok();
    site.until_refused(call, &unavailable("stale_state"));
}

#[test]
fn a_bundle_that_is_not_this_gateways_is_not_taken_over() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let good = |sequence| bundle(&ISSUER, sequence, None);
    let publisher = Publisher::start(&ISSUER, &good(5));
    let site = publisher.site();
    let call = || Request::get("/demo/items").bearer(&ISSUER.mandate("demo:read"));
    let closed = denied("no_active_policy_set");
    site.until_refused(call, &closed);

    // Each of these would open the gate.
    let open = |sequence| bundle(&ISSUER, sequence, Some(&allow));
    let mut other_zone = open(6);
    other_zone.zone_id = "zone-2".into();
    other_zone.zone_slug = "zone-2".to_owned();
    let mut other_issuer = open(6);
    other_issuer.issuer = "https://other.test".to_owned();
    let mut other_compiler = open(6);
    other_compiler.policy.as_mut().unwrap().compiler = "regorus-0.0.0/rvm-0".to_owned();
    let attacker = Issuer::new("key-1", 9);
    for (signer, wrong) in [
        (&*ISSUER, &other_zone),
        (&*ISSUER, &other_issuer),
        (&*ISSUER, &other_compiler),
        (&*ISSUER, &open(4)),
        (&attacker, &open(6)),
        (&Issuer::new("key-2", 9), &open(6)),
    ] {
        publisher.publish(signer, wrong);
        // When it asks again, it has decided on what it got before.
        eventually("the bundle is asked for twice", || {
            (publisher.asked() >= 2).then_some(())
        });
        site.refused(call(), &closed);
    }
    publisher.publish(&ISSUER, &open(7));
    site.until_allowed(call);
}
