//! Tests of the log: the contract that every engine keeps, and what is special about each.
#![expect(clippy::unwrap_used, reason = "tests")]

mod contract;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;

use std::sync::Arc;
use std::time::Duration;

use annals_bus::{Bus, Consumer, Delivery, Partition, PartitionRecords, Record, StartPositions};
use async_trait::async_trait;

/// Deadline of what takes a moment, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// Start positions that a test gives.
pub struct Starts(pub Vec<(Partition, u64)>);

#[async_trait]
impl StartPositions for Starts {
    async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String> {
        let find =
            |p: &Partition| self.0.iter().find(|(known, _)| known == p).map_or(0, |(_, offset)| *offset);
        Ok(partitions.iter().map(find).collect())
    }
}

/// A record with a key.
pub fn record(key: &str, value: impl Into<Vec<u8>>) -> Record {
    Record { key: Some(key.as_bytes().to_vec().into()), value: value.into().into(), ..Record::default() }
}

/// A consumer that starts there.
pub async fn consumer(bus: &dyn Bus, topics: &[&str], starts: Vec<(Partition, u64)>) -> Box<dyn Consumer> {
    bus.consumer("test", topics, Arc::new(Starts(starts)), Default::default()).await.unwrap()
}

/// The next records; asserts that nothing else comes.
pub async fn records(consumer: &mut dyn Consumer) -> Vec<PartitionRecords> {
    match consumer.next().await.unwrap() {
        Delivery::Records(parts) => parts,
        other => panic!("expected records, got {other:?}"),
    }
}
