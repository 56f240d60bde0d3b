//! Writing the index of a run once the run has come to its end, beside those who write and in parts, so that it keeps
//! nobody waiting; and reading from the entries what is not known of a run.

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
    LedgerHead, MAX_SEQ,
    fresh::{Ended, FoundBy, Fresh, Missing, Run, Written},
    packed,
    runs::{self, Place},
    terms::{TermKind, term},
};

/// How many events in rows of the index one change adds, so that it keeps nobody waiting.
const TOGETHER: usize = 65_536;
/// A row takes as long as so many events in one.
const ROW: usize = 16;
/// Entries that are read at once.
const PAGE: i64 = 1_000;
/// How long it is left alone when that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Notes the run `$2` of the ledger `$1`, with its oldest and its newest time, `$3` and `$4`, and a filter of the marks
/// `$5`, each with its bucket, unless all of it up to event `$6` is gone; and that the database has the index up to
/// there.
const CLOSE: &str = "
    INSERT INTO audit_runs (ledger, run, oldest, newest)
    SELECT $1, $2, $3, $4 FROM ledgers WHERE number = $1 AND pruned < $6 AND $3 IS NOT NULL;
    INSERT INTO audit_filters (bucket, run, marks)
    SELECT value ->> 0, $2, value ->> 1 FROM json_each($5)
    WHERE EXISTS (SELECT 1 FROM audit_runs WHERE ledger = $1 AND run = $2);
    DELETE FROM audit_index WHERE run = $2
    AND NOT EXISTS (SELECT 1 FROM audit_runs WHERE ledger = $1 AND run = $2);
    UPDATE ledgers SET indexed = max(indexed, $6) WHERE number = $1";

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

/// Writes the index of a run that has come to its end. Whether there was one.
async fn write_next(readers: &SqlitePool, writer: &Writer, fresh: &Fresh) -> Result<bool> {
    let Some(Ended { ledger, run, index }) = fresh.next_ended() else {
        return Ok(false);
    };
    let zone: String = sqlx::query_scalar("SELECT zone_id FROM ledgers WHERE number = ?")
        .bind(ledger)
        .fetch_one(readers)
        .await?;
    let zone = ZoneId::from(zone);
    let index = match index {
        Ok(index) => index,
        Err(missing) => {
            let mut read_again = Run::default();
            for written in read(readers, &zone, missing).await? {
                read_again.take(&written, run);
            }
            read_again.index()
        }
    };
    write(writer, ledger, run, &zone, &index).await?;
    fresh.written(ledger, runs::end_of(run));
    Ok(true)
}

async fn write(
    writer: &Writer,
    ledger: i64,
    run: i64,
    zone: &ZoneId,
    index: &[FoundBy],
) -> Result<()> {
    let mut rows = index
        .chunk_by(|(one, _), (other, _)| one == other)
        .peekable();
    let (mut terms, mut of_all) = (Vec::new(), None);
    let by_all = term(zone, TermKind::Zone, "");
    while rows.peek().is_some() {
        let (mut some, mut size) = (packed::Index::of(run), 0);
        while size < TOGETHER
            && let Some(row @ [(term, _), ..]) = rows.next()
        {
            size += ROW + row.len();
            some.row(*term, row.iter().map(|(_, place)| *place));
            terms.push(*term);
            of_all = of_all.or((*term == by_all).then_some(row));
        }
        let mut turn = writer.begin().await?;
        some.insert().execute(&mut *turn).await?;
        turn.commit().await?;
    }
    let filter: Vec<(i64, String)> = runs::filter(terms).into_iter().collect();
    let all = of_all.unwrap_or_default();
    let mut turn = writer.begin().await?;
    sqlx::query(CLOSE)
        .bind(ledger)
        .bind(run)
        .bind(all.first().map(|(_, (oldest, _))| *oldest))
        .bind(all.last().map(|(_, (newest, _))| *newest))
        .bind(sqlx::types::Json(filter))
        .bind(runs::end_of(run) & MAX_SEQ)
        .execute(&mut *turn)
        .await?;
    turn.commit().await
}

/// Makes from the entries what is missing of a ledger.
async fn read(readers: &SqlitePool, zone: &ZoneId, missing: Missing) -> Result<Vec<Written>> {
    let sql = "SELECT entry, event FROM audit_entries WHERE entry > ? AND entry <= ? ORDER BY entry LIMIT ?";
    let mut written = Vec::new();
    let mut after = missing.after;
    loop {
        let page: Vec<(i64, String)> = sqlx::query_as(sql)
            .bind(after)
            .bind(missing.upto)
            .bind(PAGE)
            .fetch_all(readers)
            .await?;
        let Some((last, _)) = page.last() else {
            return Ok(written);
        };
        after = *last;
        // What cannot be read is found by nothing, as if it was not there; to say so is for who verifies the chain.
        let readable = |(entry, text): &(i64, String)| {
            let event: Event = serde_json::from_str(text).ok()?;
            Some((*entry, event))
        };
        let events: Vec<(i64, Event)> = page.iter().filter_map(readable).collect();
        let facts: Vec<(i64, Facts<'_>)> = events
            .iter()
            .map(|(entry, event)| (*entry, Facts::from(event)))
            .collect();
        let told = facts.iter().map(|(entry, facts)| (*entry, facts));
        written.push(Written::of(zone, told));
        // Others have something to do as well.
        tokio::task::yield_now().await;
    }
}

impl Store {
    /// Writes the index of all runs that came to their end before the database was opened.
    ///
    /// # Errors
    /// [`StoreError::Database`], here and below.
    pub(in crate::store) async fn bring_up_index(&self) -> Result<()> {
        for ledger in self.ledgers().await? {
            if runs::run_of(ledger.begin() + 1) < runs::run_of(ledger.place(ledger.seq) + 1) {
                let (zone, events) = (&ledger.zone_id, ledger.seq - ledger.indexed);
                tracing::info!(%zone, events, "the index of the ledger is being written");
                // To look into it makes it known, and what it has not written with it; that is read a run at a time.
                let _ = self.fresh.find(&ledger, &[]);
                while write_next(&self.readers, &self.writer, &self.fresh).await? {}
            }
        }
        Ok(())
    }

    /// The events that are found by each of these terms of which the database does not have the index, newest first, in
    /// a ledger that stood at `head`.
    pub(super) async fn find_fresh(
        &self,
        head: &LedgerHead,
        terms: &[i64],
    ) -> Result<Vec<Vec<Place>>> {
        loop {
            let missing = match self.fresh.find(head, terms) {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            // One at a time: it takes its memory until it is taken in.
            let _reading = self.reading.lock().await;
            if self.fresh.find(head, terms).err() == Some(missing) {
                let written = read(&self.readers, &head.zone_id, missing).await?;
                self.fresh.fill(head.number, missing, written);
            }
        }
    }
}
