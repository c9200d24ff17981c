//! What an interrupted append left behind: which records of a chunk the target has, and which it still lacks.
//!
//! The target's records since the chunk was begun are compared with the chunk's, not only counted: so a writer that came
//! in between is noticed, and records without a key, which an engine puts where it likes, are found wherever they are.

use std::collections::HashMap;

use annals_bus::partitioner::partition_of;
use annals_bus::{Header, StoredRecord};
use bytes::Bytes;

/// A place at the target.
pub(super) type Place = (u32, u64);

/// Where the target has each record of a chunk; `None` for those that it lacks. `tails` are the target's records since
/// the chunk was begun, per partition.
///
/// # Errors
/// The first place at the target whose record is not the chunk's.
pub(super) fn settle(
    chunk: &[StoredRecord],
    tails: &[Vec<StoredRecord>],
) -> Result<Vec<Option<Place>>, Place> {
    let count = u32::try_from(tails.len()).unwrap_or(u32::MAX);
    let mut keyed: Vec<_> =
        tails.iter().map(|tail| tail.iter().filter(|r| r.key.is_some()).peekable()).collect();
    let mut keyless = Keyless::of(tails);
    let mut places = Vec::with_capacity(chunk.len());
    for record in chunk {
        let place = match &record.key {
            Some(key) => {
                let number = partition_of(key, count);
                match keyed.get_mut(number as usize).and_then(Iterator::next) {
                    Some(found) if same(found, record) => Some((number, found.offset)),
                    Some(other) => return Err((number, other.offset)),
                    None => None,
                }
            }
            None => keyless.take(record),
        };
        places.push(place);
    }
    let unexplained =
        keyed.into_iter().zip(0..).find_map(|(mut tail, number)| Some((number, tail.next()?.offset)));
    match unexplained.or_else(|| keyless.first()) {
        Some(place) => Err(place),
        None => Ok(places),
    }
}

/// Whether two records are the same, wherever they stand.
pub(super) fn same(one: &StoredRecord, other: &StoredRecord) -> bool {
    one.key == other.key && content(one) == content(other)
}

/// What makes a record without a key the one it is.
type Content<'a> = (i64, &'a Bytes, &'a [Header]);

fn content(record: &StoredRecord) -> Content<'_> {
    (record.recorded_at.timestamp_micros(), &record.value, &record.headers)
}

/// The records without a key at the target: their order is nobody's concern.
struct Keyless<'a>(HashMap<Content<'a>, Vec<Place>>);

impl<'a> Keyless<'a> {
    fn of(tails: &'a [Vec<StoredRecord>]) -> Self {
        let mut places: HashMap<_, Vec<Place>> = HashMap::new();
        for (tail, number) in tails.iter().zip(0..) {
            for record in tail.iter().filter(|record| record.key.is_none()) {
                places.entry(content(record)).or_default().push((number, record.offset));
            }
        }
        Self(places)
    }

    fn take(&mut self, record: &'a StoredRecord) -> Option<Place> {
        self.0.get_mut(&content(record))?.pop()
    }

    fn first(&self) -> Option<Place> {
        self.0.values().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;

    fn record(offset: u64, key: Option<u8>, value: u8) -> StoredRecord {
        StoredRecord {
            offset,
            recorded_at: DateTime::from_timestamp_micros(i64::from(value)).unwrap(),
            key: key.map(|key| Bytes::from(vec![key])),
            value: Bytes::from(vec![value]),
            headers: vec![("h".into(), Bytes::from(vec![value]))],
        }
    }

    /// The chunk appended to partitions that ended at 100, records without a key in turn.
    fn appended(chunk: &[StoredRecord], partitions: u32) -> Vec<Vec<StoredRecord>> {
        let mut tails = vec![Vec::new(); partitions as usize];
        for (index, record) in chunk.iter().enumerate() {
            let number =
                record.key.as_ref().map_or(index as u32 % partitions, |key| partition_of(key, partitions));
            let tail: &mut Vec<StoredRecord> = &mut tails[number as usize];
            tail.push(StoredRecord { offset: 100 + tail.len() as u64, ..record.clone() });
        }
        tails
    }

    proptest! {
        #[test]
        fn what_is_lacking_completes_any_prefix(
            chunk in prop::collection::vec((prop::option::of(0..9_u8), 0..5_u8), 0..60),
            partitions in 1..5_u32,
            kept in prop::collection::vec(0..40_usize, 5),
        ) {
            let chunk: Vec<_> = (0..).zip(chunk).map(|(offset, (key, value))| record(offset, key, value)).collect();
            let whole = appended(&chunk, partitions);
            let mut tails = whole.clone();
            for (tail, kept) in tails.iter_mut().zip(&kept) {
                tail.truncate(*kept);
            }
            let places = settle(&chunk, &tails).unwrap();
            let there: usize = tails.iter().map(Vec::len).sum();
            prop_assert_eq!(places.iter().flatten().count(), there);
            for (record, place) in chunk.iter().zip(&places) {
                if let Some((number, offset)) = place {
                    prop_assert!(same(&tails[*number as usize][(offset - 100) as usize], record));
                }
            }
            // The records that lack, appended in their order, bring every key to the order that it has at the source.
            let lacking: Vec<_> =
                chunk.iter().zip(&places).filter(|(_, place)| place.is_none()).map(|(r, _)| r.clone()).collect();
            for (tail, more) in tails.iter_mut().zip(appended(&lacking, partitions)) {
                tail.extend(more);
            }
            let keyed = |tails: &[Vec<StoredRecord>]| -> Vec<Vec<_>> {
                let values = |tail: &Vec<StoredRecord>| {
                    tail.iter().filter(|r| r.key.is_some()).map(|r| (r.key.clone(), r.value.clone())).collect()
                };
                tails.iter().map(values).collect()
            };
            prop_assert_eq!(keyed(&tails), keyed(&whole));
            let mut keyless: Vec<_> =
                tails.iter().flatten().filter(|r| r.key.is_none()).map(|r| r.value.clone()).collect();
            let mut expected: Vec<_> =
                chunk.iter().filter(|r| r.key.is_none()).map(|r| r.value.clone()).collect();
            keyless.sort();
            expected.sort();
            prop_assert_eq!(keyless, expected);
        }
    }

    #[test]
    fn a_record_of_somebody_else_is_found() {
        let chunk = [record(0, Some(1), 1), record(1, Some(1), 2), record(2, None, 3)];
        let stranger = |tail: Vec<StoredRecord>| settle(&chunk, &[tail]).unwrap_err();
        assert_eq!(stranger(vec![record(100, Some(1), 9)]), (0, 100));
        assert_eq!(stranger(vec![record(100, Some(1), 1), record(101, Some(2), 2)]), (0, 101));
        assert_eq!(stranger(vec![record(100, Some(1), 2)]), (0, 100), "not a prefix");
        assert_eq!(stranger(vec![record(100, None, 3), record(101, None, 3)]), (0, 100), "once too often");
        let more = vec![record(100, Some(1), 1), record(101, Some(1), 2), record(102, Some(1), 2)];
        assert_eq!(stranger(more), (0, 102));
        let other_time = StoredRecord { recorded_at: DateTime::UNIX_EPOCH, ..record(100, Some(1), 1) };
        assert_eq!(stranger(vec![other_time]), (0, 100));
    }
}
