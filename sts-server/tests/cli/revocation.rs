//! Taking authority away from the command line.

use serde_json::Value;

use crate::world::*;

#[test]
fn a_revocation_says_what_falls_before_and_when_it_is_made_and_may_come_back() {
    let world = World::start();
    world.govern();
    let lead = world.json(&[
        "session", "start", "reader", "--zone", "demo", "--label", "lead",
    ]);
    let lead = lead["id"].as_str().unwrap();
    world.ok(&[
        "session", "start", "reader", "--zone", "demo", "--parent", lead, "--bare",
    ]);
    let revoke = ["revoke", "--zone", "demo", "--session", lead];
    let dry = world.json(&[&revoke[..], &["--dry-run"]].concat());
    assert_eq!(
        (&dry["sessions"], &dry["dry_run"]),
        (&Value::from(2), &Value::from(true))
    );
    let list = || world.json(&["revocation", "list", "--zone", "demo"]);
    assert_eq!(list()["items"].as_array().unwrap().len(), 0);
    let done = world.json(&[&revoke[..], &["--reason", "it reads too much"]].concat());
    assert_eq!(
        (&done["sessions"], &done["dry_run"]),
        (&Value::from(2), &Value::from(false))
    );
    let shown = world.json(&["session", "show", lead, "--zone", "demo"]);
    assert_eq!(shown["status"], "terminated");
    assert_eq!(list()["items"][0]["reason"], "it reads too much");

    // By its name, and back.
    let app = ["revoke", "--zone", "demo", "--app", "reader"];
    let text = world.ok(&app);
    assert!(text.contains("client_id"), "{text}");
    world.ok(&[&app[..], &["--withdraw"]].concat());
    assert!(
        !world
            .run(&[&app[..], &["--withdraw"]].concat(), "")
            .status
            .success()
    );
    let cut = world.json(&[&app[..], &["--up-to-now"]].concat());
    assert!(cut["issued_until"].as_str().unwrap().ends_with('Z'));
    // Exactly one thing, and one that is there.
    assert!(
        !world
            .run(&["revoke", "--zone", "demo"], "")
            .status
            .success()
    );
    assert!(
        !world
            .run(
                &[
                    "revoke",
                    "--zone",
                    "demo",
                    "--session",
                    lead,
                    "--app",
                    "reader"
                ],
                ""
            )
            .status
            .success()
    );
    assert!(
        !world
            .run(&["revoke", "--zone", "demo", "--mandate", "nobody"], "")
            .status
            .success()
    );
}
