//! The beginning of a ledger, which retention removes.

use authority::audit::{Event, Facts};
use serde_json::{Value, json};

use super::{
    super::{Change, Result},
    EntryRow, LedgerHead, MAX_SEQ, damaged,
    fresh::Noted,
    runs::run_of,
    segments, signed,
    terms::Terms,
};

/// Most events that are removed at once: it keeps nobody waiting for long, and holds any segment.
const BATCH: usize = segments::MOST_EVENTS;

impl Change {
    /// Lets go of the events of a ledger up to `seq`, which a checkpoint seals.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::super::StoreError::Database), here and below.
    pub(crate) async fn begin_pruning(&mut self, ledger: &LedgerHead, seq: u64) -> Result<()> {
        let sql = "UPDATE ledgers SET pruned = ?1 WHERE zone_id = ?2 AND pruned < ?1 AND EXISTS (
                     SELECT 1 FROM audit_checkpoints WHERE ledger = number AND seq = ?1 AND seals = 1)";
        let begun = sqlx::query(sql)
            .bind(signed(seq))
            .bind(ledger.zone_id.as_str())
            .execute(&mut *self.0)
            .await?;
        self.0.forget_ledgers();
        if begun.rows_affected() > 0 {
            self.0.note(Noted {
                number: ledger.number,
                begin: ledger.place(seq),
                segments: Vec::new(),
            });
        }
        Ok(())
    }

    /// Removes some of the events that were let go of, in whole segments, and the checkpoints among them. How
    /// many events: none are left when it is none.
    pub(crate) async fn prune(&mut self, ledger: &LedgerHead) -> Result<u64> {
        let sql = "SELECT entry, hash, mac, recorded_at, event FROM audit_entries
                   WHERE entry > ?1 AND entry <= ?1 + (SELECT pruned FROM ledgers WHERE zone_id = ?2)
                   ORDER BY entry LIMIT ?3";
        let mut rows: Vec<EntryRow> = sqlx::query_as(sql)
            .bind(ledger.place(0))
            .bind(ledger.zone_id.as_str())
            .bind(signed(BATCH.try_into().unwrap_or_default()))
            .fetch_all(&mut *self.0)
            .await?;
        let last = |rows: &[EntryRow]| rows.last().map(|(entry, ..)| *entry);
        let Some(end) = last(&rows) else {
            return Ok(0);
        };
        let sql = "SELECT first, events, at FROM audit_segments WHERE first > ? AND first <= ? ORDER BY first";
        let segments: Vec<segments::SegmentRow> = sqlx::query_as(sql)
            .bind(ledger.place(0))
            .bind(end)
            .fetch_all(&mut *self.0)
            .await?;
        // A checkpoint never stands within a segment, but the end of what was read may.
        if let Some((first, events, _)) = segments.last()
            && first + events - 1 > end
        {
            rows.truncate(rows.partition_point(|(entry, ..)| entry < first));
        }
        let Some(end) = last(&rows) else {
            return Ok(0);
        };
        let first_run: i64 = sqlx::query_scalar("SELECT first_run FROM ledgers WHERE number = ?")
            .bind(ledger.number)
            .fetch_one(&mut *self.0)
            .await?;
        let mut found_by = Vec::new();
        for (entry, .., text) in &rows {
            let event: Event = serde_json::from_str(text).map_err(|_| damaged("an event"))?;
            let at = signed(event.occurred_at.0);
            let (at, first) = match segments::around(&segments, *entry) {
                Some((first, _, at)) => (at, first),
                None => (at, *entry),
            };
            Terms::of(&ledger.zone_id).each(&Facts::from(&event), |term| {
                found_by.push((run_of(first).max(first_run), term, at, first));
            });
        }
        found_by.sort_unstable();
        found_by.dedup();
        let found_by = found_by.iter().map(|key| json!(key)).collect();
        let sql = "DELETE FROM audit_terms WHERE (run, term, at, entry) IN (
                     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?))";
        sqlx::query(sql)
            .bind(sqlx::types::Json(Value::Array(found_by)))
            .execute(&mut *self.0)
            .await?;
        for sql in [
            "DELETE FROM audit_segments WHERE first > ? AND first <= ?",
            "DELETE FROM audit_entries WHERE entry > ? AND entry <= ?",
        ] {
            sqlx::query(sql)
                .bind(ledger.place(0))
                .bind(end)
                .execute(&mut *self.0)
                .await?;
        }
        self.forget_runs(ledger, end).await?;
        // The one at the end of what is gone is where the rest begins.
        let sql = "DELETE FROM audit_checkpoints WHERE ledger = ? AND seq < ?";
        sqlx::query(sql)
            .bind(ledger.number)
            .bind(end & MAX_SEQ)
            .execute(&mut *self.0)
            .await?;
        Ok(rows.len().try_into().unwrap_or_default())
    }
}
