//! Copying a log: into another log, which may be of the other engine or have another number of partitions, and into or
//! from an archive, a folder of files. Keys, values, headers and `recorded_at` survive, byte for byte, also of records
//! that nobody can decode.
//!
//! A copy that was interrupted goes on where it was, and one that is repeated copies what has come since. What keeps
//! that exact is written down in [`into_log`](into_log()) and [`archive`]. Both end by comparing what is at the target
//! with what was read.
//!
//! Reading order: [`source`] (what can be read: a log, an archive), [`into_log`](mod@into_log) with `note` (how far a
//! copy is), `mark` (whether the source is still what was copied) and `settle` (what an interrupted append left behind),
//! [`archive`].

pub mod archive;
pub mod error;
pub mod into_log;
mod mark;
mod note;
mod settle;
pub mod source;

use std::time::Duration;

use annals_bus::ReadLimit;
use serde::Serialize;

pub use archive::{ArchiveSource, into_archive};
pub use error::CopyError;
pub use into_log::into_log;
pub use source::{Extent, LogSource, Source, SourceTopic};

/// Result of a copy.
pub type Result<T, E = CopyError> = std::result::Result<T, E>;

/// In what pieces a copy is made.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What is read and appended at once. An interruption repeats no more reading than this.
    pub chunk: ReadLimit,
    /// Bytes of an archive's file from which on the next one is begun. An interruption throws away no more than this.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Each chunk costs a note; a note in Kafka is read by whoever opens the log until it is compacted away.
            chunk: ReadLimit { records: 20_000, bytes: 8 * 1024 * 1024 },
            file_bytes: 256 * 1024 * 1024,
        }
    }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The files of an archive are being read for their checksums.
    Checking {
        /// Bytes read.
        done: u64,
        /// Bytes to read.
        total: u64,
    },
    /// Records are being copied.
    Copying {
        /// Records copied.
        done: u64,
        /// Records that this run has to copy.
        total: u64,
    },
}

/// What a copy did with one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicSummary {
    /// The topic.
    pub topic: String,
    /// Records that this run copied.
    pub records: u64,
    /// Their bytes: keys, values, headers.
    pub bytes: u64,
    /// Records that earlier runs had copied.
    pub already_there: u64,
    /// Offsets without a record at the source, in what this run read: removed by its retention, or taken by the marks of
    /// somebody's transactions.
    pub missing: u64,
    /// Whether every record stands at its old partition and offset.
    pub same_positions: bool,
}

/// What a copy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each topic that the source has.
    pub topics: Vec<TopicSummary>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Bytes of a record: its key, value and headers.
fn size_bytes(record: &annals_bus::StoredRecord) -> u64 {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    (record.key.as_ref().map_or(0, |key| key.len()) + record.value.len() + headers) as u64
}
