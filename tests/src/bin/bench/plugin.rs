//! What the plugin costs: one Envoy with three listeners that answer by themselves: without the plugin, with
//! it, and with it but without its memory of verified mandates. Then what policies cost at their worst and as
//! data grows, and, with a real STS, how long an activated policy takes to the last worker.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{
    PATIENCE, eventually,
    gateway::GatewaySpec,
    http::{Connection, Request},
    mandates::{APPLICATION, ISSUER, Issuer, RESOURCE, ZONE, grants, stand_alone},
    parts,
    sts::Sts,
};
use serde_json::{Value, json};

use crate::{median, policies};

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
const STARTS: usize = 5;
/// As many as a worker keeps unless it is configured otherwise.
const HELD: usize = 10_000;
const ACTIVATIONS: usize = 200;
const ACTIVATION_WORKERS: u32 = 4;
const PATH: &str = "/demo/items";

/// The listeners, in the order of their ports.
const LISTENERS: [(&str, Option<usize>); 3] = [
    ("plain", None),
    ("governed", Some(10_000)),
    ("uncached", Some(0)),
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run() {
    let issuer = Issuer::new("bench", 7);
    let token = issuer.mandate("demo:read");
    let dir = tempfile::tempdir().unwrap();
    let (config, admin_file) = (dir.path().join("envoy.json"), dir.path().join("admin"));
    fs::write(&config, envoy_config(&issuer).to_string()).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let envoy = Running(
        Command::new(parts::envoy())
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_file)
            .args([
                "--concurrency",
                "1",
                "--use-dynamic-base-id",
                "--log-level",
                "warn",
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Envoy starts"),
    );
    let admin: SocketAddr = eventually("Envoy starts its admin port", || {
        fs::read_to_string(&admin_file).ok()?.trim().parse().ok()
    });
    let ports = eventually("Envoy listens", || ports(admin));
    for (port, (name, _)) in ports.iter().zip(LISTENERS) {
        let request = Request::get(PATH).header("Authorization", &format!("Bearer {token}"));
        let response = request
            .send(SocketAddr::from((Ipv4Addr::LOCALHOST, *port)))
            .unwrap();
        assert_eq!(response.status, 200, "{name}: {response}");
    }

    println!("{ROUNDS} rounds of {SECONDS} s each, interleaved; wrk -t1 -c16, one Envoy worker");
    let mut rates: [Vec<f64>; 3] = Default::default();
    for round in 1..=ROUNDS {
        for ((port, (name, _)), rates) in ports.iter().zip(LISTENERS).zip(&mut rates) {
            let rate = wrk(*port, &token);
            println!("  round {round}  {name:<9} {rate:>8.0} requests/s");
            rates.push(rate);
        }
    }
    let medians = rates.map(median);
    println!("median");
    for ((name, _), rate) in LISTENERS.iter().zip(medians) {
        println!(
            "  {name:<9} {rate:>8.0} requests/s  {:>5.2} of plain",
            rate / medians[0]
        );
    }
    println!("inside the plugin, in Envoy's V8 (microseconds, median over all rounds)");
    for (metric, what) in [
        ("policy", "operation and policy, if asked"),
        ("verify", "one verification (ES256 and claims)"),
    ] {
        println!("  {what:<36} {:>6.0}", quantile(admin, metric));
    }
    drop(envoy);
    start_up(&issuer, &token);
    held(&issuer);
    policies::large_data();
    policies::stalls(&issuer, PATH);
    activations();
}

/// From the start of the process to the first request that is let pass: with the plugin, by itself and with an STS, with
/// the one that takes no policies as text, and without.
fn start_up(issuer: &Issuer, own: &str) {
    let sts = Sts::start();
    let zone = sts.zone("start");
    let application = zone.govern();
    let minted = zone.mint(&application, "demo:read");
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let by_itself = GatewaySpec::new(stand_alone(issuer), nowhere);
    let with_sts = zone.gateway_spec(1, nowhere);
    let mut bytecode = with_sts.clone();
    bytecode.wasm = Some(parts::bytecode_wasm());
    let mut plain = GatewaySpec::new(json!({}), nowhere);
    plain.others = Some(vec![]);
    let mut contenders = [
        ("plain", plain, own),
        ("governed, by itself", by_itself, own),
        ("governed, with an STS", with_sts, &minted),
        ("the same, bytecode alone", bytecode, &minted),
    ]
    .map(|(name, spec, token)| (name, spec, token, Vec::new(), Vec::new()));
    for (_, spec, ..) in &mut contenders {
        spec.answers_itself = true;
    }
    for _ in 0..STARTS {
        for (_, spec, token, took, held) in &mut contenders {
            let started = Instant::now();
            let gateway = spec.start();
            eventually("it serves", || {
                let answer = Request::get(PATH).bearer(token).send(gateway.address());
                (answer.ok()?.status == 200).then_some(())
            });
            took.push(started.elapsed().as_secs_f64());
            held.push(gateway.memory_kb() as f64 / 1024.0);
        }
    }
    println!("from exec to the first answer, and what Envoy holds then (medians of {STARTS})");
    for (name, _, _, took, held) in contenders {
        let (took, held) = (median(took), median(held));
        println!("  {name:<25} {took:>5.2} s {held:>5.0} MB");
    }
}

/// What a worker holds of the mandates that it has verified: as much as Envoy grows by when they come.
fn held(issuer: &Issuer) {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let mandates: Vec<String> = (0..HELD)
        .map(|number| issuer.changed(|claims| claims["jti"] = json!(format!("jti-{number:032}"))))
        .collect();
    let policies = [
        (
            "a policy that is asked once",
            grants(APPLICATION, &[RESOURCE], &["demo:read"]),
        ),
        ("one that reads the call", ::micro::HANDWRITTEN.to_owned()),
        (
            "one that reads the time",
            format!(
                "{}\nmay_pass if input.context.time == 0\n",
                ::micro::HANDWRITTEN
            ),
        ),
    ];
    for (what, policy) in policies {
        let mut spec = GatewaySpec::new(stand_alone(issuer), nowhere);
        (spec.workers, spec.answers_itself) = (1, true);
        spec.plugin["policy"] = json!(policy);
        let gateway = spec.start();
        let mut connection = Connection::open(gateway.address()).unwrap();
        let mut send = |mandate: &String| {
            let answer = connection.exchange(&Request::get(PATH).bearer(mandate));
            assert_eq!(answer.unwrap().status, 200);
        };
        mandates.iter().take(HELD / 100).for_each(&mut send);
        let before = gateway.memory_kb();
        // Twice: what a policy that reads the time is told of a mandate is kept when it is asked again.
        mandates.iter().chain(&mandates).for_each(&mut send);
        let grown = gateway.memory_kb() - before;
        println!(
            "{HELD} mandates of {} bytes held by a worker, {what}: {:.1} MB",
            mandates[0].len(),
            grown as f64 / 1024.0
        );
    }
}

/// Activates two policies by turns, and times how long it takes from the answer until the last worker
/// decides by what is new. Connections stay with their workers and are asked in turn.
fn activations() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let application = zone.govern();
    let policy = |name: &str, scopes: &[&str]| {
        zone.policy(name, &grants(&application.id, &[RESOURCE], scopes))
    };
    let (wide, narrow) = (
        policy("wide", &["demo:read", "demo:write"]),
        policy("narrow", &["demo:write"]),
    );
    let site = zone.site(ACTIVATION_WORKERS);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get(PATH).bearer(&mandate);
    zone.activate(&wide);
    // The first connections of the gateway, so that each worker gets two.
    let mut connections: Vec<Connection> = (0..2 * ACTIVATION_WORKERS)
        .map(|_| Connection::open(site.gateway.address()).unwrap())
        .collect();
    eventually("every worker allows", || {
        let mut all = connections.iter_mut();
        let all = all.all(|connection| connection.exchange(&call()).unwrap().status == 200);
        all.then_some(())
    });
    let mut took: Vec<f64> = Vec::with_capacity(ACTIVATIONS);
    for round in 0..ACTIVATIONS {
        let (policy, status) = if round % 2 == 0 {
            (&narrow, 403)
        } else {
            (&wide, 200)
        };
        zone.activate(policy);
        let answered = Instant::now();
        let mut last = Duration::ZERO;
        for connection in &mut connections {
            while connection.exchange(&call()).unwrap().status != status {
                assert!(
                    answered.elapsed() < PATIENCE,
                    "a worker does not change over"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            last = answered.elapsed();
        }
        took.push(last.as_secs_f64() * 1000.0);
    }
    assert_eq!(
        site.workers_with_connections(),
        usize::try_from(ACTIVATION_WORKERS).unwrap()
    );
    took.sort_by(f64::total_cmp);
    println!(
        "activation to the last of {ACTIVATION_WORKERS} workers (milliseconds from the 200, {ACTIVATIONS} activations): \
         median {:.0}, p99 {:.0}, longest {:.0}",
        took[ACTIVATIONS / 2],
        took[ACTIVATIONS * 99 / 100],
        took[ACTIVATIONS - 1]
    );
}

/// The median that Envoy's histogram holds.
fn quantile(admin: SocketAddr, metric: &str) -> f64 {
    // Envoy merges its workers' histograms every five seconds.
    std::thread::sleep(std::time::Duration::from_secs(6));
    let path = format!("/stats?format=json&filter=caracal_{metric}_us");
    let stats = Request::get(path).send(admin).unwrap().json();
    let entries = stats["stats"].as_array().expect("stats");
    let histograms = entries
        .iter()
        .find_map(|entry| entry.get("histograms"))
        .expect("histograms");
    let quantiles = histograms["supported_quantiles"]
        .as_array()
        .expect("quantiles");
    let place = quantiles
        .iter()
        .position(|quantile| *quantile == 50.0)
        .expect("a median");
    let values = &histograms["computed_quantiles"][0]["values"][place];
    values["cumulative"].as_f64().expect("a number")
}

fn wrk(port: u16, token: &str) -> f64 {
    let output = Command::new("wrk")
        .args(["-t1", "-c16", &format!("-d{SECONDS}s"), "-H"])
        .arg(format!("Authorization: Bearer {token}"))
        .arg(format!("http://127.0.0.1:{port}{PATH}"))
        .output()
        .expect("wrk runs (on Debian: apt-get install wrk)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "refused requests: {text}");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    line.and_then(|rate| rate.trim().parse().ok())
        .unwrap_or_else(|| panic!("wrk said: {text}"))
}

fn ports(admin: SocketAddr) -> Option<Vec<u16>> {
    let listeners = Request::get("/listeners?format=json")
        .send(admin)
        .ok()?
        .json();
    let port = |name: &str| {
        let statuses = listeners["listener_statuses"].as_array()?;
        let status = statuses.iter().find(|status| status["name"] == name)?;
        let port = status["local_address"]["socket_address"]["port_value"].as_u64()?;
        u16::try_from(port).ok()
    };
    (Request::get("/ready").send(admin).ok()?.status == 200).then_some(())?;
    LISTENERS.iter().map(|(name, _)| port(name)).collect()
}

fn envoy_config(issuer: &Issuer) -> Value {
    let socket = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let listeners: Vec<Value> = LISTENERS
        .iter()
        .map(|(name, mandate_cache)| {
            let mut filters = Vec::new();
            if let Some(mandates) = mandate_cache {
                filters.push(json!({"name": "caracal", "typed_config": wasm(name, issuer, *mandates)}));
            }
            filters.push(json!({
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }));
            json!({
                "name": name,
                "address": socket,
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": name,
                        "http_filters": filters,
                        "route_config": {"virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": [{
                                "match": {"prefix": "/"},
                                "direct_response": {"status": 200, "body": {"inline_string": "ok"}},
                            }],
                        }]},
                    },
                }]}],
            })
        })
        .collect();
    json!({"admin": {"address": socket}, "static_resources": {"listeners": listeners}})
}

fn wasm(name: &str, issuer: &Issuer, mandate_cache: usize) -> Value {
    let plugin = json!({
        "zone": ZONE,
        "issuer": ISSUER,
        "mandate_cache": mandate_cache,
        "jwks": issuer.jwks(),
        "resources": [{
            "identifier": RESOURCE,
            "path_prefix": "/demo/",
            "scopes": ["demo:read"],
            "operations": [{"method": "GET", "path": "/demo/{item}", "scope": "demo:read"}],
        }],
        "policy": format!(
            "# caracal:data-document\npackage caracal.authz\napp_ids := {{\"agent\": \"{APPLICATION}\"}}\n\
             grants := {{\"{RESOURCE}\": {{\"applications\": {{\"agent\": [\"demo:read\"]}}}}}}\n"
        ),
    });
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": name,
            "failure_policy": "FAIL_RELOAD",
            "vm_config": {
                "vm_id": name,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": parts::wasm()}},
            },
            "configuration": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": plugin},
        },
    })
}
