//! `cargo xtask test`: every test in stages. A failed stage does not keep the next from running, so
//! that one run shows everything.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use crate::{
    build,
    console::{self, Failure, Result, seconds},
    tools::{bindgen_runner, envoy, wasm_target::WasmTarget},
    workspace::Workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Run one stage only
    #[arg(long, value_enum)]
    only: Option<Stage>,
    /// Passed to the tests: names to filter by, `--nocapture` and the like
    #[arg(last = true)]
    filters: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Tests of the crates, on this machine
    Unit,
    /// The decision core's tests on wasm32, under Node
    Wasm,
    /// The Rego in `policies/`: its tests in Caracal, and in OPA if there is an `opa` in PATH
    Policy,
    /// A real Envoy with the wasm, a real STS, real clients
    E2e,
}

const STAGES: [Stage; 4] = [Stage::Unit, Stage::Wasm, Stage::Policy, Stage::E2e];

impl Stage {
    fn title(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Wasm => "wasm",
            Self::Policy => "policy",
            Self::E2e => "e2e",
        }
    }

    fn run(self, workspace: &Workspace, filters: &[String]) -> Result<()> {
        match self {
            Self::Unit => {
                let mut cargo = workspace.cargo("test");
                cargo.args(["--workspace", "--exclude", "e2e"]);
                tests(&mut cargo, filters)
            }
            Self::Wasm => {
                let runner = bindgen_runner::get(workspace)?;
                let mut cargo = WasmTarget::get(workspace)?.cargo("test");
                cargo
                    .args(["--package", "authority", "--lib"])
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner);
                tests(&mut cargo, filters)
            }
            Self::Policy => policy(workspace, filters),
            Self::E2e => {
                let artifacts = build::run(workspace)?;
                let mut cargo = workspace.cargo("test");
                cargo
                    .args(["--package", "e2e"])
                    .env("CARACAL_WASM", artifacts.wasm)
                    .env("CARACAL_BIN", artifacts.binary)
                    .env("ENVOY", envoy::get(workspace)?);
                tests(&mut cargo, filters)
            }
        }
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let mut outcomes: Vec<(Stage, Duration, Result<()>)> = Vec::new();
    for stage in STAGES
        .into_iter()
        .filter(|stage| options.only.is_none_or(|only| only == *stage))
    {
        console::line(format_args!("== {}", stage.title()));
        let started = Instant::now();
        let outcome = stage.run(workspace, &options.filters);
        if let Err(failure) = &outcome {
            console::failure(failure);
        }
        outcomes.push((stage, started.elapsed(), outcome));
    }
    console::line("== summary");
    for (stage, elapsed, outcome) in &outcomes {
        let word = if outcome.is_ok() { "passed" } else { "FAILED" };
        console::line(format_args!(
            "  {:<7} {word}  {}",
            stage.title(),
            seconds(*elapsed)
        ));
    }
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|(.., outcome)| outcome.is_err())
        .map(|(stage, ..)| stage.title())
        .collect();
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Failure::new(
            format!("not every stage passed: {}", failed.join(", ")),
            format!("run one alone with `cargo xtask test --only {first}`"),
        )),
    }
}

/// The tests of the policy module, and the same Rego in OPA itself where the user has it.
fn policy(workspace: &Workspace, filters: &[String]) -> Result<()> {
    let mut cargo = workspace.cargo("test");
    cargo.args(["--package", "authority", "policy"]);
    tests(&mut cargo, filters)?;
    let mut opa = workspace.command("opa");
    opa.args(["test", "--v0-compatible=false"])
        .arg(Path::new("policies"));
    match opa.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            format!("`opa test policies` failed ({status})"),
            "see its output above",
        )),
        Err(_) => {
            console::line("  no `opa` in PATH: the policies ran in Caracal only");
            Ok(())
        }
    }
}

/// Runs `cargo test` with its output as it is: people and machines read its closing lines.
fn tests(cargo: &mut Command, filters: &[String]) -> Result<()> {
    cargo.arg("--no-fail-fast");
    if !filters.is_empty() {
        cargo.arg("--").args(filters);
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new("tests failed", "see their output above")),
        Err(error) => Err(Failure::new(
            format!("cannot run cargo: {error}"),
            "install Rust from https://rustup.rs",
        )),
    }
}
