//! `cargo xtask bench sts`: mandates a second, each with its evidence on disk before it is answered; with one
//! application in the zone, and with ten thousand.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use e2e::{
    clients,
    http::{Connection, Request},
    mandates::RESOURCE,
    sts::{Application, Sts, Zone},
};
use serde_json::{Value, json};

use crate::median;

const APPLICATIONS: usize = 10_000;
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What the original's own benchmark says of it, on four cores.
const ORIGINAL: f64 = 139.0;

/// How much is measured.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Clients that ask at once, each on its connection
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Rounds, in each of which every kind of mint has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// What came of one turn.
struct Turn {
    a_second: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    /// Microseconds of the STS's processor time for a mint.
    cpu: f64,
}

pub(crate) fn run(options: &Options) {
    let mut sts = Sts::start();
    let (zone_id, application) = {
        let zone = sts.zone("bench");
        let application = zone.application("agent");
        zone.resource(RESOURCE, "/demo/");
        let content = policy(&application.id);
        zone.activate(&zone.policy("all", &content));
        (zone.id, application)
    };
    println!(
        "{} rounds of {} s each, interleaved, {} clients; SQLite, synced before each answer \
         (there is no PostgreSQL store to compare with)",
        options.rounds, options.seconds, options.clients
    );
    println!(
        "| mint | applications | mints/s | of the original's {ORIGINAL:.0}/s on 4 cores | p50, ms | p90 | p99 | p99.9 | STS, µs of CPU | memory |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut written = part(&sts, &zone_id, &application, 1, options);
    sts.stop();
    let database = sts.data_dir().join("caracal.db");
    let more = (APPLICATIONS - 1).to_string();
    let arguments = [database.to_str().unwrap(), &application.id, &more];
    clients::run("fill_applications.py", &arguments, &[]);
    sts.resume();
    written.extend(part(&sts, &zone_id, &application, APPLICATIONS, options));
    let file = Path::new("target/bench-sts.json");
    fs::write(file, format!("{:#}\n", json!(written))).unwrap();
    println!("written to {}", file.display());
}

/// Lets the application do all that is measured.
fn policy(application: &str) -> String {
    format!(
        "# caracal:data-document\npackage caracal.authz\nimport rego.v1\n\
         app_ids := {{\"agent\": \"{application}\"}}\n\
         grants := {{\"{RESOURCE}\": {{\"application\": \"agent\", \
         \"applications\": {{\"agent\": [\"demo:read\", \"demo:write\"]}}, \
         \"roles\": {{\"lead\": [\"demo:read\", \"demo:write\"]}}}}}}\n"
    )
}

fn part(
    sts: &Sts,
    zone_id: &str,
    application: &Application,
    applications: usize,
    options: &Options,
) -> Vec<Value> {
    let zone = sts.known_zone(zone_id, "bench");
    let kinds = kinds(&zone, application);
    let mut turns: Vec<Vec<Turn>> = kinds.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for ((_, request), turns) in kinds.iter().zip(&mut turns) {
            turns.push(turn(sts, request, options));
        }
    }
    let memory = sts.memory_kb() / 1024;
    let mut written = Vec::new();
    for ((kind, _), turns) in kinds.iter().zip(&turns) {
        let of = |what: fn(&Turn) -> f64| median(turns.iter().map(what).collect());
        let (rate, cpu) = (of(|turn| turn.a_second), of(|turn| turn.cpu));
        let (p50, p90) = (of(|turn| turn.p50), of(|turn| turn.p90));
        let (p99, p999) = (of(|turn| turn.p99), of(|turn| turn.p999));
        println!(
            "| {kind} | {applications} | {rate:.0} | {:.1} | {p50:.1} | {p90:.1} | {p99:.1} | {p999:.1} | {cpu:.0} | {memory} MB |",
            rate / ORIGINAL
        );
        written.push(json!({
            "mint": kind, "applications": applications, "mints_per_second": rate, "cpu_us": cpu,
            "latency_ms": {"p50": p50, "p90": p90, "p99": p99, "p99.9": p999},
            "memory_mb": memory, "clients": options.clients,
        }));
    }
    written
}

/// The requests that are measured. Who asks is known to the STS from the first of each on.
fn kinds(zone: &Zone<'_>, application: &Application) -> Vec<(&'static str, Request)> {
    let secret = [
        ("application_id", application.id.as_str()),
        ("client_secret", &application.secret),
    ];
    let lead = zone.session(application, "lead", None);
    let worker = zone.session(application, "lead", Some(&lead));
    let edge = zone.delegate((application, &lead), (application, &worker), &["demo:read"]);
    let lifecycle = zone.try_mint(application, "agent:lifecycle", &[]);
    let session = lifecycle.text("access_token");
    let subject = [
        ("subject_token", session.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let delegated = [
        ("agent_session_id", worker.as_str()),
        ("delegation_edge_id", &edge),
    ];
    let form = |scope: &str, more: &[&[(&str, &str)]]| {
        let all = [
            ("grant_type", EXCHANGE),
            ("zone_id", &zone.id),
            ("resource", RESOURCE),
            ("scope", scope),
        ];
        let fields = all.iter().chain(more.iter().copied().flatten());
        let body: Vec<String> = fields
            .map(|(name, value)| format!("{name}={}", percent_encoded(value)))
            .collect();
        Request::new("POST", "/oauth/2/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(&body.join("&"))
    };
    vec![
        ("bootstrap", form("agent:lifecycle", &[&secret])),
        ("direct, by secret", form("demo:read", &[&secret])),
        ("direct, by session mandate", form("demo:read", &[&subject])),
        ("delegated", form("demo:read", &[&secret, &delegated])),
    ]
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match byte {
            byte if plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn turn(sts: &Sts, request: &Request, options: &Options) -> Turn {
    let before = sts.processor_time();
    let lasting = Duration::from_secs(options.seconds);
    let (rate, mut times) = drive(sts, request, options.clients, |_, started| {
        started.elapsed() < lasting
    });
    let cpu = (sts.processor_time() - before).as_secs_f64() * 1e6 / times.len() as f64;
    times.sort();
    let at =
        |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1_000.0;
    Turn {
        a_second: rate,
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        cpu,
    }
}

/// Sends a request over and over from so many clients, each for as long as `goes_on` says by how many it has
/// sent and since when. How many were answered in a second, and how long each took.
pub(crate) fn drive(
    sts: &Sts,
    request: &Request,
    clients: usize,
    goes_on: impl Fn(usize, Instant) -> bool + Sync,
) -> (f64, Vec<Duration>) {
    let started = Instant::now();
    let one = || {
        let mut connection = Connection::open(sts.address()).unwrap();
        let mut times = Vec::new();
        while goes_on(times.len(), started) {
            let sent = Instant::now();
            let answer = connection.exchange(request).unwrap();
            assert_eq!(answer.status, 200, "{answer}");
            times.push(sent.elapsed());
        }
        times
    };
    let times: Vec<Vec<Duration>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    });
    let times = times.concat();
    (times.len() as f64 / started.elapsed().as_secs_f64(), times)
}
