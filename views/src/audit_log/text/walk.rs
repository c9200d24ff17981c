//! Hits in the order of time: a page looks at those rows only that may be on it.
//!
//! Rows are known to the minute, so they come in groups of whole minutes. Of a chunk that spans many weeks they are known
//! to a longer tick; then groups are as long as the longest one. All are powers of two of minutes, so that no group of one
//! length lies across two of another.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use annals_store::Transaction;

use super::find::{Hits, in_order};
use crate::audit_log::Direction;

/// A way through the hits of a question, from the newest to the oldest or the other way.
#[derive(Debug)]
pub(in super::super) struct Walk {
    hits: Hits,
    direction: Direction,
    /// Chunks of `hits` whose times are not known, the next one at the end.
    waiting: Vec<usize>,
    /// The minutes that lie ahead.
    ahead: RangeInclusive<i64>,
    /// How many rows of the other chunks are in each of them, and in all.
    minutes: BTreeMap<i64, u64>,
    known: u64,
    /// The longest tick of these chunks, as a power of two.
    shift: u32,
}

/// What comes next.
enum Step {
    Stage(Stage),
    /// Nothing until it is known when the rows of this chunk are.
    Needs(usize),
    End,
}

/// Where a walk went on.
pub(in super::super) struct Stage {
    /// Rows that were passed over.
    pub(in super::super) passed: u64,
    /// Those that follow them, by lane and place: every row until the last one of them, however they are sorted within a
    /// minute.
    pub(in super::super) places: Vec<(i64, i64)>,
}

impl Walk {
    pub(in super::super) fn new(hits: Hits, direction: Direction) -> Self {
        let mut waiting: Vec<usize> = (0..hits.chunks.len()).collect();
        waiting.sort_by_key(|chunk| {
            let minutes = &hits.chunks[*chunk].minutes;
            match direction {
                Direction::Descending => *minutes.end(),
                Direction::Ascending => -*minutes.start(),
            }
        });
        let mut minutes = BTreeMap::new();
        for row in &hits.tested {
            *minutes.entry(row.minute).or_default() += 1;
        }
        let known = hits.tested.len() as u64;
        Self { hits, direction, waiting, ahead: i64::MIN..=i64::MAX, minutes, known, shift: 0 }
    }

    /// Passes over `skip` rows at most, and gives the next ones: at least `want` of those behind `skip`, unless there are
    /// fewer. `None` at the end.
    pub(in super::super) async fn next(
        &mut self,
        tx: &mut Transaction,
        skip: u64,
        want: u64,
    ) -> Result<Option<Stage>, sqlx::Error> {
        loop {
            match self.step(skip, want)? {
                Step::Stage(stage) => return Ok(Some(stage)),
                Step::Needs(chunk) => {
                    self.hits.chunks[chunk].read_times(tx).await?;
                    self.learn(chunk)?;
                }
                Step::End => return Ok(None),
            }
        }
    }

    fn step(&mut self, skip: u64, want: u64) -> Result<Step, sqlx::Error> {
        let is_enough = self.waiting.is_empty() || self.known >= skip.saturating_add(want);
        let stage = if is_enough { self.stage(skip, want) } else { None };
        let Some((passed, range)) = stage else {
            return Ok(self.waiting.pop().map_or(Step::End, Step::Needs));
        };
        // A longer tick than before may begin in minutes that are behind.
        let range = *range.start().max(self.ahead.start())..=*range.end().min(self.ahead.end());
        self.ahead = match self.direction {
            Direction::Descending => i64::MIN..=range.start() - 1,
            Direction::Ascending => range.end() + 1..=i64::MAX,
        };
        self.minutes.retain(|minute, _| self.ahead.contains(minute));
        self.known = self.minutes.values().sum();
        let mut places = Vec::new();
        for (number, chunk) in self.hits.chunks.iter().enumerate() {
            if !self.waiting.contains(&number) {
                let mut rows = chunk.rows.clone();
                rows.retain(chunk.times()?.within(&range));
                places.extend(chunk.places(&rows));
            }
        }
        let tested = self.hits.tested.iter().filter(|row| range.contains(&row.minute));
        places.extend(tested.map(|row| row.place));
        Ok(Step::Stage(Stage { passed, places: in_order(places) }))
    }

    /// Takes a chunk's times, which have been read.
    fn learn(&mut self, chunk: usize) -> Result<(), sqlx::Error> {
        let chunk = &self.hits.chunks[chunk];
        let times = chunk.times()?;
        self.shift = self.shift.max(times.shift);
        for (minute, count) in times.counts(&chunk.rows) {
            *self.minutes.entry(minute).or_default() += count;
            self.known += count;
        }
        Ok(())
    }

    /// How many rows are passed over, and the minutes of the rows that follow, as [`next`](Self::next) has them. `None` when
    /// chunks that are waiting may have rows among them.
    fn stage(&self, skip: u64, want: u64) -> Option<(u64, RangeInclusive<i64>)> {
        let next = self.waiting.last().map(|chunk| &self.hits.chunks[*chunk].minutes);
        let (mut passed, mut taken) = (0, 0);
        let mut range: Option<RangeInclusive<i64>> = None;
        for (group, count) in self.groups() {
            let is_open = next.is_some_and(|next| match self.direction {
                Direction::Descending => group.start() <= next.end(),
                Direction::Ascending => group.end() >= next.start(),
            });
            if is_open {
                return None;
            }
            if range.is_none() && passed + count <= skip {
                passed += count;
                continue;
            }
            taken += count;
            range = Some(match range {
                Some(range) => *range.start().min(group.start())..=*range.end().max(group.end()),
                None => group,
            });
            if taken >= want.saturating_add(skip - passed) {
                break;
            }
        }
        let is_whole = next.is_none() || taken >= want.saturating_add(skip - passed);
        range.filter(|_| is_whole).map(|range| (passed, range))
    }

    /// The rows of each group, in the walk's direction.
    fn groups(&self) -> impl Iterator<Item = (RangeInclusive<i64>, u64)> {
        let mut minutes = Vec::with_capacity(self.minutes.len());
        let in_order: &mut dyn Iterator<Item = (&i64, &u64)> = match self.direction {
            Direction::Descending => &mut self.minutes.iter().rev(),
            Direction::Ascending => &mut self.minutes.iter(),
        };
        for (minute, count) in in_order {
            let group = minute >> self.shift;
            match minutes.last_mut() {
                Some((last, rows)) if *last == group => *rows += *count,
                _ => minutes.push((group, *count)),
            }
        }
        let shift = self.shift;
        minutes.into_iter().map(move |(group, rows)| {
            let first = group << shift;
            (first..=first.saturating_add((1 << shift) - 1), rows)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::find::{InChunk, Matching};
    use super::super::times::Times;
    use super::*;
    use chrono::DateTime;
    use proptest::prelude::*;

    /// The minute of each row of a chunk, and another one, far away, that makes its ticks long.
    type Minutes = (Vec<i64>, Option<i64>);

    fn chunk() -> impl Strategy<Value = Minutes> {
        let near = (0..60_i64, prop::collection::vec(0..40_i64, 1..30));
        let far = prop_oneof![2 => Just(None), 1 => (66_000..1_000_000_i64).prop_map(|far| Some(-far))];
        (near, far).prop_map(|((first, minutes), far)| (minutes.iter().map(|at| first + at).collect(), far))
    }

    /// The hits of chunks, of which every third row is none, and the minute of each.
    fn hits(chunks: &[Minutes]) -> (Hits, BTreeMap<(i64, i64), i64>) {
        let (mut made, mut minutes) = (Vec::new(), BTreeMap::new());
        for (lane, (near, far)) in (0..).zip(chunks) {
            let mut times = Times::default();
            let mut rows = Vec::new();
            for (number, minute) in (0_u16..).zip(near.iter().chain(far)) {
                times.add(number, DateTime::from_timestamp(minute * 60 + 7, 0).unwrap());
                if number % 3 != 2 {
                    rows.push(number);
                    minutes.insert((lane, i64::from(number)), *minute);
                }
            }
            made.push(InChunk::of_test(lane, near.len() + 1, &rows, &times));
        }
        (Hits::of_test(made), minutes)
    }

    proptest! {
        #[test]
        fn every_row_comes_once_and_in_the_order_of_time(
            chunks in prop::collection::vec(chunk(), 0..6),
            tested in prop::collection::vec(0..100_i64, 0..20),
            is_ascending: bool,
            (skip, want) in (0..60_u64, 1..40_u64),
        ) {
            let direction = if is_ascending { Direction::Ascending } else { Direction::Descending };
            let (mut hits, mut minutes) = hits(&chunks);
            for (place, minute) in (0..).zip(tested) {
                hits.tested.push(Matching { minute, place: (99, place), actor: 0 });
                minutes.insert((99, place), minute);
            }
            let mut walk = Walk::new(hits, direction);
            let (mut skip, mut left) = (skip, minutes.clone());
            // Whether no row that is left comes before one that goes.
            let are_first = |gone: &[i64], left: &BTreeMap<(i64, i64), i64>| match direction {
                Direction::Ascending => gone.iter().max() < left.values().min() || gone.is_empty() || left.is_empty(),
                Direction::Descending => gone.iter().min() > left.values().max() || gone.is_empty() || left.is_empty(),
            };
            loop {
                match walk.step(skip, want).unwrap() {
                    Step::Needs(chunk) => walk.learn(chunk).unwrap(),
                    Step::End => break,
                    Step::Stage(Stage { passed, places }) => {
                        prop_assert!(passed <= skip && !places.is_empty());
                        let given: Vec<i64> = places.iter().map(|place| left.remove(place).unwrap()).collect();
                        // Those that were passed over are the first ones of what is left.
                        let mut first: Vec<((i64, i64), i64)> = left.iter().map(|(place, minute)| (*place, *minute)).collect();
                        first.sort_by_key(|(_, minute)| if is_ascending { *minute } else { -minute });
                        let gone: Vec<i64> = first[..passed as usize].iter().map(|(_, minute)| *minute).collect();
                        first[..passed as usize].iter().for_each(|(place, _)| { left.remove(place); });
                        let rest: BTreeMap<_, _> = places.iter().copied().zip(given.iter().copied()).collect();
                        prop_assert!(are_first(&gone, &rest) && are_first(&given, &left));
                        prop_assert!(given.len() as u64 >= want + skip - passed || left.is_empty());
                        skip = 0;
                    }
                }
            }
            // Nothing is left but rows that were all to be skipped.
            prop_assert!(left.is_empty() || left.len() as u64 <= skip);
        }
    }
}
