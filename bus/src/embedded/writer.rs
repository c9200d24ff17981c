//! The writer: one task that owns the writing connection and commits appends in groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use annals_store::crash;
use annals_store::error::Context;
use chrono::Utc;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{FileId, PartitionRow, Shared, format};
use crate::partitioner::partition_of;
use crate::{BusError, Partition, Position, Record, Result};

/// Appends that may wait for the writer. Beyond it callers wait for a place.
const MAX_WAITING_APPENDS: usize = 1_024;

/// A group commit takes no further append once it has this many bytes.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

struct Append {
    records: Vec<(usize, Record)>,
    size_bytes: usize,
    reply: oneshot::Sender<Result<Vec<Position>>>,
}

/// A handle on the writer.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Append>,
    shared: Arc<Shared>,
    round_robin: Arc<AtomicU32>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Writer {
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        shared: Arc<Shared>,
    ) -> Self {
        let (queue, appends) = mpsc::channel(MAX_WAITING_APPENDS);
        let task = tokio::spawn(run(connection, options, Arc::clone(&shared), appends));
        Self { queue, shared, round_robin: Arc::default(), task: Arc::new(Mutex::new(Some(task))) }
    }

    pub(super) async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>> {
        let append = self.prepare(topic, records)?;
        let (reply, answer) = oneshot::channel();
        let append = Append { reply, ..append };
        self.queue.send(append).await.map_err(|_| BusError::Closed)?;
        answer.await.map_err(|_| BusError::Closed)?
    }

    /// Finds each record's partition and checks its size, before anything waits.
    fn prepare(&self, topic: &str, records: Vec<Record>) -> Result<Append> {
        self.shared.topic(topic)?;
        let first =
            self.shared.partitions.iter().position(|row| &*row.partition.topic == topic).unwrap_or_default();
        let count = u32::try_from(self.shared.topic(topic)?.len()).unwrap_or(1);
        let mut size_bytes = 0;
        let mut placed = Vec::with_capacity(records.len());
        for record in records {
            size_bytes += record.checked_size()?;
            let number = match &record.key {
                Some(key) => partition_of(key, count),
                None => self.round_robin.fetch_add(1, Ordering::Relaxed) % count,
            };
            placed.push((first + number as usize, record));
        }
        let (reply, _) = oneshot::channel();
        Ok(Append { records: placed, size_bytes, reply })
    }

    /// Waits until every append that was taken is answered. Later ones are refused.
    pub(super) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let last = Append { records: Vec::new(), size_bytes: usize::MAX, reply };
        if self.queue.send(last).await.is_ok() {
            let _ = answer.await;
        }
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

async fn run(
    mut connection: SqliteConnection,
    options: SqliteConnectOptions,
    shared: Arc<Shared>,
    mut appends: mpsc::Receiver<Append>,
) {
    while let Some(first) = appends.recv().await {
        let mut size_bytes = first.size_bytes;
        let mut group = vec![first];
        while size_bytes < MAX_GROUP_BYTES
            && let Ok(next) = appends.try_recv()
        {
            size_bytes = size_bytes.saturating_add(next.size_bytes);
            group.push(next);
        }
        let closing = size_bytes == usize::MAX;
        commit_group(&mut connection, &options, &shared, group).await;
        if closing {
            appends.close();
        }
    }
    // Folds the write-ahead log back, so that the next start reads one file.
    let _ = connection.close().await;
}

async fn commit_group(
    connection: &mut SqliteConnection,
    options: &SqliteConnectOptions,
    shared: &Shared,
    group: Vec<Append>,
) {
    let started = Instant::now();
    let count: usize = group.iter().map(|append| append.records.len()).sum();
    let result = write_group(connection, shared, &group).await;
    if result.is_err() && !matches!(annals_store::sqlite::is_usable(connection).await, Ok(true)) {
        match options.connect().await {
            Ok(fresh) => *connection = fresh,
            Err(error) => tracing::error!(%error, "the log cannot be opened again"),
        }
    }
    match result {
        Ok(positions) => {
            shared.tail.grown();
            metrics::counter!("annals_appended_records_total").increment(count as u64);
            metrics::histogram!("annals_append_seconds").record(started.elapsed().as_secs_f64());
            for (append, positions) in group.into_iter().zip(positions) {
                // A caller that went away loses only the answer.
                let _ = append.reply.send(Ok(positions));
            }
        }
        Err(BusError::Store(error)) => {
            let error = Arc::new(error);
            for append in group {
                let _ = append.reply.send(Err(BusError::Append(Arc::clone(&error))));
            }
        }
        Err(error) => {
            tracing::error!(%error, "an append failed");
            let replaced = || BusError::Replaced(shared.path.clone());
            for append in group {
                let _ = append.reply.send(Err(replaced()));
            }
        }
    }
}

/// A partition's part of a group.
struct Part {
    next_offset: u64,
    high_time: i64,
    count: u64,
    body: Vec<u8>,
}

async fn write_group(
    connection: &mut SqliteConnection,
    shared: &Shared,
    group: &[Append],
) -> Result<Vec<Vec<Position>>> {
    const DOING: &str = "append to the log";
    let path = &shared.path;
    // SQLite would go on writing to a file that has no name any more, and acknowledge what nobody can read.
    if FileId::of(path) != Some(shared.file) {
        return Err(BusError::Replaced(path.clone()));
    }
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.during(path, DOING)?;
    let now = Utc::now().timestamp_micros();
    let mut parts: HashMap<usize, Part> = HashMap::new();
    let mut positions = Vec::with_capacity(group.len());
    for append in group {
        let mut own = Vec::with_capacity(append.records.len());
        for (index, record) in &append.records {
            let row = &shared.partitions[*index];
            if !parts.contains_key(index) {
                parts.insert(*index, open_part(&mut tx, row).await.during(path, DOING)?);
            }
            let Some(part) = parts.get_mut(index) else { continue };
            own.push(put(part, record, now, shared, &row.partition));
        }
        positions.push(own);
    }
    for (index, mut part) in parts {
        format::finish(&mut part.body);
        store_part(&mut tx, &shared.partitions[index], &part).await.during(path, DOING)?;
    }
    crash::point("append:before-commit");
    tx.commit().await.during(path, DOING)?;
    crash::point("append:after-commit");
    Ok(positions)
}

async fn open_part(connection: &mut SqliteConnection, row: &PartitionRow) -> Result<Part, sqlx::Error> {
    // Read within the transaction: another process may have appended since the last group.
    let row = sqlx::query("SELECT next_offset, high_time FROM partitions WHERE id = ?")
        .bind(row.id)
        .fetch_one(connection)
        .await?;
    let next_offset = row.try_get::<i64, _>(0)?.unsigned_abs();
    Ok(Part { next_offset, high_time: row.try_get(1)?, count: 0, body: format::begin() })
}

fn put(part: &mut Part, record: &Record, now: i64, shared: &Shared, partition: &Partition) -> Position {
    let recorded_at = record.recorded_at.map_or(now, |time| time.timestamp_micros());
    format::put(&mut part.body, record, recorded_at);
    part.high_time = part.high_time.max(recorded_at);
    let offset = part.next_offset + part.count;
    part.count += 1;
    Position { incarnation: shared.incarnation, partition: partition.clone(), offset }
}

async fn store_part(
    connection: &mut SqliteConnection,
    row: &PartitionRow,
    part: &Part,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO batches (id, partition, count, high_time, body) VALUES (?, ?, ?, ?, ?)")
        .bind(row.row_id(part.next_offset))
        .bind(row.id)
        .bind(part.count.cast_signed())
        .bind(part.high_time)
        .bind(&part.body)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE partitions SET next_offset = ?, high_time = ? WHERE id = ?")
        .bind((part.next_offset + part.count).cast_signed())
        .bind(part.high_time)
        .bind(row.id)
        .execute(connection)
        .await?;
    Ok(())
}
