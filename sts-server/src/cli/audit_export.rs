//! `caracal audit export`: the ledger in a file, resumed where it was broken off.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use authority::audit::Line;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    audit_convert::{Form, FormArg, convert},
    client::{encoded, path, with_members},
    error::CliError,
    output::Field,
    progress::Progress,
};

const FIELDS: [Field; 3] = [
    ("export", "file"),
    ("events", "events"),
    ("resumed after event", "resumed_after"),
];

#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    zone: ZoneArg,
    /// The file to write; an export in it that was broken off is continued
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    form: FormArg,
    /// Also write the zone's public keys, which verification needs
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Only events written since then, from the checkpoint before on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events written before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How far a file has come.
struct Begun {
    first: u64,
    after: u64,
    /// Where its whole lines end.
    bytes: u64,
    /// Whether it is all there.
    ended: bool,
}

pub(super) fn run(arguments: &ExportArgs, context: &Context<'_>) -> Result<(), CliError> {
    let form = arguments.form.of(&arguments.to);
    if form == Form::Ledger {
        let shown = fetch(arguments, &arguments.to, context)?;
        return context.output.record(&shown, &FIELDS);
    }
    // What is fetched can go on where it ended and can be verified; another form is made of it.
    let mut fetched = arguments.to.clone().into_os_string();
    fetched.push(".ledger");
    let fetched = PathBuf::from(fetched);
    let shown = match begun(&fetched)? {
        // It was the conversion that was broken off.
        Some(begun) if begun.ended => json!({
            "events": begun.after + 1 - begun.first,
            "resumed_after": begun.after,
        }),
        _ => fetch(arguments, &fetched, context)?,
    };
    convert(&fetched, &arguments.to, form)?;
    std::fs::remove_file(&fetched).map_err(|error| CliError::file(&fetched, error))?;
    let file = json!(arguments.to.display().to_string());
    let shown = with_members(shown, [("file", file)]);
    context.output.record(&shown, &FIELDS)
}

/// Fetches the ledger into a file, and tells of it.
fn fetch(arguments: &ExportArgs, to: &Path, context: &Context<'_>) -> Result<Value, CliError> {
    let client = context.admin()?;
    let zone = context.zone(&arguments.zone)?;
    let failed = |error| CliError::file(to, error);
    let begun = begun(to)?;
    if begun.as_ref().is_some_and(|begun| begun.ended) {
        return Err(unfit(to, "holds a whole export already"));
    }
    let mut query = vec![];
    if let Some(until) = &arguments.until {
        query.push(format!("until={}", encoded(until)));
    }
    match (&begun, &arguments.since) {
        (Some(begun), _) => query.push(format!("first={}&after={}", begun.first, begun.after)),
        (None, Some(since)) => query.push(format!("since={}", encoded(since))),
        (None, None) => {}
    }
    let address = path(&["v1", "zones", &zone, "audit", "export"]);
    let stream = client.stream(&format!("{address}?{}", query.join("&")))?;
    let total = stream
        .header("caracal-export-events")
        .and_then(|events| events.parse().ok())
        .unwrap_or(0);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(to)
        .map_err(failed)?;
    let from = begun.as_ref().map_or(0, |begun| begun.bytes);
    file.set_len(from).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut progress = Progress::new(total, "events");
    let mut file = BufWriter::new(file);
    let mut lines = BufReader::new(stream.body);
    let mut line = Vec::new();
    let mut ended = false;
    loop {
        line.clear();
        let read = lines.read_until(b'\n', &mut line);
        let broken = |problem: String| CliError::Unreachable {
            url: client.url().to_owned(),
            problem: format!("{problem}; the same command goes on from here"),
        };
        match read {
            Ok(0) if ended => break,
            Ok(0) => {
                file.flush().map_err(failed)?;
                return Err(broken("the export broke off".to_owned()));
            }
            Ok(_) => {}
            Err(error) => {
                file.flush().map_err(failed)?;
                return Err(broken(error.to_string()));
            }
        }
        ended = line.starts_with(br#"{"line":"end""#);
        if line.starts_with(br#"{"line":"event""#) {
            progress.advance(1);
        }
        file.write_all(&line).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    file.get_ref().sync_all().map_err(failed)?;
    progress.end();
    if let Some(keys) = &arguments.keys {
        let found = client.get(&path(&["v1", "zones", &zone, "audit", "keys"]))?;
        std::fs::write(keys, format!("{found}\n")).map_err(|error| CliError::file(keys, error))?;
    }
    Ok(json!({
        "file": to.display().to_string(),
        "events": progress.done(),
        "resumed_after": begun.map(|begun| begun.after),
    }))
}

fn unfit(path: &Path, problem: &str) -> CliError {
    CliError::usage(format!("{}: {problem}; name another file", path.display()))
}

/// What is in the file already: the whole lines of an export.
fn begun(path: &Path) -> Result<Option<Begun>, CliError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file(path, error)),
    };
    let mut lines = BufReader::new(file);
    let mut begun: Option<Begun> = None;
    // Where an event that is the last of all lines begins, and which event was before it: whether a checkpoint
    // belongs behind it is not known, so that it is fetched again.
    let mut open: Option<(u64, u64)> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .read_until(b'\n', &mut line)
            .map_err(|error| CliError::file(path, error))?;
        if read == 0 || !line.ends_with(b"\n") {
            if let (Some(begun), Some((after, bytes))) = (&mut begun, open) {
                (begun.after, begun.bytes) = (after, bytes);
            }
            return Ok(begun);
        }
        let parsed = serde_json::from_slice(&line);
        open = None;
        match (&mut begun, parsed) {
            (None, Ok(Line::Header(header))) => {
                begun = Some(Begun {
                    first: header.first_seq,
                    after: header.first_seq - 1,
                    bytes: 0,
                    ended: false,
                });
            }
            (Some(begun), Ok(line)) if !begun.ended => match line {
                Line::Event(event) => {
                    open = Some((begun.after, begun.bytes));
                    begun.after = event.seq;
                }
                Line::Checkpoint(_) => {}
                Line::End(_) => begun.ended = true,
                Line::Header(_) | Line::Fault { .. } => {
                    return Err(unfit(path, "holds something else than an export"));
                }
            },
            _ => return Err(unfit(path, "holds something else than an export")),
        }
        if let Some(begun) = &mut begun {
            begun.bytes += u64::try_from(read).unwrap_or_default();
        }
    }
}
