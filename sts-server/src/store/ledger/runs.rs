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
};

/// Entries of a run, as bits of their number: 16 at most. Tests have runs that their ledgers fill.
pub(super) const RUN_BITS: u32 = if cfg!(test) { 6 } else { 14 };

/// When an event happened, in microseconds since the Unix epoch, and its entry.
pub(super) type Place = (i64, i64);

/// The run of an entry.
pub(super) fn run_of(entry: i64) -> i64 {
    entry >> RUN_BITS
}

/// The first entry of a run.
pub(super) fn begin_of(run: i64) -> i64 {
    run << RUN_BITS
}

/// The last entry of a run.
pub(super) fn end_of(run: i64) -> i64 {
    begin_of(run) | ((1 << RUN_BITS) - 1)
}

/// Rows of the index that are removed at once.
const FORGOTTEN: i64 = 2_000;

/// All values of the upper bits of a term, by which filters stand side by side.
fn buckets() -> Vec<i8> {
    (i8::MIN..=i8::MAX).collect()
}

/// The filter of these terms, which are in order: its marks, by the terms' upper bits.
pub(super) fn filter(terms: Vec<i64>) -> BTreeMap<i64, String> {
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

/// A run that is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Closed {
    pub(super) run: i64,
    /// When the newest of its events happened.
    pub(super) newest: i64,
}

/// Of the runs of a ledger that may hold events between two times, both included, with all of these terms, up to `most`
/// with the newest, from the one after `before` on.
///
/// # Errors
/// [`StoreError::Database`](super::super::StoreError::Database), here and below.
pub(super) async fn closed(
    store: &Store,
    ledger: &LedgerHead,
    terms: &[i64],
    (since, until): (i64, i64),
    before: Option<Closed>,
    most: usize,
) -> Result<Vec<Closed>> {
    let mut query = QueryBuilder::new("SELECT run, newest FROM audit_runs WHERE ledger = ");
    query
        .push_bind(ledger.number)
        .push(" AND newest >= ")
        .push_bind(since)
        .push(" AND oldest <= ")
        .push_bind(until);
    if let Some(Closed { run, newest }) = before {
        query
            .push(" AND (newest, run) < (")
            .push_bind(newest)
            .push(", ")
            .push_bind(run)
            .push(")");
    }
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
        .push_bind(i64::try_from(most).unwrap_or(i64::MAX));
    Ok(query.build_query_as().fetch_all(&store.readers).await?)
}

impl Change {
    /// Forgets some of the index of the runs of which everything up to `entry` was all. How many rows of it.
    pub(super) async fn forget_runs(&mut self, ledger: &LedgerHead, entry: i64) -> Result<u64> {
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
        let sql = "DELETE FROM audit_index WHERE (run, term) IN (
                     SELECT run, term FROM audit_index WHERE run >= ? AND run < ? LIMIT ?)";
        let gone = sqlx::query(sql)
            .bind(run_of(ledger.place(0)))
            .bind(first)
            .bind(FORGOTTEN)
            .execute(&mut *self.0)
            .await?;
        Ok(gone.rows_affected())
    }
}
