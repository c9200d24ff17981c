//! What a copy remembers of the last record that it took from a partition, so that the next run notices when the source
//! has another one there: a log that was restored from a backup keeps its id and goes on with other records.

use annals_bus::{Partition, ReadLimit, StoredRecord};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{CopyError, Extent, Result, Source};

/// A record by its offset and content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Its offset at the source.
    pub(super) offset: u64,
    /// SHA-256 of its content, in hexadecimal digits.
    sha256: String,
}

impl Mark {
    pub(super) fn of(record: &StoredRecord) -> Self {
        let mut hasher = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(&record.recorded_at.timestamp_micros().to_le_bytes());
        part(&[u8::from(record.key.is_some())]);
        part(record.key.as_deref().unwrap_or_default());
        part(&record.value);
        for (name, value) in &record.headers {
            part(name.as_bytes());
            part(value);
        }
        Self { offset: record.offset, sha256: hex::encode(hasher.finalize()) }
    }

    /// Refuses a source that has another record there. One whose retention removed it cannot be asked.
    pub(super) async fn check(
        &self,
        source: &dyn Source,
        partition: &Partition,
        extent: &Extent,
    ) -> Result<()> {
        if self.offset < extent.first {
            return Ok(());
        }
        let one = ReadLimit { records: 1, bytes: 1 };
        let found = source.read(partition, self.offset, one).await?;
        if found.first().map(Self::of).as_ref() == Some(self) {
            return Ok(());
        }
        Err(CopyError::SourceChanged { partition: partition.clone(), offset: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use chrono::{DateTime, TimeDelta};

    #[test]
    fn everything_that_is_copied_counts() {
        let record = StoredRecord {
            offset: 3,
            recorded_at: DateTime::UNIX_EPOCH,
            key: Some(Bytes::new()),
            value: Bytes::from_static(b"v"),
            headers: vec![("a".into(), Bytes::from_static(b"b"))],
        };
        let header = |name: &str, value: &str| vec![(name.into(), Bytes::copy_from_slice(value.as_bytes()))];
        let others = [
            StoredRecord { offset: 4, ..record.clone() },
            StoredRecord { recorded_at: record.recorded_at + TimeDelta::microseconds(1), ..record.clone() },
            StoredRecord { key: None, ..record.clone() },
            StoredRecord { value: Bytes::new(), ..record.clone() },
            StoredRecord { headers: header("ab", ""), ..record.clone() },
            StoredRecord { headers: header("", "ab"), ..record.clone() },
        ];
        for other in others {
            assert_ne!(Mark::of(&other), Mark::of(&record), "{other:?}");
        }
        let finer =
            StoredRecord { recorded_at: record.recorded_at + TimeDelta::nanoseconds(7), ..record.clone() };
        assert_eq!(Mark::of(&finer), Mark::of(&record));
        assert_eq!(
            serde_json::to_string(&Mark::of(&record)).unwrap(),
            r#"{"offset":3,"sha256":"97958e5bd97fcc0eb87537b7ba38b723031bf6fde0aeab24cd46c363b2ded41a"}"#
        );
    }
}
