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
    /// What of the part, and how much of it: `--only evidence -- search 10000000`
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A governed request beside `jwt_authn` and `rbac`, in processor time
    Gateway,
    /// Ten thousand sessions in a tree
    Sessions,
    /// That no evidence is lost, and what it costs
    Evidence,
    /// How fast a revocation is everywhere, and what a million of them cost
    Revocation,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if matches!(options.only, None | Some(Part::Gateway))
        && workspace.command("wrk").arg("--version").output().is_err()
    {
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
        Some(Part::Gateway) => {
            cargo.args(["--", "gateway"]).args(&options.more);
        }
        Some(Part::Sessions) => {
            cargo.args(["--", "sessions"]).args(&options.more);
        }
        Some(Part::Evidence) => {
            cargo.args(["--", "evidence"]).args(&options.more);
        }
        Some(Part::Revocation) => {
            cargo
                .args(["--", "revocation"])
                .args(&options.more)
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
