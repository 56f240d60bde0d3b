//! What revocation costs, and how fast it is: from the answer to a revocation to the first refusal on every
//! worker of three gateways under load; a million revoked anchors; and ten thousand sessions that fall by
//! one.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use authority::{
    jwks::KeySet,
    mandate::{Expected, MandateUse, verify},
    revocation::{Anchor, AnchorKind, Filter, Finding, Publication},
    time::Timestamp,
};
use e2e::{
    clients, eventually,
    gateway::Gateway,
    http::{Connection, Request, Response},
    mandates::{ISSUER, Issuer, ZONE, claims_of, now},
    sts::{Application, Sts, Zone},
    upstream::Upstream,
};
use serde_json::{Value, json};

const GATEWAYS: usize = 3;
const WORKERS: u32 = 4;
const REVOCATIONS: usize = 500;
const REQUESTS_PER_SECOND: u64 = 2_400;
const ANCHORS: usize = 1_000_000;
const RANDOM_IDS: u64 = 10_000_000;
const SESSIONS: usize = 10_000;

/// Every mint is granted: what is measured comes after it.
const OPEN: &str = r#"package caracal.authz

import rego.v1

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}
"#;

pub(crate) fn run(what: Option<&str>) {
    match what {
        None => {
            propagation();
            scale();
            subtree();
        }
        Some("propagation") => propagation(),
        Some("scale") => scale(),
        Some("subtree") => subtree(),
        Some(other) => panic!("no part {other}"),
    }
}

fn call(mandate: &str) -> Request {
    Request::get("/demo/items").bearer(mandate)
}

fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn shown(name: &str, mut times: Vec<Duration>) {
    times.sort();
    println!(
        "  {name}: p50 {:.1?}, p99 {:.1?}, max {:.1?} ({} samples)",
        at(&times, 0.5),
        at(&times, 0.99),
        at(&times, 1.0),
        times.len()
    );
}

/// A connection to each worker of each gateway.
fn connections(gateways: &[Gateway]) -> Vec<Connection> {
    let of = |gateway: &Gateway| Connection::open(gateway.address()).unwrap();
    let all = gateways
        .iter()
        .flat_map(|gateway| (0..WORKERS).map(|_| of(gateway)));
    all.collect()
}

fn propagation() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let application = zone.govern();
    let upstream = Upstream::start();
    let gateways: Vec<Gateway> = (0..GATEWAYS)
        .map(|_| zone.gateway(WORKERS, upstream.address()))
        .collect();
    let steady = zone.mint(&application, "demo:read");
    let mut probes = connections(&gateways);
    for probe in &mut probes {
        eventually("every worker serves", || {
            let answer = probe.exchange(&call(&steady)).unwrap();
            (answer.status == 200).then_some(())
        });
    }
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut first = Vec::new();
    let mut last = Vec::new();
    let mut late = 0;
    let started = Instant::now();
    thread::scope(|scope| {
        for gateway in &gateways {
            let (stop, sent, steady) = (&stop, &sent, &steady);
            scope.spawn(move || load(gateway, steady, stop, sent));
        }
        for _ in 0..REVOCATIONS {
            let (each, again) = one(&zone, &application, &mut probes);
            last.push(*each.iter().max().unwrap());
            first.extend(each);
            late += again;
        }
        stop.store(true, Ordering::Relaxed);
    });
    let rate = sent.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!(
        "propagation: {REVOCATIONS} revocations, {GATEWAYS} gateways of {WORKERS} workers, {rate:.0} requests/s of load"
    );
    shown("to a worker's first refusal", first);
    shown("to the last worker's", last);
    println!("  let pass by a worker after its first refusal: {late}");
    assert_eq!(late, 0);
}

/// Requests at a steady rate.
fn load(gateway: &Gateway, mandate: &str, stop: &AtomicBool, sent: &AtomicU64) {
    let mut all: Vec<Connection> = (0..WORKERS)
        .map(|_| Connection::open(gateway.address()).unwrap())
        .collect();
    let pace = Duration::from_micros(1_000_000 * GATEWAYS as u64 / REQUESTS_PER_SECOND);
    let started = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let due = started + pace * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let place = number as usize % all.len();
        let answer = all[place].exchange(&call(mandate)).unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// Revokes one mandate that every worker knows: how long each took to refuse it, and how many let it
/// pass once more.
fn one(
    zone: &Zone<'_>,
    application: &Application,
    probes: &mut [Connection],
) -> (Vec<Duration>, usize) {
    let mandate = zone.mint(application, "demo:read");
    let request = call(&mandate);
    for probe in &mut *probes {
        assert_eq!(probe.exchange(&request).unwrap().status, 200);
    }
    let jti = claims_of(&mandate)["jti"].clone();
    let body = json!({"anchor_type": "jti", "id": jti});
    zone.admin("POST", "/revocations", &body).ok();
    let answered = Instant::now();
    let mut refused = vec![None; probes.len()];
    while refused.contains(&None) {
        for (probe, refused) in probes.iter_mut().zip(&mut refused) {
            if refused.is_none() && is_refused(&probe.exchange(&request).unwrap()) {
                *refused = Some(answered.elapsed());
            }
        }
    }
    let again = probes
        .iter_mut()
        .filter_map(|probe| probe.exchange(&request).ok())
        .filter(|answer| !is_refused(answer))
        .count();
    (refused.into_iter().flatten().collect(), again)
}

fn is_refused(answer: &Response) -> bool {
    answer.status == 401 && answer.json()["reason"] == "token_revoked"
}

fn scale() {
    let mut sts = Sts::start();
    let (zone_id, slug) = {
        let zone = sts.zone("bench");
        (zone.id.clone(), zone.slug)
    };
    let application = sts.known_zone(&zone_id, &slug).govern();
    let token = sts.known_zone(&zone_id, &slug).gateway_token();
    let before = {
        let zone = sts.known_zone(&zone_id, &slug);
        let gateway = ready(&zone, &application);
        gateway.memory_kb()
    };
    sts.stop();
    let started = Instant::now();
    let count = ANCHORS.to_string();
    let database = sts.data_dir().join("caracal.db");
    let arguments = [database.to_str().unwrap(), &zone_id, &count];
    clients::run("fill_revocations.py", &arguments, &[]);
    println!(
        "scale: {ANCHORS} anchors written in {:.1?}",
        started.elapsed()
    );
    sts.resume();

    let path = format!("/v1/zones/{zone_id}/gateway/revocations");
    let fetch = |query: &str| {
        let started = Instant::now();
        let request = Request::get(format!("{path}{query}")).bearer(&token);
        let answer = request.send(sts.address()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.status);
        (answer, started.elapsed())
    };
    let (answer, took) = fetch("");
    println!("  built, signed and sent, the first time: {took:.1?}");
    let (_, took) = fetch("");
    println!("  again, while the base is good: {took:.1?}");
    println!("  whole filter: {} bytes", answer.body().len());
    let started = Instant::now();
    let publication = Publication::decode(answer.body()).unwrap();
    let filter = Filter::new(publication).unwrap();
    println!(
        "  read, natively and unoptimised: {:.1?}",
        started.elapsed()
    );

    let started = Instant::now();
    let wrong = (0..RANDOM_IDS)
        .filter(|number| {
            let id = format!("random-{number}");
            let kind = AnchorKind::Jti;
            filter.is_revoked(Anchor { kind, id: &id }) != Some(false)
        })
        .count();
    println!(
        "  false positives: {wrong} of {RANDOM_IDS} random ids, {:.2}e-6 (promised: 1e-6), in {:.1?}",
        wrong as f64 / 10.0,
        started.elapsed()
    );
    println!(
        "  one mandate with a chain of 10 hops, its digests at hand, natively and unoptimised: {:.1?}",
        check(&filter)
    );
    let zone = sts.known_zone(&zone_id, &slug);
    let gateway = ready(&zone, &application);
    let after = gateway.memory_kb();
    println!(
        "  Envoy with {WORKERS} workers: {before} KB without revocations, {after} KB with: {} KB a worker",
        after.saturating_sub(before) / u64::from(WORKERS + 1)
    );
    let epoch = filter.epoch();
    let mandate = zone.mint(&application, "demo:read");
    let body = json!({"anchor_type": "jti", "id": claims_of(&mandate)["jti"]});
    zone.admin("POST", "/revocations", &body).ok();
    let (answer, _) = fetch(&format!("?after={epoch}"));
    println!(
        "  one revocation, to a gateway in step: {} bytes of body, {} with headers; to one that knows nothing: the whole filter",
        answer.body().len(),
        answer.body().len() + answer.header_bytes()
    );
}

/// How long it takes to look for all that a long chain rests on.
fn check(filter: &Filter) -> Duration {
    const TIMES: u32 = 100_000;
    let issuer = Issuer::new("bench", 7);
    let keys = KeySet::parse(issuer.jwks().to_string().as_bytes()).unwrap();
    let hop = |number: usize| {
        json!({
            "application_id": format!("application-{number}"), "agent_session_id": format!("session-{number}"),
            "delegation_edge_id": format!("delegation-{number}"),
        })
    };
    let token = issuer.changed(|claims| {
        claims["delegation_chain"] = (0..10).map(hop).collect();
        claims["delegation_chain"][9]["application_id"] = claims["client_id"].clone();
    });
    let zone = ZONE.into();
    let expected = Expected {
        issuer: ISSUER,
        zone: &zone,
        uses: &[MandateUse::Gateway],
    };
    let mandate = verify(&token, &keys, &expected, Timestamp(now())).unwrap();
    assert_eq!(filter.find(&mandate), Finding::Clear);
    let started = Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(filter.find(std::hint::black_box(&mandate)));
    }
    started.elapsed() / TIMES
}

/// A gateway whose workers all serve.
fn ready(zone: &Zone<'_>, application: &Application) -> Gateway {
    let upstream = Upstream::start();
    let gateway = zone.gateway(WORKERS, upstream.address());
    let mandate = zone.mint(application, "demo:read");
    let mut all = connections(std::slice::from_ref(&gateway));
    for connection in &mut all {
        eventually("every worker serves", || {
            let answer = connection.exchange(&call(&mandate)).unwrap();
            (answer.status == 200).then_some(())
        });
    }
    gateway
}

fn subtree() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let application = zone.govern();
    zone.activate(&zone.policy("open", OPEN));
    let upstream = Upstream::start();
    let gateway = zone.gateway(WORKERS, upstream.address());
    let start = |parent: Option<&str>| {
        let body = json!({"application_id": application.id, "parent_id": parent});
        zone.governed("POST", "/agents", &body)
            .text("agent_session_id")
    };
    let root = start(None);
    let mut sessions = vec![root.clone()];
    let mut mandates = Vec::new();
    let mut parent = 0;
    while sessions.len() < SESSIONS {
        let id = sessions[parent].clone();
        parent += 1;
        for _ in 0..3.min(SESSIONS - sessions.len()) {
            sessions.push(start(Some(&id)));
        }
    }
    for session in &sessions {
        let fields = [("agent_session_id", session.as_str())];
        let minted = zone.try_mint(&application, "demo:read", &fields);
        mandates.push(minted.text("access_token"));
    }
    let mut all = connections(std::slice::from_ref(&gateway));
    for connection in &mut all {
        eventually("every worker serves", || {
            let answer = connection.exchange(&call(&mandates[0])).unwrap();
            (answer.status == 200).then_some(())
        });
    }
    let epoch = |zone: &Zone<'_>| {
        let list = zone.admin("GET", "/revocations", &Value::Null).ok();
        list["items"].as_array().unwrap().len()
    };
    let before = epoch(&zone);
    let started = Instant::now();
    zone.governed("DELETE", &format!("/agents/{root}"), &Value::Null)
        .ok();
    let took = started.elapsed();
    let published = epoch(&zone) - before;
    for connection in &mut all {
        eventually("every worker refuses", || {
            let answer = connection.exchange(&call(&mandates[0])).unwrap();
            is_refused(&answer).then_some(())
        });
    }
    let started = Instant::now();
    let workers = all.len();
    for (number, mandate) in mandates.iter().enumerate() {
        let answer = all[number % workers].exchange(&call(mandate)).unwrap();
        assert!(is_refused(&answer), "{answer}");
    }
    println!(
        "subtree: the root of {} sessions ended in {took:.1?}; {published} anchor published; {} mandates refused, all of them, in {:.1?}",
        sessions.len(),
        mandates.len(),
        started.elapsed()
    );
    assert_eq!(published, 1);
}
