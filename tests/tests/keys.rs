//! Keys of a real STS at a real gateway: rotation is invisible to those who call.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{sync::Mutex, thread};

use e2e::{
    Load, eventually,
    http::Request,
    mandates::header_of,
    refusals::unauthorized,
    sts::{Sts, Zone},
};
use serde_json::json;

fn states(zone: &Zone<'_>) -> Vec<(String, String)> {
    let keys = zone.admin("GET", "/keys", &json!(null)).ok();
    let text = |key: &serde_json::Value, name: &str| key[name].as_str().unwrap().to_owned();
    let keys = keys["items"].as_array().unwrap();
    keys.iter()
        .map(|key| (text(key, "kid"), text(key, "state")))
        .collect()
}

#[test]
fn three_rotations_in_a_row_under_load_refuse_nobody() {
    let sts = Sts::with_key_publish_lead(2);
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(4);
    let first = zone.mint(&application, "demo:read");
    let call = |token: &str| Request::get("/demo/items").bearer(token);
    for _ in 0..16 {
        site.until_allowed(|| call(&first));
    }

    let load = Load::default();
    let signers = Mutex::new(Vec::new());
    let newest = thread::scope(|scope| {
        // The mandate of the first key goes on all the time, and so do those that are minted.
        scope.spawn(|| load.run(|| drop(site.allowed(call(&first)))));
        for _ in 0..3 {
            scope.spawn(|| {
                load.run(|| {
                    let minted = zone.mint(&application, "demo:read");
                    site.allowed(call(&minted));
                    let kid = header_of(&minted)["kid"].as_str().unwrap().to_owned();
                    let mut signers = signers.lock().unwrap();
                    if !signers.contains(&kid) {
                        signers.push(kid);
                    }
                });
            });
        }
        let _ending = load.ending();
        let mut newest = String::new();
        for _ in 0..3 {
            newest = zone.admin("POST", "/keys/rotate", &json!({})).text("kid");
            eventually("the new key signs", || {
                load.check();
                signers.lock().unwrap().contains(&newest).then_some(())
            });
        }
        newest
    });
    assert_eq!(signers.lock().unwrap().len(), 4);
    let states = states(&zone);
    assert_eq!(states.len(), 4);
    let signing: Vec<_> = states
        .iter()
        .filter(|(_, state)| state == "signing")
        .collect();
    assert_eq!(signing, [&(newest, "signing".to_owned())]);
    site.allowed(call(&first));
}

#[test]
fn a_burst_of_rotations_refuses_nobody_either() {
    let sts = Sts::with_key_publish_lead(1);
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(2);
    let first = zone.mint(&application, "demo:read");
    let call = |token: &str| Request::get("/demo/items").bearer(token);
    site.until_allowed(|| call(&first));
    let mut newest = String::new();
    for _ in 0..3 {
        newest = zone.admin("POST", "/keys/rotate", &json!({})).text("kid");
        site.allowed(call(&zone.mint(&application, "demo:read")));
    }
    eventually("the newest key signs", || {
        let minted = zone.mint(&application, "demo:read");
        site.allowed(call(&minted));
        (header_of(&minted)["kid"] == newest.as_str()).then_some(())
    });
    site.allowed(call(&first));
}

#[test]
fn a_mandate_of_another_zone_of_the_same_sts_is_refused() {
    let sts = Sts::start();
    let (zone, other) = (sts.zone("demo"), sts.zone("other"));
    let (own, foreign) = (zone.govern(), other.govern());
    let site = zone.site(1);
    let mandate = zone.mint(&own, "demo:read");
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    let mandate = other.mint(&foreign, "demo:read");
    let call = Request::get("/demo/items").bearer(&mandate);
    site.refused(call, &unauthorized("key_unknown"));
}
