//! Chromium and its WebDriver, for the test of the console: those in `PATH`, or Debian's packages.

use std::process::Command;

use crate::{
    console::{Failure, Result},
    tools::{debian, output_of},
    workspace::Workspace,
};

const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Sees to it that `chromium` and `chromedriver` are in `PATH`, unless the environment names others.
pub(crate) fn get(workspace: &Workspace) -> Result<()> {
    if is_here() {
        return Ok(());
    }
    if !debian::is_here() {
        return Err(Failure::new(
            "the test of the console needs chromium and chromedriver",
            "install them, and name them in CHROMIUM and CHROMEDRIVER if they are not in PATH by these names",
        ));
    }
    debian::install(workspace, &PACKAGES)
}

fn is_here() -> bool {
    [("CHROMIUM", "chromium"), ("CHROMEDRIVER", "chromedriver")]
        .into_iter()
        .all(|(variable, name)| {
            let named = std::env::var_os(variable);
            let mut command = Command::new(named.unwrap_or_else(|| name.into()));
            output_of(command.arg("--version")).is_some()
        })
}
