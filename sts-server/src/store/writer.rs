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
    ConnectOptions, Connection, Executor, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteConnectOptions},
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
    batch: Arc<Mutex<Batch>>,
    committed: watch::Receiver<()>,
    /// How many wait for their turn.
    queued: AtomicUsize,
}

/// What is not committed yet.
struct Batch {
    options: SqliteConnectOptions,
    /// None while a turn has it, after a failure, and once the writer is closed. It is of no pool: that would ask it
    /// whether it is still there whenever it is given back, which costs as much as a statement.
    connection: Option<SqliteConnection>,
    is_closed: bool,
    /// In a transaction, from the first change on.
    is_begun: bool,
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
    connection: Option<SqliteConnection>,
    noted: Vec<Noted>,
}

impl Writer {
    /// Of the database at `options`, whose schema it brings up to date; `changes` and `fresh` are told what is committed.
    pub(super) async fn new(
        options: SqliteConnectOptions,
        changes: Changes,
        fresh: Arc<Fresh>,
    ) -> Result<Self> {
        let mut batch = Batch {
            options,
            connection: None,
            is_closed: false,
            is_begun: false,
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
        let mut connection = batch.connect().await?;
        sqlx::migrate!().run(&mut connection).await?;
        batch.connection = Some(connection);
        Ok(Self(Arc::new(Shared {
            committed: batch.committed.subscribe(),
            batch: Arc::new(Mutex::new(batch)),
            queued: AtomicUsize::new(0),
        })))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Database`].
    pub(super) async fn begin(&self) -> Result<Turn> {
        let batch = self.wait().await?;
        self.take_turn(batch, true).await
    }

    /// The same for who reads first, and then either [begins](Turn::begin) to write or writes [all at
    /// once](Turn::finish).
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub(super) async fn begin_late(&self) -> Result<Turn> {
        let batch = self.wait().await?;
        self.take_turn(batch, false).await
    }

    async fn wait(&self) -> Result<OwnedMutexGuard<Batch>> {
        let mut queued = Queued::new(self);
        let locked = tokio::time::timeout(QUEUE_TIMEOUT, Arc::clone(&self.0.batch).lock_owned());
        let batch = locked.await.map_err(|_| StoreError::Busy)?;
        queued.served = true;
        Ok(batch)
    }

    async fn take_turn(&self, mut batch: OwnedMutexGuard<Batch>, begins: bool) -> Result<Turn> {
        let writer = self.clone();
        if !begins
            && !batch.is_begun
            && let Some(connection) = batch.connection.take()
        {
            return Ok(Turn::of(writer, batch, connection));
        }
        let taking = async move {
            if let Err(error) = batch.next().await {
                batch.fail(&error).await;
            }
            let connection = match batch.connection.take() {
                Some(connection) => connection,
                None => batch.connect().await?,
            };
            let mut turn = Turn::of(writer, batch, connection);
            if begins {
                turn.begin().await?;
            }
            Ok(turn)
        };
        // Whoever goes away meanwhile leaves no connection half in a transaction: the turn is taken to its
        // end, and undone as any other that is let go of.
        match tokio::spawn(taking).await {
            Ok(turn) => turn,
            Err(_) => Err(StoreError::Database(sqlx::Error::WorkerCrashed)),
        }
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
        let mut batch = self.0.batch.lock().await;
        batch.commit().await;
        batch.is_closed = true;
        if let Some(connection) = batch.connection.take() {
            let _ = connection.close().await;
        }
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
    async fn connect(&self) -> Result<SqliteConnection> {
        if self.is_closed {
            return Err(StoreError::Database(sqlx::Error::PoolClosed));
        }
        let mut connection = self.options.connect().await?;
        self.changes.clone().listen(&mut connection).await?;
        Ok(connection)
    }

    /// Is done with the last change, if there is one, and ready for the next: in one statement, for each time
    /// that the database's thread is called costs as much as one.
    async fn next(&mut self) -> Result<()> {
        if self.is_begun
            && let Some(connection) = &mut self.connection
        {
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
        let abandoned = std::mem::take(&mut self.abandoned);
        if !std::mem::take(&mut self.is_begun) {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        if abandoned {
            self.ledgers.clear();
        }
        let commit = match (abandoned, self.in_savepoint) {
            (true, true) => "ROLLBACK TO change; COMMIT",
            (true, false) => "ROLLBACK",
            (false, _) => "COMMIT",
        };
        match connection.execute(commit).await {
            Ok(_) => self.settle(),
            Err(error) => self.fail(&error.into()).await,
        }
    }

    /// All of it is on disk.
    fn settle(&mut self) {
        self.changes.settle();
        self.fresh.settle(self.noted.drain(..));
        self.committed.send_replace(());
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(Ok(()));
        }
    }

    /// Nothing of it happened. The connection may be in any state, so another takes its place.
    async fn fail(&mut self, error: &StoreError) {
        tracing::error!(%error, "changes could not be committed");
        (self.is_begun, self.abandoned, self.since) = (false, false, None);
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
    fn of(writer: Writer, batch: OwnedMutexGuard<Batch>, connection: SqliteConnection) -> Self {
        Self {
            writer,
            batch: Some(batch),
            connection: Some(connection),
            noted: Vec::new(),
        }
    }

    /// Begins to write, unless it has: from here on, what is written is undone if it is not committed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(super) async fn begin(&mut self) -> Result<()> {
        let (Some(batch), Some(connection)) = (&mut self.batch, &mut self.connection) else {
            return Ok(());
        };
        if batch.is_begun {
            return Ok(());
        }
        // It begins even if nobody waits for it any more.
        (batch.is_begun, batch.in_savepoint) = (true, false);
        let begun = connection.execute("BEGIN IMMEDIATE").await;
        batch.is_begun = begun.is_ok();
        begun?;
        Ok(())
    }

    /// Runs `statement`, which is all that this turn writes, and makes it durable. If nothing was written that is not
    /// committed, and nobody waits, the statement is its own transaction: the database's thread is called once, and not
    /// three times.
    ///
    /// # Errors
    /// As [`Turn::commit`], and [`StoreError::Conflict`].
    pub(super) async fn finish(
        mut self,
        statement: Query<'static, Sqlite, SqliteArguments>,
    ) -> Result<()> {
        let is_begun = self.batch.as_ref().is_some_and(|batch| batch.is_begun);
        if is_begun || self.writer.0.queued.load(Ordering::SeqCst) > 0 {
            self.begin().await?;
            statement.execute(&mut *self).await?;
            return self.commit().await;
        }
        let (Some(mut batch), Some(mut connection)) = (self.batch.take(), self.connection.take())
        else {
            return Ok(());
        };
        let noted = std::mem::take(&mut self.noted);
        // As with a commit, it is taken to its end whoever goes away.
        let finishing = tokio::spawn(async move {
            let finished = statement.execute(&mut connection).await;
            batch.connection = Some(connection);
            match finished.map_err(StoreError::from) {
                Ok(_) => {
                    batch.noted.extend(noted);
                    batch.settle();
                    Ok(())
                }
                // SQLite has undone it, and goes on as before.
                Err(error @ (StoreError::Conflict | StoreError::Full)) => {
                    batch.ledgers.clear();
                    batch.changes.settle();
                    Err(error)
                }
                Err(error) => {
                    batch.fail(&error).await;
                    Err(error)
                }
            }
        });
        match finishing.await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Database(sqlx::Error::WorkerCrashed)),
        }
    }

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
            batch.abandoned = batch.is_begun;
            let is_left = batch.is_begun;
            drop(batch);
            if is_left {
                self.writer.settle_later();
            }
        }
    }
}

impl Deref for Turn {
    type Target = SqliteConnection;

    #[expect(
        clippy::expect_used,
        reason = "only finish, commit and drop take the connection, and they take the turn with it"
    )]
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_ref().expect("a turn has a connection")
    }
}

impl DerefMut for Turn {
    #[expect(
        clippy::expect_used,
        reason = "only finish, commit and drop take the connection, and they take the turn with it"
    )]
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("a turn has a connection")
    }
}
