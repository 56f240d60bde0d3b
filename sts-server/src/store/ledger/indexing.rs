//! Writing the index of a run once the run has come to its end, beside those who write and in parts, so that it keeps
//! nobody waiting; and reading from the entries what is not known of a run that has not.

use std::{sync::Weak, time::Duration};

use authority::{
    audit::{Event, Facts},
    ids::ZoneId,
};
use sqlx::SqlitePool;
use tokio::sync::watch;

use super::{
    super::{
        Result, Store, StoreError,
        writer::{WeakWriter, Writer},
    },
    LedgerHead, MAX_SEQ, SEQ_BITS, damaged,
    fresh::{Ended, Found, Fresh, Missing, Whole, Written},
    packed, runs,
    segments::{self, Mark},
    terms::{TermKind, Terms, term},
};

/// Rows that one change adds, so that it keeps nobody waiting.
const TOGETHER: usize = 4_096;
/// Entries that are read at once.
const PAGE: i64 = 1_000;
/// How long it is left alone when that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Notes the run `$2` of the ledger `$1`, whose events are all found by the term `$3`, unless retention has removed all
/// of it; with a filter of the marks `$4`, each with its bucket; and that the database has the index up to event `$5`.
const CLOSE: &str = "
    INSERT INTO audit_runs (ledger, run, oldest, newest)
    SELECT $1, $2, oldest, newest FROM (SELECT
      (SELECT min(at) FROM audit_terms WHERE run = $2 AND term = $3) AS oldest,
      (SELECT max(at) FROM audit_terms WHERE run = $2 AND term = $3) AS newest)
    WHERE oldest IS NOT NULL;
    INSERT INTO audit_filters (bucket, run, marks)
    SELECT value ->> 0, $2, value ->> 1 FROM json_each($4)
    WHERE EXISTS (SELECT 1 FROM audit_runs WHERE ledger = $1 AND run = $2);
    UPDATE ledgers SET indexed = max(indexed, $5) WHERE number = $1";

/// Writes the index of each run that comes to its end, for as long as there is a writer.
pub(in crate::store) async fn run(
    readers: SqlitePool,
    writer: WeakWriter,
    fresh: Weak<Fresh>,
    mut ended: watch::Receiver<()>,
) {
    while ended.changed().await.is_ok() {
        loop {
            let (Some(fresh), Some(writer)) = (fresh.upgrade(), writer.upgrade()) else {
                return;
            };
            match write_next(&readers, &writer, &fresh).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(StoreError::Database(sqlx::Error::PoolClosed)) => return,
                // Until then it is in memory, or made again.
                Err(error) => {
                    tracing::warn!(%error, "the index of a ledger could not be written");
                    drop((writer, fresh));
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// Writes the index of a run that has come to its end, or reads what is missing for that. Whether there was one.
async fn write_next(readers: &SqlitePool, writer: &Writer, fresh: &Fresh) -> Result<bool> {
    let Some(Ended { ledger, run }) = fresh.next_ended() else {
        return Ok(false);
    };
    let zone: String = sqlx::query_scalar("SELECT zone_id FROM ledgers WHERE number = ?")
        .bind(ledger)
        .fetch_one(readers)
        .await?;
    let zone = ZoneId::from(zone);
    match run {
        Err(missing) => read(readers, fresh, ledger, &zone, missing).await?,
        Ok(whole) => {
            write(readers, writer, ledger, &zone, &whole).await?;
            fresh.written(ledger, whole.end);
        }
    }
    Ok(true)
}

async fn write(
    readers: &SqlitePool,
    writer: &Writer,
    ledger: i64,
    zone: &ZoneId,
    whole: &Whole,
) -> Result<()> {
    // Of a version that wrote them with each batch, or left behind by one that came to no end: a filter would have to
    // be of these as well, and without one the run is looked into.
    let sql = "SELECT EXISTS (SELECT 1 FROM audit_terms WHERE run = ?)";
    let has_rows: bool = sqlx::query_scalar(sql)
        .bind(whole.run)
        .fetch_one(readers)
        .await?;
    for rows in whole.rows.chunks(TOGETHER) {
        let mut turn = writer.begin().await?;
        // What went away meanwhile would stay for ever.
        let pruned: i64 = sqlx::query_scalar("SELECT pruned FROM ledgers WHERE number = ?")
            .bind(ledger)
            .fetch_one(&mut *turn)
            .await?;
        let pruned = (ledger << SEQ_BITS) | pruned;
        let mut terms = packed::Terms::of(whole.run);
        for (term, row) in rows.iter().filter(|(_, row)| row.place.1 > pruned) {
            terms.row(*term, row);
        }
        terms.insert().execute(&mut *turn).await?;
        turn.commit().await?;
    }
    let terms = whole.rows.chunk_by(|(one, _), (other, _)| one == other);
    let terms = terms.filter_map(|rows| rows.first().map(|(term, _)| *term));
    let filter: Vec<(i64, String)> = if has_rows {
        Vec::new()
    } else {
        runs::filter(terms).into_iter().collect()
    };
    let mut turn = writer.begin().await?;
    sqlx::query(CLOSE)
        .bind(ledger)
        .bind(whole.run)
        .bind(term(zone, TermKind::Zone, ""))
        .bind(sqlx::types::Json(filter))
        .bind(whole.end & MAX_SEQ)
        .execute(&mut *turn)
        .await?;
    turn.commit().await
}

/// Reads what is missing of a ledger from its entries.
async fn read(
    readers: &SqlitePool,
    fresh: &Fresh,
    ledger: i64,
    zone: &ZoneId,
    missing: Missing,
) -> Result<()> {
    let sql = "SELECT first, events, at FROM audit_segments WHERE first > ? AND first <= ? ORDER BY first";
    let segments: Vec<segments::SegmentRow> = sqlx::query_as(sql)
        .bind(missing.after)
        .bind(missing.upto)
        .fetch_all(readers)
        .await?;
    let sql = "SELECT entry, event FROM audit_entries WHERE entry > ? AND entry <= ? ORDER BY entry LIMIT ?";
    let mut written: Vec<Written> = Vec::new();
    let mut after = missing.after;
    loop {
        let page: Vec<(i64, String)> = sqlx::query_as(sql)
            .bind(after)
            .bind(missing.upto)
            .bind(PAGE)
            .fetch_all(readers)
            .await?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = *last;
        for (entry, text) in &page {
            let event: Event = serde_json::from_str(text).map_err(|_| damaged("an event"))?;
            let happened = super::signed(event.occurred_at.0);
            let segment = segments::around(&segments, *entry);
            let (first, events, at) = segment.unwrap_or((*entry, 1, happened));
            if written.last().is_none_or(|segment| segment.first != first) {
                written.push(Written {
                    first,
                    last: first + events - 1,
                    at,
                    found_by: Vec::new(),
                });
            }
            let mark = Mark::new(entry - first, at - happened);
            if let Some(segment) = written.last_mut() {
                Terms::of(zone).each(&Facts::from(&event), |term| {
                    segment.found_by.push((term, mark));
                });
            }
        }
        // Others have something to do as well.
        tokio::task::yield_now().await;
    }
    for segment in &mut written {
        segment.found_by.sort_unstable();
        segment.found_by.dedup();
    }
    fresh.fill(ledger, missing, written);
    Ok(())
}

impl Store {
    /// What is found by each of these terms of what the database does not have the index of, in a ledger that stood at
    /// `head`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(super) async fn find_fresh(&self, head: &LedgerHead, terms: &[i64]) -> Result<Found> {
        loop {
            let missing = match self.fresh.rows(head, terms) {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            // One at a time: they take their memory until they are taken in.
            let _reading = self.reading.lock().await;
            if self.fresh.rows(head, terms).err() == Some(missing) {
                let (readers, zone) = (&self.readers, &head.zone_id);
                read(readers, &self.fresh, head.number, zone, missing).await?;
            }
        }
    }
}
