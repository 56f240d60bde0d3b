//! Policies that change while requests flow: every decision is by the one or the other, in order, and
//! what was rolled back from decides no more.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use e2e::{
    Load, eventually,
    http::{Connection, Request, Response},
    mandates::{RESOURCE, grants},
    refusals::{self, Expected, denied, unauthorized, unavailable},
    site::Site,
    sts::{Application, PolicyVersion, Sts, Zone},
};

/// A zone with two versions of one set, that in force first: the caller may read, or may not.
fn two_versions(zone: &Zone<'_>, application: &Application) -> (PolicyVersion, PolicyVersion) {
    let both = ["demo:read", "demo:write"];
    let wide = zone.policy("wide", &grants(&application.id, &[RESOURCE], &both));
    let narrow = grants(&application.id, &[RESOURCE], &["demo:write"]);
    let narrow = zone.next_policy(&wide, "narrow", &narrow);
    zone.activate(&wide);
    (wide, narrow)
}

fn connections(site: &Site) -> Vec<Connection> {
    // Each connection stays with its worker, and two of eight are each worker's.
    (0..8)
        .map(|_| Connection::open(site.gateway.address()).unwrap())
        .collect()
}

/// Whether an answer is by the policy that allows; it must be by one of the two.
fn allows(response: &Response, arrived: bool, refused: &Expected) -> bool {
    if response.status != 200 {
        refusals::check(response, refused, "in flight");
    }
    assert_eq!(response.status == 200, arrived, "{response}");
    response.status == 200
}

/// Waits until the worker of every connection allows, or refuses.
fn every_connection(
    site: &Site,
    connections: &mut [Connection],
    call: impl Fn() -> Request,
    allowed: bool,
    refused: &Expected,
) {
    eventually("all workers decide by what is new", || {
        let all = connections.iter_mut().all(|connection| {
            let (response, arrival) = site.send_on(connection, call());
            if response.status == 503 {
                // Only before its first bundle.
                refusals::check(&response, &unavailable("not_ready"), "in flight");
                return false;
            }
            allows(&response, arrival.is_some(), refused) == allowed
        });
        all.then_some(())
    });
}

/// The phase is even while nothing changes and every worker is known to decide by one version: 0 and 4
/// by the one that allows, 2 by the other, and so on.
#[test]
fn under_load_no_decision_is_by_the_wrong_policy_before_or_after_a_hot_activation() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let (wide, narrow) = two_versions(&zone, &application);
    let site = zone.site(4);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    let refused = denied("role_scope_mismatch");
    let mut watching = connections(&site);
    every_connection(&site, &mut watching, call, true, &refused);
    assert_eq!(site.workers_with_connections(), 4);

    let load = Load::default();
    let phase = AtomicUsize::new(0);
    let (settled, moving) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut own: Vec<(Connection, usize, bool)> = connections(&site)
                    .into_iter()
                    .take(4)
                    .map(|connection| (connection, 0, true))
                    .collect();
                let mut turn = 0;
                load.run(|| {
                    turn += 1;
                    let at = turn % own.len();
                    let (connection, last_phase, last_allowed) = &mut own[at];
                    let before = phase.load(Ordering::SeqCst);
                    let (response, arrival) = site.send_on(connection, call());
                    let after = phase.load(Ordering::SeqCst);
                    let allowed = allows(&response, arrival.is_some(), &refused);
                    if before == after && before.is_multiple_of(2) {
                        assert_eq!(
                            allowed,
                            before.is_multiple_of(4),
                            "settled in phase {before}: {response}"
                        );
                        settled.fetch_add(1, Ordering::Relaxed);
                    } else if before == after && *last_phase == before {
                        // From phase 1 on the new policy refuses, from phase 3 on it allows: a worker
                        // that has changed over does not go back.
                        let new_allows = before % 4 == 3;
                        let went_back = *last_allowed == new_allows && allowed != new_allows;
                        assert!(!went_back, "back to the old policy in phase {before}");
                        moving.fetch_add(1, Ordering::Relaxed);
                    }
                    (*last_phase, *last_allowed) = (before, allowed);
                    let bare = Request::get("/demo/items");
                    let (response, arrival) = site.send_on(connection, bare);
                    refusals::check(
                        &response,
                        &unauthorized("token_missing"),
                        "without a mandate",
                    );
                    assert!(arrival.is_none());
                });
            });
        }
        let _ending = load.ending();
        for round in 0..12 {
            load.check();
            phase.fetch_add(1, Ordering::SeqCst);
            let allowed = round % 2 == 1;
            zone.activate(if allowed { &wide } else { &narrow });
            every_connection(&site, &mut watching, call, allowed, &refused);
            phase.fetch_add(1, Ordering::SeqCst);
            let before = settled.load(Ordering::Relaxed);
            eventually("requests are decided by what is new", || {
                load.check();
                (settled.load(Ordering::Relaxed) > before + 40).then_some(())
            });
        }
    });
    assert!(moving.load(Ordering::Relaxed) > 0, "nothing was in flight");
}

#[test]
fn a_rollback_takes_effect_on_every_worker() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let (wide, narrow) = two_versions(&zone, &application);
    let site = zone.site(4);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    let refused = denied("role_scope_mismatch");
    let mut watching = connections(&site);
    every_connection(&site, &mut watching, call, true, &refused);
    for _ in 0..2 {
        zone.activate(&narrow);
        every_connection(&site, &mut watching, call, false, &refused);
        zone.roll_back(&wide);
        every_connection(&site, &mut watching, call, true, &refused);
    }
    zone.mint(&application, "demo:read");
}

#[test]
fn a_policy_is_asked_once_about_a_call_that_repeats_and_another_one_decides_at_once() {
    let sts = Sts::start();
    let zone = sts.zone("repeated");
    let application = zone.govern();
    let (_, narrow) = two_versions(&zone, &application);
    let site = zone.site(1);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);
    let hits = || -> u64 {
        let stats = site.gateway.stats("caracal_policy_cache_hits");
        stats.iter().map(|(_, count)| count).sum()
    };
    let before = hits();
    for _ in 0..10 {
        site.allowed(call());
    }
    eventually("the policy is not asked again", || {
        (hits() >= before + 10).then_some(())
    });
    let before = hits();
    for _ in 0..10 {
        let alike = zone.mint(&application, "demo:read");
        site.allowed(Request::get("/demo/items").bearer(&alike));
    }
    eventually(
        "it is not asked about mandates that look the same to it",
        || (hits() >= before + 10).then_some(()),
    );
    // What was remembered was another policy's word.
    zone.activate(&narrow);
    site.until_refused(call, &denied("role_scope_mismatch"));
    zone.roll_back(&narrow);
    site.until_allowed(call);
}
