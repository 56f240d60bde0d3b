//! The published Python clients: programs in `tests/clients`, run in the virtual environment that
//! `cargo xtask test` makes for them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{eventually, http::Request, parts, process::Process};

/// Runs a program to its end and gives what it printed; one that fails fails the test.
pub fn run(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = command(program, arguments, variables).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A server that is one of the programs.
pub struct Server {
    address: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Server {
    /// Starts it on a free port, which it is told in `PORT`.
    pub fn start(program: &str, variables: &[(&str, &str)]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let dir = tempfile::tempdir().unwrap();
        let variables = [variables, &[("PORT", port.as_str())]].concat();
        let mut process = Process::start(&command(program, &[], &variables), dir.path());
        eventually("the server answers", || {
            process.check();
            Request::get("/").send(address).ok()
        });
        Self {
            address,
            _process: process,
            _dir: dir,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn command(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(parts::python());
    command
        .arg(directory().join(program))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(variables.iter().copied());
    command
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}
