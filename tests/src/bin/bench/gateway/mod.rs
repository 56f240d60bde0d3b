//! `cargo xtask bench gateway`: what a governed request costs beside what one would run instead, in the same
//! Envoy. Each contender has an Envoy of its own; ours has a real STS, revocation and evidence with it. Rounds
//! are interleaved, so that what else the machine does falls on all alike; what counts is ratios within a run.

mod authoriser;
mod chart;
mod contenders;
mod instructions;
pub(crate) mod load;
mod report;

use std::{fs, path::Path, time::Duration};

pub(crate) use self::authoriser::serve as serve_authoriser;
use self::{contenders::Field, load::Latencies};
use crate::median;

/// What every request asks for.
const PATH: &str = "/demo/items";

/// What is measured, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Worker threads of each Envoy
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,
    /// Rounds, in each of which every contender has its turn
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
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

/// What was measured of a contender under full load, in one round.
#[derive(Clone, Copy, Debug, Default)]
struct Full {
    requests_a_second: f64,
    /// Microseconds of the gateway's processor time a request, and of all that works with it.
    envoy: f64,
    beside: f64,
}

/// What came out for a contender: medians over the rounds, and the rounds.
struct Measured {
    name: String,
    full: Full,
    rounds: Vec<Full>,
    latencies: Latencies,
    memory_kb: u64,
}

pub(crate) fn run(options: &Options) {
    if options.instructions {
        instructions::check();
    }
    let dir = tempfile::tempdir().unwrap();
    let field = Field::prepare(options, dir.path());
    let contenders = field.contenders();
    if options.instructions {
        return instructions::run(&contenders, dir.path(), options.seconds, options.caches);
    }
    for contender in &contenders {
        drop(contender.turn());
    }
    println!(
        "{} contenders, {} rounds of {} s each, interleaved: wrk -t1 -c16, Envoy with {} worker(s)",
        contenders.len(),
        options.rounds,
        options.seconds,
        options.workers
    );
    let mut full = vec![Vec::new(); contenders.len()];
    for round in 1..=options.rounds {
        for (contender, full) in contenders.iter().zip(&mut full) {
            full.push(load::full(contender, dir.path(), options.seconds));
        }
        println!("  full load, round {round} of {}", options.rounds);
    }
    let rounds = full;
    let full: Vec<Full> = rounds.iter().map(|rounds| of_rounds(rounds)).collect();
    let slowest = full.iter().map(|full| full.requests_a_second);
    let rate = options
        .rate
        .unwrap_or_else(|| (slowest.fold(f64::MAX, f64::min) / 2.0) as u32);
    println!(
        "latencies at {rate} requests/s, sent when they are due whether others are back or not"
    );
    let mut latencies = vec![Vec::new(); contenders.len()];
    for _ in 0..options.rounds {
        for (contender, latencies) in contenders.iter().zip(&mut latencies) {
            let seconds = Duration::from_secs(options.seconds.into());
            latencies.push(load::steady(contender, rate, seconds));
        }
    }
    let measured: Vec<Measured> = contenders
        .iter()
        .zip(full.iter().zip(rounds).zip(&latencies))
        .map(|(contender, ((full, rounds), latencies))| Measured {
            name: contender.name.clone(),
            full: *full,
            rounds,
            latencies: Latencies::medians(latencies),
            memory_kb: contender.gateway.memory_kb(),
        })
        .collect();
    let added = field.added_latency(options, &contenders, &full);
    report::tell(&measured, rate, &added);
}

impl Measured {
    /// How many times as long a request takes Envoy as one of `base` in the same round, and how many times as long
    /// it takes all processes together: medians, since the machine is seldom as fast in the next round.
    fn times(&self, base: &Self) -> (f64, f64) {
        let of = |what: fn(&Full) -> f64| {
            let rounds = self.rounds.iter().zip(&base.rounds);
            median(rounds.map(|(own, base)| what(own) / what(base)).collect())
        };
        (
            of(|round| round.envoy),
            of(|round| round.envoy + round.beside),
        )
    }
}

fn of_rounds(rounds: &[Full]) -> Full {
    let of = |what: fn(&Full) -> f64| median(rounds.iter().map(what).collect());
    Full {
        requests_a_second: of(|round| round.requests_a_second),
        envoy: of(|round| round.envoy),
        beside: of(|round| round.beside),
    }
}

/// Where the tokens of a contender are for the load to read.
fn tokens_file(dir: &Path, name: &str) -> std::path::PathBuf {
    dir.join(name)
}

fn write_tokens(dir: &Path, name: &str, tokens: &[String]) {
    fs::write(tokens_file(dir, name), tokens.join("\n")).unwrap();
}
