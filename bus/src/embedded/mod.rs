//! The embedded engine: an append-only log in one SQLite file, written and read by several processes at once.
//!
//! A row is an append batch (first offset, count, bytes), not a record. Appends of one process are committed in
//! groups: while one commit is being synced, the next ones gather. WAL mode with `synchronous=FULL` syncs the commit
//! before anybody, in any process, can see it; so what is read is durable.

mod consumer;
mod format;
mod notes;
mod reader;
mod tail;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use annals_store::error::Context;
use annals_store::sqlite::{self, Durability};
use annals_store::{DataDir, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use uuid::Uuid;

use crate::{
    Bus, BusError, Consumer, GroupMember, Partition, Position, ReadLimit, Record, Result, StartPositions,
    StoredRecord,
};

/// Version of the file's layout.
const LAYOUT_VERSION: i64 = 1;

/// Connections for reading in one process.
const READERS: u32 = 4;

/// Batches that the engine's thread may be ahead of a reader. Each may be megabytes.
const ROWS_AHEAD: usize = 4;

/// Pages of 4 KiB in the write-ahead log before they are folded back.
const CHECKPOINT_PAGES: i64 = 4_000;

/// Offsets of one partition share a range of row ids this wide: 2^40 records.
const ROW_IDS_PER_PARTITION: i64 = 1 << 40;

const LAYOUT: [&str; 4] = [
    "CREATE TABLE log (one INTEGER PRIMARY KEY CHECK (one = 1), incarnation BLOB NOT NULL, created_at INTEGER NOT NULL) STRICT",
    // `high_time` is the latest recorded_at up to the end of the partition.
    "CREATE TABLE partitions (
       id INTEGER PRIMARY KEY, topic TEXT NOT NULL, number INTEGER NOT NULL,
       next_offset INTEGER NOT NULL DEFAULT 0, high_time INTEGER NOT NULL DEFAULT 0,
       UNIQUE (topic, number)) STRICT",
    // The row id is the partition's id and the first offset: batches of a partition stand together, in order, and
    // need no second index. `high_time` is the latest recorded_at up to the end of this batch; it never falls, so the
    // first batch that reaches a time holds the first record that does.
    "CREATE TABLE batches (
       id INTEGER PRIMARY KEY, partition INTEGER NOT NULL, count INTEGER NOT NULL, high_time INTEGER NOT NULL,
       body BLOB NOT NULL) STRICT",
    "CREATE INDEX batches_by_time ON batches (partition, high_time)",
];

#[derive(Clone, Debug)]
pub(crate) struct PartitionRow {
    pub(crate) partition: Partition,
    pub(crate) id: i64,
}

impl PartitionRow {
    pub(crate) fn row_id(&self, offset: u64) -> i64 {
        self.id * ROW_IDS_PER_PARTITION + offset.cast_signed()
    }

    pub(crate) fn offset(&self, row_id: i64) -> u64 {
        (row_id - self.id * ROW_IDS_PER_PARTITION).unsigned_abs()
    }
}

/// What makes a file the same file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file of this name; `None` when there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).ok().map(|data| Self { device: data.dev(), inode: data.ino() })
    }
}

/// What every part of the engine shares.
pub(crate) struct Shared {
    pub(crate) file: FileId,
    pub(crate) path: PathBuf,
    pub(crate) incarnation: Uuid,
    pub(crate) partitions: Vec<PartitionRow>,
    pub(crate) readers: SqlitePool,
    pub(crate) tail: tail::Tail,
}

impl Shared {
    pub(crate) fn find(&self, partition: &Partition) -> Result<&PartitionRow> {
        self.partitions
            .iter()
            .find(|row| row.partition == *partition)
            .ok_or_else(|| BusError::UnknownPartition(partition.clone()))
    }

    pub(crate) fn topic(&self, topic: &str) -> Result<Vec<&PartitionRow>> {
        let rows: Vec<_> = self.partitions.iter().filter(|row| &*row.partition.topic == topic).collect();
        if rows.is_empty() { Err(BusError::UnknownTopic(topic.to_owned())) } else { Ok(rows) }
    }
}

/// The event log in one SQLite file.
#[derive(Clone)]
pub struct EmbeddedBus {
    shared: Arc<Shared>,
    options: SqliteConnectOptions,
    writer: writer::Writer,
}

impl EmbeddedBus {
    /// Opens the log of a data directory, creating it and its topics (name, partitions) as needed.
    ///
    /// # Errors
    /// When the file cannot be opened, was made by a newer annals, or has a topic with another partition count.
    pub async fn open(directory: &DataDir, topics: &[(&str, u32)]) -> Result<Self> {
        Self::open_with(directory, topics, Durability::Full).await
    }

    /// As [`open`](Self::open), with another durability. Only the test of the syncs asks for less than full.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        directory: &DataDir,
        topics: &[(&str, u32)],
        durability: Durability,
    ) -> Result<Self> {
        let path = directory.log_db();
        let options = sqlite::options(&path, durability, true)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let setup = directory.setup_lock().await?;
        sqlite::make_private(&path)?;
        let mut connection = options.connect().await.during(&path, "open the log")?;
        let file = FileId::of(&path).ok_or_else(|| BusError::Replaced(path.clone()))?;
        let (incarnation, partitions) = lay_out(&mut connection, &path, topics).await?;
        drop(setup);
        let readers = sqlite::pool(
            &path,
            options.clone().pragma("query_only", "ON").row_buffer_size(ROWS_AHEAD),
            READERS,
        )
        .await?;
        let watcher =
            options.clone().pragma("query_only", "ON").connect().await.during(&path, "open the log")?;
        let tail = tail::Tail::start(watcher, path.clone());
        let shared = Arc::new(Shared { file, path, incarnation, partitions, readers, tail });
        let writer = writer::Writer::start(connection, options.clone(), Arc::clone(&shared));
        Ok(Self { shared, options, writer })
    }
}

async fn lay_out(
    connection: &mut SqliteConnection,
    path: &Path,
    topics: &[(&str, u32)],
) -> Result<(Uuid, Vec<PartitionRow>)> {
    const DOING: &str = "lay out the log";
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.during(path, DOING)?;
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await.during(path, DOING)?;
    if version > LAYOUT_VERSION {
        return Err(StoreError::NewerVersion(path.into()).into());
    }
    if version == 0 {
        for statement in LAYOUT {
            sqlx::query(statement).execute(&mut *tx).await.during(path, DOING)?;
        }
        sqlx::query("INSERT INTO log (one, incarnation, created_at) VALUES (1, ?, ?)")
            .bind(Uuid::new_v4())
            .bind(Utc::now().timestamp_micros())
            .execute(&mut *tx)
            .await
            .during(path, DOING)?;
        sqlx::query("PRAGMA user_version = 1").execute(&mut *tx).await.during(path, DOING)?;
    }
    notes::lay_out(&mut tx, path).await?;
    for &(topic, wanted) in topics {
        ensure_topic(&mut tx, path, topic, wanted).await?;
    }
    let incarnation: Uuid =
        sqlx::query_scalar("SELECT incarnation FROM log").fetch_one(&mut *tx).await.during(path, DOING)?;
    let rows = sqlx::query("SELECT id, topic, number FROM partitions ORDER BY topic, number")
        .fetch_all(&mut *tx)
        .await
        .during(path, DOING)?;
    tx.commit().await.during(path, DOING)?;
    let partitions = rows
        .iter()
        .map(|row| PartitionRow { id: row.get(0), partition: Partition::new(row.get(1), row.get(2)) })
        .collect();
    Ok((incarnation, partitions))
}

async fn ensure_topic(
    connection: &mut SqliteConnection,
    path: &Path,
    topic: &str,
    wanted: u32,
) -> Result<()> {
    const DOING: &str = "create a topic";
    let actual: u32 = sqlx::query_scalar("SELECT count(*) FROM partitions WHERE topic = ?")
        .bind(topic)
        .fetch_one(&mut *connection)
        .await
        .during(path, DOING)?;
    if actual == wanted {
        return Ok(());
    }
    if actual != 0 {
        return Err(BusError::PartitionCount { topic: topic.to_owned(), actual, wanted });
    }
    for number in 0..wanted {
        sqlx::query("INSERT INTO partitions (topic, number) VALUES (?, ?)")
            .bind(topic)
            .bind(number)
            .execute(&mut *connection)
            .await
            .during(path, DOING)?;
    }
    Ok(())
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn incarnation(&self, topic: &str) -> Result<Uuid> {
        self.shared.topic(topic)?;
        Ok(self.shared.incarnation)
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        Ok(self.shared.topic(topic)?.into_iter().map(|row| row.partition.clone()).collect())
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>> {
        self.writer.append(topic, records).await
    }

    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        reader::read(&self.shared, self.shared.find(partition)?, from, limit).await
    }

    async fn consumer(
        &self,
        _group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::EmbeddedConsumer::new(Arc::clone(&self.shared), topics, starts, limit)?))
    }

    async fn group_members(&self, _group: &str) -> Result<Vec<GroupMember>> {
        Ok(Vec::new())
    }

    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        let mut first = Vec::new();
        for topic in topics {
            first.extend(self.shared.topic(topic)?.into_iter().map(|row| (row.partition.clone(), 0)));
        }
        Ok(first)
    }

    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        reader::end_positions(&self.shared, topics).await
    }

    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64> {
        reader::position_at(&self.shared, self.shared.find(partition)?, time).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>> {
        notes::read(&self.shared, key).await
    }

    async fn set_note(&self, key: &str, text: &str) -> Result<()> {
        notes::write(&self.shared, &self.options, key, text).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.shared.tail.stop();
        self.shared.readers.close().await;
    }
}
