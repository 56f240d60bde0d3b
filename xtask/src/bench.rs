//! `cargo xtask bench`: what governing a request costs. What there is to measure, and how, the benchmark
//! itself says: `cargo xtask bench --help`.

use clap::Args;

use crate::{
    build,
    console::{Failure, Result},
    tools::{envoy, python},
    workspace::Workspace,
};

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// What is measured, and how: `gateway --workers 2`, `evidence search 10000000`, `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
}

/// What takes `wrk` to make the load.
const UNDER_LOAD: [Option<&str>; 4] = [None, Some("plugin"), Some("gateway"), Some("growth")];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let part = options.what.first().map(String::as_str);
    if UNDER_LOAD.contains(&part) && workspace.command("wrk").arg("--version").output().is_err() {
        return Err(Failure::new(
            "there is no `wrk`, which makes the load",
            "install it (on Debian: `apt-get install wrk`) and try again",
        ));
    }
    let artifacts = build::run(workspace)?;
    let mut cargo = workspace.cargo("run");
    // Optimised: what stands in for others, and what makes the load, must not be what is slow.
    cargo
        .args([
            "--quiet",
            "--release",
            "--package",
            "e2e",
            "--bin",
            "bench",
            "--",
        ])
        .args(&options.what)
        .env("CARACAL_WASM", artifacts.wasm)
        .env("CARACAL_BIN", artifacts.binary)
        .env("ENVOY", envoy::get(workspace)?);
    if matches!(part, None | Some("plugin")) {
        cargo.env("CARACAL_BYTECODE_WASM", build::bytecode(workspace)?);
    }
    if part == Some("micro") {
        cargo.env("CARACAL_MICRO_WASM", build::micro(workspace)?);
    }
    if matches!(part, Some("gateway" | "growth" | "revocation" | "sts")) {
        cargo.env("CARACAL_PYTHON", python::get(workspace)?);
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new("the benchmark failed", "see its output above")),
        Err(error) => Err(Failure::new(
            format!("cannot run cargo: {error}"),
            "install Rust from https://rustup.rs",
        )),
    }
}
