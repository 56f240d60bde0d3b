//! What evidence costs, and that none is lost: a million decisions while the STS is killed again and
//! again, exchanges with a wait for the disk each, what an event takes of the disk, and how long it takes
//! to find one among many.

use std::{
    collections::HashSet,
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use authority::{
    audit::{Event, EventType, Line, MandateFacts, OccurredAt, PolicyFacts, Verifier},
    ids::ZoneId,
    jwks::KeySet,
};
use e2e::{
    eventually,
    gateway::Gateway,
    http::{Connection, Request},
    parts,
    sts::{Application, Sts, Zone},
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::{disk, mints::drive};

const WORKERS: u32 = 4;
const DECISIONS: u64 = 1_000_000;
const KILLS: u64 = 10;
const EXCHANGES: usize = 4_000;
const LOOKS: usize = 200;
/// Events of a batch, as [`intake`] sends them.
const BATCHES: [usize; 4] = [1, 20, 100, 500];
const INTAKE_ROUNDS: usize = 5;
/// Of a turn.
const INTAKE_EVENTS: usize = 40_000;
const INTAKE_BATCHES: usize = 500;

pub(crate) fn run(what: Option<&str>, decisions: Option<u64>) {
    let decisions = decisions.unwrap_or(DECISIONS);
    match what {
        None => {
            loss(decisions);
            exchanges();
            intake();
            search(decisions);
            memory();
        }
        Some("loss") => loss(decisions),
        Some("exchanges") => exchanges(),
        Some("intake") => intake(),
        Some("search") => search(decisions),
        Some("memory") => memory(),
        Some("disk") => disk::run(),
        Some(other) => panic!("no part {other}"),
    }
}

fn gateway(zone: &Zone<'_>, upstream: &Upstream, buffer_events: usize) -> Gateway {
    let mut spec = zone.gateway_spec(WORKERS, upstream.address());
    spec.plugin["audit"] = json!({"buffer_events": buffer_events});
    spec.plugin["max_staleness_seconds"] = json!(600);
    spec.start()
}

/// What Envoy counted: decisions, and refusals for want of room, which are none.
fn decided(gateway: &Gateway) -> (u64, u64) {
    let (mut decisions, mut lost) = (0, 0);
    for (name, count) in gateway.stats("caracal_decisions") {
        if name.ends_with("audit_unavailable") {
            lost += count;
        } else {
            decisions += count;
        }
    }
    (decisions, lost)
}

fn loss(wanted: u64) {
    let mut sts = Sts::start();
    let upstream = Upstream::start();
    let (gateway, mandate, id) = {
        let zone = sts.zone("bench");
        let application = zone.govern();
        let mandate = zone.mint(&application, "demo:read");
        (gateway(&zone, &upstream, 10_000), mandate, zone.id)
    };
    let call = || Request::get("/demo/none").bearer(&mandate);
    let address = gateway.address();
    eventually("the gateway decides", || {
        let status = call().send(address).unwrap().status;
        (status == 403).then_some(())
    });
    let stop = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(address).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    // Refused for its operation, after everything else: no upstream takes part.
                    let answer = connection.exchange(&call()).unwrap();
                    match answer.status {
                        403 => drop(sent.fetch_add(1, Ordering::Relaxed)),
                        // The gateway decides no faster than its evidence is taken.
                        503 => thread::sleep(Duration::from_millis(20)),
                        _ => panic!("{answer}"),
                    }
                }
            });
        }
        for kill in 1..=KILLS {
            while sent.load(Ordering::Relaxed) < wanted * kill / (KILLS + 1) {
                thread::sleep(Duration::from_millis(5));
            }
            sts.stop();
            thread::sleep(Duration::from_millis(300));
            sts.resume();
        }
        while sent.load(Ordering::Relaxed) < wanted {
            thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let took = started.elapsed();
    let (decisions, lost) = decided(&gateway);
    let zone = sts.known_zone(&id, "bench");
    let waited = Instant::now();
    let Exported {
        events: found,
        requests,
        bytes: size,
    } = loop {
        // The buffers empty once the load is over.
        let exported = exported(&sts, &zone, "gateway_request");
        if exported.events >= decisions || waited.elapsed() > Duration::from_secs(120) {
            break exported;
        }
        thread::sleep(Duration::from_secs(1));
    };
    let distinct = u64::try_from(requests.len()).unwrap();
    println!(
        "{decisions} decisions by {WORKERS} workers in {took:.0?} ({:.0}/s), the STS killed {KILLS} times: \
         {found} in the ledger, {distinct} distinct, and {lost} refused for want of room; the chain is whole",
        decisions as f64 / took.as_secs_f64()
    );
    let database = fs::metadata(sts.data_dir().join("caracal.db"))
        .unwrap()
        .len();
    println!(
        "  an event takes {} bytes of the database, {} of an export",
        database / found.max(1),
        size / found.max(1)
    );
    assert_eq!((found, distinct), (decisions, decisions));
}

/// What is in an export that was verified.
pub(crate) struct Exported {
    /// Events of the type.
    pub(crate) events: u64,
    /// Their requests.
    pub(crate) requests: HashSet<String>,
    bytes: u64,
}

/// Exports and verifies, and tells of the events of a type.
pub(crate) fn exported(sts: &Sts, zone: &Zone<'_>, event_type: &str) -> Exported {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (dir.path().join("export"), dir.path().join("keys"));
    let done = Command::new(parts::caracal())
        .args(["audit", "export", "--zone", &zone.slug, "--to"])
        .arg(&file)
        .arg("--keys")
        .arg(&keys)
        .arg("--data-dir")
        .arg(sts.data_dir())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(done.success());
    let keys = KeySet::parse_history(&fs::read(&keys).unwrap()).unwrap();
    let mut verifier = Verifier::new(&keys);
    let (mut found, mut requests) = (0, HashSet::new());
    let text = std::io::BufReader::new(fs::File::open(&file).unwrap());
    for line in std::io::BufRead::lines(text) {
        let line = line.unwrap();
        verifier.push(&line).unwrap();
        if let Ok(Line::Event(entry)) = serde_json::from_str(&line)
            && entry.event["event_type"] == event_type
        {
            found += 1;
            requests.insert(entry.event["request_id"].as_str().unwrap().to_owned());
        }
    }
    verifier.finish().unwrap();
    Exported {
        events: found,
        requests,
        bytes: fs::metadata(&file).unwrap().len(),
    }
}

fn exchanges() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let application = zone.govern();
    zone.mint(&application, "demo:read"); // its secret is known from here on
    for clients in [1, 16, 64] {
        let (rate, mut times) = mints(&sts, &zone, &application, clients);
        times.sort();
        println!(
            "{EXCHANGES} exchanges by {clients} clients: {rate:.0}/s, p50 {:.1?}, p99 {:.1?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

fn mints(
    sts: &Sts,
    zone: &Zone<'_>,
    application: &Application,
    clients: usize,
) -> (f64, Vec<Duration>) {
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&zone_id={}&application_id={}\
         &client_secret={}&resource=resource%3A%2F%2Fdemo&scope=demo%3Aread",
        zone.id, application.id, application.secret
    );
    let request = Request::new("POST", "/oauth/2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(&body);
    drive(sts, &request, clients, |sent, _| sent < EXCHANGES / clients)
}

/// An event of the size and the variety that a busy zone has.
fn event(zone: &str, number: u64) -> Event {
    let id = |kind: u64, number: u64| format!("01980000-{kind:04x}-7000-8000-{number:012x}");
    let mut event = Event::new(
        id(0, number),
        ZoneId::from(zone),
        EventType::GatewayRequest,
        // As random as Envoy's are.
        format!(
            "{:016x}-{number:x}",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ),
        OccurredAt(1_790_000_000_000_000 + number * 1_000),
    );
    let agent = number % 1_000;
    event.mandate = MandateFacts {
        client_id: Some(id(1, agent % 50)),
        sub: Some(id(1, agent % 50)),
        sid: Some(id(2, agent + number / 1_000_000 * 1_000)),
        root_sid: Some(id(2, agent)),
        jti: Some(id(3, agent + number / 1_000_000 * 1_000)),
        mandate_use: None,
        agent_session_id: Some(id(4, agent)),
        session_path: vec![id(4, agent / 100), id(4, agent)],
        ..MandateFacts::default()
    };
    event.policy = PolicyFacts {
        policy_set_id: None,
        policy_set_version_id: Some(id(5, 0)),
        manifest_sha: Some(format!("sha256:{:064x}", 1)),
    };
    event.resource = Some(format!("resource://service-{}", agent % 20));
    event.method = Some("GET".to_owned());
    event.path = Some(format!("/orders/{number}"));
    event.latency_us = Some(30);
    if number.is_multiple_of(97) {
        event.decision = authority::audit::Decision::Deny;
        event.reason = Some("scope_missing".to_owned());
    }
    event
}

/// The events of these numbers, as a gateway sends them.
fn batch(zone: &str, token: &str, numbers: impl Iterator<Item = u64>) -> Request {
    let events: Vec<Event> = numbers.map(|number| event(zone, number)).collect();
    let path = format!("/v1/zones/{zone}/gateway/decisions");
    Request::new("POST", path.as_bytes())
        .header("content-type", "application/json")
        .bearer(token)
        .body(&json!({"events": events}).to_string())
}

/// What the STS takes for an event, by how many come together.
fn intake() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let token = zone.gateway_token();
    let mut connection = Connection::open(sts.address()).unwrap();
    let mut numbers = 0..;
    let mut turns = BATCHES.map(|_| Vec::new());
    for _ in 0..INTAKE_ROUNDS {
        for (together, turns) in BATCHES.into_iter().zip(&mut turns) {
            let batches = (INTAKE_EVENTS / together).min(INTAKE_BATCHES);
            let requests: Vec<Request> = (0..batches)
                .map(|_| batch(&zone.id, &token, numbers.by_ref().take(together)))
                .collect();
            let (started, before) = (Instant::now(), sts.processor_time());
            for request in &requests {
                let answer = connection.exchange(request).unwrap();
                assert_eq!(answer.status, 200, "{answer}");
            }
            let (took, cpu) = (started.elapsed(), sts.processor_time() - before);
            let events = (batches * together) as f64;
            turns.push((
                cpu.as_secs_f64() * 1e6 / events,
                events / took.as_secs_f64(),
            ));
        }
    }
    for (together, mut turns) in BATCHES.into_iter().zip(turns) {
        turns.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (cpu, rate) = turns[turns.len() / 2];
        println!(
            "{together} events together: {cpu:.1} us of the STS's processor time an event, {:.0} a batch, {rate:.0} events/s",
            cpu * together as f64
        );
    }
}

fn search(events: u64) {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let token = zone.gateway_token();
    let mut connection = Connection::open(sts.address()).unwrap();
    let mut known = 0;
    for upto in [events / 100, events / 10, events] {
        let (started, before) = (Instant::now(), known);
        while known < upto {
            let end = upto.min(known + 1_000);
            let request = batch(&zone.id, &token, known..end);
            known = end;
            let answer = connection.exchange(&request).unwrap();
            assert_eq!(answer.status, 200, "{answer}");
        }
        let rate = (known - before) as f64 / started.elapsed().as_secs_f64();
        let size = fs::metadata(sts.data_dir().join("caracal.db"))
            .unwrap()
            .len();
        println!(
            "{known} events ({rate:.0}/s taken in by one connection, {} bytes each in the database)",
            size / known
        );
        look(&zone, known);
    }
}

fn look(zone: &Zone<'_>, known: u64) {
    let of = |number: u64| event(&zone.id, number);
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut some = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        of(dice % known)
    };
    let text = |value: &Option<String>| value.clone().unwrap();
    type Look<'a> = (&'a str, &'a dyn Fn(&Event) -> String);
    let looks: [Look<'_>; 7] = [
        ("by request", &|event| {
            format!("/audit/by-request/{}", event.request_id)
        }),
        ("explain", &|event| {
            format!("/audit/by-request/{}/explain", event.request_id)
        }),
        ("newest 100", &|_| "/audit".to_owned()),
        ("denials of an application", &|event| {
            let client = text(&event.mandate.client_id);
            format!("/audit?decision=deny&application_id={client}")
        }),
        ("a session's tree on a resource", &|event| {
            let (session, resource) = (&event.mandate.session_path[0], text(&event.resource));
            format!("/audit?session_tree={session}&resource={resource}")
        }),
        ("an hour of a subject", &|event| {
            let (from, to) = (event.occurred_at.0, event.occurred_at.0 + 3_600_000_000);
            let (from, to) = (OccurredAt(from), OccurredAt(to));
            let subject = text(&event.mandate.sub);
            format!("/audit?since={from}&until={to}&subject={subject}")
        }),
        ("denials of a resource by reason", &|event| {
            let resource = text(&event.resource);
            format!("/audit?reason=scope_missing&resource={resource}")
        }),
    ];
    for (name, path) in looks {
        let mut times: Vec<Duration> = (0..LOOKS)
            .map(|_| {
                let path = path(&some());
                let started = Instant::now();
                zone.admin("GET", &path, &Value::Null).ok();
                started.elapsed()
            })
            .collect();
        times.sort();
        println!(
            "  {name}: p50 {:.1?}, p99 {:.1?}",
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

fn memory() {
    let mut sts = Sts::start();
    let upstream = Upstream::start();
    let (gateway, mandates) = {
        let zone = sts.zone("bench");
        let application = zone.govern();
        let mandates: Vec<String> = (0..100)
            .map(|_| zone.mint(&application, "demo:read"))
            .collect();
        (gateway(&zone, &upstream, 10_000), mandates)
    };
    let mut connections: Vec<Connection> = (0..2 * WORKERS)
        .map(|_| Connection::open(gateway.address()).unwrap())
        .collect();
    let mut call = |number: usize| {
        let request = Request::get("/demo/items").bearer(&mandates[number % mandates.len()]);
        let place = number % connections.len();
        connections[place].exchange(&request).unwrap().status
    };
    for number in 0..2_000 {
        call(number);
    }
    eventually("the buffers are empty", || {
        let zone = sts.admin("GET", "/v1/zones", &Value::Null).ok();
        thread::sleep(Duration::from_secs(2));
        zone.is_object().then_some(())
    });
    let before = gateway.memory_kb();
    sts.stop();
    let mut number = 0;
    let mut refused = 0;
    while refused < 100 {
        number += 1;
        refused = if call(number) == 503 { refused + 1 } else { 0 };
    }
    let after = gateway.memory_kb();
    println!(
        "{WORKERS} workers with {} events each that the STS has not taken: {:.1} MB more than before, {} bytes an event",
        10_000,
        (after - before) as f64 / 1024.0,
        (after - before) * 1024 / (10_000 * u64::from(WORKERS))
    );
}
