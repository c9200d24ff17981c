//! The consumer of the embedded engine: every partition is its own, from where its view's database says.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Shared, reader};
use crate::{
    BusError, Consumer, Delivery, Partition, PartitionRecords, Progress, ReadLimit, Result, StartPositions,
};

pub(super) struct EmbeddedConsumer {
    shared: Arc<Shared>,
    starts: Arc<dyn StartPositions>,
    limit: ReadLimit,
    growth: watch::Receiver<u64>,
    partitions: Vec<Partition>,
    /// Next offset of each partition. The front is read first, and whoever was read goes to the back, so that a busy
    /// partition does not starve the others.
    queue: VecDeque<(Partition, u64)>,
    assigned: bool,
}

impl EmbeddedConsumer {
    pub(super) fn new(
        shared: Arc<Shared>,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Self> {
        let mut partitions = Vec::new();
        for topic in topics {
            partitions.extend(shared.topic(topic)?.into_iter().map(|row| row.partition.clone()));
        }
        let growth = shared.tail.subscribe();
        Ok(Self { shared, starts, limit, growth, partitions, queue: VecDeque::new(), assigned: false })
    }

    async fn assign(&mut self) -> Result<Delivery> {
        let starts = self.starts.start_positions(&self.partitions).await.map_err(BusError::StartPositions)?;
        let assigned: Vec<_> = self.partitions.iter().cloned().zip(starts).collect();
        self.queue = assigned.iter().cloned().collect();
        self.assigned = true;
        Ok(Delivery::Assigned(assigned))
    }

    /// One round over the partitions, until the delivery is full.
    async fn collect(&self) -> Result<Vec<PartitionRecords>> {
        let mut delivery = Vec::new();
        let (mut left, mut bytes_left) = (self.limit.records, self.limit.bytes);
        for (partition, from) in &self.queue {
            if left == 0 || bytes_left == 0 {
                break;
            }
            let limit = ReadLimit { records: left, bytes: bytes_left };
            let records = reader::read(&self.shared, self.shared.find(partition)?, *from, limit).await?;
            if !records.is_empty() {
                left = left.saturating_sub(records.len());
                let size: usize = records.iter().map(|record| record.value.len()).sum();
                bytes_left = bytes_left.saturating_sub(size);
                delivery.push(PartitionRecords { partition: partition.clone(), from: *from, records });
            }
        }
        Ok(delivery)
    }

    fn moved(&mut self, delivery: &[PartitionRecords]) {
        for part in delivery {
            self.queue.retain(|(partition, _)| *partition != part.partition);
            self.queue.push_back((part.partition.clone(), part.next_offset()));
        }
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Delivery> {
        if !self.assigned {
            return self.assign().await;
        }
        loop {
            // Marked before reading: what grows while we read is looked for again.
            self.growth.mark_unchanged();
            let delivery = self.collect().await?;
            if !delivery.is_empty() {
                self.moved(&delivery);
                return Ok(Delivery::Records(delivery));
            }
            self.growth.changed().await.map_err(|_| BusError::Closed)?;
        }
    }

    fn progress(&self) -> Progress {
        // Nobody else asks for the lag of a group: `annals status` reads the views.
        Progress::default()
    }
}
