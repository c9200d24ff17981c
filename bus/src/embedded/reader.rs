//! Reads: batches from an offset, ends, and the position for a time.

use annals_store::error::Context;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Row};

use super::{PartitionRow, ROW_IDS_PER_PARTITION, Shared, format};
use crate::{BusError, Partition, ReadLimit, Result, StoredRecord};

pub(super) async fn read(
    shared: &Shared,
    row: &PartitionRow,
    from: u64,
    limit: ReadLimit,
) -> Result<Vec<StoredRecord>> {
    let mut records: Vec<StoredRecord> = Vec::new();
    let mut bytes = 0;
    // The batch that holds `from` may begin before it.
    let first_id: i64 =
        sqlx::query_scalar("SELECT coalesce(max(id), ?2) FROM batches WHERE id BETWEEN ?1 AND ?2")
            .bind(row.row_id(0))
            .bind(row.row_id(from))
            .fetch_one(&shared.readers)
            .await
            .during(&shared.path, "read the log")?;
    let last_id = row.row_id(0) + ROW_IDS_PER_PARTITION - 1;
    // One row at a time: a row may be a large group of appends, and what is beyond the limit must not be fetched.
    let mut rows = sqlx::query("SELECT id, count, body FROM batches WHERE id BETWEEN ? AND ? ORDER BY id")
        .bind(first_id)
        .bind(last_id)
        .fetch(&shared.readers);
    'batches: while let Some(batch) = rows.try_next().await.during(&shared.path, "read the log")? {
        let first = row.offset(batch.get(0));
        let count = batch.get::<i64, _>(1).unsigned_abs();
        if first + count <= from {
            continue;
        }
        let stored = format::read(batch.get(2), first, count).map_err(|reason| BusError::Damaged {
            partition: row.partition.clone(),
            offset: first,
            reason,
        })?;
        for record in stored.into_iter().filter(|record| record.offset >= from) {
            bytes += record.value.len() + record.key.as_ref().map_or(0, |key| key.len());
            if !records.is_empty() && (records.len() >= limit.records || bytes > limit.bytes) {
                break 'batches;
            }
            records.push(record);
        }
    }
    drop(rows);
    if records.is_empty() {
        check_not_beyond_end(shared, row, from).await?;
    }
    Ok(records)
}

/// A reader behind a truncated or re-created log must hear so, not wait for ever.
async fn check_not_beyond_end(shared: &Shared, row: &PartitionRow, from: u64) -> Result<()> {
    let end = end(shared, row).await?;
    if from > end {
        return Err(BusError::OffsetOutOfRange { partition: row.partition.clone(), offset: from, end });
    }
    Ok(())
}

async fn end(shared: &Shared, row: &PartitionRow) -> Result<u64> {
    let end: i64 = sqlx::query_scalar("SELECT next_offset FROM partitions WHERE id = ?")
        .bind(row.id)
        .fetch_one(&shared.readers)
        .await
        .during(&shared.path, "read the log's end")?;
    Ok(end.unsigned_abs())
}

pub(super) async fn end_positions(shared: &Shared, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
    for topic in topics {
        shared.topic(topic)?;
    }
    let places = vec!["?"; topics.len()].join(",");
    let sql = format!(
        "SELECT topic, number, next_offset FROM partitions WHERE topic IN ({places}) ORDER BY topic, number"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for topic in topics {
        query = query.bind(*topic);
    }
    let rows = query.fetch_all(&shared.readers).await.during(&shared.path, "read the log's end")?;
    Ok(rows
        .iter()
        .map(|row| (Partition::new(row.get(0), row.get(1)), row.get::<i64, _>(2).unsigned_abs()))
        .collect())
}

pub(super) async fn position_at(shared: &Shared, row: &PartitionRow, time: DateTime<Utc>) -> Result<u64> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM batches WHERE partition = ? AND high_time >= ? ORDER BY high_time, id LIMIT 1",
    )
    .bind(row.id)
    .bind(time.timestamp_micros())
    .fetch_optional(&shared.readers)
    .await
    .during(&shared.path, "look up a time")?;
    let Some(id) = first else { return end(shared, row).await };
    let mut from = row.offset(id);
    loop {
        let records = read(shared, row, from, ReadLimit::default()).await?;
        let Some(last) = records.last() else { return Ok(from) };
        if let Some(found) = records.iter().find(|record| record.recorded_at >= time) {
            return Ok(found.offset);
        }
        from = last.offset + 1;
    }
}
