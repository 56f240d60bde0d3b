//! Exports: a ledger, or the end of it, in lines that anyone with the public keys can check. What is
//! read is checked on the way out, and a ledger that does not hold together says so itself.

use std::sync::Arc;

use authority::{
    audit::{EntryLine, FORMAT, GENESIS, Hash, HeaderLine, Line, OccurredAt, SignedCheckpoint},
    jwks::JwkSet,
};

use crate::{
    error::{Code, Error, Result},
    store::{LedgerHead, Zone},
    sts::Sts,
};

/// Events that are read at once.
const PAGE: u32 = 1_000;

/// Which part of a ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExportRange {
    /// Written at this time or later, rounded down to where a checkpoint lets an export begin.
    pub(crate) since: Option<OccurredAt>,
    /// Written before.
    pub(crate) until: Option<OccurredAt>,
    /// Goes on with an export that began with the event `first` and has those up to `after`.
    pub(crate) resume: Option<Resume>,
}

/// Where an export was broken off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    pub(crate) first: u64,
    pub(crate) after: u64,
}

/// An export that is being written.
pub(crate) struct Export {
    sts: Arc<Sts>,
    ledger: LedgerHead,
    first: u64,
    /// The last that is written, and its hash.
    written: u64,
    hash: Hash,
    /// The event of the last checkpoint that is written, or that the export begins at.
    checkpoint: u64,
    last: u64,
    header: Option<HeaderLine>,
    ended: bool,
}

impl Sts {
    /// Begins an export of what the ledger holds now.
    pub(crate) async fn export(
        self: &Arc<Self>,
        zone: &Zone,
        range: ExportRange,
    ) -> Result<Export> {
        // The checkpoints among its events are then the same when it goes on later.
        let ledger = self.settled_ledger(&zone.id).await?;
        let last = match range.until {
            Some(until) => self.store.last_recorded_before(&ledger, until).await?,
            None => ledger.seq,
        };
        if let Some(Resume { first, after }) = range.resume {
            if first == 0 || after + 1 < first || after > last || after < ledger.pruned {
                return Err(Error::new(
                    Code::EXPORT_NOT_RESUMABLE,
                    "the ledger does not go on from there: the events are gone, or were never here",
                ));
            }
            return Ok(Export {
                hash: self.hash_at(&ledger, after).await?,
                checkpoint: self.checkpoint_at_or_before(&ledger, after).await?,
                sts: Arc::clone(self),
                ledger,
                first,
                written: after,
                last,
                header: None,
                ended: false,
            });
        }
        let from = match range.since {
            Some(since) => self.store.last_recorded_before(&ledger, since).await?,
            None => 0,
        };
        let start = self.start(&ledger, from.max(ledger.pruned)).await?;
        let (seq, hash) = start.as_ref().map_or((0, GENESIS), |start| {
            (start.checkpoint.seq, start.checkpoint.hash)
        });
        Ok(Export {
            sts: Arc::clone(self),
            header: Some(HeaderLine {
                format: FORMAT.to_owned(),
                zone_id: ledger.zone_id.clone(),
                first_seq: seq + 1,
                start,
            }),
            ledger,
            first: seq + 1,
            written: seq,
            hash,
            checkpoint: seq,
            last: last.max(seq),
            ended: false,
        })
    }

    /// The last checkpoint at or before the event `seq`, where there is one.
    async fn start(&self, ledger: &LedgerHead, seq: u64) -> Result<Option<SignedCheckpoint>> {
        let row = self.store.checkpoint_before(ledger, seq).await?;
        Ok(row.map(|row| row.signed))
    }

    async fn hash_at(&self, ledger: &LedgerHead, seq: u64) -> Result<Hash> {
        if let Some(start) = self.start(ledger, seq).await?
            && start.checkpoint.seq == seq
        {
            return Ok(start.checkpoint.hash);
        }
        let Some(before) = seq.checked_sub(1) else {
            return Ok(GENESIS);
        };
        let entries = self.store.entries_after(ledger, before, 1).await?;
        let entry = entries.first().filter(|entry| entry.seq == seq);
        entry
            .map(|entry| entry.hash)
            .ok_or_else(|| Error::internal(format!("event {seq} is missing from the ledger")))
    }

    /// The public keys by which what the zone signed can be checked, those included that sign no more.
    pub(crate) async fn audit_keys(&self, zone: &Zone) -> Result<JwkSet> {
        Ok(JwkSet {
            keys: self.store.audit_keys(&zone.id).await?,
        })
    }
}

impl Export {
    /// How many events are still to come.
    pub(crate) fn events(&self) -> u64 {
        self.last - self.written
    }

    /// The next lines, or nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        if let Some(header) = self.header.take() {
            push(&mut text, &Line::Header(header))?;
            return Ok(Some(text));
        }
        if self.ended {
            return Ok(None);
        }
        if self.written >= self.last {
            self.ended = true;
            let mut head = self.ledger.clone();
            head.seq = self.written;
            head.hash = self.hash;
            let end = self
                .sts
                .sign_checkpoint(&head, self.checkpoint, Some(self.first))
                .await?;
            push(&mut text, &Line::End(end))?;
            return Ok(Some(text));
        }
        let most = u32::try_from(self.last - self.written)
            .unwrap_or(PAGE)
            .min(PAGE);
        let store = &self.sts.store;
        let entries = store
            .entries_after(&self.ledger, self.written, most)
            .await?;
        if entries.first().map(|entry| entry.seq) != Some(self.written + 1) {
            // What retention took away meanwhile is not missing.
            let pruned = store.ledger(&self.ledger.zone_id).await?.pruned;
            if pruned > self.written {
                return Err(Error::new(
                    Code::EXPORT_NOT_RESUMABLE,
                    "retention has removed what was still to be exported; export anew",
                ));
            }
        }
        let through = entries.last().map_or(self.written, |entry| entry.seq);
        let mut checkpoints = store
            .checkpoints_between(&self.ledger, self.written + 1, through)
            .await?
            .into_iter()
            .peekable();
        if entries.is_empty() {
            self.ended = true;
            let fault = Line::Fault {
                seq: self.written + 1,
                detail: "the event is missing".to_owned(),
            };
            push(&mut text, &fault)?;
        }
        for entry in entries {
            if entry.seq != self.written + 1 {
                let fault = Line::Fault {
                    seq: self.written + 1,
                    detail: "the event is missing".to_owned(),
                };
                push(&mut text, &fault)?;
            } else if let Err(problem) =
                entry.follows(&self.ledger.zone_id, &self.hash, store.chain_key())
            {
                let fault = Line::Fault {
                    seq: entry.seq,
                    detail: problem.to_owned(),
                };
                push(&mut text, &fault)?;
            }
            self.written = entry.seq;
            self.hash = entry.hash;
            let line = Line::Event(EntryLine {
                seq: entry.seq,
                hash: entry.hash,
                recorded_at: entry.recorded_at,
                event: serde_json::from_str(&entry.event).map_err(Error::internal)?,
            });
            push(&mut text, &line)?;
            while let Some(signed) =
                checkpoints.next_if(|signed| signed.checkpoint.seq <= entry.seq)
            {
                self.checkpoint = signed.checkpoint.seq;
                push(&mut text, &Line::Checkpoint(signed))?;
            }
        }
        Ok(Some(text))
    }
}

fn push(text: &mut String, line: &Line) -> Result<()> {
    text.push_str(&serde_json::to_string(line).map_err(Error::internal)?);
    text.push('\n');
    Ok(())
}
