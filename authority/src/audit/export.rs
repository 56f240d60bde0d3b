//! An export of a ledger, line by line, and the check of it: with nothing but the zone's public keys it
//! finds the first line that is not as it was written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Checkpoint, GENESIS, Hash, OccurredAt, SignedCheckpoint, canonical, link};
use crate::{ids::ZoneId, jwks::KeySet, signature::SignatureError};

/// What the first line says the export is.
pub const FORMAT: &str = "caracal-audit-export-1";

/// A line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Header(HeaderLine),
    /// An event.
    Event(EntryLine),
    /// A checkpoint of the ledger, after the event that it speaks of.
    Checkpoint(SignedCheckpoint),
    /// The last: where the export ends.
    End(SignedCheckpoint),
    /// What the server found wrong with its own ledger while it wrote the export.
    Fault {
        /// The event.
        seq: u64,
        /// What is wrong.
        detail: String,
    },
}

/// The first line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeaderLine {
    /// [`FORMAT`].
    pub format: String,
    /// Whose ledger.
    pub zone_id: ZoneId,
    /// The number of the first event.
    pub first_seq: u64,
    /// The checkpoint before it; of an export from the first event on there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<SignedCheckpoint>,
}

/// An event in an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntryLine {
    /// Its number in the ledger.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// When it was written to the ledger.
    pub recorded_at: OccurredAt,
    /// The event.
    pub event: Value,
}

/// What is wrong with an export, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {problem}", seq.map(|seq| format!(" (event {seq})")).unwrap_or_default())]
pub struct Fault {
    /// Counted from 1.
    pub line: u64,
    /// The event, as far as the line tells or order demands.
    pub seq: Option<u64>,
    /// What is wrong.
    pub problem: String,
}

/// What was found in an export in which nothing is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whose ledger.
    pub zone_id: ZoneId,
    /// The number of the first event.
    pub first_seq: u64,
    /// The number of the last event.
    pub last_seq: u64,
    /// Its hash.
    pub last_hash: Hash,
    /// How many events.
    pub events: u64,
    /// How many checkpoints among them, all of them good.
    pub checkpoints: u64,
    /// The number that the last of them, or the start, speaks of.
    pub last_checkpoint: u64,
    /// When the export was made.
    pub ended_at: OccurredAt,
}

/// Checks an export line by line. It holds one line at a time.
pub struct Verifier<'a> {
    keys: &'a KeySet,
    line: u64,
    state: State,
    pinned: Vec<Checkpoint>,
}

enum State {
    Begins,
    Runs(Summary),
    Ended(Summary),
}

impl<'a> Verifier<'a> {
    /// A check by these keys, the zone's own: those that are published and those that were.
    pub fn new(keys: &'a KeySet) -> Self {
        Self {
            keys,
            line: 0,
            state: State::Begins,
            pinned: Vec::new(),
        }
    }

    /// Demands that the export agrees with a checkpoint that was kept from before, and reaches it.
    ///
    /// # Errors
    /// Every variant of [`SignatureError`], of that checkpoint.
    pub fn pin(&mut self, kept: &SignedCheckpoint) -> Result<(), SignatureError> {
        kept.verify(self.keys)?;
        self.pinned.push(kept.checkpoint.clone());
        Ok(())
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn push(&mut self, text: &str) -> Result<(), Fault> {
        self.line += 1;
        let expected = match &self.state {
            State::Runs(so_far) => Some(so_far.last_seq + 1),
            _ => None,
        };
        self.take(text).map_err(|(seq, problem)| Fault {
            line: self.line,
            seq: seq.or(expected),
            problem,
        })
    }

    fn take(&mut self, text: &str) -> Result<(), (Option<u64>, String)> {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| (None, format!("not a line of an export: {error}")))?;
        match (&mut self.state, line) {
            (State::Begins, Line::Header(header)) => {
                self.state = State::Runs(begin(header, self.keys).map_err(|text| (None, text))?);
                self.check_pinned()
            }
            (State::Begins, _) => Err((None, format!("expected the header of a {FORMAT}"))),
            (State::Runs(so_far), Line::Event(entry)) => {
                let seq = entry.seq;
                follow(so_far, entry).map_err(|text| (Some(seq), text))?;
                self.check_pinned()
            }
            (State::Runs(so_far), Line::Checkpoint(signed)) => {
                agree(so_far, &signed, self.keys).map_err(|text| (None, text))?;
                if signed.checkpoint.ends_export_from.is_some() {
                    return Err((
                        None,
                        "the end of an export among its checkpoints".to_owned(),
                    ));
                }
                so_far.checkpoints += 1;
                so_far.last_checkpoint = signed.checkpoint.seq;
                Ok(())
            }
            (State::Runs(so_far), Line::End(signed)) => {
                agree(so_far, &signed, self.keys).map_err(|text| (None, text))?;
                if signed.checkpoint.ends_export_from != Some(so_far.first_seq) {
                    return Err((None, "this is not the end of this export".to_owned()));
                }
                so_far.ended_at = signed.checkpoint.at;
                self.state = State::Ended(so_far.clone());
                Ok(())
            }
            (_, Line::Fault { seq, detail }) => Err((
                Some(seq),
                format!("the server that wrote the export says of its ledger: {detail}"),
            )),
            (State::Runs(_), Line::Header(_)) => Err((None, "a second header".to_owned())),
            (State::Ended(_), _) => Err((None, "a line after the end".to_owned())),
        }
    }

    fn check_pinned(&self) -> Result<(), (Option<u64>, String)> {
        let State::Runs(so_far) = &self.state else {
            return Ok(());
        };
        for kept in &self.pinned {
            if kept.zone_id != so_far.zone_id {
                return Err((
                    None,
                    "the checkpoint to hold it against is of another zone".to_owned(),
                ));
            }
            if kept.seq == so_far.last_seq && kept.hash != so_far.last_hash {
                let text = "the ledger is not the one that the kept checkpoint speaks of";
                return Err((Some(kept.seq), text.to_owned()));
            }
        }
        Ok(())
    }

    /// What there was, once all lines were taken.
    ///
    /// # Errors
    /// What is missing.
    pub fn finish(self) -> Result<Summary, Fault> {
        let fault = |seq, problem: String| Fault {
            line: self.line + 1,
            seq,
            problem,
        };
        let summary = match self.state {
            State::Begins => return Err(fault(None, "the export is empty".to_owned())),
            State::Runs(so_far) => {
                let text = "the export was cut off: its end is missing";
                return Err(fault(Some(so_far.last_seq + 1), text.to_owned()));
            }
            State::Ended(summary) => summary,
        };
        for kept in &self.pinned {
            if kept.seq > summary.last_seq {
                let text = format!(
                    "the export ends at event {}, before event {} of the kept checkpoint",
                    summary.last_seq, kept.seq
                );
                return Err(fault(Some(summary.last_seq + 1), text));
            }
        }
        Ok(summary)
    }
}

fn begin(header: HeaderLine, keys: &KeySet) -> Result<Summary, String> {
    if header.format != FORMAT {
        return Err(format!("expected the header of a {FORMAT}"));
    }
    let (last_seq, last_hash) = match &header.start {
        None => (0, GENESIS),
        Some(start) => {
            start.verify(keys).map_err(|error| error.to_string())?;
            let checkpoint = &start.checkpoint;
            if checkpoint.zone_id != header.zone_id || checkpoint.ends_export_from.is_some() {
                return Err("the export begins at a checkpoint of something else".to_owned());
            }
            (checkpoint.seq, checkpoint.hash)
        }
    };
    if header.first_seq != last_seq + 1 {
        return Err(format!(
            "the export begins with event {}, but its start is before event {}",
            header.first_seq,
            last_seq + 1
        ));
    }
    Ok(Summary {
        zone_id: header.zone_id,
        first_seq: header.first_seq,
        last_seq,
        last_hash,
        events: 0,
        checkpoints: 0,
        last_checkpoint: last_seq,
        ended_at: OccurredAt::default(),
    })
}

fn follow(so_far: &mut Summary, entry: EntryLine) -> Result<(), String> {
    let expected = so_far.last_seq + 1;
    if entry.seq != expected {
        return Err(format!("expected event {expected}"));
    }
    if entry.event.get("zone_id").and_then(Value::as_str) != Some(so_far.zone_id.as_str()) {
        return Err("the event is of another zone".to_owned());
    }
    let content = canonical(&entry.event);
    let hash = link(
        &so_far.zone_id,
        entry.seq,
        entry.recorded_at,
        &so_far.last_hash,
        &content,
    );
    if hash != entry.hash {
        return Err("the event, or its place, is not the one that its hash was made of".to_owned());
    }
    so_far.last_seq = entry.seq;
    so_far.last_hash = hash;
    so_far.events += 1;
    Ok(())
}

fn agree(so_far: &Summary, signed: &SignedCheckpoint, keys: &KeySet) -> Result<(), String> {
    signed.verify(keys).map_err(|error| error.to_string())?;
    let checkpoint = &signed.checkpoint;
    if checkpoint.zone_id != so_far.zone_id {
        return Err("a checkpoint of another zone".to_owned());
    }
    if checkpoint.previous != so_far.last_checkpoint {
        return Err(format!(
            "the checkpoint before this one is of event {}, and it is not here",
            checkpoint.previous
        ));
    }
    if checkpoint.seq != so_far.last_seq {
        return Err(format!(
            "a checkpoint of event {}, where event {} came last",
            checkpoint.seq, so_far.last_seq
        ));
    }
    if checkpoint.hash != so_far.last_hash {
        return Err(
            "the events up to here are not those that the checkpoint was made of".to_owned(),
        );
    }
    Ok(())
}
