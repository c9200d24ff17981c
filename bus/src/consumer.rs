//! What a consumer gets, and what it needs: deliveries, start positions, and a way to say how far it has come.

use std::sync::Arc;

use async_trait::async_trait;

use crate::record::StoredRecord;
use crate::{Partition, Result};

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
    /// These partitions are the consumer's from now on, from these offsets; those it had before stay its own. The first
    /// delivery of every consumer; the embedded engine makes no other, a group of processes gets one at every rebalance
    /// that brings something.
    Assigned(Vec<(Partition, u64)>),
    /// These partitions go to another process. The consumer must finish or drop its running transaction and then
    /// drop the guard; only then the other one begins. Kafka does not wait longer than its rebalance allows.
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

/// Reads topics as they grow. Dropping it leaves its group.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// When the log is not the one that was read so far, or refuses. A log that cannot be reached is waited for; see
    /// [`Bus::trouble`](crate::Bus::trouble).
    async fn next(&mut self) -> Result<Delivery>;

    /// A handle for whoever writes what this consumer reads.
    fn progress(&self) -> Progress;
}

/// Takes note of how far a consumer's records were folded.
pub(crate) trait Folded: Send + Sync {
    fn folded(&self, positions: &[(Partition, u64)]);
}

/// Says how far the records of a consumer are folded, for the tools that show the lag of a group. Nothing starts from
/// it: the truth is the position in the view's database.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Folded>>);

impl Progress {
    /// A handle on an engine's notes.
    #[cfg(feature = "kafka")]
    pub(crate) fn to(folded: Arc<dyn Folded>) -> Self {
        Self(Some(folded))
    }

    /// Everything before these offsets is folded. Never blocks, and promises nothing.
    pub fn folded(&self, positions: &[(Partition, u64)]) {
        if let Some(folded) = &self.0 {
            folded.folded(positions);
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Progress").field(&self.0.is_some()).finish()
    }
}

/// A process in a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The name that the process gave itself.
    pub client_id: String,
    /// Its address, as the log sees it.
    pub host: String,
    /// What it reads.
    pub partitions: Vec<Partition>,
}
