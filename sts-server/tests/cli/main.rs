//! The binary as its users run it: a server on a free port, and commands against it. Nothing here
//! knows more than arguments, variables, files, output and exit codes.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod delegation;
mod evidence;
mod policy;
mod revocation;
mod world;

use std::{fs, process::Stdio};

use serde_json::Value;

use crate::world::*;

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

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_ends_no_request() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve_with_log(dir.path(), "/dev/full".as_ref());
    let world = World { dir, server };
    world.govern();
    world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
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
