//! `cargo xtask`: gets the tools, builds, runs and tests. Everything it fetches goes to `.tools/`,
//! everything it runs keeps its state in `.caracal/`; both are ignored by git.

mod bench;
mod build;
mod console;
mod exports;
mod lint;
mod step;
mod test;
mod tools;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, runs and tests Caracal; gets whatever tool is missing.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Leave in `dist/` `caracal.wasm` (the filter), `caracal-bytecode.wasm` (without a compiler of policies) and `caracal`
    /// (the STS and command line)
    Build,
    /// Check formatting and lints, for this machine and for wasm32
    Lint,
    /// Run every test: unit, wasm32, policy, end-to-end
    Test(test::Options),
    /// Measure what governing a request costs
    Bench(bench::Options),
    /// Start the STS and Envoy with a demo zone, make real calls, and leave them running
    Up(up::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Build => {
            build::run(&workspace)?;
            build::bytecode(&workspace).map(drop)
        }
        Command::Lint => lint::run(&workspace),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Up(options) => up::run(&workspace, &options),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::failure(&failure);
            ExitCode::FAILURE
        }
    }
}
