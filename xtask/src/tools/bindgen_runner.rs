//! wasm-bindgen's test runner, which runs tests built for wasm32 under Node. It must be of exactly
//! the version of the `wasm-bindgen` that the tests were linked with.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    console::{Failure, OrFail, Result},
    step::Step,
    tools::{Version, output_of},
    workspace::Workspace,
};

const OLDEST_NODE: Version = Version::new(20, 0, 0);

/// The path of the runner.
pub(crate) fn get(workspace: &Workspace) -> Result<PathBuf> {
    check_node()?;
    let lockfile = workspace.lockfile()?;
    let version = locked_version(&lockfile, "wasm-bindgen").ok_or_else(|| {
        Failure::new(
            "Cargo.lock has no wasm-bindgen",
            "restore Cargo.lock: `git checkout Cargo.lock`",
        )
    })?;
    let directory = workspace.tools().join(format!("wasm-bindgen-{version}"));
    let runner = directory.join("bin/wasm-bindgen-test-runner");
    let installed = || {
        output_of(Command::new(&runner).arg("--version"))
            .is_some_and(|text| text.ends_with(version))
    };
    if !installed() {
        install(workspace, version, &directory)?;
    }
    if installed() {
        return Ok(runner);
    }
    Err(Failure::new(
        format!("{} is not wasm-bindgen {version}", runner.display()),
        format!("remove {} and run this again", directory.display()),
    ))
}

fn check_node() -> Result<()> {
    let way_out = format!(
        "install Node {OLDEST_NODE} or later (https://nodejs.org), or leave the wasm32 tests out with `--only`"
    );
    let printed = output_of(Command::new("node").arg("--version")).ok_or_else(|| {
        Failure::new(
            "the wasm32 tests run under Node, and there is no `node` in PATH",
            &way_out,
        )
    })?;
    match Version::find(printed.trim_start_matches('v')) {
        Some(version) if version >= OLDEST_NODE => Ok(()),
        _ => Err(Failure::new(
            format!("the wasm32 tests need Node {OLDEST_NODE} or later, and `node` is {printed}"),
            way_out,
        )),
    }
}

fn install(workspace: &Workspace, version: &str, directory: &std::path::Path) -> Result<()> {
    // Kept until it succeeds, so that an interrupted build goes on where it was.
    let build = workspace
        .tools()
        .join("build")
        .join(format!("wasm-bindgen-{version}"));
    let mut cargo = workspace.cargo("install");
    cargo
        .args([
            "--no-default-features",
            "--bin",
            "wasm-bindgen-test-runner",
            "--force",
            "--root",
        ])
        .arg(directory)
        .args(["wasm-bindgen-cli", "--version", version])
        .env("CARGO_TARGET_DIR", &build)
        // It runs for seconds a day; what counts is how soon it is there.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let title = format!("building wasm-bindgen's test runner {version} (once, about two minutes)");
    Step::new(workspace, &title, "wasm-bindgen").run(
        &mut cargo,
        "check the network, then run this again: it goes on where it was",
    )?;
    fs::remove_dir_all(&build).or_fail(|| format!("cannot remove {}", build.display()))
}

/// The version of a package in a lock file.
fn locked_version<'a>(lockfile: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lockfile.lines().skip_while(|line| *line != name).skip(1);
    lines
        .next()?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_comes_from_the_package_of_exactly_that_name() {
        let lockfile = "[[package]]\nname = \"wasm-bindgen-test\"\nversion = \"0.3.80\"\n\n\
                        [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lockfile, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lockfile, "wasm"), None);
        assert_eq!(locked_version("", "wasm-bindgen"), None);
    }
}
