//! Hand-written SQL on either engine: one text where the two agree, two where they do not.
//!
//! Texts are written with SQLite's places, `?` or `?1`, which PostgreSQL gets as `$1`. A list is one value: `id = ANY(?)`
//! is `id IN (SELECT … FROM json_each(?))` in SQLite. Values and fields keep their meaning, whatever form an engine has
//! for a UUID, a time or an address.

mod field;
mod render;
mod values;

use std::borrow::Cow;

use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, SqliteConnection};
#[cfg(feature = "postgres")]
use sqlx::{PgConnection, postgres::PgPool};

use crate::Value;
#[cfg(feature = "postgres")]
use crate::postgres;

pub use field::{At, Field, Row};
pub(crate) use values::sqlite_arguments;
#[cfg(feature = "postgres")]
pub(crate) use values::{Inet, Time};

/// Which language a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite, the embedded engine.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// Connections to one database. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Pool {
    /// The embedded engine.
    Sqlite(SqlitePool),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PgPool),
}

/// A connection for statements that belong together.
pub enum Connection<'c> {
    /// The embedded engine.
    Sqlite(&'c mut SqliteConnection),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(&'c mut PgConnection),
}

/// A transaction. Dropped without [`commit`](Transaction::commit) it leaves no trace.
pub enum Transaction {
    /// The embedded engine.
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

impl Pool {
    /// Which language it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Begins a transaction that reads: every statement in it sees the same snapshot.
    ///
    /// # Errors
    /// When no connection is free in time.
    pub async fn snapshot(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => pool.begin().await.map(Transaction::Sqlite),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await
                .map(Transaction::Postgres),
        }
    }

    /// Begins a transaction that writes. In SQLite it takes the write lock at once, so that it never fails half way
    /// because another writer came first.
    ///
    /// # Errors
    /// When no connection is free in time, or another writer holds a SQLite database for longer than the limit.
    pub async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => pool.begin_with("BEGIN IMMEDIATE").await.map(Transaction::Sqlite),
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => pool.begin().await.map(Transaction::Postgres),
        }
    }

    /// Closes every connection, waiting for those in use.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(pool) => postgres::close(pool).await,
        }
    }
}

impl Connection<'_> {
    /// Which language it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The same connection, for a shorter time.
    pub fn reborrow(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(connection),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => Connection::Postgres(connection),
        }
    }
}

impl Transaction {
    /// The connection of this transaction.
    pub fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(tx) => Connection::Sqlite(tx),
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => Connection::Postgres(tx),
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// What the database says; whether it is committed is unknown then.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(tx) => postgres::answered(tx.commit()).await,
        }
    }
}

/// Where a statement runs.
pub enum On<'e> {
    /// On any connection of a pool.
    Pool(&'e Pool),
    /// On this connection.
    Connection(Connection<'e>),
}

impl<'e> From<&'e Pool> for On<'e> {
    fn from(pool: &'e Pool) -> Self {
        Self::Pool(pool)
    }
}

impl<'e> From<Connection<'e>> for On<'e> {
    fn from(connection: Connection<'e>) -> Self {
        Self::Connection(connection)
    }
}

impl<'e> From<&'e mut Connection<'_>> for On<'e> {
    fn from(connection: &'e mut Connection<'_>) -> Self {
        Self::Connection(connection.reborrow())
    }
}

impl<'e> From<&'e mut Transaction> for On<'e> {
    fn from(transaction: &'e mut Transaction) -> Self {
        Self::Connection(transaction.connection())
    }
}

impl<'e> From<&'e mut SqliteConnection> for On<'e> {
    fn from(connection: &'e mut SqliteConnection) -> Self {
        Self::Connection(Connection::Sqlite(connection))
    }
}

/// A statement with its values, built together so that they cannot drift apart.
#[derive(Clone, Debug)]
pub struct Sql {
    sqlite: Cow<'static, str>,
    /// Only where it differs.
    postgres: Option<Cow<'static, str>>,
    values: Vec<Value>,
    persistent: bool,
}

/// A statement that both engines understand.
#[must_use]
pub fn sql(text: impl Into<Cow<'static, str>>) -> Sql {
    Sql { sqlite: text.into(), postgres: None, values: Vec::new(), persistent: true }
}

/// A statement that the engines need in two forms, with the same values.
#[must_use]
pub fn sql_for(sqlite: impl Into<Cow<'static, str>>, postgres: impl Into<Cow<'static, str>>) -> Sql {
    Sql { postgres: Some(postgres.into()), ..sql(sqlite) }
}

impl Sql {
    /// Binds the next value.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Binds the next values.
    #[must_use]
    pub fn bind_all(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        self.values.extend(values);
        self
    }

    /// Says that this text is not worth a place among the prepared statements: it will not come again.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.persistent = false;
        self
    }

    /// The statement's text in a dialect, and its values.
    fn of(self, dialect: Dialect) -> (Cow<'static, str>, Vec<Value>, bool) {
        let text = match (dialect, self.postgres) {
            (Dialect::Postgres, Some(own)) => own,
            _ => self.sqlite,
        };
        (render::render(text, &self.values, dialect), self.values, self.persistent)
    }

    /// Every row.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch_all<'e>(self, on: impl Into<On<'e>>) -> Result<Vec<Row>, sqlx::Error> {
        macro_rules! run {
            ($dialect:ident, $values:ident, $executor:expr) => {{
                let (text, values, persistent) = self.of(Dialect::$dialect);
                let rows = sqlx::query_with(AssertSqlSafe(text.into_owned()), values::$values(&values)?)
                    .persistent(persistent)
                    .fetch_all($executor)
                    .await?;
                Ok(rows.into_iter().map(Row::$dialect).collect())
            }};
        }
        match on.into() {
            On::Pool(Pool::Sqlite(pool)) => run!(Sqlite, for_sqlite, pool),
            On::Connection(Connection::Sqlite(connection)) => run!(Sqlite, for_sqlite, connection),
            #[cfg(feature = "postgres")]
            On::Pool(Pool::Postgres(pool)) => {
                postgres::answered(async { run!(Postgres, for_postgres, pool) }).await
            }
            #[cfg(feature = "postgres")]
            On::Connection(Connection::Postgres(connection)) => {
                postgres::answered(async { run!(Postgres, for_postgres, connection) }).await
            }
        }
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch_optional<'e>(self, on: impl Into<On<'e>>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The first row.
    ///
    /// # Errors
    /// What the database says, and `RowNotFound`.
    pub async fn fetch_one<'e>(self, on: impl Into<On<'e>>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The first field of the first row.
    ///
    /// # Errors
    /// What the database says, and `RowNotFound`.
    pub async fn fetch_scalar<'e, T: Field>(self, on: impl Into<On<'e>>) -> Result<T, sqlx::Error> {
        self.fetch_one(on).await?.get(0)
    }

    /// The first field of the first row, if there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch_optional_scalar<'e, T: Field>(
        self,
        on: impl Into<On<'e>>,
    ) -> Result<Option<T>, sqlx::Error> {
        self.fetch_optional(on).await?.map(|row| row.get(0)).transpose()
    }

    /// The first field of every row.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch_scalars<'e, T: Field>(self, on: impl Into<On<'e>>) -> Result<Vec<T>, sqlx::Error> {
        self.fetch_all(on).await?.iter().map(|row| row.get(0)).collect()
    }

    /// Runs it. Gives the number of rows that it touched.
    ///
    /// # Errors
    /// What the database says.
    pub async fn execute<'e>(self, on: impl Into<On<'e>>) -> Result<u64, sqlx::Error> {
        macro_rules! run {
            ($dialect:ident, $values:ident, $executor:expr) => {{
                let (text, values, persistent) = self.of(Dialect::$dialect);
                let done = sqlx::query_with(AssertSqlSafe(text.into_owned()), values::$values(&values)?)
                    .persistent(persistent)
                    .execute($executor)
                    .await?;
                Ok(done.rows_affected())
            }};
        }
        match on.into() {
            On::Pool(Pool::Sqlite(pool)) => run!(Sqlite, for_sqlite, pool),
            On::Connection(Connection::Sqlite(connection)) => run!(Sqlite, for_sqlite, connection),
            #[cfg(feature = "postgres")]
            On::Pool(Pool::Postgres(pool)) => {
                postgres::answered(async { run!(Postgres, for_postgres, pool) }).await
            }
            #[cfg(feature = "postgres")]
            On::Connection(Connection::Postgres(connection)) => {
                postgres::answered(async { run!(Postgres, for_postgres, connection) }).await
            }
        }
    }
}
