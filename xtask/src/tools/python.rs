//! Python with the published Caracal clients, for the tests that run them: a virtual environment of the
//! versions that `tests/clients/requirements.txt` names.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    console::{Failure, OrFail, Result},
    step::Step,
    tools::{Version, output_of},
    workspace::Workspace,
};

/// What the clients need.
const OLDEST: Version = Version::new(3, 12, 0);
const NAMES: [&str; 4] = ["python3.13", "python3.12", "python3.14", "python3"];

/// The interpreter of the virtual environment.
pub(crate) fn get(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root().join("tests/clients/requirements.txt");
    let wanted = fs::read_to_string(&requirements).or_fail(|| "cannot read the pins".to_owned())?;
    let venv = workspace.tools().join("clients");
    let (binary, installed) = (venv.join("bin/python"), venv.join("installed.txt"));
    // Written last, so what an interrupted run left does not count.
    if fs::read_to_string(&installed).is_ok_and(|text| text == wanted) && version(&binary).is_some()
    {
        return Ok(binary);
    }
    let python = find().ok_or_else(|| {
        Failure::new(
            format!("the tests of the Python clients need Python {OLDEST} or later"),
            "install it as python3.12 or python3.13 in PATH, or with pyenv",
        )
    })?;
    if venv.exists() {
        fs::remove_dir_all(&venv).or_fail(|| format!("cannot remove {}", venv.display()))?;
    }
    fs::create_dir_all(workspace.tools()).or_fail(|| "cannot create .tools".to_owned())?;
    let mut make = Command::new(python);
    make.args(["-m", "venv"]).arg(&venv);
    Step::new(
        workspace,
        "making a Python virtual environment for the clients",
        "clients-venv",
    )
    .run(&mut make, "install this Python with its venv module")?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args([
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--requirement",
    ])
    .arg(&requirements);
    Step::new(
        workspace,
        "fetching the published clients from PyPI",
        "clients-pip",
    )
    .run(&mut pip, "check the network")?;
    fs::write(&installed, wanted).or_fail(|| format!("cannot write {}", installed.display()))?;
    Ok(binary)
}

/// A Python that is recent enough: in `PATH`, or one of pyenv's.
fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = NAMES.into_iter().flat_map(|name| {
        env::split_paths(&path)
            .map(move |directory| directory.join(name))
            .collect::<Vec<_>>()
    });
    in_path
        .chain(of_pyenv())
        .filter(|candidate| candidate.is_file())
        .find(|candidate| version(candidate).is_some_and(|version| version >= OLDEST))
}

fn of_pyenv() -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
    root.and_then(|root| fs::read_dir(root.join("versions")).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/python3"))
        .collect()
}

fn version(python: &Path) -> Option<Version> {
    Version::find(&output_of(Command::new(python).arg("--version"))?)
}
