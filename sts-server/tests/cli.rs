//! The binary as its users run it: a server on a free port, and commands against it. Nothing here
//! knows more than arguments, variables, files, output and exit codes.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_caracal");
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory to work in, with a server whose data directory is the default one.
struct World {
    dir: tempfile::TempDir,
    server: Child,
}

impl World {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = serve(dir.path());
        Self { dir, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command with `input` on its standard input.
    fn run(&self, line: &[&str], input: &str) -> Output {
        caracal(self.dir.path(), line, input)
    }

    /// Runs a command that has to succeed, and gives its standard output.
    fn ok(&self, line: &[&str]) -> String {
        let output = self.run(line, "");
        assert!(
            output.status.success(),
            "{line:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The same in JSON.
    fn json(&self, line: &[&str]) -> Value {
        let line: Vec<&str> = line.iter().copied().chain(["--output", "json"]).collect();
        serde_json::from_str(&self.ok(&line)).unwrap()
    }

    /// Asks the server to end as an init system does.
    fn stop(&mut self) -> ExitStatus {
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
    fn govern(&self) -> String {
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

fn command(dir: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(line).current_dir(dir).env_clear();
    command
}

fn caracal(dir: &Path, line: &[&str], input: &str) -> Output {
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

fn serve(dir: &Path) -> Child {
    let log = fs::File::create(dir.join("serve.log")).unwrap();
    let mut command = command(dir, &["serve", "--listen", "127.0.0.1:0"]);
    let mut server = command.stderr(log).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !dir.join(".caracal/url").exists() {
        let ended = server.try_wait().unwrap();
        let log = || fs::read_to_string(dir.join("serve.log")).unwrap();
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "the server did not start: {}",
            log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn grants(app: &str) -> String {
    format!(
        r#"# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {{"reader": "{app}"}}

grants := {{"resource://demo": {{"application": "reader", "applications": {{"reader": ["demo:read"]}}}}}}
"#
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const MINT: [&str; 9] = [
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

#[test]
fn from_an_empty_directory_to_a_verified_mandate() {
    let world = World::start();
    assert!(world.ok(&["health"]).contains("ready"));
    let app = world.govern();

    let mandate = world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    assert_eq!(mandate.trim().split('.').count(), 3);
    assert_eq!(mandate.lines().count(), 1);

    let inspected = world.run(&["inspect", "-", "--output", "json"], &mandate);
    assert!(inspected.status.success());
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    assert_eq!(inspected["claims"]["client_id"], app.as_str());
    assert_eq!(inspected["claims"]["scope"], "demo:read");
    assert_eq!(inspected["claims"]["use"], "gateway");
    assert_eq!(inspected["signature"]["valid"], true);
    assert_eq!(inspected["state"], "current");

    let gateway = world.json(&["gateway", "create", "edge-1", "--zone", "demo"]);
    assert!(gateway["token"].as_str().unwrap().starts_with("gt_"));
    let listed = world.ok(&["gateway", "list", "--zone", "demo"]);
    assert!(listed.starts_with("ID ") && listed.contains("edge-1") && !listed.contains("gt_"));
    world.ok(&["gateway", "revoke", "edge-1", "--zone", "demo"]);

    world.ok(&["key", "rotate", "--zone", "demo"]);
    assert_eq!(
        world.json(&["key", "list", "--zone", "demo"])["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn every_use_of_mandate_can_be_minted_and_a_session_stands_for_the_secret() {
    let world = World::start();
    world.govern();
    let session = world.ok(&[MINT.as_slice(), &["--use", "session"]].concat());
    world.write("session.jwt", &session);
    let line = [
        "mint",
        "--zone",
        "demo",
        "--resource",
        "resource://demo",
        "--scope",
        "demo:read",
    ];
    let exchange = [
        "--use",
        "resource",
        "--subject-token-file",
        "session.jwt",
        "--ttl",
        "60",
    ];
    let mandate = world.ok(&[line.as_slice(), &exchange].concat());
    let shown = text(&world.run(&["inspect", "-"], &mandate).stdout);
    assert!(shown.contains("use        resource"), "{shown}");
    assert!(
        shown.contains(", in 1 min") || shown.contains(", in 5"),
        "{shown}"
    );
    assert!(shown.contains("signature  valid"), "{shown}");

    // The secret can be piped in, and named in a variable's file.
    let secret = fs::read_to_string(world.path("reader.secret")).unwrap();
    let line = [
        "mint",
        "--zone",
        "demo",
        "--app",
        "reader",
        "--resource",
        "resource://demo",
        "--scope",
        "demo:read",
    ];
    assert!(world.run(&line, &secret).status.success());
    let status = command(world.dir.path(), &line)
        .env("CARACAL_CLIENT_SECRET_FILE", "reader.secret")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_refusal_leaves_stdout_empty_and_shows_code_reason_and_request_id() {
    let world = World::start();
    world.govern();
    let line = [MINT.as_slice(), &["--scope", "demo:write"]].concat();
    let refused = world.run(&line, "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let shown = text(&refused.stderr);
    for part in [
        "error: ",
        "code:    access_denied (HTTP 403)",
        "reason:  ",
        "request: ",
    ] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    let refused = world.run(&[line.as_slice(), &["--output", "json"]].concat(), "");
    let body: Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!(
        (&body["error"], &body["status"]),
        (&"access_denied".into(), &403.into())
    );

    let unknown = world.run(&["zone", "show", "nowhere"], "");
    assert!(text(&unknown.stderr).contains("zone_not_found"));
}

#[test]
fn a_rotated_secret_replaces_the_old_one() {
    let world = World::start();
    world.govern();
    world.ok(&[
        "app",
        "rotate-secret",
        "reader",
        "--zone",
        "demo",
        "--secret-file",
        "new.secret",
    ]);
    let read = ["--scope", "demo:read"];
    let old = world.run(&[MINT.as_slice(), &read].concat(), "");
    assert!(text(&old.stderr).contains("invalid_client (HTTP 401)"));
    let rotated = fs::read_to_string(world.path("new.secret")).unwrap();
    assert!(rotated.starts_with("cs_"));
    world.write("reader.secret", &rotated);
    world.ok(&[MINT.as_slice(), &read].concat());

    world.ok(&["app", "archive", "reader", "--zone", "demo"]);
    let gone = world.run(&[MINT.as_slice(), &read].concat(), "");
    assert!(text(&gone.stderr).contains("there is no application \"reader\""));
}

#[test]
fn activating_again_stores_only_what_changed_and_an_earlier_version_can_come_back() {
    let world = World::start();
    let app = world.govern();
    let activate = ["policy", "activate", "--zone", "demo", "grants.rego"];
    let again = world.json(&activate);
    assert_eq!(
        (&again["version"], &again["policies"][0]["changed"]),
        (&1.into(), &false.into())
    );

    world.write(
        "grants.rego",
        &grants(&app).replace("demo:read", "demo:write"),
    );
    let changed = world.json(&activate);
    assert_eq!(
        (&changed["version"], &changed["policies"][0]["version"]),
        (&2.into(), &2.into())
    );
    assert!(
        !world
            .run(&[MINT.as_slice(), &["--scope", "demo:read"]].concat(), "")
            .status
            .success()
    );

    world.ok(&["policy-set", "activate", "main", "1", "--zone", "demo"]);
    world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    let versions = world.json(&["policy-set", "versions", "main", "--zone", "demo"]);
    let active: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["active"])
        .collect();
    assert_eq!(active, [true, false]);
    assert_eq!(
        world.ok(&[
            "policy",
            "show",
            "grants",
            "--zone",
            "demo",
            "--version",
            "1"
        ]),
        grants(&app)
    );
}

#[test]
fn a_policy_with_an_error_is_shown_in_place_and_never_reaches_the_server() {
    let world = World::start();
    world.ok(&["zone", "create", "demo"]);
    world.write(
        "bad.rego",
        "package caracal.authz\n\nresult := {\"a\": [}\n",
    );
    for line in [
        ["policy", "check", "bad.rego"].as_slice(),
        &["policy", "activate", "--zone", "demo", "bad.rego"],
        &["policy", "create", "bad", "bad.rego", "--zone", "demo"],
    ] {
        let output = world.run(line, "");
        assert_eq!(output.status.code(), Some(1));
        let shown = text(&output.stderr);
        assert!(shown.contains("bad.rego:3:18: "), "{shown}");
        assert!(
            shown.contains("  3 | result := {\"a\": [}\n    |                  ^"),
            "{shown}"
        );
    }
    assert_eq!(
        world.json(&["policy", "list", "--zone", "demo"])["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn a_resource_can_be_changed_and_archived_by_its_identifier() {
    let world = World::start();
    world.govern();
    let narrow = ["--operation", "GET /demo/items/{id}=demo:read"];
    let update = ["resource", "update", "resource://demo", "--zone", "demo"];
    let changed = world.json(&[update.as_slice(), &narrow].concat());
    assert_eq!(changed["scopes"], serde_json::json!(["demo:read"]));
    assert_eq!(changed["operations"].as_array().unwrap().len(), 1);
    world.write(
        "files.json",
        r#"{"name":"Files","identifier":"resource://files","scopes":["files:read"]}"#,
    );
    world.ok(&[
        "resource",
        "create",
        "--zone",
        "demo",
        "--file",
        "files.json",
    ]);
    world.ok(&["resource", "archive", "resource://files", "--zone", "demo"]);
    let listed = world.ok(&["resource", "list", "--zone", "demo"]);
    assert!(listed.contains("resource://demo") && !listed.contains("resource://files"));
}

#[test]
fn a_tampered_mandate_fails_inspection_and_an_unreachable_server_only_leaves_it_unchecked() {
    let mut world = World::start();
    world.govern();
    let mandate = world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    let (signed, signature) = mandate.trim().rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let tampered = format!("{signed}.{other}{}", &signature[1..]);
    let output = world.run(&["inspect", &tampered], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("NOT VALID"));

    world.stop();
    let output = world.run(&["inspect", "-", "--url", "http://127.0.0.1:1"], &mandate);
    assert!(output.status.success());
    assert!(text(&output.stdout).contains("signature  not checked"));
}

#[test]
fn a_server_that_is_told_to_end_does_so_in_good_order_and_keeps_everything() {
    let mut world = World::start();
    world.govern();
    assert!(world.stop().success());
    let output = world.run(&["zone", "list"], "");
    assert!(!output.status.success());

    world.server = serve(world.dir.path());
    let mandate = world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    assert!(text(&world.run(&["inspect", "-"], &mandate).stdout).contains("signature  valid"));
}

#[test]
fn a_wrong_configuration_is_refused_at_the_start_with_the_name_of_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("caracal.toml"),
        "listne = \"127.0.0.1:0\"\n",
    )
    .unwrap();
    let output = caracal(dir.path(), &["serve"], "");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("unknown field `listne`"),
        "{}",
        text(&output.stderr)
    );
}
