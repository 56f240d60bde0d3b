//! What policies cost: how long the worst of them hold a worker of the gateway before they are stopped, and
//! what a decision costs as the data grows.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use authority::policy::{Module, Policy, compile, input::PolicyInput, set_clock};
use e2e::{
    http::{Connection, Request},
    mandates::{Issuer, stand_alone},
    site::Site,
};
use serde_json::json;

const STALLS: usize = 20;
const EVALUATIONS: u32 = 2_000;

/// Policies that go on for ever, as far as a request is concerned.
fn pathological() -> Vec<(&'static str, String)> {
    let items = format!("items := split(\"{}\", \",\")", ["x"; 1000].join(","));
    let nested = "some a in items; some b in items; some c in items; a == b; b == c";
    let mut strings = "s := s39 if {\ns0 := input.context.subject_claims.sub".to_owned();
    for step in 1..40 {
        let last = step - 1;
        write!(strings, "\ns{step} := concat(\"\", [s{last}, s{last}])").unwrap();
    }
    let rules = [
        (
            "nested iterations",
            format!("{items}\nresult := 1 if {{ {nested}; a != \"x\" }}"),
        ),
        (
            "the same, interpreted",
            format!("{items}\nresult := 1 if {{ {nested}; d = a; d != \"x\" }}"),
        ),
        (
            "a nested comprehension",
            format!("{items}\nresult := count([1 | {nested}])"),
        ),
        (
            "a set that grows",
            format!("{items}\nmany contains [a, b, c] if {{ {nested} }}\nresult := count(many)"),
        ),
        (
            "a pattern a million times",
            format!(
                "{items}\nresult := count([1 | some a in items; some b in items; regex.match(\"(x|xx)+(y|yy)+$\", concat(a, [input.action.path, b]))])"
            ),
        ),
        (
            "strings that double",
            format!("{strings}\n}}\nresult := count(s)"),
        ),
    ];
    rules
        .map(|(name, rules)| (name, format!("package caracal.authz\n\n{rules}\n")))
        .into()
}

/// How long a request takes that a policy would hold for ever.
pub(crate) fn stalls(issuer: &Issuer, path: &str) {
    let token = issuer.mandate("demo:read");
    println!(
        "a request that its policy would hold for ever (milliseconds until the refusal, {STALLS} requests)"
    );
    for (name, policy) in pathological() {
        let mut plugin = stand_alone(issuer);
        plugin["policy"] = json!(policy);
        let site = Site::stand_alone(plugin);
        let mut connection = Connection::open(site.gateway.address()).unwrap();
        let mut took: Vec<Duration> = (0..STALLS)
            .map(|_| {
                let started = Instant::now();
                let response = connection
                    .exchange(&Request::get(path).bearer(&token))
                    .unwrap();
                assert_eq!(
                    response.json()["reason"],
                    "policy_eval_failed",
                    "{name}: {response}"
                );
                started.elapsed()
            })
            .collect();
        took.sort();
        println!(
            "  {name:<28} median {:>4}, longest {:>4}",
            took[STALLS / 2].as_millis(),
            took[STALLS - 1].as_millis()
        );
    }
}

/// What a decision costs with few grants and with many, by turns in one run.
pub(crate) fn large_data() {
    set_clock(|| {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        START.elapsed()
    });
    let sizes = [1, 10, 100, 1_000];
    let mut evaluators = sizes.map(|resources| {
        let compiled = compile(&documents(resources)).unwrap();
        Policy::load(&compiled.program).unwrap().evaluator()
    });
    let mut took = [(); 4].map(|()| Vec::new());
    for _ in 0..EVALUATIONS {
        for ((evaluator, resources), took) in evaluators.iter_mut().zip(sizes).zip(&mut took) {
            let input = ask(resources / 2);
            let started = Instant::now();
            let result = evaluator.evaluate(&input).unwrap();
            took.push(started.elapsed().as_secs_f64() * 1e6);
            assert!(result.allows());
        }
    }
    println!(
        "one decision by the size of the data (microseconds, native and not optimised, so only the ratios count; median of {EVALUATIONS}, by turns)"
    );
    for (resources, mut took) in sizes.into_iter().zip(took) {
        took.sort_by(f64::total_cmp);
        let grants = resources * 10;
        println!(
            "  {resources:>5} resources, {grants:>6} grants {:>8.1}",
            took[took.len() / 2]
        );
    }
}

fn documents(resources: usize) -> Vec<Module> {
    let head = "# caracal:data-document\npackage caracal.authz\n";
    let entries = |write: &dyn Fn(usize) -> String| -> String {
        (0..resources).map(write).collect::<Vec<_>>().join(",\n")
    };
    let roles: Vec<String> = (0..10)
        .map(|role| format!("\"r{role}\": [\"read\"]"))
        .collect();
    let roles = roles.join(", ");
    let applications = entries(&|number| format!("\"key-{number}\": \"app-{number}\""));
    let grants = entries(&|number| {
        format!(
            "\"r{number}\": {{\"applications\": {{\"key-{number}\": [\"read\"]}}, \"roles\": {{{roles}}}}}"
        )
    });
    let module = |name: &str, source: String| Module {
        name: name.to_owned(),
        source,
    };
    vec![
        module(
            "applications.rego",
            format!("{head}app_ids := {{{applications}}}\n"),
        ),
        module(
            "grants.json",
            format!("{{\"caracal\": {{\"authz\": {{\"grants\": {{{grants}}}}}}}}}"),
        ),
    ]
}

fn ask(number: usize) -> PolicyInput {
    PolicyInput::from_json(json!({
        "principal": {"type": "Application", "id": format!("app-{number}"), "zone_id": "z"},
        "resource": {"type": "Resource", "id": "r", "identifier": format!("r{number}"), "scopes": ["read"]},
        "action": {"id": "TokenExchange"},
        "context": {"actor_claims": {}, "challenge_resolved": false, "requested_scopes": ["read"]},
    }))
}
