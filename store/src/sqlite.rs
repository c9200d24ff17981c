//! The embedded engine: how a SQLite file of annals is opened, and a view's generation in one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection, Transaction};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::dictionary::{Caches, Ids, Key, Wanted};
use crate::error::Context;
use crate::sql::{Connection, Pool, sqlite_arguments as arguments};
use crate::table::{Column, ColumnKind, OnConflict, Rows, Table, Value};
use crate::view_store::{
    Advance, DeadLetter, StoredPosition, ViewStore, ViewTransaction, advance, are_aside, keep_dead_letters,
    put_aside, stored_dead_letters, stored_incarnations, stored_positions, take_aside,
};
use crate::{Place, Result, StoreError, address};

/// How long a statement waits for another writer before it says that the database is busy.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause before a file is opened again that another was just making.
const OPEN_AGAIN: Duration = Duration::from_millis(5);

/// Values that one statement may bind. SQLite's own limit is 32,766; statements of this size are already as fast.
const MAX_BOUND_VALUES: usize = 4_000;

/// Pages of 4 KiB in the write-ahead log before it is folded back into a view's file. Rare on purpose: a checkpoint
/// writes each dirty page once, however often it changed.
const VIEW_CHECKPOINT_PAGES: i64 = 8_000;

/// Cache of the connection that writes a view, in KiB, while it catches up.
const WRITER_CACHE_KIB: i64 = 256 * 1024;

/// Cache of every other connection, in KiB.
const READER_CACHE_KIB: i64 = 4 * 1024;

/// Bytes of a view's file that a reader may have in its address space: a question that looks at thousands of rows would copy
/// a page for each. SQLite's own limit is 2 GiB unless it is built with a larger one (`.cargo/config.toml`). The file is never
/// made shorter while it is open; a disk that cannot read a page ends the process (SIGBUS) instead of the question.
const READER_MAP_BYTES: i64 = 1 << 40;

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
        // Rows come over in one go: every full buffer costs two switches between threads.
        .row_buffer_size(ROW_BUFFER)
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
    let settings = SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(0)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(BUSY_TIMEOUT)
        .after_release(|connection, _| Box::pin(is_usable(connection)));
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        // A new file becomes one with a write-ahead log here. SQLite tells two that do so at once that it is busy, without
        // waiting: each holds a lock that the other waits for. Whoever comes again finds it done.
        match settings.clone().connect_with(options.clone()).await.during(path, "open it") {
            Err(StoreError::Busy(_)) if Instant::now() < deadline => tokio::time::sleep(OPEN_AGAIN).await,
            opened => return opened,
        }
    }
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

/// A number that changes whenever another connection committed a change. Cheap; for polling.
///
/// # Errors
/// When the database cannot be read.
pub async fn data_version(connection: &mut SqliteConnection, place: impl Into<Place>) -> Result<i64> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await.during(place, "look for changes")
}

/// One generation of one view in its own file.
pub struct SqliteViewStore {
    path: PathBuf,
    writer: SqlitePool,
    tables: Vec<&'static Table>,
    caches: Mutex<Caches>,
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
        let store = Self { path: path.to_owned(), writer, tables: tables.to_vec(), caches: Mutex::default() };
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
            return Err(StoreError::NewerVersion((&self.path).into()));
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
    /// When the file cannot be opened, and [`StoreError::Gone`] when somebody is still laying it out.
    pub async fn open_readers(path: &Path, connections: u32) -> Result<Pool> {
        let options = options(path, Durability::Normal, false)
            .pragma("query_only", "ON")
            .pragma("mmap_size", READER_MAP_BYTES.to_string());
        let readers = pool(path, options, connections).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(&readers)
            .await
            .during(path, "read its version")?;
        if version == 0 {
            return Err(StoreError::Gone(path.into()));
        }
        Ok(Pool::Sqlite(readers))
    }
}

#[async_trait]
impl ViewStore for SqliteViewStore {
    async fn positions(&self) -> Result<Vec<StoredPosition>> {
        stored_positions(&Pool::Sqlite(self.writer.clone()), &Place::from(&self.path)).await
    }

    async fn incarnations(&self) -> Result<Vec<(String, Uuid)>> {
        stored_incarnations(&Pool::Sqlite(self.writer.clone()), &Place::from(&self.path)).await
    }

    async fn bind_incarnation(&self, topic: &str, incarnation: Uuid) -> Result<()> {
        sqlx::query("INSERT INTO marks (key, value) VALUES ('incarnation:' || ?, ?) ON CONFLICT DO NOTHING")
            .bind(topic)
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

    async fn fence(&self) -> Result<Box<dyn ViewTransaction>> {
        // The write lock is the whole file's.
        self.begin().await
    }

    fn lanes(&self) -> usize {
        1
    }

    async fn resolve_all(&self, keys: &[(&'static Table, &[Key])]) -> Result<Vec<Vec<i64>>> {
        const DOING: &str = "fill a dictionary";
        let mut caches = self.caches.lock().await;
        let mut wanted = caches.look_up(keys);
        if wanted.iter().any(|wanted| !wanted.unknown.is_empty()) {
            let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.during(&self.path, DOING)?;
            for Wanted { dictionary, unknown, found, .. } in &mut wanted {
                let width = dictionary.written_columns().count();
                for chunk in unknown.chunks(MAX_BOUND_VALUES / width) {
                    fill_dictionary(&mut tx, dictionary, chunk, found).await.during(&self.path, DOING)?;
                }
            }
            tx.commit().await.during(&self.path, DOING)?;
        }
        caches.complete(wanted).ok_or_else(|| StoreError::Damaged((&self.path).into()))
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>> {
        stored_dead_letters(&Pool::Sqlite(self.writer.clone()), &Place::from(&self.path), limit).await
    }

    async fn dead_letter_count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
            .fetch_one(&self.writer)
            .await
            .during(&self.path, "count dead letters")?;
        Ok(count.unsigned_abs())
    }

    async fn put_indexes_aside(&self) -> Result<bool> {
        let mut fence = self.fence().await?;
        let aside = put_aside(fence.connection(), &Place::from(&self.path), &self.tables).await?;
        fence.commit().await?;
        Ok(aside)
    }

    fn answers_without_indexes(&self) -> bool {
        false
    }

    async fn are_indexes_aside(&self) -> Result<bool> {
        are_aside(&Pool::Sqlite(self.writer.clone()), &Place::from(&self.path)).await
    }

    async fn make_indexes(&self) -> Result<()> {
        const DOING: &str = "make its indexes";
        if !self.are_indexes_aside().await? {
            return Ok(());
        }
        let mut connection = self.writer.acquire().await.during(&self.path, DOING)?;
        // What is sorted may be larger than memory. The setting cannot be changed within a transaction.
        let to_files = sqlx::query("PRAGMA temp_store = FILE");
        to_files.execute(&mut *connection).await.during(&self.path, DOING)?;
        let mut tx = sqlx::Connection::begin_with(&mut *connection, "BEGIN IMMEDIATE")
            .await
            .during(&self.path, DOING)?;
        take_aside(Connection::Sqlite(&mut tx), &Place::from(&self.path)).await?;
        for statement in self.tables.iter().flat_map(|table| table.index_ddl()) {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.during(&self.path, DOING)?;
        }
        tx.commit().await.during(&self.path, DOING)?;
        let to_memory = sqlx::query("PRAGMA temp_store = MEMORY");
        to_memory.execute(&mut *connection).await.during(&self.path, DOING)?;
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        self.caches.lock().await.clear();
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
        advance(Connection::Sqlite(&mut self.tx), &Place::from(&self.path), moves).await
    }

    fn connection(&mut self) -> Connection<'_> {
        Connection::Sqlite(&mut self.tx)
    }

    async fn write(&mut self, table: &'static Table, rows: &Rows, on_conflict: OnConflict) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        insert(&mut self.tx, table, rows, on_conflict).await.during(&self.path, "write rows")
    }

    async fn write_new(
        &mut self,
        table: &'static Table,
        rows: &Rows,
        numbers: [&'static str; 2],
    ) -> Result<Vec<(i64, i64)>> {
        insert_new(&mut self.tx, table, rows, numbers).await.during(&self.path, "write rows")
    }

    async fn write_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        keep_dead_letters(Connection::Sqlite(&mut self.tx), &Place::from(&self.path), letters).await
    }

    async fn retire(&mut self) -> Result<()> {
        sqlx::query("INSERT INTO marks (key, value) VALUES ('retired', x'01') ON CONFLICT DO NOTHING")
            .execute(&mut *self.tx)
            .await
            .during(&self.path, "retire it")?;
        Ok(())
    }

    async fn positions(&mut self) -> Result<Vec<StoredPosition>> {
        stored_positions(Connection::Sqlite(&mut self.tx), &Place::from(&self.path)).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { path, tx } = *self;
        tx.commit().await.during(&path, "commit a batch")
    }
}

/// Writes rows with as few statements as the engine's limits allow. Gives the number of rows that were added or changed.
///
/// # Errors
/// What the database says.
pub async fn insert(
    connection: &mut SqliteConnection,
    table: &'static Table,
    rows: &Rows,
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    let rows_per_statement = (MAX_BOUND_VALUES / rows.width()).max(1);
    let whole = rows_per_statement * rows.width();
    let whole_sql: Arc<str> = table.sqlite_insert(rows_per_statement, on_conflict).into();
    let mut written = 0;
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
        written += done?.rows_affected();
        next = prepared;
    }
    Ok(written)
}

/// Inserts those that are not there, and gives two numbers of each of these. Rows are numbered as they come and never go, so
/// that new ones are those behind the last one before.
async fn insert_new(
    connection: &mut SqliteConnection,
    table: &'static Table,
    rows: &Rows,
    [one, other]: [&'static str; 2],
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let last = format!("SELECT coalesce(max(rowid), 0) FROM {}", table.name);
    let last: i64 = sqlx::query_scalar(AssertSqlSafe(last)).fetch_one(&mut *connection).await?;
    let written = insert(&mut *connection, table, rows, OnConflict::Keep).await?;
    if written == rows.len() as u64 {
        return Ok(rows.numbers(table, [one, other]));
    }
    let new = format!("SELECT {one}, {other} FROM {} WHERE rowid > ?", table.name);
    sqlx::query_as(AssertSqlSafe(new)).bind(last).fetch_all(connection).await
}

async fn fill_dictionary(
    connection: &mut SqliteConnection,
    dictionary: &'static Table,
    keys: &[&Key],
    found: &mut Ids,
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
        let key =
            dictionary.written_columns().map(|column| read_value(&row, column)).collect::<Result<_, _>>()?;
        found.insert(key, row.try_get("id")?);
    }
    Ok(())
}

fn read_value(row: &sqlx::sqlite::SqliteRow, column: &Column) -> Result<Value, sqlx::Error> {
    use sqlx::ValueRef;
    if row.try_get_raw(column.name)?.is_null() {
        return Ok(Value::Null);
    }
    Ok(match column.kind {
        ColumnKind::Text => Value::Text(row.try_get::<String, _>(column.name)?.into()),
        ColumnKind::Bytes => Value::Bytes(row.try_get(column.name)?),
        ColumnKind::Uuid => Value::Uuid(row.try_get(column.name)?),
        ColumnKind::Address => Value::Address(
            address::from_bytes(row.try_get(column.name)?)
                .ok_or_else(|| sqlx::Error::Decode("an address has 16 bytes".into()))?,
        ),
        ColumnKind::Timestamp => Value::Time(row.try_get(column.name)?),
        _ => Value::Integer(row.try_get(column.name)?),
    })
}
