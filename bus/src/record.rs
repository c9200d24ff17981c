//! What goes into the log and what comes out.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Partition;

/// A header: a name and bytes.
pub type Header = (String, Bytes);

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
