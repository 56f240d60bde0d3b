//! `cargo xtask bench`: what governing a request costs, and what else there is that has a price.

// A tool for people who read its output; whatever goes wrong ends it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod disk;
mod evidence;
mod gateway;
mod micro;
mod mints;
mod plugin;
mod policies;
mod reload;
mod revocation;
mod sessions;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    about = "Measures, in one run and by turns, what is compared"
)]
struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// A governed request beside what one would run instead, in the same Envoy
    Gateway(gateway::Options),
    /// A governed request where more and more has come together, one thing at a time
    Growth(gateway::growth::Options),
    /// The plugin beside no plugin, policies at their worst, activations (what runs without a part)
    Plugin,
    /// Latencies while bundles of a thousand resources are applied, beside those while none is
    Reload,
    /// The parts of a decision one by one, natively and in Envoy's V8
    Micro(micro::Options),
    /// Mandates a second, each with its evidence on disk
    Sts(mints::Options),
    /// Ten thousand sessions in a tree
    Sessions,
    /// That no evidence is lost, and what it costs
    Evidence {
        /// loss, exchanges, intake, search, memory or disk
        what: Option<String>,
        /// How many decisions
        decisions: Option<u64>,
    },
    /// How fast a revocation is everywhere, and what a million of them cost
    Revocation {
        /// propagation, scale or subtree
        what: Option<String>,
    },
    /// The stand-in for OPA of the gateway's part
    #[command(hide = true)]
    Authoriser {
        /// Where its configuration is
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match Bench::parse().part {
        None | Some(Part::Plugin) => plugin::run(),
        Some(Part::Reload) => reload::run(),
        Some(Part::Gateway(options)) => gateway::run(&options),
        Some(Part::Growth(options)) => gateway::growth::run(&options),
        Some(Part::Micro(options)) => return micro::run(&options),
        Some(Part::Sts(options)) => mints::run(&options),
        Some(Part::Sessions) => sessions::run(),
        Some(Part::Evidence { what, decisions }) => evidence::run(what.as_deref(), decisions),
        Some(Part::Revocation { what }) => revocation::run(what.as_deref()),
        Some(Part::Authoriser { dir }) => gateway::serve_authoriser(&dir),
    }
    ExitCode::SUCCESS
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
