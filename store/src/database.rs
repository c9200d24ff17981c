//! Where the control tables and the views are kept: the one choice that everything else in this crate hides.

use std::path::PathBuf;
use std::sync::Arc;

use crate::directory::{Role, RoleLock};
use crate::error::Context;
#[cfg(feature = "postgres")]
use crate::postgres::PostgresDb;
use crate::sql::{Pool, sql};
use crate::sqlite::SqliteViewStore;
use crate::view_store::{StoredPosition, stored_positions};
use crate::{ControlDb, DataDir, Place, Result, StoreError, Table, ViewStore};

/// Connections that read one view in one process.
const READERS: u32 = 4;

/// The databases of one installation. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Database {
    /// Files in a data directory.
    Embedded(DataDir),
    /// A PostgreSQL database.
    #[cfg(feature = "postgres")]
    Postgres(PostgresDb),
}

/// What only one process at a time may do.
#[derive(Debug)]
#[must_use = "the role is given back when this is dropped"]
pub enum RoleGuard {
    /// By a locked file.
    File(RoleLock),
    /// By a lock of a PostgreSQL session; the server gives it back when the connection ends, however it ends.
    #[cfg(feature = "postgres")]
    Session(Box<sqlx::PgConnection>),
    /// Several processes may have it here.
    Shared,
}

impl Database {
    /// The PostgreSQL database at an address. Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Setting`] when it is none, or this build has no PostgreSQL.
    #[cfg(feature = "postgres")]
    pub fn at(address: &str) -> Result<Self> {
        PostgresDb::parse(address).map(Self::Postgres)
    }

    /// Always fails: this build has no PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError::Setting`].
    #[cfg(not(feature = "postgres"))]
    pub fn at(_address: &str) -> Result<Self> {
        let why = "this build has no PostgreSQL; build annals with the feature `postgres`";
        Err(StoreError::Setting(why.into()))
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn address(&self) -> Place {
        match self {
            Self::Embedded(directory) => directory.path().into(),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.address().clone(),
        }
    }

    /// Connects once, where there is a server, so that a wrong setting is told at the start.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or cannot be used.
    pub async fn check(&self) -> Result<()> {
        match self {
            Self::Embedded(_) => Ok(()),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.check().await,
        }
    }

    /// Gives a role of the database what a query server needs.
    ///
    /// # Errors
    /// When there is no such role, the caller may not grant, or the engine has no roles.
    pub async fn grant_query(&self, role: &str) -> Result<()> {
        match self {
            Self::Embedded(_) => {
                Err(StoreError::Setting(format!("only PostgreSQL has a role such as `{role}`")))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.grant_query(role).await,
        }
    }

    /// As [`control`](Self::control), but makes nothing where nothing is: a reader with a mistyped address should hear so.
    ///
    /// # Errors
    /// [`StoreError::NoInstallation`] when there are no control tables.
    pub async fn existing_control(&self) -> Result<ControlDb> {
        let there = match self {
            Self::Embedded(directory) => directory.control_db().is_file(),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.has_control().await?,
        };
        if there { self.control().await } else { Err(StoreError::NoInstallation(self.address())) }
    }

    /// Opens and migrates the control tables.
    ///
    /// # Errors
    /// When they cannot be opened, or were migrated by a newer annals.
    pub async fn control(&self) -> Result<ControlDb> {
        match self {
            Self::Embedded(directory) => ControlDb::open(directory).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.control().await,
        }
    }

    /// Opens a generation for folding, making its tables when they are not there.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or was laid out by a newer annals.
    pub async fn view_store(
        &self,
        view: &str,
        generation: i64,
        tables: &[&'static Table],
    ) -> Result<Arc<dyn ViewStore>> {
        Ok(match self {
            Self::Embedded(directory) => {
                Arc::new(SqliteViewStore::open(&directory.view_db(view, generation), tables).await?)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => Arc::new(database.view_store(view, generation, tables).await?),
        })
    }

    /// Connections for the queries of a generation. They never write.
    ///
    /// # Errors
    /// When it cannot be opened, and [`StoreError::Gone`] when nobody has made it yet.
    pub async fn readers(&self, view: &str, generation: i64) -> Result<Pool> {
        match self {
            Self::Embedded(directory) => {
                let path = directory.view_db(view, generation);
                if !path.exists() {
                    return Err(StoreError::Gone((&path).into()));
                }
                SqliteViewStore::open_readers(&path, READERS).await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.readers(view, generation, READERS).await,
        }
    }

    /// How far a generation is, and how many records it could not decode.
    ///
    /// # Errors
    /// When it cannot be read, and [`StoreError::Gone`] when nobody has made it yet.
    pub async fn progress(&self, view: &str, generation: i64) -> Result<(Vec<StoredPosition>, u64)> {
        let (pool, place) = (self.readers(view, generation).await?, self.place(view, generation));
        let positions = stored_positions(&pool, &place).await?;
        let dead_letters = sql("SELECT count(*) FROM dead_letters")
            .fetch_scalar(&pool)
            .await
            .during(&place, "count dead letters")?;
        pool.close().await;
        Ok((positions, dead_letters))
    }

    /// Removes a generation with everything in it. What is not there is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn remove_generation(&self, view: &str, generation: i64) -> Result<()> {
        match self {
            Self::Embedded(directory) => directory.remove_view(view, generation),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.remove_generation(view, generation).await,
        }
    }

    /// Where a generation is, for messages.
    #[must_use]
    pub fn place(&self, view: &str, generation: i64) -> Place {
        match self {
            Self::Embedded(directory) => directory.view_db(view, generation).into(),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.place(view, generation),
        }
    }

    /// Takes a role, or says who has it. On PostgreSQL, several processes may be projectors and relays.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it.
    pub async fn take_role(&self, role: Role) -> Result<RoleGuard> {
        match self {
            Self::Embedded(directory) => directory.take_role(role).map(RoleGuard::File),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => match role {
                Role::Rebuild => database.take_role(role).await,
                Role::Projector | Role::Relay => Ok(RoleGuard::Shared),
            },
        }
    }

    /// Waits until no other process is making an installation here, and keeps others out until dropped.
    ///
    /// # Errors
    /// When the lock cannot be had.
    pub async fn setup_lock(&self) -> Result<RoleGuard> {
        match self {
            Self::Embedded(directory) => directory.setup_lock().await.map(RoleGuard::File),
            #[cfg(feature = "postgres")]
            Self::Postgres(database) => database.setup_lock().await,
        }
    }

    /// The file for the operator's first password, where there is a directory for it.
    #[must_use]
    pub fn operator_password(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(directory) => Some(directory.operator_password()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// The file for the master key, where there is a directory for it.
    #[must_use]
    pub fn master_key(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(directory) => Some(directory.master_key()),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// Whether other machines can work on the same databases.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
        }
    }
}
