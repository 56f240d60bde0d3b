//! `cargo xtask bench`: what governing a request costs, against the same Envoy without the plugin.

use clap::{Args, ValueEnum};

use crate::{
    build,
    console::{Failure, Result},
    tools::{envoy, python},
    workspace::Workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Run one part only
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Ten thousand sessions in a tree
    Sessions,
    /// How fast a revocation is everywhere, and what a million of them cost
    Revocation,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.only.is_none() && workspace.command("wrk").arg("--version").output().is_err() {
        return Err(Failure::new(
            "there is no `wrk`, which makes the load",
            "install it (on Debian: `apt-get install wrk`) and try again",
        ));
    }
    let artifacts = build::run(workspace)?;
    let mut cargo = workspace.cargo("run");
    cargo
        .args(["--quiet", "--package", "e2e", "--bin", "bench"])
        .env("CARACAL_WASM", artifacts.wasm)
        .env("CARACAL_BIN", artifacts.binary)
        .env("ENVOY", envoy::get(workspace)?);
    match options.only {
        None => {}
        Some(Part::Sessions) => {
            cargo.args(["--", "sessions"]);
        }
        Some(Part::Revocation) => {
            cargo
                .args(["--", "revocation"])
                .env("CARACAL_PYTHON", python::get(workspace)?);
        }
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
