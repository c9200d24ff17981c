//! Between which times the rows of a chunk are, block by block: a question about a range of time leaves the others out.
//!
//! Rows stand in the order of the log, which is nearly that of time.

use chrono::{DateTime, Utc};

use super::CHUNK_ROWS;
use super::places::{bytes, numbers};
use crate::filter::TimeRange;

/// Numbers of a block.
pub(super) const BLOCK_ROWS: usize = 1_024;

/// The first and the last time of each block, in microseconds since 1970. One without a row ends before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times(Vec<(i64, i64)>);

/// A block without a row.
const NEVER: (i64, i64) = (i64::MAX, i64::MIN);

impl Times {
    pub(super) fn add(&mut self, number: u16, at: DateTime<Utc>) {
        self.extend(number, (at.timestamp_micros(), at.timestamp_micros()));
    }

    /// Takes over what another chunk said of a row.
    pub(super) fn take_over(&mut self, number: u16, from: &Self, before: usize) {
        self.extend(number, from.0.get(before / BLOCK_ROWS).copied().unwrap_or(NEVER));
    }

    fn extend(&mut self, number: u16, (first, last): (i64, i64)) {
        let block = usize::from(number) / BLOCK_ROWS;
        if self.0.len() <= block {
            self.0.resize(block + 1, NEVER);
        }
        self.0[block] = (self.0[block].0.min(first), self.0[block].1.max(last));
    }

    /// Whether a block may have rows in a range of time.
    pub(super) fn meets(&self, block: usize, range: TimeRange) -> bool {
        let (first, last) = self.0.get(block).copied().unwrap_or(NEVER);
        first <= last
            && range.start.is_none_or(|start| start.timestamp_micros() <= last)
            && range.end.is_none_or(|end| end.timestamp_micros() >= first)
    }

    /// Whether any block may.
    pub(super) fn any_meets(&self, range: TimeRange) -> bool {
        (0..self.0.len()).any(|block| self.meets(block, range))
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        bytes(self.0.iter().flat_map(|(first, last)| [*first, *last]))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let blocks: Option<Vec<_>> =
            numbers(bytes)?.chunks(2).map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect();
        blocks.filter(|blocks| blocks.len() <= CHUNK_ROWS / BLOCK_ROWS).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    proptest! {
        /// However often it is taken over, no row of the range is left out.
        #[test]
        fn a_row_of_the_range_is_in_a_block_that_meets_it(
            rows in prop::collection::btree_map(any::<u16>(), 0..1_000_i64, 1..50),
            start in prop::option::of(0..1_000_i64), end in prop::option::of(0..1_000_i64), moved in 0..3_000_u16
        ) {
            let range = TimeRange { start: start.map(at), end: end.map(at) };
            let mut times = Times::default();
            for (number, second) in &rows {
                times.add(*number, at(*second));
            }
            let stored = Times::from_bytes(&times.to_bytes()).unwrap();
            prop_assert_eq!(&stored, &times);
            let mut later = Times::default();
            for number in rows.keys() {
                later.take_over(number.saturating_add(moved), &stored, usize::from(*number));
            }
            for (number, second) in &rows {
                let is_in = start.is_none_or(|start| start <= *second) && end.is_none_or(|end| *second <= end);
                let block = usize::from(*number) / BLOCK_ROWS;
                prop_assert!(!is_in || times.meets(block, range) && times.any_meets(range));
                let block = usize::from(number.saturating_add(moved)) / BLOCK_ROWS;
                prop_assert!(!is_in || later.meets(block, range));
            }
        }
    }

    #[test]
    fn nothing_meets_a_chunk_without_rows() {
        assert!(!Times::default().any_meets(TimeRange::default()));
        assert!(Times::from_bytes(&[0; 17]).is_none() && Times::from_bytes(&vec![0; 16 * 65]).is_none());
    }
}
