//! `cargo xtask lint`: formatting and clippy, for this machine and, for the crates of the filter,
//! for wasm32 too, where other `cfg`s hold.

use std::process::Command;

use crate::{
    console::{self, Failure, Result},
    tools::wasm_target::WasmTarget,
    workspace::Workspace,
};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut format = workspace.cargo("fmt");
    format.args(["--all", "--check"]);
    let mut native = workspace.cargo("clippy");
    native.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
    let mut wasm = WasmTarget::get(workspace)?.clippy()?;
    wasm.args([
        "--package",
        "plugin",
        "--package",
        "authority",
        "--lib",
        "--",
        "-D",
        "warnings",
    ]);

    let mut bytecode = WasmTarget::get(workspace)?.clippy()?;
    bytecode.args(["--package", "plugin", "--package", "authority", "--lib"]);
    bytecode.args(["--no-default-features", "--", "-D", "warnings"]);

    let mut failed = Vec::new();
    for (name, mut command) in [
        ("formatting", format),
        ("clippy", native),
        ("clippy for wasm32", wasm),
        ("clippy for wasm32, bytecode alone", bytecode),
    ] {
        console::line(format_args!("== {name}"));
        if !passes(&mut command) {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        format!("{} did not pass", failed.join(" and ")),
        "mend what is reported above (`cargo fmt` does the formatting)",
    ))
}

fn passes(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
