//! `cargo xtask bench`: what governing a request costs, against the same Envoy without the plugin.

use crate::{
    build,
    console::{Failure, Result},
    tools::envoy,
    workspace::Workspace,
};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    if workspace.command("wrk").arg("--version").output().is_err() {
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
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new("the benchmark failed", "see its output above")),
        Err(error) => Err(Failure::new(
            format!("cannot run cargo: {error}"),
            "install Rust from https://rustup.rs",
        )),
    }
}
