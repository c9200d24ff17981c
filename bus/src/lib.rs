//! The event log: append, read, positions. It knows bytes, not events.
//!
//! Reading order: [`record`] (what goes in and comes out), [`bus`](crate::Bus) (the contract every engine keeps),
//! [`consumer`] (what a reader of the tail gets), [`partitioner`] (where a key goes), [`embedded`] (the engine in one
//! SQLite file), `kafka` (the engine on Apache Kafka, Cargo feature `kafka`). The contract is a test suite written
//! against the trait: `tests/it/contract.rs`.
#![forbid(unsafe_code)]

#[cfg(not(feature = "kafka"))]
mod absent;
pub mod consumer;
pub mod embedded;
pub mod error;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod partitioner;
pub mod record;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

#[cfg(not(feature = "kafka"))]
pub use absent::{KafkaBus, KafkaSettings, TopicReport};
pub use annals_store::Partition;
pub use consumer::{
    Consumer, Delivery, GroupMember, PartitionRecords, Progress, RevocationGuard, StartPositions,
};
pub use embedded::EmbeddedBus;
pub use error::BusError;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaBus, KafkaSettings};
pub use record::{Header, Position, Record, StoredRecord};
pub use smol_str::SmolStr;

/// Result of this crate.
pub type Result<T, E = BusError> = std::result::Result<T, E>;

/// How much one read or delivery may bring. The first record always comes, however large.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Records at most.
    pub records: usize,
    /// Bytes of values and keys at most.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { records: 10_000, bytes: 8 * 1024 * 1024 }
    }
}

/// The event log.
#[async_trait]
pub trait Bus: Send + Sync {
    /// The id of a topic, made when the topic was created (the embedded log has one for all of its topics). A position
    /// of another incarnation means nothing here.
    ///
    /// # Errors
    /// [`BusError::UnknownTopic`].
    async fn incarnation(&self, topic: &str) -> Result<Uuid>;

    /// Why the log cannot be reached at the moment; `None` when it can, as far as is known.
    fn trouble(&self) -> Option<String>;

    /// The partitions of a topic, in order.
    ///
    /// # Errors
    /// [`BusError::UnknownTopic`].
    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>>;

    /// Appends records to a topic, in order per key. They are durable when this returns: all of them, or on an error
    /// any prefix per partition may be (a retry then repeats them, and the views absorb it).
    ///
    /// # Errors
    /// When the log cannot take them, naming the reason; nothing was acknowledged.
    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>>;

    /// Reads records of one partition from an offset on, without waiting. An empty list means the end.
    ///
    /// # Errors
    /// [`BusError::OffsetOutOfRange`] when the offset is beyond the end.
    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>>;

    /// A consumer of topics with a live tail. Consumers of one group share the partitions between processes.
    async fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>>;

    /// The processes that read in a group now, for whoever operates them. Empty where there are no groups.
    async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>>;

    /// The offset of the first record that each partition still has, or of the next one when it has none.
    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>>;

    /// The offset that the next record of each partition will get.
    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>>;

    /// The offset of the first record that was appended at `time` or later; the end when there is none.
    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64>;

    /// A small text that is kept with the log; `None` when there is none under this key.
    async fn note(&self, key: &str) -> Result<Option<String>>;

    /// Keeps a small text with the log, replacing what the key had.
    async fn set_note(&self, key: &str, text: &str) -> Result<()>;

    /// Stops taking records and waits for those under way.
    async fn close(&self);
}
