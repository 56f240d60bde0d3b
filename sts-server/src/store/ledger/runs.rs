//! Runs: stretches of a ledger that each have an index of their own. One index of everything would be touched all over
//! by every batch, a page for nearly each thing that an event is found by; a batch touches little more than it fills
//! of a run. A search looks in the runs one after the other, the newest first.
//!
//! The idea is that of the log-structured merge-tree (P. O'Neil et al., 1996), without the merging. What is in few runs
//! is not looked for in all of them: a run that has come to its end has a filter, which is some bits of each term in it.
//! What is not there by these bits is not in the run, and one run in some 200 is looked into in vain. The filters are
//! cut by a term's upper bits, and those of all runs stand side by side: a search reads a 256th of each.

use authority::ids::ZoneId;
use sqlx::QueryBuilder;

use super::{
    super::{Change, Result, Store},
    LedgerHead,
    terms::{TermKind, term},
};

/// Entries of a run, as bits of their number; migration 0008 has the same. Tests have runs that their ledgers fill.
pub(super) const RUN_BITS: u32 = if cfg!(test) { 6 } else { 14 };

/// The run in which what begins at `entry` is found, unless it is of before there were runs.
pub(super) fn run_of(entry: i64) -> i64 {
    entry >> RUN_BITS
}

/// All values of the upper bits of a term, by which filters stand side by side.
fn buckets() -> Vec<i8> {
    (i8::MIN..=i8::MAX).collect()
}

/// The runs of a ledger, as they were when a search began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    ledger: i64,
    /// The one that is added to, and the oldest time in it. It is not among the others yet.
    last: Run,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    run: i64,
    /// `None`: there is nothing in it.
    oldest: Option<i64>,
}

/// Some runs, which hold everything that is newer than what the others hold.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) runs: Vec<i64>,
    /// From this time on nothing is in any other, if others hold something.
    pub(super) from: Option<i64>,
}

impl Runs {
    /// Those of the ledger of `zone`.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::super::StoreError::Database), here and below.
    pub(super) async fn of(store: &Store, zone: &ZoneId) -> Result<Self> {
        let ledger = store.ledger(zone).await?;
        let run = run_of(ledger.place(ledger.seq + 1));
        let oldest =
            sqlx::query_scalar("SELECT min(at) FROM audit_terms WHERE run = ? AND term = ?")
                .bind(run)
                .bind(term(zone, TermKind::Zone, ""))
                .fetch_one(&store.readers)
                .await?;
        Ok(Self {
            ledger: ledger.number,
            last: Run { run, oldest },
        })
    }

    /// Of the runs that may hold events between two times, both included, with all of these terms, up to `most` with
    /// the newest.
    pub(super) async fn window(
        self,
        store: &Store,
        terms: &[i64],
        since: i64,
        until: i64,
        most: usize,
    ) -> Result<Window> {
        let mut query = QueryBuilder::new("SELECT run, newest FROM audit_runs WHERE ledger = ");
        query
            .push_bind(self.ledger)
            .push(" AND newest >= ")
            .push_bind(since)
            .push(" AND oldest <= ")
            .push_bind(until)
            .push(" AND run < ")
            .push_bind(self.last.run);
        for term in terms {
            query
                .push(
                    " AND NOT EXISTS (SELECT 1 FROM audit_filters AS f
                       WHERE f.run = audit_runs.run AND bucket = ",
                )
                .push_bind(*term)
                .push(" >> 56 AND NOT instr(marks, char(((")
                .push_bind(*term)
                .push(" >> 40) & 32767) + 1)))");
        }
        query
            .push(" ORDER BY newest DESC, run DESC LIMIT ")
            .push_bind(i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1));
        let mut runs = Vec::new();
        // Nobody knows what is added to it meanwhile.
        let may_be_in_last = self.last.oldest.is_some_and(|oldest| oldest <= until);
        runs.extend(may_be_in_last.then_some((self.last.run, i64::MAX)));
        let more: Vec<(i64, i64)> = query.build_query_as().fetch_all(&store.readers).await?;
        runs.extend(more);
        let from = runs.get(most).map(|(_, newest)| newest.saturating_add(1));
        runs.truncate(most);
        Ok(Window {
            runs: runs.into_iter().map(|(run, _)| run).collect(),
            from,
        })
    }
}

impl Change {
    /// Notes the runs that have come to their end with the events of `ledger` from number `first` on.
    pub(super) async fn close_runs(&mut self, ledger: &LedgerHead, first: u64) -> Result<()> {
        let sql = "INSERT INTO audit_runs (ledger, run, oldest, newest)
                   SELECT ?1, ?2, oldest, newest FROM (SELECT
                     (SELECT min(at) FROM audit_terms WHERE run = ?2 AND term = ?3) AS oldest,
                     (SELECT max(at) FROM audit_terms WHERE run = ?2 AND term = ?3) AS newest)
                   WHERE oldest IS NOT NULL";
        // What a migrated ledger began with is of any size, and looked into.
        let filter = "INSERT INTO audit_filters (bucket, run, marks)
                      SELECT value, ?1, (
                        SELECT coalesce(group_concat(char(((term >> 40) & 32767) + 1), ''), '')
                        FROM (SELECT DISTINCT term FROM audit_terms WHERE run = ?1
                          AND term BETWEEN value << 56 AND (value << 56) + ((1 << 56) - 1)))
                      FROM json_each(?2)
                      WHERE ?1 > (SELECT first_run FROM ledgers WHERE number = ?3)";
        let next = run_of(ledger.place(ledger.seq + 1));
        for run in run_of(ledger.place(first))..next {
            sqlx::query(sql)
                .bind(ledger.number)
                .bind(run)
                .bind(term(&ledger.zone_id, TermKind::Zone, ""))
                .execute(&mut *self.0)
                .await?;
            sqlx::query(filter)
                .bind(run)
                .bind(sqlx::types::Json(buckets()))
                .bind(ledger.number)
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }

    /// Forgets the runs of which everything up to `entry` was all.
    pub(super) async fn forget_runs(&mut self, ledger: &LedgerHead, entry: i64) -> Result<()> {
        let first = run_of(entry + 1);
        let gone = sqlx::query("DELETE FROM audit_runs WHERE ledger = ? AND run < ?")
            .bind(ledger.number)
            .bind(first)
            .execute(&mut *self.0)
            .await?;
        if gone.rows_affected() > 0 {
            let sql = "DELETE FROM audit_filters WHERE run >= ? AND run < ?
                       AND bucket IN (SELECT value FROM json_each(?))";
            sqlx::query(sql)
                .bind(run_of(ledger.place(0)))
                .bind(first)
                .bind(sqlx::types::Json(buckets()))
                .execute(&mut *self.0)
                .await?;
        }
        Ok(())
    }
}
