//! What goes into the log and what comes out.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::{BusError, Partition, Result};

/// A header: a name and bytes. Names are short, and stand in place: catching up reads millions of them in a second.
pub type Header = (SmolStr, Bytes);

/// A record on its way into the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Everything whose order matters has the same key. Without one the record goes anywhere.
    pub key: Option<Bytes>,
    /// The value, as it will be read.
    pub value: Bytes,
    /// Headers.
    pub headers: Vec<Header>,
    /// Time of the first append, when it was another log's; else the appender's clock counts.
    pub recorded_at: Option<DateTime<Utc>>,
}

/// Longest record, headers included, in every engine.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

impl Record {
    /// Bytes that the record takes in the embedded log. The limits of every engine count in them.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
        8 + 4 + self.key.as_ref().map_or(0, Bytes::len) + 4 + self.value.len() + 2 + headers
    }

    /// Its size, when a log takes it.
    pub(crate) fn checked_size(&self) -> Result<usize> {
        let size_bytes = self.size_bytes();
        if size_bytes > MAX_RECORD_BYTES || self.headers.len() > usize::from(u16::MAX) {
            return Err(BusError::RecordTooLarge { size_bytes, limit_bytes: MAX_RECORD_BYTES });
        }
        Ok(size_bytes)
    }
}

/// A record in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its offset in the partition.
    pub offset: u64,
    /// Time of the first append.
    pub recorded_at: DateTime<Utc>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value.
    pub value: Bytes,
    /// Headers.
    pub headers: Vec<Header>,
}

/// A place in the log, within one incarnation of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The log.
    pub incarnation: Uuid,
    /// The partition.
    pub partition: Partition,
    /// The offset of a record, or of the place where the next one will stand.
    pub offset: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}
