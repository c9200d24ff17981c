//! The control database: opened and migrated here, filled by `access` (who may do what), `producers` (known ids) and
//! [`generations`](crate::generations).

use std::path::Path;
use std::sync::Arc;

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;
use tokio::sync::{OnceCell, watch};

use crate::error::Context;
use crate::sql::{Dialect, Pool, Transaction};
use crate::sqlite::{self, Durability};
use crate::{DataDir, Place, Result, StoreError, changes};

/// Connections to the control database in one process.
pub(crate) const CONNECTIONS: u32 = 4;

/// Every migration, in order. Never changed once released; the migrator compares checksums.
const SQLITE_MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "control", include_str!("../migrations/control/0001_control.sql")),
    (2, "many processes", include_str!("../migrations/control/0002_many_processes.sql")),
    (3, "credentials", include_str!("../migrations/control/0003_credentials.sql")),
];

/// The same tables in PostgreSQL.
#[cfg(feature = "postgres")]
pub(crate) const POSTGRES_MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "control", include_str!("../migrations/control_postgres/0001_control.sql")),
    (2, "credentials", include_str!("../migrations/control_postgres/0002_credentials.sql")),
];

/// The control database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlDb {
    pool: Pool,
    place: Place,
    /// Looks for other processes' changes; begun when somebody asks first.
    watch: Arc<OnceCell<watch::Receiver<u64>>>,
}

impl ControlDb {
    /// Opens and migrates the embedded one. Several processes may do so at once.
    ///
    /// # Errors
    /// When it cannot be opened, or was migrated by a newer annals.
    pub async fn open(directory: &DataDir) -> Result<Self> {
        let path = directory.control_db();
        let _setup = directory.setup_lock().await?;
        sqlite::make_private(&path)?;
        let options = sqlite::options(&path, Durability::Full, true);
        let pool = sqlite::pool(&path, options, CONNECTIONS).await?;
        migrate(&pool, &path).await?;
        Ok(Self::of(Pool::Sqlite(pool), Place::from(&path)))
    }

    pub(crate) fn of(pool: Pool, place: Place) -> Self {
        Self { pool, place, watch: Arc::default() }
    }

    /// The pool, for reads.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Which language it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.pool.dialect()
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Begins a transaction that will write.
    ///
    /// # Errors
    /// When another writer holds the database for longer than the limit.
    pub async fn begin(&self) -> Result<Transaction> {
        self.pool.begin().await.during(&self.place, "begin a change")
    }

    /// A receiver that changes whenever any process wrote an outbox entry or switched a generation. (With the embedded
    /// engine, at any change.) All receivers of a process share one connection.
    ///
    /// # Errors
    /// When the control database cannot be reached.
    pub async fn watch(&self) -> Result<watch::Receiver<u64>> {
        self.watch.get_or_try_init(|| changes::watch(self)).await.cloned()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Migrations as the migrator takes them.
pub(crate) fn migrator(migrations: &'static [(i64, &str, &str)]) -> Migrator {
    let migrations = migrations
        .iter()
        .map(|&(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}

/// What the migrator's error means.
pub(crate) fn migrate_error(place: impl Into<Place>, error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(_)
        | MigrateError::VersionTooOld(..)
        | MigrateError::VersionMismatch(_) => StoreError::NewerVersion(place.into()),
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
            StoreError::database(place, "migrate it", source)
        }
        other => StoreError::database(place, "migrate it", sqlx::Error::Migrate(Box::new(other))),
    }
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<()> {
    migrator(SQLITE_MIGRATIONS).run(pool).await.map_err(|error| migrate_error(path, error))
}
