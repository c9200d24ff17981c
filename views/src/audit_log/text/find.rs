//! Hits: the rows that the index names for a question, which of them it is sure of, and the tail that it does not know yet.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use annals_store::Transaction;
use annals_store::sql::{Row, sql};

use super::CHUNK_ROWS;
use super::candidates::{Bounds, candidates};
use super::needle::Clues;
use super::places::{self, Positions, Runs};
use super::postings::Bits;
use super::times::{self, Stored};
use crate::filter::TimeRange;

/// Chunks whose entries are in memory at once.
pub(super) const CHUNKS_AT_ONCE: usize = 32;

/// Rows that may have come since hits were settled before the index is asked again.
const MAX_NEW: u64 = 5_000;

/// Rows beside the chunks from which on it is, too: it has most of them by then.
const MAX_TESTED: usize = 40_000;

/// What a question may do by way of the text index before it is better answered without.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rows that are looked at one by one. Where it is more, the indexes by time find a page sooner. None: the text index is
    /// not asked.
    pub candidates: usize,
    /// Candidates of a chunk up to which they are as soon tested as more is learnt of them: some thousand bytes are read for
    /// that.
    pub few: usize,
}

impl Effort {
    /// Rows that are as soon sorted as it is found out who acted in them, and looked at again with every page as remembered.
    pub(in super::super) fn again(self) -> usize {
        self.few.saturating_mul(80)
    }
}

impl Default for Effort {
    fn default() -> Self {
        Self { candidates: 20_000, few: 24 }
    }
}

/// A row that was found to match.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Matching {
    pub(super) minute: i64,
    /// Lane and place.
    pub(super) place: (i64, i64),
    pub(super) actor: i64,
}

impl Matching {
    /// Of a row's time, lane, place and actor.
    pub(in super::super) fn read(row: &Row) -> Result<Self, sqlx::Error> {
        let minute = times::minute(row.get(0)?);
        Ok(Self { minute, place: (row.get(1)?, row.get(2)?), actor: row.get(3)? })
    }
}

/// Rows that may match. No other row does.
#[derive(Clone, Debug)]
pub(in super::super) struct Hits {
    pub(super) chunks: Vec<InChunk>,
    /// Rows of which it was found out that they match.
    pub(super) tested: Vec<Matching>,
    /// The tail: every row from these places on.
    tail: Positions,
    /// Where the rows of the view end.
    reached: Positions,
}

/// The hits of a chunk.
#[derive(Clone, Debug)]
pub(super) struct InChunk {
    pub(super) number: i64,
    pub(super) runs: Runs,
    /// Between which minutes the chunk's rows are.
    pub(super) minutes: RangeInclusive<i64>,
    pub(super) rows: Bits,
    /// Those that match for certain.
    pub(super) certain: Bits,
    /// When its rows are, as it is stored; read when it is asked for.
    times: Option<Vec<u8>>,
}

/// The hits of a question in a range of time; `None` when too many must be tested one by one, or nothing is indexed. Some
/// of those that must be tested may be out of the range. Where no total is wanted, also `None` when hits lie so close that
/// the indexes by time find a page sooner.
pub(in super::super) async fn find(
    tx: &mut Transaction,
    clues: &Clues,
    time: TimeRange,
    effort: Effort,
    wants_total: bool,
) -> Result<Option<Hits>, sqlx::Error> {
    let rows =
        sql("SELECT number, runs, reached, first_minute, last_minute FROM text_chunks ORDER BY number DESC")
            .fetch_all(&mut *tx)
            .await?;
    let Some(newest) = rows.first() else { return Ok(None) };
    let reached = places::positions_from_bytes(&newest.get::<Vec<u8>>(2)?).ok_or_else(damaged)?;
    let minutes = times::minutes(time);
    let mut in_range = Vec::with_capacity(rows.len());
    for row in rows {
        let (first, last) = (row.get::<i64>(3)?, row.get::<i64>(4)?);
        if *minutes.start() <= last && first <= *minutes.end() {
            in_range.push(row);
        }
    }
    // Of many chunks few rows each are too many together.
    let share = effort.candidates / (2 * in_range.len().max(1));
    let bounds = Bounds { few: effort.few.min(share), share };
    let (mut found, mut plan) = (Vec::new(), None);
    let (mut all, mut to_test) = (0, 0);
    for (batch, chunks) in in_range.chunks(CHUNKS_AT_ONCE).enumerate() {
        for mut chunk in candidates(tx, clues, bounds, chunks, &mut plan).await? {
            chunk.leave(tx, &minutes, bounds.few).await?;
            let rows = chunk.rows.count();
            all += rows;
            to_test += rows - chunk.certain.count();
            let lie_close = !wants_total && batch == 0 && all > effort.candidates;
            if to_test > effort.candidates || lie_close {
                return Ok(None);
            }
            found.push(chunk);
        }
    }
    let ends = places::ends(tx.connection()).await?;
    let tail = ends.iter().map(|(lane, _)| (*lane, places::next(&reached, *lane))).collect();
    Ok(Some(Hits { chunks: found, tested: Vec::new(), tail, reached: ends }))
}

impl InChunk {
    /// Of which nothing is certain yet.
    pub(super) fn of(row: &Row, runs: Runs, rows: Bits) -> Result<Self, sqlx::Error> {
        let minutes = row.get(3)?..=row.get(4)?;
        Ok(Self { number: row.get(0)?, runs, minutes, rows, certain: Bits::none(), times: None })
    }

    /// How many of its rows may match or not.
    pub(super) fn open(&self) -> usize {
        self.rows.count() - self.certain.count()
    }

    /// Leaves the rows that may be in a range of minutes. The index is not sure of those in its first and last one.
    async fn leave(
        &mut self,
        tx: &mut Transaction,
        range: &RangeInclusive<i64>,
        few: usize,
    ) -> Result<(), sqlx::Error> {
        if range.start() < self.minutes.start() && self.minutes.end() < range.end() {
            return Ok(());
        }
        if self.rows.count() <= few {
            self.certain = Bits::none();
            return Ok(());
        }
        self.read_times(tx).await?;
        let times = self.times()?;
        let (within, inside) = (times.within(range), times.inside(range));
        let (mut rows, mut certain) = (self.rows.clone(), self.certain.clone());
        rows.retain(within);
        certain.retain(inside);
        (self.rows, self.certain) = (rows, certain);
        Ok(())
    }

    /// Reads when its rows are, unless that is known.
    pub(super) async fn read_times(&mut self, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        if self.times.is_none() {
            let stored = sql("SELECT times FROM text_chunks WHERE number = ?").bind(self.number);
            self.times = Some(stored.fetch_scalar(tx).await?);
        }
        Ok(())
    }

    /// When its rows are.
    pub(super) fn times(&self) -> Result<Stored<'_>, sqlx::Error> {
        self.times.as_deref().and_then(Stored::of).ok_or_else(damaged)
    }

    /// What these rows of it are called.
    pub(super) fn places(&self, rows: &Bits) -> Vec<(i64, i64)> {
        self.runs.places(rows.iter()).collect()
    }
}

impl Hits {
    /// These, which were settled, with the rows that came since as their tail. `None` when the index has other chunks now,
    /// when too many came in all or since, or when this snapshot is older.
    pub(in super::super) async fn again(&self, tx: &mut Transaction) -> Result<Option<Self>, sqlx::Error> {
        let reached = places::ends(tx.connection()).await?;
        let tail = match places::since(&self.reached, &reached) {
            Some((new, tail)) if new <= MAX_NEW && self.tested.len() <= MAX_TESTED => tail,
            _ => return Ok(None),
        };
        // Small chunks become one, under another number. A database that crashed may have lost the newest ones, and have
        // other rows under their numbers now.
        let chunks = sql("SELECT number, runs FROM text_chunks").fetch_all(tx).await?;
        let runs =
            |row: &Row| Ok((row.get(0)?, Runs::from_bytes(&row.get::<Vec<u8>>(1)?).ok_or_else(damaged)?));
        let chunks: HashMap<i64, Runs> = chunks.iter().map(runs).collect::<Result<_, sqlx::Error>>()?;
        let stands = |chunk: &InChunk| chunks.get(&chunk.number) == Some(&chunk.runs);
        let hits = || Self { tail, reached, ..self.clone() };
        Ok(self.chunks.iter().all(stands).then(hits))
    }

    /// These to be remembered: what can be read again is left out.
    pub(in super::super) fn to_keep(&self) -> Self {
        let mut kept = self.clone();
        kept.chunks.iter_mut().for_each(|chunk| chunk.times = None);
        kept
    }

    /// How much memory they take, about.
    pub(in super::super) fn bytes(&self) -> usize {
        let chunks = self
            .chunks
            .iter()
            .map(|chunk| size_of::<InChunk>() + 2 * CHUNK_ROWS / 8 + chunk.runs.to_bytes().len());
        size_of_val(self.tested.as_slice()) + size_of_val(self.reached.as_slice()) + chunks.sum::<usize>()
    }

    /// The rows that must be tested to know which of them match, by lane and place; and from which places on every row
    /// must.
    pub(in super::super) fn untested(&self) -> (Vec<(i64, i64)>, &Positions) {
        let untested = self.chunks.iter().flat_map(|chunk| {
            let mut rows = chunk.rows.clone();
            rows.and_not(&chunk.certain);
            chunk.places(&rows)
        });
        (in_order(untested.collect()), &self.tail)
    }

    /// From which places on every row must be tested.
    pub(in super::super) fn tail(&self) -> &Positions {
        &self.tail
    }

    /// Takes what was found out of the rows that were [`untested`](Self::untested): which of them match. From now on
    /// there are no others, beside those that were settled before.
    pub(in super::super) fn settle(&mut self, matching: Vec<Matching>) {
        for chunk in &mut self.chunks {
            chunk.rows = chunk.certain.clone();
        }
        self.settle_tail(matching);
    }

    /// The same of the tail alone.
    pub(in super::super) fn settle_tail(&mut self, matching: Vec<Matching>) {
        self.tested.extend(matching);
        self.tail = Positions::new();
    }

    /// How many rows match for certain.
    pub(in super::super) fn certain(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.certain.count()).sum()
    }

    /// How many rows there are, without the tail.
    pub(in super::super) fn count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.count()).sum::<usize>() + self.tested.len()
    }

    /// All of them, without the tail, by lane and place.
    pub(in super::super) fn places(&self) -> Vec<(i64, i64)> {
        let tested = self.tested.iter().map(|row| row.place);
        in_order(self.chunks.iter().flat_map(|chunk| chunk.places(&chunk.rows)).chain(tested).collect())
    }
}

#[cfg(test)]
impl Hits {
    pub(in super::super) fn none() -> Self {
        Self::of_test(Vec::new())
    }

    pub(super) fn of_test(chunks: Vec<InChunk>) -> Self {
        Self { chunks, tested: Vec::new(), tail: Positions::new(), reached: Positions::new() }
    }
}

#[cfg(test)]
impl InChunk {
    /// So many places of a lane, some of which are hits.
    pub(super) fn of_test(lane: i64, places: usize, rows: &[u16], times: &times::Times) -> Self {
        let mut runs = Runs::default();
        (0..).take(places).for_each(|place| assert!(runs.add(lane, place).is_some()));
        Self {
            number: lane,
            runs,
            minutes: times.span(),
            rows: super::postings::decode(&super::postings::encode(rows)).unwrap(),
            certain: Bits::none(),
            times: Some(times.to_bytes()),
        }
    }
}

/// Places in order, none twice: whoever looks them up one by one must find each once.
pub(in super::super) fn in_order(mut places: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    places.sort_unstable();
    places.dedup();
    places
}

pub(super) fn damaged() -> sqlx::Error {
    sqlx::Error::Decode("an entry of the text index is damaged".into())
}
