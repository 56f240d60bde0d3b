//! `cargo xtask bench growth`: what a governed request costs where more and more has come together, one thing at a
//! time.

use super::{
    contenders::{Contender, Tokens},
    instructions, load,
    measured::{Measured, Round, Rounds},
    write_tokens,
    zones::{self, Extent, Mandates},
};
use e2e::sts::Sts;
use serde_json::json;

/// So few mandates are kept where each is to be a new one.
const FORGETFUL: usize = 100;

/// What is measured, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds, for each of which every gateway is started anew
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a gateway is under load in a round
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Count the instructions of a request in Envoy, by valgrind, and measure nothing else
    #[arg(long)]
    instructions: bool,
}

/// What a row is of.
struct Row {
    name: &'static str,
    extent: Extent,
    workers: u32,
}

const ROWS: [Row; 9] = [
    row("one resource, nothing delegated or revoked", [0, 1, 0], 1),
    row("1 delegation", [1, 1, 0], 1),
    row("5 delegations", [5, 1, 0], 1),
    row("10 delegations", [10, 1, 0], 1),
    row("100 resources", [0, 100, 0], 1),
    row("1,000 resources", [0, 1_000, 0], 1),
    row("1,000 revoked", [0, 1, 1_000], 1),
    row("1,000,000 revoked", [0, 1, 1_000_000], 1),
    row("2 workers", [0, 1, 0], 2),
];

const fn row(name: &'static str, [hops, resources, revoked]: [usize; 3], workers: u32) -> Row {
    let extent = Extent {
        hops,
        resources,
        revoked,
    };
    Row {
        name,
        extent,
        workers,
    }
}

pub(crate) fn run(options: &Options) {
    if options.instructions {
        instructions::check();
    }
    let dir = tempfile::tempdir().unwrap();
    println!("filling zones, and minting");
    let mut sts = Sts::start();
    let slugs: Vec<String> = (0..ROWS.len()).map(|row| format!("zone-{row}")).collect();
    let zones: Vec<(&str, Extent)> = slugs
        .iter()
        .zip(&ROWS)
        .map(|(slug, row)| (slug.as_str(), row.extent))
        .collect();
    let zones = zones::grown(&mut sts, &zones);
    for zone in &zones {
        write_tokens(dir.path(), &zone.slug, &zone.warm);
    }
    let contenders = || -> Vec<Contender<'_>> {
        let rows = ROWS.iter().zip(&zones);
        rows.flat_map(|(row, zone)| {
            [("repeating", 10_000), ("new", FORGETFUL)]
                .map(|(kind, cache)| start(row, kind, cache, zone, &sts, options.instructions))
        })
        .collect()
    };
    if options.instructions {
        return instructions::run(&contenders(), dir.path(), options.seconds, false);
    }
    let mut rounds = Rounds::default();
    for round in 1..=options.rounds {
        let contenders = contenders();
        let measured = contenders.iter().map(|contender| Round {
            full: load::full(contender, dir.path(), options.seconds),
            latencies: load::Latencies::default(),
            memory_kb: contender.gateway.memory_kb(),
        });
        rounds.add(&contenders, measured.collect());
        println!("  round {round} of {}", options.rounds);
    }
    tell(&rounds.measured());
}

fn start<'a>(
    row: &Row,
    kind: &str,
    cache: usize,
    zone: &'a Mandates,
    sts: &'a Sts,
    counted: bool,
) -> Contender<'a> {
    let mut spec = zones::gateway_spec(sts, zone, row.workers);
    zones::bind(&mut spec, row.extent);
    spec.plugin["mandate_cache"] = json!(cache);
    if counted {
        spec.under = instructions::counted(false);
    }
    let tokens = Tokens::new(&zone.slug, &zone.warm);
    let name = format!("{}, {kind}", row.name);
    let started = Contender::start(&name, tokens, &spec).with_sts(sts);
    drop(started.turn());
    started
}

fn tell(measured: &[Measured]) {
    println!("\nprocessor time in µs a request, medians, of ratios to the first row as well\n");
    println!(
        "| | repeating: Envoy | of the first | beside it | new: Envoy | of the first | memory |\n|---|---|---|---|---|---|---|"
    );
    let (pairs, _) = measured.as_chunks::<2>();
    let first = &pairs[0];
    for (row, [repeating, new]) in ROWS.iter().zip(pairs) {
        println!(
            "| {} | {:.1} | {:.2} | {:.1} | {:.1} | {:.2} | {} MB |",
            row.name,
            repeating.full.envoy,
            repeating.times(&first[0])[1],
            repeating.full.beside,
            new.full.envoy,
            new.times(&first[1])[1],
            repeating.memory_kb / 1024
        );
    }
}
