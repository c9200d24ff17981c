//! The embedded engine: how a SQLite file of annals is opened, and a view's generation in one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, Row, Sqlite, SqliteConnection, Transaction};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::dictionary::{Cache, Key};
use crate::error::Context;
use crate::table::{OnConflict, Rows, Table, Value};
use crate::view_store::{
    Advance, Connection, DeadLetter, Partition, StoredPosition, ViewStore, ViewTransaction,
};
use crate::{Result, StoreError};

/// How long a statement waits for another writer before it says that the database is busy.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Values that one statement may bind. SQLite's own limit is 32,766; statements of this size are already as fast.
const MAX_BOUND_VALUES: usize = 4_000;

/// Pages of 4 KiB in the write-ahead log before it is folded back into a view's file. Rare on purpose: a checkpoint
/// writes each dirty page once, however often it changed.
const VIEW_CHECKPOINT_PAGES: i64 = 8_000;

/// Cache of the connection that writes a view, in KiB, while it catches up.
const WRITER_CACHE_KIB: i64 = 256 * 1024;

/// Cache of every other connection, in KiB.
const READER_CACHE_KIB: i64 = 4 * 1024;

/// Rows that the engine's thread may be ahead of the reading task.
const ROW_BUFFER: usize = 1_024;

/// Version of the layout inside a generation's file (positions, dead letters, marks).
const LAYOUT_VERSION: i64 = 1;

/// What a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced before commit returns: control tables and the log.
    Full,
    /// Synced at checkpoints: views, whose rows and positions go back together after a power cut.
    Normal,
    /// Never synced. Only for the test that proves that the others are.
    Off,
}

/// Options of a file of annals.
#[must_use]
pub fn options(path: &Path, durability: Durability, create: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(match durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
            Durability::Off => SqliteSynchronous::Off,
        })
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        // Statements hold dictionaries' and pages' shapes: few, and each worth keeping.
        .statement_cache_capacity(64)
}

/// Makes the file when it is not there, readable for its owner only: it may hold password hashes and personal data,
/// and SQLite would make it by the umask. The files that SQLite makes beside it take its mode.
///
/// # Errors
/// When the file cannot be made.
pub fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // Only a file that is not there is opened. SQLite's locks are POSIX locks: closing any descriptor of a database drops
    // every lock that this process has on it, and another process could then remove its write-ahead log.
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).map_err(|source| crate::directory::io_error(path, source)),
    }
}

/// A pool whose connections live as long as it does.
///
/// # Errors
/// When the file cannot be opened.
pub async fn pool(path: &Path, options: SqliteConnectOptions, connections: u32) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(BUSY_TIMEOUT)
        .after_release(|connection, _| Box::pin(is_usable(connection)))
        .connect_with(options)
        .await
        .during(path, "open it")
}

/// Whether a connection can go on after an error. SQLite ends a transaction by itself when the disk is full (or cannot
/// be written): `ROLLBACK` then fails, the count of sqlx stays above zero, and no later transaction could begin.
///
/// # Errors
/// When the connection is broken.
pub async fn is_usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind a rollback that a dropped transaction asked for.
    sqlx::Connection::ping(&mut *connection).await?;
    Ok(!sqlx::Connection::is_in_transaction(connection))
}

/// One generation of one view in its own file.
pub struct SqliteViewStore {
    path: PathBuf,
    writer: SqlitePool,
    caches: Mutex<HashMap<&'static str, Cache>>,
}

const LAYOUT: [&str; 4] = [
    "CREATE TABLE marks (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE positions (
       topic TEXT NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, last_event_id BLOB,
       PRIMARY KEY (topic, partition)) STRICT, WITHOUT ROWID",
    "CREATE TABLE dead_letters (
       topic TEXT NOT NULL, partition INTEGER NOT NULL, \"offset\" INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
       reason TEXT NOT NULL, bytes BLOB NOT NULL,
       UNIQUE (topic, partition, \"offset\")) STRICT",
    "PRAGMA user_version = 1",
];

impl SqliteViewStore {
    /// Opens a generation for folding, making its tables when the file is new.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was laid out by a newer annals.
    pub async fn open(path: &Path, tables: &[&'static Table]) -> Result<Self> {
        let options = options(path, Durability::Normal, true)
            .pragma("wal_autocheckpoint", VIEW_CHECKPOINT_PAGES.to_string())
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        make_private(path)?;
        // One connection: a generation has one writer at a time, and a second would only wait for it.
        let writer = pool(path, options, 1).await?;
        let store = Self { path: path.to_owned(), writer, caches: Mutex::default() };
        store.lay_out(tables).await?;
        Ok(store)
    }

    async fn lay_out(&self, tables: &[&'static Table]) -> Result<()> {
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.during(&self.path, "open it")?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&mut *tx)
            .await
            .during(&self.path, "read its version")?;
        if version > LAYOUT_VERSION {
            return Err(StoreError::NewerVersion(self.path.clone()));
        }
        if version == 0 {
            for statement in LAYOUT {
                sqlx::query(statement).execute(&mut *tx).await.during(&self.path, "create tables")?;
            }
            for statement in tables.iter().flat_map(|table| table.sqlite_ddl()) {
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut *tx)
                    .await
                    .during(&self.path, "create tables")?;
            }
        }
        tx.commit().await.during(&self.path, "create tables")
    }

    /// Opens a pool for the queries of a generation. It never writes.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open_readers(path: &Path, connections: u32) -> Result<SqlitePool> {
        let options = options(path, Durability::Normal, false)
            .pragma("query_only", "ON")
            // A page of rows comes over in one go: every full buffer costs two switches between threads.
            .row_buffer_size(ROW_BUFFER);
        pool(path, options, connections).await
    }
}

#[async_trait]
impl ViewStore for SqliteViewStore {
    async fn positions(&self) -> Result<Vec<StoredPosition>> {
        let mut connection = self.writer.acquire().await.during(&self.path, "read positions")?;
        read_positions(&mut connection, &self.path).await
    }

    async fn incarnation(&self) -> Result<Option<Uuid>> {
        sqlx::query_scalar("SELECT value FROM marks WHERE key = 'incarnation'")
            .fetch_optional(&self.writer)
            .await
            .during(&self.path, "read the incarnation")
    }

    async fn bind_incarnation(&self, incarnation: Uuid) -> Result<()> {
        sqlx::query("INSERT INTO marks (key, value) VALUES ('incarnation', ?) ON CONFLICT DO NOTHING")
            .bind(incarnation)
            .execute(&self.writer)
            .await
            .during(&self.path, "bind the incarnation")?;
        Ok(())
    }

    async fn begin(&self) -> Result<Box<dyn ViewTransaction>> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await.during(&self.path, "begin a batch")?;
        Ok(Box::new(SqliteViewTransaction { path: self.path.clone(), tx }))
    }

    async fn resolve(&self, dictionary: &'static Table, keys: &[Key]) -> Result<Vec<i64>> {
        let mut caches = self.caches.lock().await;
        let cache = caches.entry(dictionary.name).or_default();
        let mut unknown: Vec<&Key> = keys.iter().filter(|key| cache.get(key).is_none()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut found: HashMap<Key, i64> = HashMap::new();
        if !unknown.is_empty() {
            let mut tx =
                self.writer.begin_with("BEGIN IMMEDIATE").await.during(&self.path, "fill a dictionary")?;
            let width = dictionary.written_columns().count();
            for chunk in unknown.chunks(MAX_BOUND_VALUES / width) {
                fill_dictionary(&mut tx, dictionary, chunk, &mut found)
                    .await
                    .during(&self.path, "fill a dictionary")?;
            }
            tx.commit().await.during(&self.path, "fill a dictionary")?;
        }
        let ids = keys
            .iter()
            .map(|key| found.get(key).copied().or_else(|| cache.get(key)))
            .collect::<Option<Vec<i64>>>()
            .ok_or_else(|| StoreError::Damaged(self.path.clone()))?;
        for (key, id) in found {
            cache.insert(key, id);
        }
        Ok(ids)
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>> {
        let rows = sqlx::query(
            "SELECT topic, partition, \"offset\", recorded_at, reason, bytes FROM dead_letters
             ORDER BY topic, partition, \"offset\" LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.writer)
        .await
        .during(&self.path, "read dead letters")?;
        rows.iter()
            .map(dead_letter)
            .collect::<Result<_, sqlx::Error>>()
            .during(&self.path, "read dead letters")
    }

    async fn dead_letter_count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
            .fetch_one(&self.writer)
            .await
            .during(&self.path, "count dead letters")?;
        Ok(count.unsigned_abs())
    }

    async fn settle(&self) -> Result<()> {
        self.caches.lock().await.values_mut().for_each(Cache::clear);
        sqlx::query("PRAGMA shrink_memory")
            .execute(&self.writer)
            .await
            .during(&self.path, "give memory back")?;
        Ok(())
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

struct SqliteViewTransaction {
    path: PathBuf,
    tx: Transaction<'static, Sqlite>,
}

#[async_trait]
impl ViewTransaction for SqliteViewTransaction {
    async fn advance(&mut self, moves: &[Advance]) -> Result<()> {
        let retired: Option<i64> = sqlx::query_scalar("SELECT 1 FROM marks WHERE key = 'retired'")
            .fetch_optional(&mut *self.tx)
            .await
            .during(&self.path, "move positions")?;
        if retired.is_some() {
            return Err(StoreError::Fenced(self.path.clone()));
        }
        let mut moves: Vec<&Advance> = moves.iter().collect();
        moves.sort_by(|a, b| a.partition.cmp(&b.partition));
        for step in moves {
            // A position that is not stored yet stands at 0, whatever offset the log begins with.
            let moved = sqlx::query(
                "INSERT INTO positions (topic, partition, next_offset, last_event_id) SELECT ?1, ?2, ?4, ?5
                 WHERE ?3 = 0 OR EXISTS (SELECT 1 FROM positions WHERE topic = ?1 AND partition = ?2)
                 ON CONFLICT (topic, partition) DO UPDATE
                 SET next_offset = excluded.next_offset, last_event_id = excluded.last_event_id
                 WHERE next_offset = ?3",
            )
            .bind(step.partition.topic.as_ref())
            .bind(step.partition.number)
            .bind(step.from.cast_signed())
            .bind(step.to.cast_signed())
            .bind(step.last_event_id)
            .execute(&mut *self.tx)
            .await
            .during(&self.path, "move positions")?;
            if moved.rows_affected() != 1 {
                return Err(StoreError::Fenced(self.path.clone()));
            }
        }
        Ok(())
    }

    fn connection(&mut self) -> Connection<'_> {
        Connection::Sqlite(&mut self.tx)
    }

    async fn write(&mut self, table: &'static Table, rows: &Rows, on_conflict: OnConflict) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        insert(&mut self.tx, table, rows, on_conflict).await.during(&self.path, "write rows")
    }

    async fn write_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        for letter in letters {
            sqlx::query("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(letter.partition.topic.as_ref())
                .bind(letter.partition.number)
                .bind(letter.offset.cast_signed())
                .bind(letter.recorded_at.timestamp_micros())
                .bind(&letter.reason)
                .bind(&letter.bytes)
                .execute(&mut *self.tx)
                .await
                .during(&self.path, "keep a dead letter")?;
        }
        Ok(())
    }

    async fn retire(&mut self) -> Result<()> {
        sqlx::query("INSERT INTO marks (key, value) VALUES ('retired', x'01') ON CONFLICT DO NOTHING")
            .execute(&mut *self.tx)
            .await
            .during(&self.path, "retire it")?;
        Ok(())
    }

    async fn positions(&mut self) -> Result<Vec<StoredPosition>> {
        read_positions(&mut self.tx, &self.path).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { path, tx } = *self;
        tx.commit().await.during(&path, "commit a batch")
    }
}

pub(crate) async fn read_positions(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Vec<StoredPosition>> {
    let rows =
        sqlx::query("SELECT topic, partition, next_offset, last_event_id FROM positions ORDER BY 1, 2")
            .fetch_all(connection)
            .await
            .during(path, "read positions")?;
    rows.iter()
        .map(|row| {
            Ok(StoredPosition {
                partition: Partition::new(row.try_get("topic")?, row.try_get("partition")?),
                next_offset: row.try_get::<i64, _>("next_offset")?.unsigned_abs(),
                last_event_id: row.try_get("last_event_id")?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(path, "read positions")
}

fn dead_letter(row: &sqlx::sqlite::SqliteRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        partition: Partition::new(row.try_get(0)?, row.try_get(1)?),
        offset: row.try_get::<i64, _>(2)?.unsigned_abs(),
        recorded_at: DateTime::from_timestamp_micros(row.try_get(3)?).unwrap_or_default(),
        reason: row.try_get(4)?,
        bytes: row.try_get(5)?,
    })
}

/// Writes rows with as few statements as the engine's limits allow.
///
/// # Errors
/// What the database says.
pub async fn insert(
    connection: &mut SqliteConnection,
    table: &'static Table,
    rows: &Rows,
    on_conflict: OnConflict,
) -> Result<(), sqlx::Error> {
    let rows_per_statement = (MAX_BOUND_VALUES / rows.width()).max(1);
    let whole = rows_per_statement * rows.width();
    let whole_sql: Arc<str> = table.sqlite_insert(rows_per_statement, on_conflict).into();
    let mut chunks = rows.chunks(rows_per_statement);
    let mut next = chunks.next().map(|chunk| (chunk.len(), arguments(chunk.iter())));
    while let Some((len, bound)) = next {
        // Only whole chunks are worth a place in the statement cache: the last one has another size each time.
        let query = if len == whole {
            sqlx::query_with(AssertSqlSafe(Arc::clone(&whole_sql)), bound?)
        } else {
            let sql = table.sqlite_insert(len / rows.width(), on_conflict);
            sqlx::query_with(AssertSqlSafe(sql), bound?).persistent(false)
        };
        // The engine works on a thread of its own: the next chunk is made ready meanwhile.
        let prepare_next = async { chunks.next().map(|chunk| (chunk.len(), arguments(chunk.iter()))) };
        let (done, prepared) = tokio::join!(query.execute(&mut *connection), prepare_next);
        done?;
        next = prepared;
    }
    Ok(())
}

async fn fill_dictionary(
    connection: &mut SqliteConnection,
    dictionary: &'static Table,
    keys: &[&Key],
    found: &mut HashMap<Key, i64>,
) -> Result<(), sqlx::Error> {
    let insert = dictionary.sqlite_insert(keys.len(), OnConflict::Keep);
    let values = || arguments(keys.iter().flat_map(|key| key.iter()));
    sqlx::query_with(AssertSqlSafe(insert), values()?).persistent(false).execute(&mut *connection).await?;
    let columns: Vec<&str> = dictionary.written_columns().map(|column| column.name).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    let select = format!(
        "SELECT id, {columns} FROM {} WHERE ({columns}) IN (VALUES {})",
        dictionary.name,
        vec![row.as_str(); keys.len()].join(","),
        columns = columns.join(", "),
    );
    let rows =
        sqlx::query_with(AssertSqlSafe(select), values()?).persistent(false).fetch_all(connection).await?;
    for row in rows {
        let key = dictionary
            .written_columns()
            .map(|column| read_value(&row, column.name))
            .collect::<Result<_, _>>()?;
        found.insert(key, row.try_get("id")?);
    }
    Ok(())
}

fn read_value(row: &sqlx::sqlite::SqliteRow, column: &str) -> Result<Value, sqlx::Error> {
    use sqlx::{TypeInfo, ValueRef};
    let raw = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    Ok(match raw.type_info().name() {
        "INTEGER" => Value::Integer(row.try_get(column)?),
        "TEXT" => Value::Text(row.try_get::<String, _>(column)?.into()),
        _ => Value::Bytes(row.try_get(column)?),
    })
}

fn arguments<'v>(values: impl Iterator<Item = &'v Value>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.size_hint().0, 0);
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Integer(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}
