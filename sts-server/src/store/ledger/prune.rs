//! The beginning of a ledger, which retention removes.

use super::{
    super::{Change, Result},
    LedgerHead, MAX_SEQ,
    fresh::{Noted, Written},
    signed, unsigned,
};

/// Most events that are removed at once: it keeps nobody waiting for long.
const AT_ONCE: i64 = 500;

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
                written: Written::default(),
            });
        }
        Ok(())
    }

    /// Removes some of the events that were let go of, and of the index, and the checkpoints among them. How much: there
    /// is nothing left when it is nothing.
    pub(crate) async fn prune(&mut self, ledger: &LedgerHead) -> Result<u64> {
        let sql = "DELETE FROM audit_entries WHERE entry IN (SELECT entry FROM audit_entries
                     WHERE entry > ?1 AND entry <= ?1 + (SELECT pruned FROM ledgers WHERE zone_id = ?2)
                     ORDER BY entry LIMIT ?3) RETURNING entry";
        let removed: Vec<i64> = sqlx::query_scalar(sql)
            .bind(ledger.place(0))
            .bind(ledger.zone_id.as_str())
            .bind(AT_ONCE)
            .fetch_all(&mut *self.0)
            .await?;
        if let Some(end) = removed.iter().max() {
            // The one at the end of what is gone is where the rest begins.
            let sql = "DELETE FROM audit_checkpoints WHERE ledger = ? AND seq < ?";
            sqlx::query(sql)
                .bind(ledger.number)
                .bind(end & MAX_SEQ)
                .execute(&mut *self.0)
                .await?;
            return Ok(removed.len().try_into().unwrap_or_default());
        }
        let pruned: i64 = sqlx::query_scalar("SELECT pruned FROM ledgers WHERE zone_id = ?")
            .bind(ledger.zone_id.as_str())
            .fetch_one(&mut *self.0)
            .await?;
        self.forget_runs(ledger, ledger.place(unsigned(pruned)))
            .await
    }
}
