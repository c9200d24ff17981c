//! The door of this crate. The methods of [`Access`] stand in the files of their topics.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_store::sql::On;
use annals_store::{ControlDb, Database};
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;
use crate::counted::Counters;
use crate::error::AccessError;
use crate::passwords::{Hasher, HashingLoad};
use crate::rate::RateBudget;
use crate::remembered::Remembered;
use crate::secret::InstallationKey;
use crate::setup;
use crate::vault::Vault;

/// Who may do what, on one control database. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
    vault: Vault,
}

/// What [`Access::open`] found or made.
#[derive(Debug)]
pub struct Opened {
    /// The door.
    pub access: Access,
    /// What became of the operator's first password.
    pub operator: OperatorPassword,
}

/// The password of the account `operator` after [`Access::open`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorPassword {
    /// The installation was there already: nothing was made.
    AlreadyThere,
    /// This opening made the installation and wrote the password to this file.
    InFile(PathBuf),
    /// This opening made the installation, and there is no directory for a file: nobody knows the password until
    /// somebody sets it with [`Access::set_password`].
    Unset,
}

struct Inner {
    control: ControlDb,
    clock: Clock,
    key: InstallationKey,
    hasher: Hasher,
    remembered: Mutex<Remembered>,
    counters: Counters,
    rates: RateBudget,
    /// Credentials whose use this process is noting.
    noting: Mutex<HashSet<Uuid>>,
    /// Writers of this process queue here, in order. In SQLite's own queue they would poll, out of order; in
    /// PostgreSQL's each would keep a connection.
    turn: tokio::sync::Mutex<()>,
    outbox: watch::Sender<u64>,
    /// The topics and incarnations that this process publishes to; see [`Access::bind_log`].
    bound: Mutex<Vec<(String, Uuid)>>,
}

impl Access {
    /// Opens the control database for access. The first opening of an installation makes the operator customer and
    /// the account `operator` with a random password, and writes it to [`Database::operator_password`] where there is
    /// one. Several processes may do so at once; one of them makes the installation.
    ///
    /// The master key is that of [`Database::master_key`], where there is one; it is looked at when it is needed. See
    /// [`Access::with_vault`] for another.
    ///
    /// # Errors
    /// When the database or the password file cannot be read or written. An installation that could not be finished
    /// is made by the next opening.
    pub async fn open(control: ControlDb, database: &Database) -> Result<Opened, AccessError> {
        Self::open_with_clock(control, database, Clock::system()).await
    }

    /// As [`Access::open`], with another clock.
    ///
    /// # Errors
    /// As [`Access::open`].
    pub async fn open_with_clock(
        control: ControlDb,
        database: &Database,
        clock: Clock,
    ) -> Result<Opened, AccessError> {
        let vault = database.master_key().map_or_else(Vault::none, Vault::made_in);
        let opened = setup::open(control, database, clock).await?;
        Ok(Opened { access: opened.access.with_vault(vault), ..opened })
    }

    /// The same with the master keys of another vault.
    #[must_use]
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault, ..self }
    }

    /// As [`Access::open`], for whoever only reads: nothing is made.
    ///
    /// # Errors
    /// [`AccessError::NoInstallation`] when nobody has made the installation yet; else as [`Access::open`].
    pub async fn open_existing(control: ControlDb) -> Result<Self, AccessError> {
        match setup::read_key(&control).await? {
            Some(key) => Ok(Self::new(control, Clock::system(), key)),
            None => Err(AccessError::NoInstallation(control.place().clone())),
        }
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
                rates: RateBudget::default(),
                noting: Mutex::default(),
                turn: tokio::sync::Mutex::new(()),
                outbox: watch::Sender::new(0),
                bound: Mutex::default(),
            }),
            vault: Vault::none(),
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

    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    pub(crate) fn rates(&self) -> &RateBudget {
        &self.inner.rates
    }

    pub(crate) fn noting(&self) -> MutexGuard<'_, HashSet<Uuid>> {
        lock(&self.inner.noting)
    }

    pub(crate) fn turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.turn
    }

    pub(crate) fn outbox_sender(&self) -> &watch::Sender<u64> {
        &self.inner.outbox
    }

    pub(crate) fn bound(&self) -> MutexGuard<'_, Vec<(String, Uuid)>> {
        lock(&self.inner.bound)
    }

    /// Where single statements read.
    pub(crate) fn reads(&self) -> On<'_> {
        self.control().pool().into()
    }

    /// A stored value is not what annals writes.
    pub(crate) fn damaged(&self, what: &'static str) -> AccessError {
        AccessError::Damaged { place: self.control().place().clone(), what }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Access").field("control", self.control().place()).finish_non_exhaustive()
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
