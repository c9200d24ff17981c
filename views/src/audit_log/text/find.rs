//! Candidates: the rows that the index names for a question, and the tail that it does not know yet.

use std::collections::HashMap;

use annals_store::sql::sql;
use annals_store::{Dialect, Transaction};

use super::places::{self, Positions, Runs};
use super::postings::{Bits, decode};
use super::{Needle, times};
use crate::filter::TimeRange;

/// Chunks whose entries are in memory at once.
const CHUNKS_AT_ONCE: usize = 32;

/// Candidates of a chunk of which it is worth while to know the times before they are looked at.
const WORTH_TIMES: usize = 64;

/// Rows that may match. No other row does.
#[derive(Debug)]
pub(in super::super) struct Hits {
    /// Candidates, by lane and place.
    pub(in super::super) places: Vec<(i64, i64)>,
    /// The tail: every row from these places on.
    pub(in super::super) tail: Positions,
}

/// The candidates of a question; `None` when they are more than `at_most`, or nothing is indexed. Some may be out of the
/// range of time.
pub(in super::super) async fn find(
    tx: &mut Transaction,
    needle: &Needle,
    time: TimeRange,
    at_most: usize,
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
            in_range.push((row, minutes.contains(&first) && minutes.contains(&last)));
        }
    }
    let trigrams: Vec<i64> = needle.trigrams().into_iter().collect();
    let mut found = Vec::new();
    for chunks in in_range.chunks(CHUNKS_AT_ONCE) {
        let numbers = chunks.iter().map(|(row, _)| row.get::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
        let entries = Entries::read(tx, trigrams.clone(), numbers.clone()).await?;
        for ((row, is_within), number) in chunks.iter().zip(numbers) {
            let Some(mut hits) = entries.of(number, needle)? else { continue };
            if !is_within && hits.count() >= WORTH_TIMES {
                let times: Vec<u8> = sql("SELECT times FROM text_chunks WHERE number = ?")
                    .bind(number)
                    .fetch_scalar(&mut *tx)
                    .await?;
                hits.retain(times::within(&times, &minutes).ok_or_else(damaged)?);
            }
            if found.len() + hits.count() > at_most {
                return Ok(None);
            }
            let runs = Runs::from_bytes(&row.get::<Vec<u8>>(1)?).ok_or_else(damaged)?;
            found.extend(runs.places(hits.iter()));
        }
    }
    found.sort_unstable();
    // Whoever looks them up one by one must find each once.
    found.dedup();
    let tail = match tx.connection().dialect() {
        Dialect::Sqlite => reached,
        Dialect::Postgres => {
            let ends = places::ends(tx.connection()).await?;
            ends.into_iter().map(|(lane, _)| (lane, places::next(&reached, lane))).collect()
        }
    };
    Ok(Some(Hits { places: found, tail }))
}

/// Entries of some trigrams in some chunks, as they are stored, by chunk and trigram.
struct Entries(HashMap<(i64, i64), Vec<u8>>);

impl Entries {
    async fn read(tx: &mut Transaction, trigrams: Vec<i64>, chunks: Vec<i64>) -> Result<Self, sqlx::Error> {
        let rows =
            sql("SELECT chunk, trigram, places FROM text_postings WHERE chunk = ANY(?) AND trigram = ANY(?)")
                .bind(chunks)
                .bind(trigrams)
                .fetch_all(tx)
                .await?;
        let entry = |row: &annals_store::sql::Row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?));
        rows.iter().map(entry).collect::<Result<_, sqlx::Error>>().map(Self)
    }

    /// The rows of a chunk that a needle finds; `None` when there are none.
    fn of(&self, chunk: i64, needle: &Needle) -> Result<Option<Bits>, sqlx::Error> {
        let mut found: Option<Bits> = None;
        match needle {
            Needle::Trigrams(trigrams) => {
                let entries = trigrams.iter().map(|trigram| self.0.get(&(chunk, *trigram)));
                let Some(mut entries) = entries.collect::<Option<Vec<_>>>() else { return Ok(None) };
                // The rarest first: often nothing is left soon.
                entries.sort_by_key(|entry| entry.len());
                for entry in entries {
                    let rows = decode(entry).ok_or_else(damaged)?;
                    match &mut found {
                        Some(found) => found.and(&rows),
                        None => found = Some(rows),
                    }
                    if found.as_ref().is_some_and(Bits::is_empty) {
                        return Ok(None);
                    }
                }
            }
            Needle::All(needles) => {
                for needle in needles {
                    let Some(rows) = self.of(chunk, needle)? else { return Ok(None) };
                    match &mut found {
                        Some(found) => found.and(&rows),
                        None => found = Some(rows),
                    }
                }
            }
            Needle::Any(needles) => {
                for needle in needles {
                    match (&mut found, self.of(chunk, needle)?) {
                        (Some(found), Some(rows)) => found.or(&rows),
                        (found, Some(rows)) => *found = Some(rows),
                        _ => {}
                    }
                }
            }
        }
        Ok(found.filter(|rows| !rows.is_empty()))
    }
}

pub(super) fn damaged() -> sqlx::Error {
    sqlx::Error::Decode("an entry of the text index is damaged".into())
}
