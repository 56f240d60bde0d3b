//! The store: all SQL of the STS, over SQLite. One connection writes and some read, so a reader
//! never waits for a writer and a writer never meets another.

mod activations;
mod applications;
mod authority_records;
mod bundle;
mod delegations;
mod gateways;
mod kept;
mod keys;
mod ledger;
mod policies;
mod policy_inputs;
mod policy_sets;
mod receipts;
mod resources;
mod revocations;
mod sessions;
mod shadows;
mod suspects;
#[cfg(test)]
pub(crate) mod tests;
mod write_back;
mod writer;
mod zones;

use std::{fs::File, path::Path, str::FromStr, sync::Arc, time::Duration};

use serde::Serialize;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use self::{
    kept::{Changes, Kept},
    ledger::Fresh,
    writer::{Turn, Writer},
};
use crate::{data_dir, sealing::ChainKey};

pub(crate) use self::{
    activations::ActivationRow,
    applications::Application,
    authority_records::AuthorityRecord,
    bundle::BundleRows,
    delegations::{DelegationRow, End},
    gateways::Gateway,
    keys::KeyRow,
    ledger::{AuditFilter, CheckpointRow, Cursor, Entry, ExchangeRows, LedgerHead},
    policies::{Policy, PolicyVersion},
    policy_inputs::{KEPT_INPUTS, PolicyInputRow, RecordedInput},
    policy_sets::{ManifestEntry, PolicySet, PolicySetVersion},
    receipts::{Receipt, ReceiptKey},
    resources::ResourceRow,
    revocations::{Falls, NewRevocation, RevocationRow},
    sessions::{SessionFilter, SessionRow, SessionState},
    shadows::{DisagreementRow, ShadowRun},
    zones::Zone,
};

const READERS: u32 = 4;
/// What the connections keep of the database, as SQLite takes it: in KiB, and negative. What changes touch again
/// and again is far less than that; what they touch once, the system has in memory as well.
const WRITER_CACHE: &str = "-16384";
const READER_CACHE: &str = "-1024";
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a connection that reads.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite's result code for a disk without room.
const SQLITE_FULL: &str = "13";

/// Why the store did not do as told.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique index says that there is one already.
    #[error("there is one already")]
    Conflict,
    /// The wait for a connection was too long.
    #[error("too much waits for the database")]
    Busy,
    /// There is no room for more.
    #[error("the disk is full")]
    Full,
    /// A database that this version does not speak to.
    #[error(
        "the database {0:?} is not supported; this version keeps its data in SQLite (sqlite:PATH)"
    )]
    Unsupported(String),
    /// Another server has it.
    #[error("the database {0} is in use by another server; stop it, or name another database")]
    InUse(String),
    /// The file beside the database that says so.
    #[error("the lock of the database: {0}")]
    Lock(std::io::Error),
    /// The schema could not be brought up to date.
    #[error("the database cannot be migrated: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database.
    #[error("database: {0}")]
    Database(sqlx::Error),
}

impl StoreError {
    /// The same for another who has to know.
    fn again(&self) -> Self {
        match self {
            Self::Conflict => Self::Conflict,
            Self::Busy => Self::Busy,
            Self::Full => Self::Full,
            other => Self::Database(sqlx::Error::Protocol(other.to_string())),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy;
        }
        match error.as_database_error() {
            Some(cause) if cause.is_unique_violation() => Self::Conflict,
            Some(cause) if cause.code().as_deref() == Some(SQLITE_FULL) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub(crate) struct PageRequest {
    /// How many items at most.
    pub(crate) limit: u16,
    /// The last id of the page before; empty for the first page.
    pub(crate) after: String,
}

/// A part of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Page<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Where the next part begins, if there is one.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From one row more than was asked for, if there is one more.
    fn from_rows(mut rows: Vec<T>, request: &PageRequest, id: impl Fn(&T) -> String) -> Self {
        let limit = usize::from(request.limit);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(id) } else { None };
        Self {
            items: rows,
            next_cursor,
        }
    }
}

impl PageRequest {
    fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// The database.
#[derive(Clone)]
pub(crate) struct Store {
    readers: SqlitePool,
    /// For writing back the log.
    log: SqlitePool,
    writer: Writer,
    kept: Arc<Kept>,
    fresh: Arc<Fresh>,
    /// Held by who reads what is missing in `fresh`.
    reading: Arc<Mutex<()>>,
    chain_key: Arc<ChainKey>,
    /// The lock, where there is none of a directory.
    _held: Option<Arc<File>>,
}

impl Store {
    /// Opens the database at `url`, for this process alone, and brings its schema up to date.
    ///
    /// # Errors
    /// Every variant of [`StoreError`] but a conflict.
    pub(crate) async fn open(url: &str, chain_key: ChainKey) -> Result<Self> {
        if !url.starts_with("sqlite:") {
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(StoreError::Unsupported(scheme.to_owned()));
        }
        let options = SqliteConnectOptions::from_str(url)?;
        let file = options.get_filename();
        // What is kept in memory is true for as long as nobody else writes. (The file itself must not be
        // opened: to close it would let go of SQLite's own locks.)
        let mut beside = file.as_os_str().to_owned();
        beside.push("-lock");
        let held = data_dir::hold(Path::new(&beside))
            .map_err(StoreError::Lock)?
            .ok_or_else(|| StoreError::InUse(file.display().to_string()))?;
        let mut store = Self::connect(options, chain_key).await?;
        store._held = Some(Arc::new(held));
        Ok(store)
    }

    /// Opens the database in `file`, in a directory that this process holds, and brings its schema up to date.
    /// Only its owner can read it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) async fn open_file(file: &Path, chain_key: ChainKey) -> Result<Self> {
        let mut create = std::fs::OpenOptions::new();
        create.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut create, 0o600);
        create
            .open(file)
            .map_err(|error| StoreError::Database(sqlx::Error::Io(error)))?;
        Self::connect(SqliteConnectOptions::new().filename(file), chain_key).await
    }

    async fn connect(options: SqliteConnectOptions, chain_key: ChainKey) -> Result<Self> {
        // FULL: a commit that was answered is on disk, evidence first of all.
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writing = options
            .clone()
            .pragma("wal_autocheckpoint", write_back::MOST_PAGES)
            .pragma("cache_size", WRITER_CACHE)
            // What a savepoint may have to undo: in a file, it would cost as many writes as the change.
            .pragma("temp_store", "MEMORY");
        let changes = Changes::default();
        let kept = Arc::new(Kept::new(&changes));
        let fresh = Arc::new(Fresh::new());
        let writer = Writer::new(writing, changes, Arc::clone(&fresh)).await?;
        let options = options.pragma("cache_size", READER_CACHE);
        let connections = |most| {
            SqlitePoolOptions::new()
                .max_connections(most)
                .acquire_timeout(QUEUE_TIMEOUT)
                // A file does not hang up, and asking costs as much as a query.
                .test_before_acquire(false)
                .connect_with(options.clone())
        };
        let readers = connections(READERS).await?;
        let log = connections(1).await?;
        let (weak, committed) = writer.watched();
        tokio::spawn(write_back::run(log.clone(), weak, committed));
        let (weak, _) = writer.watched();
        let ended = fresh.ended();
        let indexed = Arc::downgrade(&fresh);
        tokio::spawn(ledger::write_index(readers.clone(), weak, indexed, ended));
        let store = Self {
            readers,
            log,
            writer,
            kept,
            fresh,
            reading: Arc::default(),
            chain_key: Arc::new(chain_key),
            _held: None,
        };
        store.bring_up_index().await?;
        Ok(store)
    }

    /// Begins a change. Dropped without a commit, it did not happen.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Database`].
    pub(crate) async fn begin(&self) -> Result<Change> {
        Ok(Change(
            self.writer.begin().await?,
            Arc::clone(&self.chain_key),
            Arc::clone(&self.kept),
        ))
    }

    /// The same for a change that reads first, and then [begins](Change::begin) to write or writes all at once, as
    /// [`Change::append_written_and_commit`] does. Nobody else writes meanwhile either way.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub(crate) async fn begin_late(&self) -> Result<Change> {
        Ok(Change(
            self.writer.begin_late().await?,
            Arc::clone(&self.chain_key),
            Arc::clone(&self.kept),
        ))
    }

    /// Whether the database answers, to readers and to the writer.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1 FROM zones LIMIT 1")
            .execute(&self.readers)
            .await?;
        drop(self.begin().await?);
        Ok(())
    }

    /// Ends all connections, so that the log is written back into the database.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.log.close().await;
        self.writer.close().await;
    }
}

/// A change to the database: all of it happens, or nothing.
pub(crate) struct Change(Turn, Arc<ChainKey>, Arc<Kept>);

impl Change {
    /// Begins to write, if it was begun late.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub(crate) async fn begin(&mut self) -> Result<()> {
        self.0.begin().await
    }

    /// Makes the change durable.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::Database`].
    pub(crate) async fn commit(self) -> Result<()> {
        self.0.commit().await
    }
}
