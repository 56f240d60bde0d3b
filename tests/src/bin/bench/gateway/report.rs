//! What came out: a table to read, JSON to keep, and a chart.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{
    Added, chart,
    contenders::{JWT_CACHED_RBAC, NOTHING, OPA, STAND_IN},
    measured::Measured,
};
use crate::median;

/// Whose processor time in Envoy the others' is compared with.
const BASES: [(&str, &str); 3] = [
    (NOTHING, "of nothing"),
    (JWT_CACHED_RBAC, "of jwt_authn, cached + rbac"),
    ("jwt_authn + rbac", "of jwt_authn + rbac"),
];
/// Whose processor time in all processes together.
const ASKED: [(&str, &str); 2] = [
    (STAND_IN, "all, of ext_authz verifying"),
    (OPA, "all, of ext_authz, OPA"),
];

pub(super) fn tell(measured: &[Measured], rate: u32, added: &[Added]) {
    let named = |name: &str| measured.iter().find(|one| one.name == name);
    let present = |all: &[(&'static str, &'static str)]| -> Vec<(&'static str, &Measured)> {
        let all = all.iter();
        all.filter_map(|(name, title)| Some((*title, named(name)?)))
            .collect()
    };
    let (bases, asked) = (present(&BASES), present(&ASKED));
    println!(
        "\nmedians, of ratios as well; processor time in µs a request, latencies in µs at {rate} requests/s\n"
    );
    print!("| | requests/s | Envoy |");
    for (title, _) in bases.iter().chain(&asked) {
        print!(" {title} |");
    }
    println!(" beside it | all | p50 | p90 | p99 | p99.9 | memory |");
    println!("|---|{}", "---|".repeat(9 + bases.len() + asked.len()));
    for one in measured {
        print!(
            "| {} | {:.0} | {:.1} |",
            one.name, one.full.requests_a_second, one.full.envoy
        );
        for (_, base) in &bases {
            print!(" {:.2} |", one.times(base)[1]);
        }
        for (_, base) in &asked {
            print!(" {:.2} |", one.times_in_all(base)[1]);
        }
        println!(
            " {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {} MB |",
            one.full.beside,
            one.full.envoy + one.full.beside,
            one.latencies.p50,
            one.latencies.p90,
            one.latencies.p99,
            one.latencies.p999,
            one.memory_kb / 1024
        );
    }
    println!();
    for ours in measured
        .iter()
        .filter(|one| one.name.starts_with("caracal"))
    {
        let bases = bases.iter().filter(|(_, base)| base.name != NOTHING);
        let bases = bases.map(|(title, base)| (*title, ours.times(base)));
        let all = asked.iter();
        let all = all.map(|(title, base)| (*title, ours.times_in_all(base)));
        for (title, [least, median, most]) in bases.chain(all) {
            println!(
                "{}, {title}: {median:.2}, in the rounds {least:.2} to {most:.2}",
                ours.name
            );
        }
    }
    println!();
    let added = added.iter().filter(|added| !added.p50.is_empty());
    let added: Vec<_> = added
        .map(|added| (added, median(added.p50.clone()), median(added.p99.clone())))
        .collect();
    for (Added { name, rate, .. }, p50, p99) in &added {
        println!(
            "later than a request to nothing, at {rate} requests/s: {name}, by {p50:.0} µs (p50), {p99:.0} µs (p99)"
        );
    }
    let in_json = |one: &Measured| {
        let mut figures = in_json(one);
        let bases = bases.iter().map(|(_, base)| *base);
        figures["envoy_cpu_of"] = bases
            .map(|base| (base.name.clone(), json!(one.times(base))))
            .collect();
        let asked = asked.iter().map(|(_, base)| *base);
        figures["all_cpu_of"] = asked
            .map(|base| (base.name.clone(), json!(one.times_in_all(base))))
            .collect();
        figures
    };
    let contenders: Vec<Value> = measured.iter().map(in_json).collect();
    let added: Vec<Value> = added
        .iter()
        .map(|(added, p50, p99)| {
            json!({
                "contender": added.name, "requests_per_second": added.rate,
                "p50_us": p50, "p99_us": p99,
            })
        })
        .collect();
    let all = json!({"latency_rate": rate, "added_latency": added, "contenders": contenders});
    let json = Path::new("target/bench-gateway.json");
    fs::write(json, format!("{all:#}\n")).unwrap();
    let svg = Path::new("target/bench-gateway.svg");
    fs::write(svg, chart::draw(measured)).unwrap();
    println!("\nwritten to {} and {}", json.display(), svg.display());
}

fn in_json(one: &Measured) -> Value {
    json!({
        "contender": one.name,
        "requests_per_second": one.full.requests_a_second,
        "envoy_cpu_us": one.full.envoy,
        "beside_cpu_us": one.full.beside,
        "latency_us": {
            "p50": one.latencies.p50, "p90": one.latencies.p90,
            "p99": one.latencies.p99, "p99.9": one.latencies.p999,
        },
        "memory_kb": one.memory_kb,
    })
}
