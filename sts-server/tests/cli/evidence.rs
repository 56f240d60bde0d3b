//! Evidence in files: exported, verified, and in the forms that other tools read.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use crate::world::*;

fn lines(world: &World, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(world.path(name)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_export_is_verified_and_made_into_what_other_tools_read() {
    let world = World::start();
    world.govern();
    world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    let export = ["audit", "export", "--zone", "demo", "--to"];
    world.ok(&[&export[..], &["demo.jsonl", "--keys", "demo.keys.json"]].concat());
    let told = world.ok(&["audit", "verify", "demo.jsonl", "--keys", "demo.keys.json"]);
    assert!(told.contains("unaltered"), "{told}");
    let events: Vec<Value> = lines(&world, "demo.jsonl")
        .into_iter()
        .filter(|line| line["line"] == "event")
        .collect();

    let convert = ["audit", "convert", "demo.jsonl", "--to"];
    let told = world.json(&[&convert[..], &["demo.ocsf.jsonl", "--as", "ocsf"]].concat());
    assert_eq!(told["events"], events.len());
    let mapped = lines(&world, "demo.ocsf.jsonl");
    assert_eq!(mapped.len(), events.len());
    for (mapped, entry) in mapped.iter().zip(&events) {
        assert_eq!(mapped["class_uid"], 6003);
        assert_eq!(mapped["metadata"]["sequence"], entry["seq"]);
        assert_eq!(mapped["unmapped"]["hash"], entry["hash"]);
    }
    let minted = mapped.last().unwrap();
    assert_eq!(minted["type_uid"], 600_301, "{minted}");
    assert_eq!(minted["metadata"]["event_code"], "token_exchange");

    // Of an export, and at once: the same, with nothing left beside it.
    world.ok(&[&convert[..], &["converted.parquet"]].concat());
    world.ok(&[&export[..], &["demo.parquet"]].concat());
    for name in ["converted.parquet", "demo.parquet"] {
        let file = fs::File::open(world.path(name)).unwrap();
        let file = SerializedFileReader::new(file).unwrap();
        let rows = usize::try_from(file.metadata().file_metadata().num_rows()).unwrap();
        assert_eq!(rows, events.len(), "{name}");
    }
    let beside: Vec<String> = fs::read_dir(world.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".part") || name.ends_with(".ledger"))
        .collect();
    assert!(beside.is_empty(), "{beside:?}");
}

#[test]
fn half_an_export_is_not_converted_and_goes_on() {
    let world = World::start();
    world.govern();
    world.ok(&["audit", "export", "--zone", "demo", "--to", "whole.jsonl"]);
    let whole = fs::read_to_string(world.path("whole.jsonl")).unwrap();
    let half = &whole[..whole.len() / 2];
    world.write("half.jsonl", half);
    let convert = ["audit", "convert", "half.jsonl", "--to", "half.parquet"];
    let refused = world.run(&convert, "");
    assert_eq!(refused.status.code(), Some(2));
    let told = text(&refused.stderr);
    assert!(told.contains("half.jsonl"), "{told}");
    assert!(!world.path("half.parquet").exists());

    // As it was when the command that makes a Parquet file was broken off.
    world.write("half.parquet.ledger", half);
    let export = ["audit", "export", "--zone", "demo", "--to", "half.parquet"];
    let told = world.json(&export);
    assert!(told["resumed_after"].as_u64().unwrap() > 0, "{told}");
    assert!(world.path("half.parquet").exists());
    assert!(!world.path("half.parquet.ledger").exists());

    // And as it was when all was fetched, and not yet converted.
    world.write("late.parquet.ledger", &whole);
    world.ok(&["audit", "export", "--zone", "demo", "--to", "late.parquet"]);
    assert!(world.path("late.parquet").exists());
    assert!(!world.path("late.parquet.ledger").exists());
    let again = ["audit", "export", "--zone", "demo", "--to", "whole.jsonl"];
    assert_eq!(world.run(&again, "").status.code(), Some(2));
}

/// Between an event and the checkpoint that belongs to it, too.
#[test]
fn an_export_goes_on_from_whichever_line_it_was_broken_off_at() {
    let world = World::start();
    world.govern();
    let export = ["audit", "export", "--zone", "demo", "--to"];
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let name = format!("early-{number}.jsonl");
        world.ok(&[&export[..], &[&name]].concat());
        if lines(&world, &name)
            .iter()
            .any(|line| line["line"] == "checkpoint")
        {
            break;
        }
        assert!(Instant::now() < deadline, "no checkpoint is made");
        thread::sleep(Duration::from_millis(200));
    }
    world.ok(&[MINT.as_slice(), &["--scope", "demo:read"]].concat());
    world.ok(&[&export[..], &["whole.jsonl", "--keys", "demo.keys.json"]].concat());
    let whole = fs::read_to_string(world.path("whole.jsonl")).unwrap();
    let whole: Vec<&str> = whole.split_inclusive('\n').collect();
    for end in 1..whole.len() {
        world.write("cut.jsonl", &whole[..end].concat());
        world.ok(&[&export[..], &["cut.jsonl"]].concat());
        let told = world.ok(&["audit", "verify", "cut.jsonl", "--keys", "demo.keys.json"]);
        assert!(told.contains("unaltered"), "{end} lines: {told}");
        assert!(
            lines(&world, "cut.jsonl").len() >= whole.len(),
            "{end} lines"
        );
        fs::remove_file(world.path("cut.jsonl")).unwrap();
    }
}
