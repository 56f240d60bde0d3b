//! A directory with a server, and commands run in it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_caracal");
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory to work in, with a server whose data directory is the default one.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: Child,
}

impl World {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = serve(dir.path());
        Self { dir, server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command with `input` on its standard input.
    pub(crate) fn run(&self, line: &[&str], input: &str) -> Output {
        caracal(self.dir.path(), line, input)
    }

    /// Runs a command that has to succeed, and gives its standard output.
    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let output = self.run(line, "");
        assert!(
            output.status.success(),
            "{line:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The same in JSON.
    pub(crate) fn json(&self, line: &[&str]) -> Value {
        let line: Vec<&str> = line.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.ok(&line)).unwrap()
    }

    /// Asks the server to end as an init system does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = self.server.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.server.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A zone with an application that may read and not write; gives the application's id.
    pub(crate) fn govern(&self) -> String {
        self.ok(&["zone", "create", "demo"]);
        self.ok(&[
            "app",
            "create",
            "reader",
            "--zone",
            "demo",
            "--secret-file",
            "reader.secret",
        ]);
        let app = self.json(&["app", "show", "reader", "--zone", "demo"]);
        let app = app["id"].as_str().unwrap().to_owned();
        let read = ["--operation", "GET /demo/items=demo:read"];
        let write = ["--operation", "POST /demo/items=demo:write"];
        let create = ["resource", "create", "resource://demo", "--zone", "demo"];
        self.ok(&[create.as_slice(), &read, &write].concat());
        self.write("grants.rego", &grants(&app));
        self.ok(&["policy", "activate", "--zone", "demo", "grants.rego"]);
        app
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

pub(crate) fn command(dir: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(line).current_dir(dir).env_clear();
    command
}

pub(crate) fn caracal(dir: &Path, line: &[&str], input: &str) -> Output {
    let mut command = command(dir, line);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that reads nothing may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub(crate) fn serve(dir: &Path) -> Child {
    serve_with_log(dir, &dir.join("serve.log"))
}

pub(crate) fn serve_with_log(dir: &Path, log: &Path) -> Child {
    let log = fs::File::create(log).unwrap();
    let mut command = command(dir, &["serve", "--listen", "127.0.0.1:0"]);
    let mut server = command.stderr(log).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !dir.join(".caracal/url").exists() {
        let ended = server.try_wait().unwrap();
        let log = || fs::read_to_string(dir.join("serve.log")).unwrap_or_default();
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "the server did not start: {}",
            log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

pub(crate) fn grants(app: &str) -> String {
    format!(
        r#"# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {{"reader": "{app}"}}

grants := {{"resource://demo": {{"application": "reader", "applications": {{"reader": ["demo:read"]}}}}}}
"#
    )
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) const MINT: [&str; 9] = [
    "mint",
    "--zone",
    "demo",
    "--app",
    "reader",
    "--resource",
    "resource://demo",
    "--client-secret-file",
    "reader.secret",
];
