//! Why a copy is refused, or stops.

use std::path::{Path, PathBuf};

use annals_bus::{BusError, Partition};
use uuid::Uuid;

/// Errors of a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// One of the logs.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Source and target are one.
    #[error(
        "FROM and TO are the same log, or FROM is an archive of TO: topic `{topic}` has the same id, {incarnation}"
    )]
    SameLog {
        /// The topic that says so.
        topic: String,
        /// Its incarnation.
        incarnation: Uuid,
    },
    /// The target has records, and none of this source.
    #[error(
        "TO has {records} records in topic `{topic}` that did not come from FROM; copy into an empty log"
    )]
    NotEmpty {
        /// The topic.
        topic: String,
        /// How many.
        records: u64,
    },
    /// The source is another log than the one that was copied before.
    #[error(
        "topic `{topic}` of FROM is {found}, but TO was copied from {noted}: FROM was created again, or is another log; copy into an empty TO"
    )]
    OtherSource {
        /// The topic.
        topic: String,
        /// The incarnation that the target remembers.
        noted: Uuid,
        /// The source's.
        found: Uuid,
    },
    /// The source has less than was copied already.
    #[error(
        "FROM ends at offset {end} of `{partition}`, but TO has it up to {copied}: FROM was truncated, or is an older archive"
    )]
    SourceBehind {
        /// The partition at the source.
        partition: Partition,
        /// Where the source ends.
        end: u64,
        /// Up to where it was copied.
        copied: u64,
    },
    /// The source has other records than were copied.
    #[error(
        "the record at offset {offset} of `{partition}` in FROM is not the one that was copied: FROM was changed, or restored from a backup; copy into an empty TO"
    )]
    SourceChanged {
        /// The partition at the source.
        partition: Partition,
        /// The last offset that was copied.
        offset: u64,
    },
    /// Somebody else appends to the target.
    #[error(
        "TO should end at offset {expected} of `{partition}`, but a record stands or was written at {found}: somebody else writes to TO; stop that, and begin again with an empty TO"
    )]
    OtherWriter {
        /// The partition at the target.
        partition: Partition,
        /// Where the copy left off.
        expected: u64,
        /// What is there instead.
        found: u64,
    },
    /// The target lost records.
    #[error(
        "TO ends at offset {found} of `{partition}`, but the copy had come to {expected}: TO was truncated; begin again with an empty TO"
    )]
    TargetBehind {
        /// The partition at the target.
        partition: Partition,
        /// Where the copy left off.
        expected: u64,
        /// The end of the target.
        found: u64,
    },
    /// After an interruption the target does not have what the copy could have left there.
    #[error(
        "the record at offset {offset} of `{partition}` in TO is not the one that the interrupted copy would have put there: somebody else wrote to TO, or its servers lost records; begin again with an empty TO"
    )]
    NotOurs {
        /// The partition at the target.
        partition: Partition,
        /// The first offset that does not fit.
        offset: u64,
    },
    /// After an interruption the source has not what was being copied.
    #[error(
        "FROM has {found} of the {noted} records from offset {from} of `{partition}` on that were being copied when the copy was interrupted, the others were removed; begin again with an empty TO"
    )]
    ChunkGone {
        /// The partition at the source.
        partition: Partition,
        /// The first offset of the chunk.
        from: u64,
        /// Records of the chunk when it was read first.
        noted: u64,
        /// Records of it now.
        found: u64,
    },
    /// A record that no target takes.
    #[error(
        "the record at offset {offset} of `{partition}` has {size_bytes} bytes, more than a log of annals takes ({limit_bytes}); an archive takes it"
    )]
    RecordTooLarge {
        /// The partition at the source.
        partition: Partition,
        /// The record's offset.
        offset: u64,
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// What the target remembers of the copy is not understood.
    #[error(
        "TO has a note of a copy of topic `{topic}` that cannot be read; it may be of a newer version of annals"
    )]
    Note {
        /// The topic.
        topic: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The copy is done, and is not what it should be.
    #[error("the copy is not what FROM has: {0}")]
    Unverified(String),
    /// The folder holds something else.
    #[error("`{}` is neither empty nor an archive of annals", .0.display())]
    NotAnArchive(PathBuf),
    /// Nothing is there.
    #[error("there is no archive at `{}`", .0.display())]
    NoArchive(PathBuf),
    /// The copy into the archive never came to its end.
    #[error("the archive `{}` is unfinished: run the copy into it again", .0.display())]
    Unfinished(PathBuf),
    /// Made by a program that knows more than this one.
    #[error("the archive `{}` was made by a newer version of annals; use that version", .0.display())]
    NewerArchive(PathBuf),
    /// Somebody else writes the archive.
    #[error("another process is writing the archive `{}`", .0.display())]
    ArchiveInUse(PathBuf),
    /// A file of an archive is not what was written.
    #[error("`{}` is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No space left.
    #[error("no space left on the disk that holds `{}`", .0.display())]
    DiskFull(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("cannot {operation} `{}`", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A task of the copy ended by a panic.
    #[error("a task of the copy ended unexpectedly")]
    Task,
}

impl CopyError {
    pub(crate) fn io(path: &Path, operation: &'static str, source: std::io::Error) -> Self {
        use std::io::ErrorKind;
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull(path.to_owned()),
            _ => Self::Io { path: path.to_owned(), operation, source },
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}
