//! `caracal audit convert`: an export for the tools of others, in the Open Cybersecurity Schema Framework.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use authority::audit::{HeaderLine, Line, SignedCheckpoint};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Context, audit_verify::MAX_LINE_BYTES, error::CliError, ocsf::ocsf, ocsf_parquet::OcsfParquet,
    output::Field, progress::Progress,
};

const FIELDS: [Field; 2] = [("converted", "file"), ("events", "events")];

/// In what form events are in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// JSON Lines that can be verified
    Ledger,
    /// JSON Lines in OCSF
    Ocsf,
    /// Parquet, with the columns of OCSF
    Parquet,
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FormArg {
    /// What to write [default: parquet if the file's name ends so]
    #[arg(long = "as", value_enum, value_name = "FORM")]
    form: Option<Form>,
}

impl FormArg {
    /// What is to be written to the file.
    pub(super) fn of(self, file: &Path) -> Form {
        let by_name = || match file.extension() {
            Some(extension) if extension == "parquet" => Form::Parquet,
            _ => Form::Ledger,
        };
        self.form.unwrap_or_else(by_name)
    }
}

#[derive(Args, Debug)]
pub(super) struct ConvertArgs {
    /// The export
    #[arg(value_name = "EXPORT")]
    from: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    form: FormArg,
}

pub(super) fn run(arguments: &ConvertArgs, context: &Context<'_>) -> Result<(), CliError> {
    let form = arguments.form.of(&arguments.to);
    if form == Form::Ledger {
        return Err(CliError::usage(
            "an export is in the form of the ledger already; name a file that ends in .parquet, or --as ocsf",
        ));
    }
    let events = convert(&arguments.from, &arguments.to, form)?;
    let shown = json!({"file": arguments.to.display().to_string(), "events": events});
    context.output.record(&shown, &FIELDS)
}

enum Sink {
    Json(BufWriter<File>),
    Parquet(Box<OcsfParquet<BufWriter<File>>>),
}

impl Sink {
    fn push(&mut self, event: Value) -> io::Result<()> {
        match self {
            Sink::Json(file) => writeln!(file, "{event}"),
            Sink::Parquet(file) => file.push(&event),
        }
    }

    fn end(self, said: &[(&str, String)]) -> io::Result<()> {
        let mut file = match self {
            Sink::Json(file) => file,
            Sink::Parquet(file) => file.end(said)?,
        };
        file.flush()?;
        file.get_ref().sync_all()
    }
}

/// Writes the events of a whole export to another file, and says how many they were. A file under its name
/// is a whole one: until then it has another.
pub(super) fn convert(from: &Path, to: &Path, form: Form) -> Result<u64, CliError> {
    let mut begun = to.to_owned().into_os_string();
    begun.push(".part");
    let begun = PathBuf::from(begun);
    let written = write(from, &begun, form);
    let renamed = written.and_then(|events| {
        std::fs::rename(&begun, to).map_err(|error| CliError::file(to, error))?;
        Ok(events)
    });
    if renamed.is_err() {
        // What is left of it serves nobody; why it is there has been said.
        let _ = std::fs::remove_file(&begun);
    }
    renamed
}

fn write(from: &Path, to: &Path, form: Form) -> Result<u64, CliError> {
    let unread = |error| CliError::file(from, error);
    let unwritten = |error| CliError::file(to, error);
    let source = File::open(from).map_err(unread)?;
    let size = source.metadata().map_err(unread)?.len();
    let file = BufWriter::new(File::create(to).map_err(unwritten)?);
    let mut sink = match form {
        Form::Parquet => Sink::Parquet(Box::new(OcsfParquet::begin(file).map_err(unwritten)?)),
        Form::Ocsf | Form::Ledger => Sink::Json(file),
    };
    let mut progress = Progress::new(size, "bytes");
    let mut lines = BufReader::new(source);
    let mut header: Option<HeaderLine> = None;
    let mut end: Option<SignedCheckpoint> = None;
    let (mut number, mut events) = (0_u64, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(unread)?;
        if read == 0 {
            break;
        }
        number += 1;
        let not_so = |problem: String| {
            CliError::usage(format!("{}: line {number}: {problem}", from.display()))
        };
        match serde_json::from_slice(&line).map_err(|error| not_so(error.to_string()))? {
            Line::Header(found) if number == 1 => header = Some(found),
            _ if header.is_none() => return Err(not_so("no export begins so".to_owned())),
            Line::Header(_) => return Err(not_so("another export begins here".to_owned())),
            Line::Event(entry) => {
                let event = ocsf(&entry).map_err(|error| not_so(error.to_string()))?;
                sink.push(event).map_err(unwritten)?;
                events += 1;
            }
            Line::End(found) => end = Some(found),
            Line::Checkpoint(_) | Line::Fault { .. } => {}
        }
        progress.advance(u64::try_from(read).unwrap_or_default());
    }
    let (Some(header), Some(end)) = (header, end) else {
        return Err(CliError::usage(format!(
            "{}: the export was broken off; the command that made it goes on with it",
            from.display()
        )));
    };
    let end = end.checkpoint;
    let said = [
        ("caracal.zone_id", header.zone_id.to_string()),
        ("caracal.first_seq", header.first_seq.to_string()),
        ("caracal.last_seq", end.seq.to_string()),
        ("caracal.last_hash", end.hash.to_string()),
    ];
    sink.end(&said).map_err(unwritten)?;
    progress.end();
    Ok(events)
}
