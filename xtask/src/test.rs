//! `cargo xtask test`: every test in stages. A failed stage does not keep the next from running, so
//! that one run shows everything.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};

use crate::{
    build,
    console::{self, Failure, OrFail, Result, seconds},
    tools::{bindgen_runner, chromium, envoy, python, wasm_target::WasmTarget},
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
            Self::Policy => policy(workspace),
            Self::E2e => {
                chromium::get(workspace)?;
                let artifacts = build::run(workspace)?;
                let mut cargo = workspace.cargo("test");
                cargo
                    .args(["--package", "e2e"])
                    .env("CARACAL_WASM", artifacts.wasm)
                    .env("CARACAL_BIN", artifacts.binary)
                    .env("CARACAL_BYTECODE_WASM", build::bytecode(workspace)?)
                    .env("CARACAL_MICRO_WASM", build::micro(workspace)?)
                    .env("ENVOY", envoy::get(workspace)?)
                    .env("CARACAL_PYTHON", python::get(workspace)?);
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

/// The tests of the decision contract and of every example, and the same in OPA itself where the user
/// has it.
fn policy(workspace: &Workspace) -> Result<()> {
    // As the unit tests built it: with other packages selected it would be another build of everything.
    let mut cargo = workspace.cargo("test");
    cargo.args([
        "--workspace",
        "--exclude",
        "e2e",
        "--test",
        "cli",
        "--no-run",
    ]);
    done(&mut cargo, "cargo test --no-run")?;
    let caracal = workspace.target().join("debug/caracal");
    let mut opa = Some("opa");
    let mut failed = Vec::new();
    for directory in policy_directories(workspace)? {
        console::line(format_args!("-- {}", directory.display()));
        let mut test = workspace.command(&caracal);
        test.args(["policy", "test"]).arg(&directory);
        let mut outcomes = vec![done(&mut test, "caracal policy test")];
        if directory != Path::new(CONTRACT) {
            let mut check = workspace.command(&caracal);
            check.args(["policy", "check"]).arg(&directory);
            outcomes.push(done(&mut check, "caracal policy check"));
        }
        if let Some(program) = opa {
            let mut test = workspace.command(program);
            test.arg("test").args(opa_files(workspace, &directory)?);
            match test.status() {
                Ok(status) if status.success() => {}
                Ok(status) => outcomes.push(Err(Failure::new(
                    format!("`opa test` failed ({status})"),
                    "see its output above",
                ))),
                Err(_) => {
                    console::line("  no `opa` in PATH: the policies run in Caracal only");
                    opa = None;
                }
            }
        }
        for failure in outcomes.into_iter().filter_map(Result::err) {
            console::failure(&failure);
            failed.push(directory.display().to_string());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    failed.dedup();
    Err(Failure::new(
        format!("policies failed: {}", failed.join(", ")),
        "run one with `caracal policy test DIR --verbose`",
    ))
}

const CONTRACT: &str = "policies/contract";

/// The contract, and each example by itself: every one of them defines its own decision.
fn policy_directories(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let examples = Path::new("policies/examples");
    let mut directories = vec![PathBuf::from(CONTRACT)];
    directories.extend(entries(workspace, examples)?);
    Ok(directories)
}

/// What `opa test` gets: the contract joins an example, without the entry where the example decides
/// itself.
fn opa_files(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = entries(workspace, directory)?;
    if directory == Path::new(CONTRACT) {
        return Ok(files);
    }
    let is_test = |file: &Path| file.to_string_lossy().ends_with("_test.rego");
    let mut authored = false;
    for file in files.iter().filter(|file| !is_test(file)) {
        let text = fs::read_to_string(workspace.root().join(file))
            .or_fail(|| format!("cannot read {}", file.display()))?;
        authored |= !text.contains("# caracal:data-document");
    }
    let left_out = |file: &Path| is_test(file) || (authored && file.ends_with("entry.rego"));
    files.extend(
        entries(workspace, Path::new(CONTRACT))?
            .into_iter()
            .filter(|file| !left_out(file)),
    );
    Ok(files)
}

/// What a directory of the repository holds, in order.
fn entries(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(workspace.root().join(directory))
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .or_fail(|| format!("cannot read {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = listed
        .iter()
        .map(|entry| directory.join(entry.file_name()))
        .collect();
    paths.sort();
    Ok(paths)
}

/// Runs a command with its output as it is.
fn done(command: &mut Command, name: &str) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(
            format!("`{name}` failed ({status})"),
            "see its output above",
        )),
        Err(error) => Err(Failure::new(
            format!("cannot run {name}: {error}"),
            "install Rust from https://rustup.rs",
        )),
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
