//! The door of this crate. The methods of [`Access`] stand in the files of their topics.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_store::error::Context;
use annals_store::{ControlDb, DataDir};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::counted::Counters;
use crate::error::AccessError;
use crate::passwords::{Hasher, HashingLoad};
use crate::remembered::Remembered;
use crate::secret::InstallationKey;
use crate::setup;

/// Who may do what, on one control database. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

/// What [`Access::open`] found or made.
#[derive(Debug)]
pub struct Opened {
    /// The door.
    pub access: Access,
    /// The file with the operator's first password, when this opening made the installation.
    pub operator_password_file: Option<PathBuf>,
}

struct Inner {
    control: ControlDb,
    clock: Clock,
    key: InstallationKey,
    hasher: Hasher,
    remembered: Mutex<Remembered>,
    counters: Counters,
    /// Writers of this process queue here, in order. In SQLite's own queue they would poll, out of order.
    turn: tokio::sync::Mutex<()>,
    outbox: watch::Sender<u64>,
}

impl Access {
    /// Opens the control database for access. The first opening of an installation makes the operator customer and
    /// the account `operator`, and writes its random password to [`DataDir::operator_password`]. Several processes
    /// may do so at once; one of them makes the installation.
    ///
    /// # Errors
    /// When the database or the password file cannot be read or written. An installation that could not be finished
    /// is made by the next opening.
    pub async fn open(control: ControlDb, directory: &DataDir) -> Result<Opened, AccessError> {
        Self::open_with_clock(control, directory, Clock::system()).await
    }

    /// As [`Access::open`], with another clock.
    ///
    /// # Errors
    /// As [`Access::open`].
    pub async fn open_with_clock(
        control: ControlDb,
        directory: &DataDir,
        clock: Clock,
    ) -> Result<Opened, AccessError> {
        setup::open(control, directory, clock).await
    }

    pub(crate) fn new(control: ControlDb, clock: Clock, key: InstallationKey) -> Self {
        Self {
            inner: Arc::new(Inner {
                control,
                clock,
                key,
                hasher: Hasher::new(),
                remembered: Mutex::default(),
                counters: Counters::new(),
                turn: tokio::sync::Mutex::new(()),
                outbox: watch::Sender::new(0),
            }),
        }
    }

    /// The control database.
    #[must_use]
    pub fn control(&self) -> &ControlDb {
        &self.inner.control
    }

    /// How busy the password hashing is. For metrics.
    #[must_use]
    pub fn hashing_load(&self) -> HashingLoad {
        self.inner.hasher.load()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(crate) fn key(&self) -> &InstallationKey {
        &self.inner.key
    }

    pub(crate) fn hasher(&self) -> &Hasher {
        &self.inner.hasher
    }

    pub(crate) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        lock(&self.inner.remembered)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    pub(crate) fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.turn
    }

    pub(crate) fn outbox_sender(&self) -> &watch::Sender<u64> {
        &self.inner.outbox
    }

    /// A connection for reads.
    pub(crate) async fn reader(&self) -> Result<PoolConnection<Sqlite>, AccessError> {
        Ok(self.control().pool().acquire().await.during(self.control().path(), "read it")?)
    }

    /// A stored value is not what annals writes.
    pub(crate) fn damaged(&self, what: &'static str) -> AccessError {
        AccessError::Damaged { path: self.control().path().to_owned(), what }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").field("control", &self.control().path()).finish_non_exhaustive()
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is consistent between any two of their statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work that must not stop half way because a client hung up and its request was dropped.
pub(crate) async fn to_the_end<T: Send + 'static, E: From<AccessError> + Send + 'static>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(AccessError::Stopping.into()),
    }
}
