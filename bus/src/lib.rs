//! The event log: append, read, positions. It knows bytes, not events.
//!
//! Reading order: [`record`] (what goes in and comes out), [`bus`](crate::Bus) (the contract every engine keeps),
//! [`partitioner`] (where a key goes), [`embedded`] (the engine in one SQLite file). The contract is a test suite
//! written against the trait: `tests/it/contract.rs`.
#![forbid(unsafe_code)]

pub mod embedded;
pub mod error;
pub mod partitioner;
pub mod record;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use annals_store::Partition;
pub use embedded::EmbeddedBus;
pub use error::BusError;
pub use record::{Header, Position, Record, StoredRecord};

/// Result of this crate.
pub type Result<T, E = BusError> = std::result::Result<T, E>;

/// Records of one partition, in offset order without gaps as far as the log has none.
#[derive(Clone, Debug)]
pub struct PartitionRecords {
    /// The partition.
    pub partition: Partition,
    /// The offset that was asked for: where the reader's position stood.
    pub from: u64,
    /// The records.
    pub records: Vec<StoredRecord>,
}

impl PartitionRecords {
    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.records.last().map_or(self.from, |record| record.offset + 1)
    }
}

/// What a consumer gets next.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are the consumer's from now on, from these offsets. The first delivery of every consumer;
    /// the embedded engine makes no other, a group of processes gets one at every rebalance.
    Assigned(Vec<(Partition, u64)>),
    /// These partitions go to another process. The consumer must finish or drop its running transaction and then
    /// drop the guard; only then the other one begins.
    Revoked(Vec<Partition>, RevocationGuard),
    /// New records.
    Records(Vec<PartitionRecords>),
}

/// Holds a revocation back until it is dropped.
#[derive(Debug)]
pub struct RevocationGuard(
    #[expect(dead_code, reason = "dropping it is its use")] tokio::sync::oneshot::Sender<()>,
);

impl RevocationGuard {
    /// A guard, and what is told when it is dropped.
    #[must_use]
    pub fn new() -> (Self, tokio::sync::oneshot::Receiver<()>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Self(sender), receiver)
    }
}

/// Where a consumer starts: always the view's own database, never the log's.
#[async_trait]
pub trait StartPositions: Send + Sync {
    /// The next offset to read of each partition; 0 where nothing was read yet.
    ///
    /// # Errors
    /// In words, when the database cannot be read.
    async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String>;
}

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
    /// The id of this log, made when the log was created. A position of another incarnation means nothing here.
    async fn incarnation(&self) -> Result<Uuid>;

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

    /// The offset that the next record of each partition will get.
    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>>;

    /// The offset of the first record that was appended at `time` or later; the end when there is none.
    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64>;

    /// Stops taking records and waits for those under way.
    async fn close(&self);
}

/// Reads topics as they grow.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery. Cancel-safe: a dropped call loses nothing.
    async fn next(&mut self) -> Result<Delivery>;
}
