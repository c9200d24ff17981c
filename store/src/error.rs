//! What can go wrong with a database, and the one place that reads its error codes.

use std::path::{Path, PathBuf};

/// Errors of this crate. `Display` names the thing; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Made by a program that knows more than this one.
    #[error("`{}` was made by a newer version of annals; use that version, or another data directory", .0.display())]
    NewerVersion(PathBuf),
    /// The file or folder cannot be written.
    #[error("`{}` is not writable", .0.display())]
    NotWritable(PathBuf),
    /// The file or folder cannot be created or read.
    #[error("cannot open `{}`", .path.display())]
    Open {
        /// What could not be opened.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing is there.
    #[error("there is no data directory at `{}`", .0.display())]
    NoDirectory(PathBuf),
    /// The disk is full.
    #[error("no space left on the disk that holds `{}`", .0.display())]
    DiskFull(PathBuf),
    /// Not a database, or a damaged one.
    #[error("`{}` is damaged or not a database of annals", .0.display())]
    Damaged(PathBuf),
    /// Another process has the role.
    #[error("another process is the {role} of `{}`{}", .path.display(), .holder.as_ref().map(|h| format!(" (process {h})")).unwrap_or_default())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// The role.
        role: &'static str,
        /// Process id of the holder, when it wrote it down.
        holder: Option<String>,
    },
    /// Another writer moved a position, or the generation was retired: this writer must start again from the store.
    #[error("the positions of `{}` were moved by another writer", .0.display())]
    Fenced(PathBuf),
    /// The database is locked by somebody for longer than the time limit.
    #[error("`{}` is locked by another process", .0.display())]
    Busy(PathBuf),
    /// The system did not let the database be read or written now: a failing disk, too many open files.
    #[error("`{}` cannot be read or written now, while trying to {operation}", .path.display())]
    Unavailable {
        /// The database.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
    /// Anything else that the database says.
    #[error("database error in `{}` while trying to {operation}", .path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: sqlx::Error,
    },
}

/// Result codes of SQLite (<https://sqlite.org/rescode.html>), primary part.
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READONLY: u32 = 8;
    pub(super) const IOERR: u32 = 10;
    pub(super) const CANTOPEN: u32 = 14;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const NOTADB: u32 = 26;
}

impl StoreError {
    /// Reads the code of a database error.
    #[must_use]
    pub fn database(path: &Path, operation: &'static str, source: sqlx::Error) -> Self {
        let path = path.to_owned();
        let extended: Option<u32> =
            source.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse().ok());
        match extended.map(|code| code & 0xFF) {
            Some(code::BUSY | code::LOCKED) => Self::Busy(path),
            Some(code::READONLY) => Self::NotWritable(path),
            Some(code::IOERR | code::CANTOPEN) => Self::Unavailable { path, operation, source },
            Some(code::FULL) => Self::DiskFull(path),
            Some(code::CORRUPT | code::NOTADB) => Self::Damaged(path),
            _ => Self::Database { path, operation, source },
        }
    }

    /// Whether trying again later may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::DiskFull(_) | Self::Fenced(_) | Self::Unavailable { .. })
            || matches!(self, Self::Database { source: sqlx::Error::PoolTimedOut | sqlx::Error::Io(_), .. })
    }
}

/// Adds the file and the operation to a database error.
pub trait Context<T> {
    /// Maps the error; `operation` completes "while trying to …".
    ///
    /// # Errors
    /// The mapped error.
    fn during(self, path: &Path, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> Context<T> for Result<T, sqlx::Error> {
    fn during(self, path: &Path, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::database(path, operation, source))
    }
}
