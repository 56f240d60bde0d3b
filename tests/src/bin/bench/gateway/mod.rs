//! `cargo xtask bench gateway`: what a governed request costs beside what one would run instead, in the same
//! Envoy. Each contender has an Envoy of its own; ours has a real STS, revocation and evidence with it. Rounds
//! are interleaved, so that what else the machine does falls on all alike; what counts is ratios within a run.
//! Each round has Envoys of its own, since one may be slower than another of the same kind for as long as it
//! runs, by where its memory happens to lie.

mod authoriser;
mod chart;
mod contenders;
mod filters;
pub(crate) mod growth;
mod instructions;
pub(crate) mod load;
mod measured;
mod opa;
mod report;
mod zones;

use std::time::Duration;

pub(crate) use self::authoriser::serve as serve_authoriser;
use self::{
    contenders::{Contender, Field, JWT_CACHED_RBAC, NOTHING, OURS_WARM},
    measured::{Round, Rounds},
};

/// What every request asks for.
const PATH: &str = "/demo/items";

/// What is measured, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Worker threads of each Envoy
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,
    /// Rounds, for each of which every contender is started anew
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a contender is under load in a round, for throughput and again for latencies
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Requests a second at which latencies are measured; by default half of what the slowest can do
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Count the instructions of a request in Envoy, by valgrind, and measure nothing else: they do not depend on what
    /// else the machine does
    #[arg(long)]
    instructions: bool,
    /// With `--instructions`: what they wait for instead, lines of code and data that caches like a core's do not have
    #[arg(long, requires = "instructions")]
    caches: bool,
    /// Only contenders whose name contains this; may be given more than once
    #[arg(long)]
    only: Vec<String>,
}

/// By how much a contender's requests are later than those to nothing.
struct Added {
    name: &'static str,
    /// Requests a second.
    rate: u32,
    /// Microseconds, of each round.
    p50: Vec<f64>,
    p99: Vec<f64>,
}

pub(crate) fn run(options: &Options) {
    if options.instructions {
        instructions::check();
    }
    let dir = tempfile::tempdir().unwrap();
    let mut field = Field::prepare(options);
    if options.instructions {
        let mut counts = instructions::Counts::new(options.caches);
        for name in field.names() {
            field.mint(dir.path());
            if let Some(contender) = field.start(name) {
                counts.add(&contender, dir.path(), options.seconds);
            }
        }
        return;
    }
    println!(
        "{} rounds, in each of which all are started and have {} s each: wrk -t1 -c16, Envoy with {} worker(s)",
        options.rounds, options.seconds, options.workers
    );
    let lasting = Duration::from_secs(options.seconds.into());
    let mut rounds = Rounds::default();
    let mut added = Vec::new();
    let mut rate = options.rate;
    for round in 1..=options.rounds {
        field.mint(dir.path());
        let contenders = field.contenders();
        let full: Vec<_> = contenders
            .iter()
            .map(|contender| load::full(contender, dir.path(), options.seconds))
            .collect();
        // All rounds at what the first one says.
        let rate = *rate.get_or_insert_with(|| {
            let all = full.iter().map(|full| full.requests_a_second);
            (all.fold(f64::MAX, f64::min) / 2.0) as u32
        });
        if added.is_empty() {
            let ours = contenders.iter().zip(&full);
            let ours = ours.filter(|(contender, _)| contender.name == OURS_WARM);
            added = ours
                .flat_map(|(_, full)| Added::at((full.requests_a_second / 2.0) as u32))
                .collect();
        }
        let measured = contenders.iter().zip(full).map(|(contender, full)| Round {
            full,
            latencies: load::steady(contender, rate, lasting),
            memory_kb: contender.gateway.memory_kb(),
        });
        rounds.add(&contenders, measured.collect());
        Added::round(&mut added, &contenders, lasting);
        println!("  round {round} of {}", options.rounds);
    }
    report::tell(&rounds.measured(), rate.unwrap_or_default(), &added);
}

impl Added {
    /// A warm governed request, at half of what it can do, and one to what it is compared with at the same rate.
    fn at(rate: u32) -> [Self; 2] {
        [OURS_WARM, JWT_CACHED_RBAC].map(|name| Self {
            name,
            rate,
            p50: Vec::new(),
            p99: Vec::new(),
        })
    }

    fn round(all: &mut [Self], contenders: &[Contender<'_>], lasting: Duration) {
        let named = |name: &str| contenders.iter().find(|one| one.name == name);
        let Some((nothing, first)) = named(NOTHING).zip(all.first()) else {
            return;
        };
        let without = load::steady(nothing, first.rate, lasting);
        for added in all {
            if let Some(contender) = named(added.name) {
                let with = load::steady(contender, added.rate, lasting);
                added.p50.push(with.p50 - without.p50);
                added.p99.push(with.p99 - without.p99);
            }
        }
    }
}

/// Whether a name is one of those that `--only` asks for.
fn is_asked_for(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
}
