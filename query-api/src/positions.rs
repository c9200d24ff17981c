//! How far the log reaches, and how far each view has folded it.

use annals_bus::BusError;
use annals_schemas::Topic;
use annals_store::{Followed, Partition, StoreError};

use crate::state::ApiState;

/// A partition and the offset that its next record will get.
pub(crate) type LogEnd = (Partition, u64);

/// How far the log reaches now.
pub(crate) async fn log_ends(state: &ApiState) -> Result<Vec<LogEnd>, BusError> {
    let topics: Vec<&str> = state.topics.iter().map(|topic| topic.name).collect();
    state.bus.end_positions(&topics).await
}

/// How far one view has folded the log.
pub(crate) struct ViewProgress {
    pub(crate) view: &'static str,
    pub(crate) generation: i64,
    pub(crate) dead_letters: u64,
    pub(crate) partitions: Vec<PartitionProgress>,
}

/// How far one view has folded one partition.
pub(crate) struct PartitionProgress {
    pub(crate) partition: Partition,
    /// The next offset to fold.
    pub(crate) position: u64,
    /// The end that it is compared with.
    pub(crate) end: u64,
}

impl PartitionProgress {
    /// Records that are not folded yet.
    pub(crate) fn lag(&self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

impl ViewProgress {
    /// Reads the progress of the generation that queries read now.
    pub(crate) async fn read(view: &Followed, topics: &[Topic], ends: &[LogEnd]) -> Result<Self, StoreError> {
        let reader = view.current();
        let positions = reader.positions().await?;
        let position_of = |partition: &Partition| {
            // A partition that is not there was never folded.
            positions
                .iter()
                .find(|stored| stored.partition == *partition)
                .map_or(0, |stored| stored.next_offset)
        };
        let partitions = ends
            .iter()
            .filter(|(partition, _)| topics.iter().any(|topic| *topic.name == *partition.topic))
            .map(|(partition, end)| PartitionProgress {
                partition: partition.clone(),
                position: position_of(partition),
                end: *end,
            })
            .collect();
        Ok(Self {
            view: view.view(),
            generation: reader.generation.number,
            dead_letters: reader.dead_letter_count().await?,
            partitions,
        })
    }

    /// Whether everything up to the ends is folded.
    pub(crate) fn has_arrived(&self) -> bool {
        self.partitions.iter().all(|partition| partition.lag() == 0)
    }
}
