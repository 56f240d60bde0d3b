//! Writing SQLite's log back into the database (a checkpoint of the write-ahead log), beside those who write. SQLite
//! itself has whoever finds the log long do it at the end of a commit, and everybody waits for that one.
//!
//! To write back on one connection while another commits needs SQLite 3.51.3: before it, the two could lose pages
//! (<https://sqlite.org/wal.html#walresetbug>).

use std::time::Duration;

use sqlx::{SqlitePool, sqlite::SqliteConnection};
use tokio::sync::watch;

use super::writer::WeakWriter;

/// Pages of the log from which on it is written back. Batches touch the same pages of the newest run of the index
/// again and again, and these are written back once.
const PAGES: i64 = if cfg!(test) { 100 } else { 32_000 };
/// Pages of the log from which on SQLite does it after all, for whatever keeps it from being done here.
pub(super) const MOST_PAGES: &str = "128000";
/// How often it is looked at while there are commits. No more than some ten thousand pages are added meanwhile.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });

/// How long it is left alone when that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// How long the log is, in pages, and how many of them are in the database.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
struct Log {
    #[sqlx(rename = "log")]
    pages: i64,
    #[sqlx(rename = "checkpointed")]
    written_back: i64,
}

/// Writes the log back whenever it is long, for as long as there is a writer and `pool`, which is of one connection,
/// is open. `committed` changes with each commit.
pub(super) async fn run(pool: SqlitePool, writer: WeakWriter, mut committed: watch::Receiver<()>) {
    while committed.changed().await.is_ok() && !pool.is_closed() {
        tokio::time::sleep(PAUSE).await;
        match write_back(&pool, &writer).await {
            Ok(()) => {}
            Err(sqlx::Error::PoolClosed) => return,
            // What is not written back stays in the log.
            Err(error) => {
                tracing::warn!(%error, "the log of the database could not be written back");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn write_back(pool: &SqlitePool, writer: &WeakWriter) -> Result<(), sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let log: Log = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)")
        .fetch_one(&mut *connection)
        .await?;
    if log.pages < PAGES || log.written_back == log.pages {
        return Ok(());
    }
    passively(&mut connection).await?;
    // What was added meanwhile is little. With it the log is in the database as a whole, and the next change begins it
    // anew; while there is always something new in it, it would grow for ever.
    let Some(writer) = writer.upgrade() else {
        return Ok(());
    };
    let paused = writer.pause().await;
    passively(&mut connection).await?;
    drop(paused);
    Ok(())
}

async fn passively(connection: &mut SqliteConnection) -> Result<Log, sqlx::Error> {
    sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)")
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::with_zone;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_log_is_written_back_while_changes_are_made_and_begins_anew() {
        const CHANGES: i64 = 1_000;
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = with_zone(dir.path()).await;
        sqlx::query("CREATE TABLE filled (number INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            .execute(&store.readers)
            .await
            .unwrap();
        let mut longest = 0;
        for number in 0..CHANGES {
            let mut change = store.begin().await.unwrap();
            sqlx::query("INSERT INTO filled VALUES (?, ?)")
                .bind(number)
                .bind("x".repeat(9_000))
                .execute(&mut *change.0)
                .await
                .unwrap();
            change.commit().await.unwrap();
            longest = longest.max(log(&store.readers).await.pages);
        }
        // Each change is of three pages at least.
        assert!((PAGES..CHANGES * 3).contains(&longest), "{longest}");
        let filled: i64 = sqlx::query_scalar("SELECT sum(length(text)) FROM filled")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        assert_eq!(filled, CHANGES * 9_000);
        let found: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        assert_eq!(found, "ok");
        let log = dir.path().join("test.db-wal");
        assert!(log.exists());
        store.close().await;
        assert!(!log.exists(), "what closed last wrote it back");
    }

    async fn log(pool: &SqlitePool) -> Log {
        sqlx::query_as("PRAGMA wal_checkpoint(NOOP)")
            .fetch_one(pool)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn sqlite_is_one_that_loses_nothing_when_it_writes_back_beside_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = with_zone(dir.path()).await;
        let version: String = sqlx::query_scalar("SELECT sqlite_version()")
            .fetch_one(&store.readers)
            .await
            .unwrap();
        let parts: Vec<u32> = version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        assert!(parts >= vec![3, 51, 3], "{version}");
    }
}
