//! `cargo xtask bench growth`: what a governed request costs where more and more has come together, one thing at a
//! time.

use e2e::sts::Sts;
use serde_json::json;

use super::{
    contenders::Contender,
    instructions, is_asked_for, load,
    measured::{Measured, Round, Rounds},
    zones::{self, Extent, Mandates},
};

/// So few mandates are kept where each is to be a new one.
const FORGETFUL: usize = 100;

/// Who is sent the mandates of a row.
#[derive(Clone, Copy)]
enum Kind {
    /// Envoy alone, for which they are headers.
    Nothing,
    /// Ours, which knows them.
    Repeating,
    /// Ours, to which each is new.
    New,
}

const KINDS: [Kind; 3] = [Kind::Nothing, Kind::Repeating, Kind::New];

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
    /// Only rows whose name contains this, beside the first; may be given more than once
    #[arg(long)]
    only: Vec<String>,
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
    println!("filling zones");
    let mut sts = Sts::start();
    let rows: Vec<&Row> = ROWS
        .iter()
        .enumerate()
        .filter(|(place, row)| *place == 0 || is_asked_for(&options.only, row.name))
        .map(|(_, row)| row)
        .collect();
    let slugs: Vec<String> = (0..rows.len()).map(|row| format!("zone-{row}")).collect();
    let zones: Vec<(&str, Extent)> = slugs
        .iter()
        .zip(&rows)
        .map(|(slug, row)| (slug.as_str(), row.extent))
        .collect();
    let mut zones = zones::grown(&mut sts, &zones);
    if options.instructions {
        let mut counts = instructions::Counts::new(false);
        for (row, zone) in rows.iter().zip(&mut zones) {
            for kind in KINDS {
                zone.mint(&sts, dir.path());
                let contender = start(row, kind, zone, &sts, true);
                counts.add(&contender, dir.path(), options.seconds);
            }
        }
        return;
    }
    let mut rounds = Rounds::default();
    for round in 1..=options.rounds {
        for zone in &mut zones {
            zone.mint(&sts, dir.path());
        }
        let contenders: Vec<_> = rows
            .iter()
            .zip(&zones)
            .flat_map(|(row, zone)| KINDS.map(|kind| start(row, kind, zone, &sts, false)))
            .collect();
        let measured = contenders.iter().map(|contender| Round {
            full: load::full(contender, dir.path(), options.seconds),
            latencies: load::Latencies::default(),
            memory_kb: contender.gateway.memory_kb(),
        });
        rounds.add(&contenders, measured.collect());
        println!("  round {round} of {}", options.rounds);
    }
    tell(&rows, &rounds.measured());
}

fn start<'a>(
    row: &Row,
    kind: Kind,
    zone: &'a Mandates,
    sts: &'a Sts,
    counted: bool,
) -> Contender<'a> {
    let mut spec = zones::gateway_spec(sts, zone, row.workers);
    zones::bind(&mut spec, row.extent);
    let said = match kind {
        Kind::Nothing => {
            spec.others = Some(Vec::new());
            "nothing"
        }
        Kind::Repeating => "repeating",
        Kind::New => {
            spec.plugin["mandate_cache"] = json!(FORGETFUL);
            "new"
        }
    };
    if counted {
        spec.under = instructions::counted(false);
    }
    let mut started = Contender::start(&format!("{}, {said}", row.name), zone, &spec);
    if !matches!(kind, Kind::Nothing) {
        started = started.with_sts(sts);
    }
    drop(started.turn());
    started
}

fn tell(rows: &[&Row], measured: &[Measured]) {
    println!("\nprocessor time in µs a request, medians, of ratios to the first row as well\n");
    println!(
        "| | nothing: Envoy | repeating: Envoy | of the first | beside it | new: Envoy | of the first | memory |\n{}",
        "|---".repeat(8) + "|"
    );
    let (each, _) = measured.as_chunks::<{ KINDS.len() }>();
    let [_, first_repeating, first_new] = &each[0];
    for (row, [nothing, repeating, new]) in rows.iter().zip(each) {
        println!(
            "| {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.2} | {} MB |",
            row.name,
            nothing.full.envoy,
            repeating.full.envoy,
            repeating.times(first_repeating)[1],
            repeating.full.beside,
            new.full.envoy,
            new.times(first_new)[1],
            repeating.memory_kb / 1024
        );
    }
}
