//! Where things are in the repository, and how its own cargo is called.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::console::{Failure, OrFail, Result};

/// The checkout that xtask was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .map(Path::to_path_buf)
            .ok_or_else(|| {
                Failure::new(
                    "xtask does not lie in a workspace",
                    "run it from a checkout of the repository",
                )
            })?;
        if !root.join("Cargo.lock").is_file() {
            return Err(Failure::new(
                format!("there is no Cargo.lock in {}", root.display()),
                "the checkout was moved or is incomplete: run `cargo clean --package xtask` and try again",
            ));
        }
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self { root, target })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's output for this machine.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Cargo's output for wasm32: another compiler may fill it, and the two would undo each other's
    /// work in one directory.
    pub(crate) fn wasm_target(&self) -> PathBuf {
        self.target.join("wasm")
    }

    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// Fetched tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// What a running demo keeps.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.join(".caracal")
    }

    pub(crate) fn lockfile(&self) -> Result<String> {
        let path = self.root.join("Cargo.lock");
        fs::read_to_string(&path).or_fail(|| format!("cannot read {}", path.display()))
    }

    /// `cargo SUBCOMMAND` at the root, by the cargo that started xtask.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .arg(subcommand)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// A command at the root, without the variables that `cargo run` sets for xtask: build scripts
    /// that watch them (ring's does) would rebuild on every turn between cargo and xtask.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let own = name.to_str().is_some_and(|name| {
                [
                    "CARGO_PKG_",
                    "CARGO_MANIFEST_",
                    "CARGO_BIN_",
                    "CARGO_CRATE_",
                ]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            });
            if own {
                command.env_remove(name);
            }
        }
        command
    }
}
