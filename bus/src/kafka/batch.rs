//! What the polling thread has in its hands for its owner.

use super::reader::size;
use crate::{Partition, PartitionRecords, ReadLimit, StoredRecord};

/// Records until they are handed over.
#[derive(Default)]
pub(super) struct Batch {
    parts: Vec<PartitionRecords>,
    records: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn is_full(&self, limit: ReadLimit) -> bool {
        self.records > 0 && (self.records >= limit.records || self.bytes >= limit.bytes)
    }

    pub(super) fn add(&mut self, partition: &Partition, from: u64, record: StoredRecord) {
        self.records += 1;
        self.bytes += size(&record);
        match self.parts.iter_mut().find(|part| part.partition == *partition) {
            Some(part) => part.records.push(record),
            None => {
                let partition = partition.clone();
                self.parts.push(PartitionRecords { partition, from, records: vec![record] });
            }
        }
    }

    /// Forgets what came of partitions that go to somebody else.
    pub(super) fn drop_all(&mut self, partitions: &[Partition]) {
        for part in self.parts.extract_if(.., |part| partitions.contains(&part.partition)) {
            self.records -= part.records.len();
            self.bytes -= part.records.iter().map(size).sum::<usize>();
        }
    }

    pub(super) fn take(&mut self) -> Vec<PartitionRecords> {
        std::mem::take(self).parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_go_take_their_room_along() {
        let (mine, theirs) = (Partition::new("alpha", 0), Partition::new("alpha", 1));
        let record = |offset, value: &'static [u8]| StoredRecord {
            offset,
            recorded_at: Default::default(),
            key: Some("k".into()),
            value: value.into(),
            headers: Vec::new(),
        };
        let limit = ReadLimit { records: 100, bytes: 10 };
        let mut batch = Batch::default();
        batch.add(&mine, 0, record(0, b"x"));
        batch.add(&theirs, 5, record(5, b"0123456789"));
        assert!(batch.is_full(limit));
        batch.drop_all(std::slice::from_ref(&theirs));
        assert!(!batch.is_full(limit) && !batch.is_empty());
        batch.drop_all(std::slice::from_ref(&mine));
        assert!(batch.is_empty());
        assert!(!batch.is_full(ReadLimit { records: 1, bytes: 0 }));
        assert!(batch.take().is_empty());
    }
}
