//! The workers of one gateway: every one of them governs, and one that breaks refuses until it is
//! back.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::PathBuf;

use e2e::{
    eventually,
    gateway::GatewaySpec,
    http::{Connection, Request},
    mandates::{Issuer, stand_alone},
    refusals::{self, scope_missing, unauthorized},
    site::Site,
    upstream::Upstream,
};
use serde_json::json;

fn four_workers(plugin: serde_json::Value, wasm: Option<PathBuf>) -> Site {
    let upstream = Upstream::start();
    let spec = GatewaySpec {
        workers: 4,
        wasm,
        ..GatewaySpec::new(plugin, upstream.address())
    };
    Site {
        gateway: spec.start(),
        upstream,
    }
}

#[test]
fn all_four_workers_govern() {
    let issuer = Issuer::new("key-1", 7);
    let site = four_workers(stand_alone(&issuer), None);
    let mut connections: Vec<Connection> = (0..8)
        .map(|_| Connection::open(site.gateway.address()).unwrap())
        .collect();
    let (read, write) = (issuer.mandate("demo:read"), issuer.mandate("demo:write"));
    for connection in &mut connections {
        for _ in 0..3 {
            let (response, arrival) =
                site.send_on(connection, Request::get("/demo/items").bearer(&read));
            assert_eq!(
                (response.status, arrival.is_some()),
                (200, true),
                "{response}"
            );
            for (request, expected) in [
                (Request::get("/demo/items"), unauthorized("token_missing")),
                (Request::get("/demo/items").bearer(&write), scope_missing()),
                (
                    Request::get("/demo/items").bearer("a.b.c"),
                    unauthorized("token_malformed"),
                ),
            ] {
                let shown = request.to_string();
                let (response, arrival) = site.send_on(connection, request);
                refusals::check(&response, &expected, &shown);
                assert!(arrival.is_none(), "{shown} arrived");
            }
        }
    }
    assert_eq!(site.workers_with_connections(), 4);
}

#[test]
fn a_trap_opens_the_gate_for_nobody_and_the_worker_comes_back() {
    let issuer = Issuer::new("key-1", 7);
    let mut plugin = stand_alone(&issuer);
    plugin["policy"] = json!(e2e::wasm::greedy());
    let dir = tempfile::tempdir().unwrap();
    let site = four_workers(plugin, Some(e2e::wasm::starved(dir.path())));
    let mandate = issuer.mandate("demo:read");
    let call = |item: &str| Request::get(format!("/demo/items/{item}")).bearer(&mandate);
    site.allowed(call("7"));
    let once = issuer.changed(|claims| claims["once"] = json!(true));
    let used = || Request::get("/demo/items/7").bearer(&once);
    site.allowed(used());

    for round in 0..3 {
        // The filter is gone in the middle of its decision: the answer is Envoy's own.
        let (response, arrival) = site.send(call("boom"));
        assert_eq!(response.status, 503, "{response}");
        assert!(
            arrival.is_none(),
            "the request that broke the filter arrived"
        );
        // Until the worker is back it may refuse good requests, but never lets bad ones pass.
        for (response, arrival) in site.on_every_worker(|| Request::get("/demo/items/7")) {
            assert!([401, 503].contains(&response.status), "{response}");
            assert!(arrival.is_none(), "a request without a mandate arrived");
        }
        // A worker comes back when it is asked something, so every one of them is.
        eventually("the worker is back, and all of them serve", || {
            let reloads: u64 = site
                .gateway
                .stats("wasm")
                .iter()
                .filter(|(name, _)| name.contains("vm_reload_success"))
                .map(|(_, count)| count)
                .sum();
            let mut all = true;
            for (response, arrival) in site.on_every_worker(|| call("7")) {
                assert_eq!(response.status == 200, arrival.is_some(), "{response}");
                all &= response.status == 200;
            }
            (all && reloads > round).then_some(())
        });
        // What it had forgotten of itself, it knows from the others.
        for (response, arrival) in site.on_every_worker(used) {
            refusals::check(&response, &unauthorized("token_replayed"), "used");
            assert!(arrival.is_none(), "a used mandate arrived");
        }
    }
    site.refused(
        Request::get("/demo/items/7"),
        &unauthorized("token_missing"),
    );
}
