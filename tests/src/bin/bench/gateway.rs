//! What a governed request costs beside what one would run instead, in the same Envoy: nothing, `jwt_authn`
//! with and without its cache of tokens, and the same with `rbac`. Each has an Envoy of its own with one
//! worker that answers by itself; ours has a real STS, revocation and evidence with it. Rounds are
//! interleaved; what counts is processor time a request, as ratios.

use std::{fs, net::SocketAddr, path::Path, process::Command, thread, time::Duration};

use e2e::{
    eventually,
    gateway::{Gateway, GatewaySpec},
    http::Request,
    mandates::RESOURCE,
    sts::{Application, Sts, Zone},
    upstream::Upstream,
};
use serde_json::{Value, json};

use crate::median;

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
const PATH: &str = "/demo/items";
/// Agents whose mandates repeat, and mandates of which each comes again only when it is forgotten.
const WARM: usize = 1_000;
const COLD: usize = 6_000;
const COLD_CACHE: usize = 1_000;
const MINTERS: usize = 4;

/// Sends the tokens of a file by turns.
const SCRIPT: &str = r#"
local requests, at = {}, 0
function init(args)
  for token in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, {["Authorization"] = "Bearer " .. token})
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"#;

struct Contender {
    name: &'static str,
    gateway: Gateway,
    tokens: &'static str,
}

/// What was measured in one round.
#[derive(Clone, Copy, Default)]
struct Round {
    requests_a_second: f64,
    /// Microseconds of Envoy's processor time a request, and of the STS's.
    envoy: f64,
    sts: f64,
}

pub(crate) fn run() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let application = zone.govern();
    println!("minting {WARM} and {COLD} mandates");
    let dir = tempfile::tempdir().unwrap();
    for (name, number) in [("warm", WARM), ("cold", COLD)] {
        let tokens = mints(&zone, &application, number);
        fs::write(dir.path().join(name), tokens.join("\n")).unwrap();
    }
    let script = dir.path().join("tokens.lua");
    fs::write(&script, SCRIPT).unwrap();
    let upstream = Upstream::start();
    let contenders = contenders(&sts, &zone, upstream.address());
    for contender in &contenders {
        let warm = fs::read_to_string(dir.path().join(contender.tokens)).unwrap();
        let token = warm.lines().next().unwrap();
        eventually(contender.name, || {
            let answer = Request::get(PATH).bearer(token);
            let answer = answer.send(contender.gateway.address()).unwrap();
            (answer.status == 200).then_some(())
        });
    }
    println!(
        "{ROUNDS} rounds of {SECONDS} s each, interleaved; wrk -t1 -c16, one Envoy worker each"
    );
    let mut rounds = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, rounds) in contenders.iter().zip(&mut rounds) {
            let tokens = dir.path().join(contender.tokens);
            rounds.push(round(contender, &sts, &script, &tokens));
        }
    }
    tell(&contenders, &rounds);
}

fn mints(zone: &Zone<'_>, application: &Application, number: usize) -> Vec<String> {
    thread::scope(|scope| {
        let minters: Vec<_> = (0..MINTERS)
            .map(|_| {
                scope.spawn(|| -> Vec<String> {
                    (0..number / MINTERS)
                        .map(|_| zone.mint(application, "demo:read"))
                        .collect()
                })
            })
            .collect();
        let minted = minters.into_iter().map(|minter| minter.join().unwrap());
        minted.flatten().collect()
    })
}

fn contenders(sts: &Sts, zone: &Zone<'_>, upstream: SocketAddr) -> Vec<Contender> {
    let keys = format!("/.well-known/jwks.json?zone_id={}", zone.id);
    let keys = sts.admin("GET", &keys, &Value::Null).ok();
    let other = |name, tokens, filters: Vec<Value>| {
        let mut spec = GatewaySpec::new(json!({}), upstream);
        spec.others = Some(filters);
        spec.answers_itself = true;
        Contender {
            name,
            gateway: spec.start(),
            tokens,
        }
    };
    let ours = |name, tokens, cache: usize| {
        let mut spec = zone.gateway_spec(1, upstream);
        spec.plugin["mandate_cache"] = json!(cache);
        spec.answers_itself = true;
        Contender {
            name,
            gateway: spec.start(),
            tokens,
        }
    };
    let cached = || jwt_authn(sts, &keys, Some(2 * WARM));
    let uncached = || jwt_authn(sts, &keys, None);
    vec![
        other("nothing", "warm", vec![]),
        other("jwt_authn, cached", "warm", vec![cached()]),
        other("jwt_authn, cached + rbac", "warm", vec![cached(), rbac()]),
        ours("caracal, warm", "warm", 10_000),
        other("jwt_authn", "cold", vec![uncached()]),
        other("jwt_authn + rbac", "cold", vec![uncached(), rbac()]),
        ours("caracal, cold", "cold", COLD_CACHE),
    ]
}

fn jwt_authn(sts: &Sts, keys: &Value, cache: Option<usize>) -> Value {
    let mut provider = json!({
        "issuer": sts.issuer(),
        "local_jwks": {"inline_string": keys.to_string()},
        "payload_in_metadata": "claims",
    });
    if let Some(tokens) = cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": tokens});
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"sts": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "sts"}}],
        },
    })
}

/// Lets `GET` below `/demo/` pass with the scope: the little of a policy that this filter can hold.
fn rbac() -> Value {
    let metadata = "envoy.filters.http.jwt_authn";
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": {"read": {
                "permissions": [{"and_rules": {"rules": [
                    {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                    {"url_path": {"path": {"prefix": "/demo/"}}},
                ]}}],
                "principals": [{"metadata": {
                    "filter": metadata,
                    "path": [{"key": "claims"}, {"key": "scope"}],
                    "value": {"string_match": {"exact": "demo:read"}},
                }}],
            }}},
        },
    })
}

fn round(contender: &Contender, sts: &Sts, script: &Path, tokens: &Path) -> Round {
    let before = (contender.gateway.processor_time(), sts.processor_time());
    let output = Command::new("wrk")
        .args(["-t1", "-c16", &format!("-d{SECONDS}s"), "-s"])
        .arg(script)
        .arg(format!("http://{}{PATH}", contender.gateway.address()))
        .arg("--")
        .arg(tokens)
        .output()
        .expect("wrk runs (on Debian: apt-get install wrk)");
    // What is held of evidence is sent within this, and belongs to the requests.
    thread::sleep(Duration::from_millis(500));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{}: {text}", contender.name);
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(requests, _)| requests.parse().ok())
        .unwrap_or_else(|| panic!("wrk said: {text}"));
    let micros = |now: Duration, before: Duration| (now - before).as_secs_f64() * 1e6 / requests;
    Round {
        requests_a_second: requests / f64::from(SECONDS),
        envoy: micros(contender.gateway.processor_time(), before.0),
        sts: micros(sts.processor_time(), before.1),
    }
}

fn tell(contenders: &[Contender], rounds: &[Vec<Round>]) {
    let of = |rounds: &[Round], what: fn(&Round) -> f64| median(rounds.iter().map(what).collect());
    let medians: Vec<Round> = rounds
        .iter()
        .map(|rounds| Round {
            requests_a_second: of(rounds, |round| round.requests_a_second),
            envoy: of(rounds, |round| round.envoy),
            sts: of(rounds, |round| round.sts),
        })
        .collect();
    let envoy_of = |name: &str| {
        let place = contenders
            .iter()
            .position(|contender| contender.name == name);
        medians[place.unwrap()].envoy
    };
    let (cached, uncached) = (
        envoy_of("jwt_authn, cached + rbac"),
        envoy_of("jwt_authn + rbac"),
    );
    println!("medians: requests/s, processor time a request in microseconds (Envoy, and the STS),");
    println!("that of Envoy as a ratio to jwt_authn + rbac with its cache and without, and memory");
    let mut written = Vec::new();
    for (contender, round) in contenders.iter().zip(&medians) {
        let memory = contender.gateway.memory_kb() / 1024;
        println!(
            "  {:<26} {:>7.0}  {:>6.1} {:>5.1}   {:>5.2} {:>5.2}   {memory:>4} MB",
            contender.name,
            round.requests_a_second,
            round.envoy,
            round.sts,
            round.envoy / cached,
            round.envoy / uncached,
        );
        written.push(json!({
            "contender": contender.name,
            "resource": RESOURCE,
            "requests_per_second": round.requests_a_second,
            "envoy_cpu_us": round.envoy,
            "sts_cpu_us": round.sts,
            "memory_mb": memory,
        }));
    }
    let file = Path::new("target/bench-gateway.json");
    fs::write(file, json!(written).to_string()).unwrap();
    println!("written to {}", file.display());
}
