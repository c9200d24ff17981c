//! What a copy reads from.

use annals_bus::{Bus, BusError, Partition, ReadLimit, StoredRecord};
use async_trait::async_trait;
use chrono::SubsecRound;
use uuid::Uuid;

use super::Result;
use crate::backoff::Backoff;

/// What a source has of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of the partition.
    pub number: u32,
    /// The offset of its first record, or of the next one when it has none.
    pub first: u64,
    /// The offset that the next record will get.
    pub end: u64,
}

/// What a source has of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// The incarnation. That of an archive is the one of the log that it was made from: its records have the same
    /// offsets, so that one may go on where the other ended.
    pub incarnation: Uuid,
    /// Every partition, from 0 on.
    pub partitions: Vec<Extent>,
}

/// Something that records can be copied from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What there is of a topic now; `None` when there is no such topic.
    async fn topic(&self, topic: &str) -> Result<Option<SourceTopic>>;

    /// Reads records of one partition from an offset on. An empty list means the end.
    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>>;
}

/// How often an empty answer before the end is asked for again.
const READS_AGAIN: usize = 4;

/// Reads the records of one partition from an offset on that stand before `end`. An empty list means that there are none
/// any more: they were removed, or were marks of somebody's transactions. That is not believed at once: a server that
/// takes over a partition may not know all of it for a moment, and what is counted as removed is never copied.
pub(super) async fn read_before(
    source: &dyn Source,
    partition: &Partition,
    from: u64,
    end: u64,
    limit: ReadLimit,
) -> Result<Vec<StoredRecord>> {
    let mut pause = Backoff::default();
    for _ in 0..=READS_AGAIN {
        if from >= end {
            break;
        }
        let mut records = source.read(partition, from, limit).await?;
        if !records.is_empty() {
            records.retain(|record| record.offset < end);
            return Ok(records);
        }
        let now = source.topic(&partition.topic).await?;
        let extent =
            now.and_then(|topic| topic.partitions.into_iter().find(|at| at.number == partition.number));
        if extent.is_some_and(|extent| extent.first >= end) {
            break;
        }
        tokio::time::sleep(pause.next()).await;
    }
    Ok(Vec::new())
}

/// A log as a source.
pub struct LogSource<'a>(&'a dyn Bus);

impl<'a> LogSource<'a> {
    /// Reads from this log.
    #[must_use]
    pub fn new(bus: &'a dyn Bus) -> Self {
        Self(bus)
    }
}

#[async_trait]
impl Source for LogSource<'_> {
    async fn topic(&self, topic: &str) -> Result<Option<SourceTopic>> {
        let incarnation = match self.0.incarnation(topic).await {
            Ok(incarnation) => incarnation,
            // An older log lacks the topics that came later.
            Err(BusError::UnknownTopic(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let first = self.0.first_positions(&[topic]).await?;
        let ends = self.0.end_positions(&[topic]).await?;
        let extent = |((partition, first), (_, end)): ((Partition, u64), (Partition, u64))| Extent {
            number: partition.number,
            first,
            end,
        };
        Ok(Some(SourceTopic { incarnation, partitions: first.into_iter().zip(ends).map(extent).collect() }))
    }

    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        let mut records = self.0.read(partition, from, limit).await?;
        for record in &mut records {
            // A foreign producer may have written nanoseconds; every log of ours keeps microseconds.
            record.recorded_at = record.recorded_at.trunc_subsecs(6);
        }
        Ok(records)
    }
}
