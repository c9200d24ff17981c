//! The control database: opened and migrated here, filled by `access` (who may do what), `producers` (known ids) and
//! [`generations`](crate::generations).

use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;
use sqlx::{SqlSafeStr, Sqlite, Transaction};

use crate::error::Context;
use crate::sqlite::{self, Durability};
use crate::{DataDir, Result, StoreError};

/// Connections to the control database in one process.
const CONNECTIONS: u32 = 4;

/// Every migration, in order. Never changed once released; the migrator compares checksums.
const MIGRATIONS: &[(i64, &str, &str)] =
    &[(1, "control", include_str!("../migrations/control/0001_control.sql"))];

/// The control database.
#[derive(Clone, Debug)]
pub struct ControlDb {
    pool: SqlitePool,
    path: PathBuf,
}

impl ControlDb {
    /// Opens and migrates it. Several processes may do so at once.
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
        Ok(Self { pool, path })
    }

    /// The pool, for reads.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// The file, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a transaction that will write. Taking the write lock at once means that it never fails half way
    /// because another writer came first.
    ///
    /// # Errors
    /// When another writer holds the database for longer than the limit.
    pub async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.during(&self.path, "begin a change")
    }

    /// A number that changes whenever another connection committed a change. Cheap; for polling.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn data_version(connection: &mut sqlx::SqliteConnection, path: &Path) -> Result<i64> {
        sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.during(path, "look for changes")
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<()> {
    let migrations = MIGRATIONS
        .iter()
        .map(|&(version, name, sql)| {
            Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    match Migrator::with_migrations(migrations).run(pool).await {
        Ok(()) => Ok(()),
        Err(
            MigrateError::VersionMissing(_)
            | MigrateError::VersionTooOld(..)
            | MigrateError::VersionMismatch(_),
        ) => Err(StoreError::NewerVersion(path.to_owned())),
        Err(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
            Err(StoreError::database(path, "migrate it", source))
        }
        Err(other) => Err(StoreError::database(path, "migrate it", sqlx::Error::Migrate(Box::new(other)))),
    }
}
