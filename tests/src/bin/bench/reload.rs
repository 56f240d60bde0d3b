//! What a new bundle costs those who call meanwhile: latencies of a gateway of a thousand resources while
//! another policy is activated twice a second, beside those while nothing changes. STS, gateway and load share
//! the machine, so compiling the policy is in the figures as well.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use e2e::{
    eventually,
    gateway::Gateway,
    http::Request,
    mandates::{RESOURCE, grants},
    sts::Sts,
};

use crate::gateway::load::{Latencies, open_loop};

const RESOURCES: usize = 1_000;
const AGENTS: usize = 100;
const ROUNDS: usize = 5;
const LASTING: Duration = Duration::from_secs(5);
const RATE: u32 = 1_000;
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) fn run() {
    let sts = Sts::start();
    let zone = sts.zone("reload");
    let application = zone.application("agent");
    zone.resource(RESOURCE, "/demo/");
    let mut resources = vec![RESOURCE.to_owned()];
    for number in 1..RESOURCES {
        let identifier = format!("resource://r{number}");
        zone.resource(&identifier, &format!("/r{number}/"));
        resources.push(identifier);
    }
    let all: Vec<&str> = resources.iter().map(String::as_str).collect();
    let policy =
        |name: &str, scopes: &[&str]| zone.policy(name, &grants(&application.id, &all, scopes));
    // Both let pass what is called.
    let policies = [
        policy("narrow", &["demo:read"]),
        policy("wide", &["demo:read", "demo:write"]),
    ];
    zone.activate(&policies[0]);
    let mut spec = zone.gateway_spec(1, sts.address());
    spec.answers_itself = true;
    let gateway = spec.start();
    let tokens: Vec<String> = (0..AGENTS)
        .map(|_| zone.mint(&application, "demo:read"))
        .collect();
    eventually("the gateway allows", || {
        let answer = Request::get("/demo/items").bearer(&tokens[0]);
        let answer = answer.send(gateway.address()).unwrap();
        (answer.status == 200).then_some(())
    });

    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    let (mut activations, mut bundles) = (0, 0);
    for _ in 0..ROUNDS {
        let address = gateway.address();
        quiet.push(open_loop(address, &tokens, RATE, LASTING));
        let before = applied(&gateway);
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let activating = scope.spawn(|| {
                let mut number = 0;
                while !ended.load(Ordering::Relaxed) {
                    number += 1;
                    zone.activate(&policies[number % 2]);
                    thread::sleep(PAUSE);
                }
                number
            });
            busy.push(open_loop(address, &tokens, RATE, LASTING));
            ended.store(true, Ordering::Relaxed);
            activations += activating.join().unwrap();
        });
        bundles += applied(&gateway) - before;
    }
    assert!(bundles > 0, "no bundle was applied");
    println!(
        "{RATE} requests/s to one worker, {RESOURCES} resources; {activations} activations, {bundles} bundles applied meanwhile; medians of {ROUNDS} rounds, by turns, in microseconds"
    );
    println!("| | p50 | p90 | p99 | p99.9 |");
    println!("|---|---|---|---|---|");
    for (name, rounds) in [("nothing changes", quiet), ("bundles are applied", busy)] {
        let Latencies {
            p50,
            p90,
            p99,
            p999,
        } = Latencies::medians(&rounds);
        println!("| {name} | {p50:.0} | {p90:.0} | {p99:.0} | {p999:.0} |");
    }
}

/// How many bundles the gateway has taken over.
fn applied(gateway: &Gateway) -> u64 {
    let stats = gateway.stats("caracal_bundles_applied");
    stats.iter().map(|(_, count)| count).sum()
}
