//! How far the log reaches, and how far each view has folded it.

use annals_bus::BusError;
use annals_schemas::Topic;
use annals_store::{Followed, Partition, StoreError};

use crate::state::ApiState;

/// A partition and an offset in it.
pub(crate) type LogPlace = (Partition, u64);

/// The offset that the next record of each partition will get.
pub(crate) async fn log_ends(state: &ApiState) -> Result<Vec<LogPlace>, BusError> {
    state.bus.end_positions(&topic_names(state)).await
}

/// The offset of the first record that each partition still has.
pub(crate) async fn log_begins(state: &ApiState) -> Result<Vec<LogPlace>, BusError> {
    state.bus.first_positions(&topic_names(state)).await
}

fn topic_names(state: &ApiState) -> Vec<&'static str> {
    state.topics.iter().map(|topic| topic.name).collect()
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
    /// The first record that the log still has.
    pub(crate) first: u64,
    /// The end that it is compared with.
    pub(crate) end: u64,
}

impl PartitionProgress {
    /// Records that are still there and not folded yet. What a declared retention removed before it was folded moves no
    /// position until a record comes after it, which may be never.
    pub(crate) fn lag(&self) -> u64 {
        self.end.saturating_sub(self.position.max(self.first))
    }
}

impl ViewProgress {
    /// Reads the progress of the generation that queries read now.
    pub(crate) async fn read(
        view: &Followed,
        topics: &[Topic],
        begins: &[LogPlace],
        ends: &[LogPlace],
    ) -> Result<Self, StoreError> {
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
                first: begins.iter().find(|(known, _)| known == partition).map_or(0, |(_, first)| *first),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_removed_is_not_waited_for() {
        let lag = |position, first, end| {
            PartitionProgress { partition: Partition::new("t", 0), position, first, end }.lag()
        };
        assert_eq!(lag(3, 0, 10), 7);
        assert_eq!(lag(3, 8, 10), 2);
        // Everything was removed, also what came after the end that a start has noted.
        assert_eq!((lag(0, 10, 10), lag(3, 12, 10)), (0, 0));
        assert_eq!(lag(12, 8, 10), 0);
    }
}
