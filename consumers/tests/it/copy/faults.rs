//! Logs with faults: appends that break off, notes that are not written, records that retention removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_bus::partitioner::partition_of;
use annals_bus::{
    Bus, BusError, Consumer, GroupMember, Partition, Position, ReadLimit, Record, Result, StartPositions,
    StoredRecord,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A log that breaks.
pub struct Faulty {
    pub inner: Arc<dyn Bus>,
    /// Appends that still work.
    pub appends: AtomicU64,
    /// Notes that can still be written.
    pub notes: AtomicU64,
    /// Reads that still work.
    pub reads: AtomicU64,
    /// Reads that find nothing although there is something: a server that has just taken over a partition.
    pub dry: AtomicU64,
    /// How many records of each partition the append brings to the log that breaks off. Records without a key are counted
    /// with partition 0.
    pub kept: Vec<usize>,
    /// The first offset that retention left, in every partition.
    pub first: AtomicU64,
}

impl Faulty {
    /// A log without faults.
    pub fn new(inner: &Arc<dyn Bus>) -> Self {
        let never = || AtomicU64::new(u64::MAX);
        let inner = Arc::clone(inner);
        Self {
            inner,
            appends: never(),
            notes: never(),
            reads: never(),
            dry: AtomicU64::new(0),
            kept: Vec::new(),
            first: AtomicU64::new(0),
        }
    }
}

fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Bus for Faulty {
    async fn incarnation(&self, topic: &str) -> Result<Uuid> {
        self.inner.incarnation(topic).await
    }

    fn trouble(&self) -> Option<String> {
        None
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        self.inner.partitions(topic).await
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>> {
        if take(&self.appends) {
            return self.inner.append(topic, records).await;
        }
        let count = self.partitions(topic).await?.len() as u32;
        let mut left = self.kept.clone();
        let kept = records.into_iter().filter(|record| {
            let number = record.key.as_ref().map_or(0, |key| partition_of(key, count));
            match left.get_mut(number as usize) {
                Some(left) if *left > 0 => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        });
        self.inner.append(topic, kept.collect()).await?;
        Err(BusError::Closed)
    }

    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        if !take(&self.reads) {
            return Err(BusError::Closed);
        }
        if take(&self.dry) {
            return Ok(Vec::new());
        }
        self.inner.read(partition, from.max(self.first.load(Ordering::SeqCst)), limit).await
    }

    async fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>> {
        self.inner.consumer(group, topics, starts, limit).await
    }

    async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>> {
        self.inner.group_members(group).await
    }

    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        let removed = self.first.load(Ordering::SeqCst);
        let ends = self.inner.end_positions(topics).await?;
        Ok(ends.into_iter().map(|(partition, end)| (partition, end.min(removed))).collect())
    }

    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        self.inner.end_positions(topics).await
    }

    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64> {
        self.inner.position_at(partition, time).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>> {
        self.inner.note(key).await
    }

    async fn set_note(&self, key: &str, text: &str) -> Result<()> {
        if take(&self.notes) { self.inner.set_note(key, text).await } else { Err(BusError::Closed) }
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
