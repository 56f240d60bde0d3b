//! The one writer of the database. Changes take turns, all but the first of a transaction in a savepoint of
//! its own, and those that queue up are committed together: one wait for the disk makes all of them durable,
//! and none of them is seen by a reader, or answered, before that.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use authority::ids::ZoneId;
use sqlx::{
    Executor, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection, sqlite::SqlitePoolOptions,
};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot, watch};

use super::{
    LedgerHead, Result, StoreError,
    kept::Changes,
    ledger::{Fresh, Noted},
};

/// Longest wait for a turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long those at the head of a commit wait at most for those that queue up behind them.
const LONGEST_GATHERING: Duration = Duration::from_millis(5);

/// Of how many ledgers it is known where they stand.
const MOST_LEDGERS: usize = 4_096;

/// Lets changes take turns.
#[derive(Clone)]
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    /// Of one connection.
    pool: SqlitePool,
    batch: Arc<Mutex<Batch>>,
    committed: watch::Receiver<()>,
    /// How many wait for their turn.
    queued: AtomicUsize,
}

/// What is not committed yet.
struct Batch {
    /// In a transaction, from the first change on.
    connection: Option<PoolConnection<Sqlite>>,
    /// And in the savepoint of the last change. The first has none: to undo it is to undo the transaction, and in
    /// a savepoint SQLite would keep a copy of every page that it touches.
    in_savepoint: bool,
    /// Those who want to know that it is durable.
    waiting: Vec<oneshot::Sender<Result<()>>>,
    /// Since when the first of them does.
    since: Option<Instant>,
    /// The last change ended without a commit, and is still to be undone.
    abandoned: bool,
    /// To be settled before they are told.
    changes: Changes,
    /// Where those ledgers stand that were written to, as the next change sees them.
    ledgers: HashMap<ZoneId, LedgerHead>,
    /// What was done to ledgers, for `fresh` once it is committed.
    noted: Vec<Noted>,
    fresh: Arc<Fresh>,
    /// Changes with each commit.
    committed: watch::Sender<()>,
}

/// A writer, for as long as somebody else has it.
pub(super) struct WeakWriter(Weak<Shared>);

impl WeakWriter {
    /// The writer, unless it is gone.
    pub(super) fn upgrade(&self) -> Option<Writer> {
        self.0.upgrade().map(Writer)
    }
}

/// A place in the queue, given up when dropped.
struct Queued<'a> {
    writer: &'a Writer,
    served: bool,
}

/// A turn to write: a connection in a transaction. Dropped, all that was done in the turn is undone.
pub(crate) struct Turn {
    writer: Writer,
    batch: Option<OwnedMutexGuard<Batch>>,
    connection: Option<PoolConnection<Sqlite>>,
    noted: Vec<Noted>,
}

impl Writer {
    /// Of the database at `options`; `changes` and `fresh` are told what is committed.
    pub(super) async fn new(
        options: sqlx::sqlite::SqliteConnectOptions,
        changes: Changes,
        fresh: Arc<Fresh>,
    ) -> Result<Self> {
        let listening = changes.clone();
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(QUEUE_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(move |connection, _| Box::pin(listening.clone().listen(connection)))
            .connect_with(options)
            .await?;
        let batch = Batch {
            connection: None,
            in_savepoint: false,
            waiting: Vec::new(),
            since: None,
            abandoned: false,
            changes,
            ledgers: HashMap::new(),
            noted: Vec::new(),
            fresh,
            committed: watch::Sender::default(),
        };
        Ok(Self(Arc::new(Shared {
            pool,
            committed: batch.committed.subscribe(),
            batch: Arc::new(Mutex::new(batch)),
            queued: AtomicUsize::new(0),
        })))
    }

    /// The connection, for what comes before the first change.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.0.pool
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Database`].
    pub(super) async fn begin(&self) -> Result<Turn> {
        let mut queued = Queued::new(self);
        let locked = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.0.batch).lock_owned());
        let batch = locked.await.map_err(|_| StoreError::Busy)?;
        queued.served = true;
        drop(queued);
        // Whoever goes away meanwhile leaves no connection half in a transaction: the turn is taken to its
        // end, and undone as any other that is let go of.
        let taking = tokio::spawn(self.clone().take_turn(batch));
        match taking.await {
            Ok(turn) => turn,
            Err(_) => Err(StoreError::Database(sqlx::Error::WorkerCrashed)),
        }
    }

    async fn take_turn(self, mut batch: OwnedMutexGuard<Batch>) -> Result<Turn> {
        if let Err(error) = batch.next().await {
            batch.fail(&error).await;
        }
        let connection = match batch.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.0.pool.acquire().await?;
                connection.execute("BEGIN IMMEDIATE").await?;
                batch.in_savepoint = false;
                connection
            }
        };
        Ok(Turn {
            writer: self,
            batch: Some(batch),
            connection: Some(connection),
            noted: Vec::new(),
        })
    }

    /// Commits what nobody else is going to.
    fn settle_later(&self) {
        let writer = self.clone();
        // Without a runtime the process is ending, and what is not committed was not answered.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let mut batch = writer.0.batch.lock().await;
                if writer.0.queued.load(Ordering::SeqCst) == 0 {
                    batch.commit().await;
                }
            });
        }
    }

    /// For who has something to do with what is committed: the writer, and what changes with each commit.
    pub(super) fn watched(&self) -> (WeakWriter, watch::Receiver<()>) {
        (
            WeakWriter(Arc::downgrade(&self.0)),
            self.0.committed.clone(),
        )
    }

    /// Waits for a turn, commits what is not committed yet, and lets nobody write until what it returns is dropped.
    pub(super) async fn pause(&self) -> impl Sized + use<> {
        let mut batch = Arc::clone(&self.0.batch).lock_owned().await;
        batch.commit().await;
        batch
    }

    pub(super) async fn close(&self) {
        self.0.batch.lock().await.commit().await;
        self.0.pool.close().await;
    }
}

impl<'a> Queued<'a> {
    fn new(writer: &'a Writer) -> Self {
        writer.0.queued.fetch_add(1, Ordering::SeqCst);
        Self {
            writer,
            served: false,
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.writer.0.queued.fetch_sub(1, Ordering::SeqCst);
        // Somebody may have left the commit to this one.
        if !self.served {
            self.writer.settle_later();
        }
    }
}

impl Batch {
    /// Is done with the last change, if there is one, and ready for the next: in one statement, for each time
    /// that the database's thread is called costs as much as one.
    async fn next(&mut self) -> Result<()> {
        if let Some(connection) = &mut self.connection {
            let done = match (self.abandoned, self.in_savepoint) {
                (true, true) => "ROLLBACK TO change",
                (true, false) => "ROLLBACK; BEGIN IMMEDIATE",
                (false, true) => "RELEASE change; SAVEPOINT change",
                (false, false) => "SAVEPOINT change",
            };
            if self.abandoned {
                self.ledgers.clear();
            } else {
                self.in_savepoint = true;
            }
            connection.execute(done).await?;
        }
        self.abandoned = false;
        Ok(())
    }

    async fn commit(&mut self) {
        self.since = None;
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let abandoned = std::mem::take(&mut self.abandoned);
        if abandoned {
            self.ledgers.clear();
        }
        let commit = match (abandoned, self.in_savepoint) {
            (true, true) => "ROLLBACK TO change; COMMIT",
            (true, false) => "ROLLBACK",
            (false, _) => "COMMIT",
        };
        match connection.execute(commit).await {
            Ok(_) => {
                self.changes.settle();
                self.fresh.settle(self.noted.drain(..));
                self.committed.send_replace(());
                for waiting in self.waiting.drain(..) {
                    let _ = waiting.send(Ok(()));
                }
            }
            Err(error) => {
                self.connection = Some(connection);
                self.fail(&error.into()).await;
            }
        }
    }

    /// Nothing of it happened. The connection may be in any state, so another takes its place.
    async fn fail(&mut self, error: &StoreError) {
        tracing::error!(%error, "changes could not be committed");
        (self.abandoned, self.since) = (false, None);
        self.ledgers.clear();
        self.noted.clear();
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Err(error.again()));
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
        self.changes.settle();
    }
}

impl Turn {
    /// Makes the change durable, together with those that wait behind it. Whoever does not wait for the
    /// outcome does not change it.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Database`]: then it did not happen.
    pub(super) async fn commit(mut self) -> Result<()> {
        let (Some(mut batch), Some(connection)) = (self.batch.take(), self.connection.take())
        else {
            return Ok(());
        };
        let writer = self.writer.clone();
        let noted = std::mem::take(&mut self.noted);
        let committing = tokio::spawn(async move {
            batch.connection = Some(connection);
            batch.noted.extend(noted);
            let (done, outcome) = oneshot::channel();
            batch.waiting.push(done);
            let since = *batch.since.get_or_insert_with(Instant::now);
            if writer.0.queued.load(Ordering::SeqCst) == 0 || since.elapsed() >= LONGEST_GATHERING {
                batch.commit().await;
            }
            drop(batch);
            outcome
                .await
                .unwrap_or(Err(StoreError::Database(sqlx::Error::WorkerCrashed)))
        });
        match committing.await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Database(sqlx::Error::WorkerCrashed)),
        }
    }

    /// Where the ledger of `zone` stands, if it is known.
    pub(super) fn ledger(&self, zone: &ZoneId) -> Option<LedgerHead> {
        self.batch.as_ref()?.ledgers.get(zone).cloned()
    }

    /// The ledger stands at `head` now.
    pub(super) fn appended(&mut self, head: &LedgerHead) {
        if let Some(batch) = &mut self.batch {
            if batch.ledgers.len() >= MOST_LEDGERS {
                batch.ledgers.clear();
            }
            batch.ledgers.insert(head.zone_id.clone(), head.clone());
        }
    }

    /// This was done to a ledger.
    pub(super) fn note(&mut self, noted: Noted) {
        self.noted.push(noted);
    }

    /// Something else was changed about ledgers.
    pub(super) fn forget_ledgers(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.ledgers.clear();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(mut batch), Some(connection)) = (self.batch.take(), self.connection.take()) {
            batch.connection = Some(connection);
            batch.abandoned = true;
            drop(batch);
            self.writer.settle_later();
        }
    }
}

impl Deref for Turn {
    type Target = SqliteConnection;

    #[expect(
        clippy::expect_used,
        reason = "only commit and drop take the connection, and they take the turn with it"
    )]
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_deref().expect("a turn has a connection")
    }
}

impl DerefMut for Turn {
    #[expect(
        clippy::expect_used,
        reason = "only commit and drop take the connection, and they take the turn with it"
    )]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection
            .as_deref_mut()
            .expect("a turn has a connection")
    }
}
