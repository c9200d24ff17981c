//! What can go wrong with the log.

use annals_store::{Partition, StoreError};

/// Errors of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// No such topic in this log.
    #[error("unknown topic `{0}`")]
    UnknownTopic(String),
    /// No such partition in this log.
    #[error("unknown partition `{0}`")]
    UnknownPartition(Partition),
    /// The topic exists with another number of partitions.
    #[error(
        "topic `{topic}` has {actual} partitions, not {wanted}, so its keys would stand elsewhere; each version of annals has its own number: use the one that made the topic, or bring the log into a new one with `annals log copy`"
    )]
    PartitionCount {
        /// The topic.
        topic: String,
        /// What the log has.
        actual: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// The log ends before this offset: it was truncated or created again.
    #[error(
        "offset {offset} of `{partition}` is beyond the end of the log at {end}: the log was truncated or created again"
    )]
    OffsetOutOfRange {
        /// The partition.
        partition: Partition,
        /// The offset that was asked for.
        offset: u64,
        /// The next offset of the log.
        end: u64,
    },
    /// Records are gone that were to be kept for ever.
    #[error(
        "offset {offset} of `{partition}` was removed: the log begins at {first}, although `{}` is declared to keep its records for ever; rebuild the view, or give the topic a retention", .partition.topic
    )]
    Removed {
        /// The partition.
        partition: Partition,
        /// The offset that was asked for.
        offset: u64,
        /// The first offset that is still there.
        first: u64,
    },
    /// The topic is another one than before: it was removed, and perhaps created again.
    #[error("topic `{0}` was removed or created again while it was in use; start again")]
    Recreated(String),
    /// Nobody answers there, or not in time.
    #[error("the log at `{address}` cannot be reached: {reason}")]
    Unavailable {
        /// Where the log was looked for.
        address: String,
        /// What went wrong last.
        reason: String,
    },
    /// Somebody answers, and refuses: a wrong password, a certificate that is not trusted, a right that is missing.
    #[error("the log at `{address}` refuses: {reason}; see the setting `--bus`")]
    Refused {
        /// Where the log is.
        address: String,
        /// Why.
        reason: String,
    },
    /// The address of the log is not understood.
    #[error("the setting `--bus` is wrong: {0}")]
    Settings(String),
    /// The address is Kafka's, and this build has no Kafka.
    #[error(
        "the setting `--bus` names Kafka, but this build has no Kafka; build annals with the feature `kafka`"
    )]
    NotBuilt,
    /// A topic is not there, or annals has not made it its own.
    #[error("topic `{topic}` {reason}; run `annals topics ensure`")]
    NotPrepared {
        /// The topic, by its name in the log.
        topic: String,
        /// What is missing.
        reason: &'static str,
    },
    /// Anything else that the log's servers say.
    #[error("the log cannot {operation}: {reason}")]
    Broker {
        /// What was being done.
        operation: &'static str,
        /// What they say.
        reason: String,
    },
    /// Bytes in the log are not what was appended.
    #[error("the log is damaged at offset {offset} of `{partition}`: {reason}")]
    Damaged {
        /// The partition.
        partition: Partition,
        /// The first offset of the damaged batch.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The log's file is another one than was opened.
    #[error("the log `{}` was removed or replaced while it is in use; start again", .0.display())]
    Replaced(std::path::PathBuf),
    /// One record is larger than a batch may be.
    #[error("a record of {size_bytes} bytes is larger than the limit of {limit_bytes}")]
    RecordTooLarge {
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The consumer's own database could not say where to start.
    #[error("cannot read the start positions: {0}")]
    StartPositions(String),
    /// The log is being closed.
    #[error("the log is closed")]
    Closed,
    /// The append failed; every caller of the same group commit gets the reason.
    #[error("the log cannot be written")]
    Append(#[source] std::sync::Arc<StoreError>),
    /// The engine's database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BusError {
    /// Whether trying again later may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Append(source) => source.is_transient(),
            Self::Store(source) => source.is_transient(),
            Self::StartPositions(_) | Self::Unavailable { .. } => true,
            _ => false,
        }
    }
}
