//! `caracal audit verify`: checks an export offline.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use authority::{
    audit::{SignedCheckpoint, Verifier},
    jwks::KeySet,
};
use clap::Args;
use serde_json::{Value, json};

use super::{Context, error::CliError, output::Field};

/// Longest line that is read: an event has 16 KiB at most, changes may have more.
pub(super) const MAX_LINE_BYTES: u64 = 4 * 1024 * 1024;
/// Largest file of keys or of a checkpoint.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

const FIELDS: [Field; 7] = [
    ("verdict", "verdict"),
    ("zone", "zone_id"),
    ("events", "events"),
    ("from event", "first_seq"),
    ("to event", "last_seq"),
    ("checkpoints", "checkpoints"),
    ("exported at", "ended_at"),
];

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The export
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The zone's public keys, from `caracal audit keys`, taken at a time when they were trusted
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// A checkpoint that was kept from before, from `caracal audit checkpoint`: the export must agree with
    /// it and reach it
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
}

pub(super) fn run(arguments: &VerifyArgs, context: &Context<'_>) -> Result<(), CliError> {
    let keys = KeySet::parse_history(&content(&arguments.keys)?)
        .map_err(|error| CliError::usage(format!("{}: {error}", arguments.keys.display())))?;
    let mut verifier = Verifier::new(&keys);
    for file in &arguments.checkpoint {
        let kept: SignedCheckpoint = serde_json::from_slice(&content(file)?).map_err(|error| {
            CliError::usage(format!(
                "{}: expected a checkpoint: {error}",
                file.display()
            ))
        })?;
        verifier
            .pin(&kept)
            .map_err(|error| CliError::usage(format!("{}: {error}", file.display())))?;
    }
    let file = &arguments.file;
    let open = File::open(file).map_err(|error| CliError::file(file, error))?;
    let mut lines = BufReader::new(open);
    let found = loop {
        let mut line = Vec::new();
        let read = lines
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(|error| CliError::file(file, error))?;
        if read == 0 {
            break verifier.finish();
        }
        // What is no UTF-8 is no line of an export either.
        if let Err(fault) = verifier.push(String::from_utf8_lossy(&line).trim_end()) {
            break Err(fault);
        }
    };
    match found {
        Ok(summary) => {
            let mut shown = serde_json::to_value(&summary).unwrap_or(Value::Null);
            if let Some(members) = shown.as_object_mut() {
                members.insert("verdict".to_owned(), json!("unaltered"));
            }
            context.output.record(&shown, &FIELDS)
        }
        Err(fault) => {
            let shown = json!({
                "verdict": "altered",
                "line": fault.line,
                "seq": fault.seq,
                "problem": fault.problem,
            });
            context.output.either("", &shown)?;
            Err(CliError::Finding(format!("{}: {fault}", file.display())))
        }
    }
}

fn content(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut content = Vec::new();
    File::open(file)
        .and_then(|open| open.take(MAX_FILE_BYTES).read_to_end(&mut content))
        .map_err(|error| CliError::file(file, error))?;
    Ok(content)
}
