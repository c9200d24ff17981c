//! The rows of a chunk that contain a trigram: as a list of distances, or as a bit for each row where that is shorter.

use super::CHUNK_ROWS;

const DISTANCES: u8 = 0;
const BITS: u8 = 1;

/// Rows of a chunk by their number in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn none() -> Self {
        Self(vec![0; CHUNK_ROWS / 64])
    }

    pub(super) fn all() -> Self {
        Self(vec![u64::MAX; CHUNK_ROWS / 64])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn and(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn and_not(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    pub(super) fn or(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Leaves the numbers that are wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(usize) -> bool) {
        for (at, word) in self.0.iter_mut().enumerate() {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if !is_wanted(at * 64 + bit as usize) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// The numbers, smallest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

/// Rows, smallest first, as they are stored.
pub(super) fn encode(rows: &[u16]) -> Vec<u8> {
    let last = rows.last().map_or(0, |last| usize::from(*last));
    if rows.len() > last / 8 {
        let mut encoded = vec![0; 2 + last / 8];
        encoded[0] = BITS;
        for row in rows {
            encoded[1 + usize::from(row >> 3)] |= 1 << (row & 7);
        }
        return encoded;
    }
    let mut encoded = Vec::with_capacity(1 + rows.len());
    encoded.push(DISTANCES);
    let mut before = 0;
    for row in rows {
        let mut distance = row - before;
        before = *row;
        // Seven bits in a byte; the eighth says that more follow.
        while distance > 0x7f {
            encoded.push(0x80 | distance.to_le_bytes()[0]);
            distance >>= 7;
        }
        encoded.push(distance.to_le_bytes()[0]);
    }
    encoded
}

/// Reads what [`encode`] wrote; `None` when it did not.
pub(super) fn decode(bytes: &[u8]) -> Option<Bits> {
    let mut rows = Bits::none();
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        BITS => {
            let (words, rest) = rest.as_chunks();
            let (whole, more) = rows.0.split_at_mut_checked(words.len())?;
            whole.iter_mut().zip(words).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            for (at, byte) in rest.iter().enumerate() {
                *more.first_mut()? |= u64::from(*byte) << (at * 8);
            }
        }
        DISTANCES => {
            let (mut row, mut distance, mut shift) = (0_usize, 0_usize, 0);
            for byte in rest {
                distance |= usize::from(byte & 0x7f) << shift;
                if byte & 0x80 == 0 {
                    row += distance;
                    *rows.0.get_mut(row / 64)? |= 1 << (row % 64);
                    (distance, shift) = (0, 0);
                } else if shift < 14 {
                    shift += 7;
                } else {
                    return None;
                }
            }
        }
        _ => return None,
    }
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn some_rows() -> impl Strategy<Value = BTreeSet<u16>> {
        prop_oneof![
            prop::collection::btree_set(any::<u16>(), 0..50),
            prop::collection::btree_set(0..200_u16, 1..200),
            Just((0..=u16::MAX).collect()),
            Just([u16::MAX].into()),
        ]
    }

    proptest! {
        #[test]
        fn rows_are_read_as_they_were_written(rows in some_rows()) {
            let listed: Vec<u16> = rows.iter().copied().collect();
            let encoded = encode(&listed);
            prop_assert!(encoded.len() <= 2 + CHUNK_ROWS / 8);
            let read = decode(&encoded).unwrap();
            prop_assert_eq!(read.count(), listed.len());
            prop_assert!(read.iter().eq(listed.iter().map(|row| usize::from(*row))));
        }

        #[test]
        fn rows_of_both_and_of_either(one in some_rows(), other in some_rows()) {
            let bits = |rows: &BTreeSet<u16>| decode(&encode(&rows.iter().copied().collect::<Vec<_>>())).unwrap();
            let (mut both, mut either) = (bits(&one), bits(&one));
            both.and(&bits(&other));
            either.or(&bits(&other));
            prop_assert!(both.iter().eq(one.intersection(&other).map(|row| usize::from(*row))));
            prop_assert!(either.iter().eq(one.union(&other).map(|row| usize::from(*row))));
            prop_assert_eq!(both.is_empty(), one.is_disjoint(&other));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..9_000)) {
            let _ = decode(&bytes);
        }
    }
}
