//! Runs: stretches of a ledger that each have an index of their own. One index of everything would be touched all over
//! by every batch, a page for nearly each thing that an event is found by. A run's is written at once, when it has come
//! to its end, and is in [memory](super::fresh) until then. A search looks in the runs one after the other, the newest
//! first.
//!
//! The idea is that of the log-structured merge-tree (P. O'Neil et al., 1996), without the merging. What is in few runs
//! is not looked for in all of them: a run that has come to its end has a filter, which is some bits of each term in it.
//! What is not there by these bits is not in the run, and one run in some 200 is looked into in vain. The filters are
//! cut by a term's upper bits, and those of all runs stand side by side: a search reads a 256th of each.

use std::collections::BTreeMap;

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

/// The last entry of a run.
pub(super) fn end_of(run: i64) -> i64 {
    (run << RUN_BITS) | ((1 << RUN_BITS) - 1)
}

/// All values of the upper bits of a term, by which filters stand side by side.
fn buckets() -> Vec<i8> {
    (i8::MIN..=i8::MAX).collect()
}

/// The filter of these terms, which are in order: its marks, by the terms' upper bits.
pub(super) fn filter(terms: impl Iterator<Item = i64>) -> BTreeMap<i64, String> {
    let mut filter: BTreeMap<i64, String> = BTreeMap::new();
    filter.extend(
        buckets()
            .into_iter()
            .map(|bucket| (bucket.into(), String::new())),
    );
    for term in terms {
        let bits = u32::try_from((term >> 40) & 0x7fff).unwrap_or_default();
        // None of them is a surrogate.
        let mark = char::from_u32(bits + 1).unwrap_or_default();
        filter.entry(term >> 56).or_default().push(mark);
    }
    filter
}

/// The runs of a ledger, as they were when a search began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runs {
    ledger: i64,
    /// From this one on they are not among the others, or not yet, and of some of what is in them the index is not in
    /// the database.
    first_open: i64,
    last_open: i64,
    /// The oldest time in those. `None`: there is nothing in them.
    oldest: Option<i64>,
}

/// Some runs, which hold everything that is newer than what the others hold.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) runs: Vec<i64>,
    /// Whether those are among them of which the index is not in the database.
    pub(super) open: bool,
    /// From this time on nothing is in any other, if others hold something.
    pub(super) from: Option<i64>,
}

impl Runs {
    /// Those of a ledger of which the index was in the database, when it stood at `head`, up to some event, and of
    /// which what is not there begins with the time `oldest`.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::super::StoreError::Database), here and below.
    pub(super) async fn of(store: &Store, head: &LedgerHead, oldest: Option<i64>) -> Result<Self> {
        let first_open = run_of(head.begin() + 1);
        // Of a ledger that was there before runs were written as a whole.
        let written: Option<i64> =
            sqlx::query_scalar("SELECT min(at) FROM audit_terms WHERE run = ? AND term = ?")
                .bind(first_open)
                .bind(term(&head.zone_id, TermKind::Zone, ""))
                .fetch_one(&store.readers)
                .await?;
        Ok(Self {
            ledger: head.number,
            first_open,
            last_open: run_of(head.place(head.seq) + 1),
            oldest: oldest.into_iter().chain(written).min(),
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
            .push_bind(self.first_open);
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
        let mut closed: Vec<(i64, i64)> = query.build_query_as().fetch_all(&store.readers).await?;
        // Nobody knows what is added to them meanwhile, so that they are the newest, and looked into as one.
        let open = self.oldest.is_some_and(|oldest| oldest <= until);
        let most = most.saturating_sub(open.into());
        let from = closed.get(most).map(|(_, newest)| newest.saturating_add(1));
        closed.truncate(most);
        let mut runs = Vec::new();
        if open {
            runs.extend(self.first_open..=self.last_open);
        }
        runs.extend(closed.into_iter().map(|(run, _)| run));
        Ok(Window { runs, open, from })
    }
}

impl Change {
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
