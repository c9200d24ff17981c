//! What the index calls a row: its lane and its place in it. A lane grows at its end only.
//!
//! SQLite numbers rows as they are written, by one writer at a time: one lane. PostgreSQL has several writers, and no number
//! of a row that lasts; but each partition's rows are written in the order of the log: a lane for each partition.

use annals_store::sql::{On, Row, Sql, sql};
use annals_store::{Connection, Dialect};
use chrono::{DateTime, Utc};

use super::CHUNK_ROWS;

/// The one lane of SQLite.
const ONLY_LANE: i64 = 0;

/// Places without a row that are numbered rather than begin another run.
const MAX_GAP: i64 = 64;

/// The next place of each lane. One that is not in it: the first.
pub(in super::super) type Positions = Vec<(i64, i64)>;

/// The next place of a lane.
pub(super) fn next(positions: &Positions, lane: i64) -> i64 {
    positions.iter().find(|(known, _)| *known == lane).map_or(0, |(_, next)| *next)
}

/// How many places are behind `to` and not behind `from`.
pub(super) fn between(from: &Positions, to: &Positions) -> u64 {
    to.iter().map(|(lane, end)| end.saturating_sub(next(from, *lane)).max(0).unsigned_abs()).sum()
}

/// What came since: how many places at most, and from which on in each lane that has any. `None` when `now` is the earlier
/// one.
pub(in super::super) fn since(before: &Positions, now: &Positions) -> Option<(u64, Positions)> {
    if before.iter().any(|(lane, end)| next(now, *lane) < *end) {
        return None;
    }
    let tail = now.iter().map(|(lane, end)| (*lane, next(before, *lane), *end));
    let tail = tail.filter(|(_, from, end)| from < end).map(|(lane, from, _)| (lane, from));
    Some((between(before, now), tail.collect()))
}

/// Where the rows of the view end.
pub(in super::super) async fn ends(mut connection: Connection<'_>) -> Result<Positions, sqlx::Error> {
    match connection.dialect() {
        Dialect::Sqlite => {
            let last: Option<i64> = sql("SELECT max(id) FROM events").fetch_scalar(&mut connection).await?;
            Ok(vec![(ONLY_LANE, last.map_or(0, |last| last + 1))])
        }
        Dialect::Postgres => super::super::totals::positions(On::from(&mut connection)).await,
    }
}

/// A row as it is taken into the index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IndexedRow {
    pub(super) lane: i64,
    pub(super) place: i64,
    pub(super) text: String,
    pub(super) at: DateTime<Utc>,
    pub(super) customer: i64,
    pub(super) actor: i64,
    pub(super) action: i64,
    pub(super) entity: Option<i64>,
}

impl IndexedRow {
    pub(super) fn read(lane: i64, row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            lane,
            place: row.get(0)?,
            text: row.get(1)?,
            at: row.get(2)?,
            customer: row.get(3)?,
            actor: row.get(4)?,
            action: row.get(5)?,
            entity: row.get(6)?,
        })
    }
}

/// The rows of a lane, in order, as [`IndexedRow::read`] reads them.
pub(super) fn rows(dialect: Dialect, lane: i64, from: i64, end: i64, limit: u32) -> Sql {
    let statement = match dialect {
        Dialect::Sqlite => {
            sql("SELECT id, search, at, customer, actor, action, entity FROM events
             WHERE id >= ? AND id < ? ORDER BY id LIMIT ?")
        }
        Dialect::Postgres => {
            sql("SELECT \"offset\", search, at, customer, actor, action, entity FROM events WHERE partition = ? AND \"offset\" >= ?
             AND \"offset\" < ? ORDER BY partition, \"offset\" LIMIT ?")
            .bind(lane)
        }
    };
    statement.bind(from).bind(end).bind(limit)
}

/// The places that a chunk numbers: stretches of lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// Lane, first place, and how many places.
    runs: Vec<(i64, i64, i64)>,
    len: usize,
}

impl Runs {
    /// Numbers the next place; places of a lane come in order. `None` when the chunk is full.
    pub(super) fn add(&mut self, lane: i64, place: i64) -> Option<u16> {
        let gap = match self.runs.last() {
            Some((last, first, length)) if *last == lane => place - (first + length),
            _ => MAX_GAP,
        };
        let new = if (0..MAX_GAP).contains(&gap) { gap + 1 } else { 1 };
        let len = self.len + usize::try_from(new).ok()?;
        if len > CHUNK_ROWS {
            return None;
        }
        match self.runs.last_mut() {
            Some((_, _, length)) if (0..MAX_GAP).contains(&gap) => *length += new,
            _ => self.runs.push((lane, place, 1)),
        }
        self.len = len;
        u16::try_from(len - 1).ok()
    }

    /// How many places are numbered, those without a row too.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The places of numbers, which come in order. Numbers beyond the last place are left out.
    pub(super) fn places(&self, numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = (i64, i64)> {
        let mut runs = self.runs.iter();
        let (mut run, mut before) = (runs.next(), 0);
        numbers.map_while(move |number| {
            loop {
                let (lane, first, length) = *run?;
                let at = i64::try_from(number).ok()? - before;
                if at < length {
                    return Some((lane, first + at));
                }
                before += length;
                run = runs.next();
            }
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        bytes(self.runs.iter().flat_map(|(lane, first, length)| [*lane, *first, *length]))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut runs = Self::default();
        for run in numbers(bytes)?.chunks(3) {
            let [lane, first, length] = *run else { return None };
            runs.runs.push((lane, first, length));
            runs.len = runs.len.checked_add(usize::try_from(length).ok()?)?;
        }
        (runs.len <= CHUNK_ROWS).then_some(runs)
    }
}

pub(super) fn positions_to_bytes(positions: &Positions) -> Vec<u8> {
    bytes(positions.iter().flat_map(|(lane, next)| [*lane, *next]))
}

pub(super) fn positions_from_bytes(bytes: &[u8]) -> Option<Positions> {
    numbers(bytes)?.chunks(2).map(|pair| Some((*pair.first()?, *pair.get(1)?))).collect()
}

fn bytes(numbers: impl Iterator<Item = i64>) -> Vec<u8> {
    numbers.flat_map(i64::to_le_bytes).collect()
}

fn numbers(bytes: &[u8]) -> Option<Vec<i64>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|number| i64::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbered_places_are_found_again(lanes in prop::collection::vec(prop::collection::btree_set(0..9_000_i64, 0..60), 0..4)) {
            let (mut runs, mut numbered) = (Runs::default(), Vec::new());
            for (lane, places) in (0_i64..).zip(&lanes) {
                for place in places {
                    numbered.push((usize::from(runs.add(lane, *place).unwrap()), (lane, *place)));
                }
            }
            let stored = Runs::from_bytes(&runs.to_bytes()).unwrap();
            prop_assert_eq!(&stored, &runs);
            let found: Vec<_> = stored.places(numbered.iter().map(|(number, _)| *number)).collect();
            let wanted: Vec<_> = numbered.iter().map(|(_, place)| *place).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn a_chunk_has_an_end() {
        let mut runs = Runs::default();
        assert!((0..65_536).all(|place| runs.add(0, place).is_some()));
        assert_eq!((runs.add(0, 65_536), runs.add(1, 0)), (None, None));
        assert_eq!(runs.places([65_535, 65_536].into_iter()).collect::<Vec<_>>(), [(0, 65_535)]);
    }

    #[test]
    fn positions_are_read_as_they_were_written() {
        let positions = vec![(3, 9), (1, i64::MAX)];
        assert_eq!(positions_from_bytes(&positions_to_bytes(&positions)), Some(positions.clone()));
        assert_eq!((next(&positions, 3), next(&positions, 2)), (9, 0));
        assert_eq!(between(&vec![(3, 4)], &vec![(3, 9), (4, 2)]), 7);
        assert_eq!(since(&vec![(3, 4)], &vec![(3, 9), (4, 2)]), Some((7, vec![(3, 4), (4, 0)])));
        assert_eq!(since(&vec![(3, 4)], &vec![(3, 4)]), Some((0, vec![])));
        assert_eq!((since(&vec![(3, 4)], &vec![(3, 3)]), since(&vec![(3, 4)], &vec![])), (None, None));
        assert!(positions_from_bytes(&[0; 8]).is_none() && Runs::from_bytes(&[0; 23]).is_none());
    }
}
