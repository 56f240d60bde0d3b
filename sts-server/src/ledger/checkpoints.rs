//! Checkpoints: the zone's signed statements of where its ledger stands, every so many events and every
//! so many seconds. Some of them seal a segment, the unit in which old events may go.

use std::time::Duration;

use authority::{
    audit::{Checkpoint, SignedCheckpoint},
    ids::ZoneId,
};
use tokio::sync::{Mutex, Notify};

use super::before;
use crate::{
    clock,
    error::Result,
    store::{CheckpointRow, LedgerHead},
    sts::Sts,
};

/// How many events there are between two checkpoints at most, as far as the clock lets one check.
const EVENTS: u64 = 10_000;
/// A segment that old is sealed however few events it has.
const SEGMENT_AGE: Duration = Duration::from_secs(24 * 3600);

/// When checkpoints are made.
#[derive(Default)]
pub(crate) struct Checkpoints {
    /// Wakes whoever makes them when there is much that has none.
    due: Notify,
    /// Held from the look at where a ledger stands until its checkpoint is stored. Whoever looks at a
    /// ledger with this in hand knows that every later checkpoint is of where it stands now, or behind.
    making: Mutex<()>,
}

impl Checkpoints {
    /// The ledger stands here now.
    pub(crate) fn moved(&self, ledger: &LedgerHead, by: usize) {
        let by = u64::try_from(by).unwrap_or(u64::MAX);
        if ledger.seq / EVENTS != ledger.seq.saturating_sub(by) / EVENTS {
            self.due.notify_one();
        }
    }
}

impl Sts {
    /// Makes checkpoints until the server closes, and then the last ones.
    pub(crate) async fn keep_checkpoints(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.closed() => break,
                () = tokio::time::sleep(self.ledger_settings.checkpoint_interval) => {}
                () = self.checkpoints.due.notified() => {}
            }
            if let Err(error) = self.checkpoint_ledgers().await {
                tracing::warn!(%error, "no checkpoints of the ledgers could be made");
            }
            if let Err(error) = self.prune_ledgers().await {
                tracing::warn!(%error, "old events could not be removed");
            }
        }
    }

    /// Makes a checkpoint of each ledger that has moved since its last one.
    pub(crate) async fn checkpoint_ledgers(&self) -> Result<()> {
        self.record_unrecorded().await?;
        for ledger in self.store.ledgers_without_checkpoint().await? {
            let _making = self.checkpoints.making.lock().await;
            let ledger = self.store.ledger(&ledger.zone_id).await?;
            let now = clock::occurred_now();
            let (sealed, since) = match self.store.last_seal(&ledger).await? {
                Some((seq, at)) => (seq, at),
                None => (0, self.first_recorded(&ledger).await?),
            };
            let seals = ledger.seq - sealed >= self.ledger_settings.segment_events
                || since <= before(now, SEGMENT_AGE);
            let signed = self.checkpoint_of(&ledger).await?;
            let mut change = self.store.begin().await?;
            change
                .insert_checkpoint(&ledger, &CheckpointRow { seals, signed })
                .await?;
            change.commit().await?;
        }
        Ok(())
    }

    async fn first_recorded(&self, ledger: &LedgerHead) -> Result<authority::audit::OccurredAt> {
        let first = self.store.entries_after(ledger, ledger.pruned, 1).await?;
        Ok(first
            .first()
            .map_or_else(clock::occurred_now, |entry| entry.recorded_at))
    }

    /// Where a zone's ledger stands, with no checkpoint under way that is of an earlier event.
    pub(crate) async fn settled_ledger(&self, zone: &ZoneId) -> Result<LedgerHead> {
        let _making = self.checkpoints.making.lock().await;
        Ok(self.store.ledger(zone).await?)
    }

    /// The zone's word that its ledger stands where `ledger` says, now.
    pub(crate) async fn checkpoint_of(&self, ledger: &LedgerHead) -> Result<SignedCheckpoint> {
        let previous = self.checkpoint_at_or_before(ledger, ledger.seq).await?;
        self.sign_checkpoint(ledger, previous, None).await
    }

    /// The event of a ledger's last checkpoint at or before the event `seq`, 0 where there is none.
    pub(super) async fn checkpoint_at_or_before(
        &self,
        ledger: &LedgerHead,
        seq: u64,
    ) -> Result<u64> {
        let row = self.store.checkpoint_before(ledger, seq).await?;
        Ok(row.map_or(0, |row| row.signed.checkpoint.seq))
    }

    /// The zone's word that its ledger stands where `ledger` says, now, and that the checkpoint before
    /// is of the event `previous`; at the end of an export, since which event.
    pub(super) async fn sign_checkpoint(
        &self,
        ledger: &LedgerHead,
        previous: u64,
        ends_export_from: Option<u64>,
    ) -> Result<SignedCheckpoint> {
        let (kid, key) = self.signer(&ledger.zone_id).await?;
        let checkpoint = Checkpoint {
            zone_id: ledger.zone_id.clone(),
            seq: ledger.seq,
            hash: ledger.hash,
            at: clock::occurred_now(),
            previous,
            ends_export_from,
        };
        Ok(checkpoint.sign(&kid, &key))
    }

    /// Whether each ledger still holds what its last checkpoint speaks of.
    pub(crate) async fn check_ledgers(&self) -> Result<()> {
        for ledger in self.store.ledgers().await? {
            let Some(last) = self.store.checkpoint_before(&ledger, u64::MAX).await? else {
                continue;
            };
            let checkpoint = &last.signed.checkpoint;
            let held = match checkpoint.seq.checked_sub(1) {
                Some(before) if checkpoint.seq > ledger.pruned => self
                    .store
                    .entries_after(&ledger, before, 1)
                    .await?
                    .first()
                    .is_some_and(|entry| entry.hash == checkpoint.hash),
                _ => true,
            };
            if !held || ledger.seq < checkpoint.seq {
                self.metrics.ledger_fault();
                tracing::error!(
                    zone = %ledger.zone_id,
                    seq = checkpoint.seq,
                    "the ledger does not hold what its last checkpoint speaks of: events were removed or altered; `caracal audit verify` finds where"
                );
            }
        }
        Ok(())
    }
}
