//! The data directory of a server: its lock, its private files, and where a local command line
//! finds the server.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{entropy::EntropyError, secret::Secret};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system says no.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// Another server has it.
    #[error(
        "{0} is in use by another server; stop it, or choose another directory with --data-dir"
    )]
    InUse(String),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Holds `path`, made if it is missing, until the file is dropped; none if another process holds it.
///
/// # Errors
/// What the system says.
pub(crate) fn hold(path: &Path) -> io::Result<Option<File>> {
    let mut open = OpenOptions::new();
    let file = open.create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// A data directory that this process holds.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and takes it for this process.
    ///
    /// # Errors
    /// [`DataDirError::File`], [`DataDirError::InUse`].
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        create_private_dir(path).map_err(|error| file_error(path, error))?;
        let lock_path = path.join("lock");
        let lock = hold(&lock_path)
            .map_err(|error| file_error(&lock_path, error))?
            .ok_or_else(|| DataDirError::InUse(path.display().to_string()))?;
        let dir = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        dir.withdraw_url();
        Ok(dir)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The admin token kept here, made the first time.
    ///
    /// # Errors
    /// [`DataDirError::File`], [`DataDirError::Entropy`].
    pub(crate) fn admin_token(&self) -> Result<Secret, DataDirError> {
        let file = self.path.join("admin-token");
        match std::fs::read_to_string(&file) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim().to_owned())),
            Ok(_) => self.new_admin_token(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_admin_token(&file),
            Err(error) => Err(file_error(&file, error)),
        }
    }

    fn new_admin_token(&self, file: &Path) -> Result<Secret, DataDirError> {
        let token = Secret::generate("at_")?;
        write_private(file, token.expose()).map_err(|error| file_error(file, error))?;
        Ok(token)
    }

    /// Says where the server listens, for the command line on this machine.
    ///
    /// # Errors
    /// [`DataDirError::File`].
    pub(crate) fn announce_url(&self, url: &str) -> Result<(), DataDirError> {
        let file = self.path.join("url");
        write_private(&file, url).map_err(|error| file_error(&file, error))
    }

    /// Takes the announcement back; it may not be there.
    pub(crate) fn withdraw_url(&self) {
        let _ = std::fs::remove_file(self.path.join("url"));
    }
}

/// Writes `text` to a file that only its owner can read, whole or not at all.
///
/// # Errors
/// What the system says.
pub(crate) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let draft = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut handle = options.open(&draft)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    std::fs::rename(&draft, file)
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn file_error(path: &Path, error: io::Error) -> DataDirError {
    DataDirError::File {
        path: path.display().to_string(),
        error,
    }
}
