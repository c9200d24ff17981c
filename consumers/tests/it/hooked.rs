//! A log to which something happens at certain moments.

use std::sync::Arc;

use annals_bus::{
    Bus, BusError, Consumer, GroupMember, Partition, Position, ReadLimit, Record, StartPositions,
    StoredRecord,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What happens. Without an implementation nothing does.
#[async_trait]
pub trait Hook: Send + Sync {
    /// So many records are durable; whoever appended them has not heard of it yet.
    async fn appended(&self, _records: usize) {}

    /// Records were read from an offset on.
    async fn read(
        &self,
        _partition: &Partition,
        _from: u64,
        records: Vec<StoredRecord>,
    ) -> Vec<StoredRecord> {
        records
    }

    /// The ends were asked for.
    fn ends(&self, ends: Vec<(Partition, u64)>) -> Vec<(Partition, u64)> {
        ends
    }
}

/// The log.
pub struct Hooked<H> {
    pub log: Arc<dyn Bus>,
    pub hook: Arc<H>,
}

#[async_trait]
impl<H: Hook> Bus for Hooked<H> {
    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>, BusError> {
        let positions = self.log.append(topic, records).await?;
        self.hook.appended(positions.len()).await;
        Ok(positions)
    }

    async fn read(
        &self,
        partition: &Partition,
        from: u64,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, BusError> {
        let records = self.log.read(partition, from, limit).await?;
        Ok(self.hook.read(partition, from, records).await)
    }

    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>, BusError> {
        Ok(self.hook.ends(self.log.end_positions(topics).await?))
    }

    async fn incarnation(&self, topic: &str) -> Result<Uuid, BusError> {
        self.log.incarnation(topic).await
    }

    fn trouble(&self) -> Option<String> {
        self.log.trouble()
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, BusError> {
        self.log.partitions(topic).await
    }

    async fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.log.consumer(group, topics, starts, limit).await
    }

    async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>, BusError> {
        self.log.group_members(group).await
    }

    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>, BusError> {
        self.log.first_positions(topics).await
    }

    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64, BusError> {
        self.log.position_at(partition, time).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, BusError> {
        self.log.note(key).await
    }

    async fn set_note(&self, key: &str, text: &str) -> Result<(), BusError> {
        self.log.set_note(key, text).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}
