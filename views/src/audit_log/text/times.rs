//! When the rows of a chunk are, to the minute: a question about a range of time leaves the others out before it looks
//! at them.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

use super::CHUNK_ROWS;
use super::postings::Bits;
use crate::filter::TimeRange;

/// Bytes before the ticks: the first tick since 1970, and what a tick is.
const HEAD: usize = 16;

/// A minute for each number of a chunk, since 1970. Stored in two bytes: as ticks after the chunk's first one, a tick
/// being a minute, or the smallest power of two of minutes with which all of them fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    /// The first minute of the tick that the row is in.
    minutes: Vec<i64>,
    /// The longest tick that one of them has come through, as a power of two.
    shift: u32,
}

impl Times {
    pub(super) fn add(&mut self, number: u16, at: DateTime<Utc>) {
        self.set(number, minute(at));
    }

    /// Takes over what another chunk said of its numbers, which are these now, in their order.
    pub(super) fn take_over(&mut self, numbers: &[u16], from: &Self) {
        self.shift = self.shift.max(from.shift);
        for (number, minute) in numbers.iter().zip(&from.minutes) {
            self.set(*number, *minute);
        }
    }

    fn set(&mut self, number: u16, minute: i64) {
        let number = usize::from(number);
        if self.minutes.len() <= number {
            // Numbers between have no row; any minute will do that another one has.
            self.minutes.resize(number + 1, minute);
        }
        self.minutes[number] = minute;
    }

    /// From the first minute to the last one.
    pub(super) fn span(&self) -> RangeInclusive<i64> {
        let (first, last) = self.ends();
        // A row may be as late as the end of its tick.
        first..=last + (1 << self.shift) - 1
    }

    fn ends(&self) -> (i64, i64) {
        let (first, last) = (self.minutes.iter().min(), self.minutes.iter().max());
        (first.copied().unwrap_or_default(), last.copied().unwrap_or_default())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let (first, last) = self.ends();
        let fits = |shift: &u32| (last >> shift) - (first >> shift) <= i64::from(u16::MAX);
        let shift = (self.shift..i64::BITS).find(fits).unwrap_or(i64::BITS - 1);
        let first = first >> shift;
        let mut bytes = Vec::with_capacity(HEAD + 2 * self.minutes.len());
        bytes.extend(first.to_le_bytes());
        bytes.extend(i64::from(shift).to_le_bytes());
        for minute in &self.minutes {
            let [low, high, ..] = ((minute >> shift) - first).to_le_bytes();
            bytes.extend([low, high]);
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` when it did not.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let Stored { first, shift, ticks } = Stored::of(bytes)?;
        let minutes =
            ticks.iter().map(|tick| (first + i64::from(u16::from_le_bytes(*tick))) << shift).collect();
        Some(Self { minutes, shift })
    }
}

/// Times as they are stored.
pub(super) struct Stored<'a> {
    first: i64,
    /// How long a tick is, as a power of two of minutes.
    pub(super) shift: u32,
    ticks: &'a [[u8; 2]],
}

impl<'a> Stored<'a> {
    /// `None` for anything that [`Times::to_bytes`] did not write.
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk()?;
        let (shift, rest) = rest.split_first_chunk()?;
        let (ticks, rest) = rest.as_chunks();
        let first = i64::from_le_bytes(*first);
        let shift = u32::try_from(i64::from_le_bytes(*shift)).ok().filter(|shift| *shift < i64::BITS)?;
        let is_minute = |tick: i64| tick << shift >> shift == tick;
        let is_time = is_minute(first) && first.checked_add(u16::MAX.into()).is_some_and(is_minute);
        (is_time && rest.is_empty() && ticks.len() <= CHUNK_ROWS).then_some(Self { first, shift, ticks })
    }

    /// Which numbers have rows that may be in a range of minutes.
    pub(super) fn within(&self, range: &RangeInclusive<i64>) -> impl Fn(usize) -> bool {
        self.between(range.start() >> self.shift..=range.end() >> self.shift)
    }

    /// Which numbers have rows that are behind the first minute of a range and before its last one.
    pub(super) fn inside(&self, range: &RangeInclusive<i64>) -> impl Fn(usize) -> bool {
        self.between((range.start() >> self.shift) + 1..=(range.end() >> self.shift) - 1)
    }

    fn between(&self, ticks: RangeInclusive<i64>) -> impl Fn(usize) -> bool {
        let wanted = ticks.start().saturating_sub(self.first)..=ticks.end().saturating_sub(self.first);
        move |number| {
            let tick = self.ticks.get(number).map(|tick| i64::from(u16::from_le_bytes(*tick)));
            tick.is_some_and(|tick| wanted.contains(&tick))
        }
    }

    /// How many of some rows are in each tick, by its first minute; those that have any.
    pub(super) fn counts(&self, rows: &Bits) -> impl Iterator<Item = (i64, u64)> {
        let mut counts = vec![0_u64; 1 << 16];
        for tick in rows.iter().filter_map(|number| self.ticks.get(number)) {
            counts[usize::from(u16::from_le_bytes(*tick))] += 1;
        }
        let (first, shift) = (self.first, self.shift);
        (first..).zip(counts).filter(|(_, count)| *count > 0).map(move |(tick, count)| (tick << shift, count))
    }
}

/// The minutes of a range of time.
pub(super) fn minutes(range: TimeRange) -> RangeInclusive<i64> {
    range.start.map_or(i64::MIN, minute)..=range.end.map_or(i64::MAX, minute)
}

/// The minute of a time.
pub(super) fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}

#[cfg(test)]
mod tests {
    use super::super::postings::{decode, encode};
    use super::*;
    use proptest::prelude::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(minute * 60 + 59, 0).unwrap()
    }

    proptest! {
        /// However often they are taken over: no row of the range is left out, and where two bytes are enough for the
        /// minutes, no other one is left in.
        #[test]
        fn rows_of_a_range_are_found(
            near in prop::collection::btree_map(0..2_000_u16, -70_000..70_000_i64, 1..50),
            far in prop::collection::btree_map(0..2_000_u16, -9_000_000..9_000_000_i64, 0..3),
            start in prop::option::of(-80_000..80_000_i64), length in prop::option::of(0..9_000_000_i64),
            moved in 0..3_000_u16
        ) {
            let end = length.map(|length| start.unwrap_or_default() + length);
            let range = minutes(TimeRange { start: start.map(at), end: end.map(at) });
            let rows: std::collections::BTreeMap<u16, i64> = near.into_iter().chain(far).collect();
            let mut times = Times::default();
            for (number, minute) in &rows {
                times.add(*number, at(*minute));
            }
            let first = Times::from_bytes(&times.to_bytes()).unwrap();
            let mut taken = Times::default();
            taken.take_over(&(moved..moved + 2_000).collect::<Vec<_>>(), &first);
            let fits = rows.values().max().unwrap() - rows.values().min().unwrap() <= i64::from(u16::MAX);
            for (times, moved) in [(times, 0), (first, 0), (taken, moved)] {
                let stored = times.to_bytes();
                prop_assert_eq!(&Times::from_bytes(&stored).unwrap().to_bytes(), &stored);
                let read = Stored::of(&stored).unwrap();
                let (is_in, is_inside) = (read.within(&range), read.inside(&range));
                let all: Vec<u16> = rows.keys().map(|number| number + moved).collect();
                let counts: Vec<(i64, u64)> = read.counts(&decode(&encode(&all)).unwrap()).collect();
                prop_assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), rows.len() as u64);
                prop_assert!(!fits || counts.iter().all(|(at, _)| rows.values().any(|minute| minute == at)));
                for (number, minute) in &rows {
                    prop_assert!(times.span().contains(minute));
                    let is_wanted = range.contains(minute);
                    let (is_in, is_inside) = (is_in(usize::from(number + moved)), is_inside(usize::from(number + moved)));
                    prop_assert!(is_in || !is_wanted);
                    prop_assert!(!fits || is_in == is_wanted);
                    let is_edge = minute == range.start() || minute == range.end();
                    prop_assert!(!is_inside || (is_wanted && !is_edge));
                    prop_assert!(!fits || is_inside == (is_wanted && !is_edge));
                }
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let read = Times::from_bytes(&bytes);
            prop_assert_eq!(read.is_some(), Stored::of(&bytes).is_some());
        }
    }

    #[test]
    fn times_of_more_rows_than_a_chunk_has_are_refused() {
        assert!(Times::from_bytes(&vec![0; HEAD + 2 * CHUNK_ROWS]).is_some());
        assert!(Times::from_bytes(&vec![0; HEAD + 2 * CHUNK_ROWS + 2]).is_none());
        assert_eq!(Times::from_bytes(&Times::default().to_bytes()), Some(Times::default()));
    }
}
