//! Merging: small chunks become one, so that a question looks at few. Each row is written twice at most.

use std::collections::HashMap;

use annals_store::ViewTransaction;
use annals_store::sql::sql;

use super::CHUNK_ROWS;
use super::actors::Actors;
use super::fill::Chunk;
use super::find::damaged;
use super::places::Runs;
use super::postings::decode;
use super::terms;
use super::times::Times;
use super::trigrams::term_key;

/// Places of a chunk that is small.
const SMALL: usize = CHUNK_ROWS / 4;

/// Places from which on a merged chunk is large enough to stay.
const WORTH_MERGING: usize = CHUNK_ROWS / 4 * 3;

/// Bytes of entries of the chunks that are merged, as they are stored: small chunks of long texts stay apart.
const MAX_BYTES: i64 = 12 << 20;

/// Small chunks that are looked at.
const MOST_AT_ONCE: i64 = 32;

/// A chunk that is to be merged.
pub(super) struct Earlier {
    number: i64,
    runs: Runs,
    times: Times,
    actors: Actors,
    /// Its terms.
    terms: String,
    /// The rows of terms, too.
    postings: Vec<(i64, Vec<u8>)>,
}

/// The small chunks right before a new one that make a large one with it, in order; none while they do not.
pub(super) async fn earlier(tx: &mut dyn ViewTransaction, new: &Chunk) -> Result<Vec<Earlier>, sqlx::Error> {
    let mut places = new.runs.len();
    let mut earlier = Vec::new();
    if places > SMALL {
        return Ok(earlier);
    }
    let rows = sql("SELECT number, runs FROM text_chunks ORDER BY number DESC LIMIT ?")
        .bind(MOST_AT_ONCE)
        .fetch_all(tx.connection())
        .await?;
    for row in rows {
        let runs = Runs::from_bytes(&row.get::<Vec<u8>>(1)?).ok_or_else(damaged)?;
        if runs.len() > SMALL || places + runs.len() > CHUNK_ROWS {
            break;
        }
        places += runs.len();
        let number = row.get(0)?;
        earlier.push(Earlier {
            number,
            runs,
            times: <_>::default(),
            actors: <_>::default(),
            terms: <_>::default(),
            postings: <_>::default(),
        });
    }
    if places < WORTH_MERGING {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = earlier.iter().map(|chunk: &Earlier| chunk.number).collect();
    let bytes = sql("SELECT CAST(sum(length(places)) AS bigint) FROM text_postings WHERE chunk = ANY(?)");
    let bytes: Option<i64> = bytes.bind(numbers).fetch_scalar(tx.connection()).await?;
    if bytes.is_some_and(|bytes| bytes > MAX_BYTES) {
        return Ok(Vec::new());
    }
    earlier.reverse();
    for chunk in &mut earlier {
        let row = sql("SELECT times, actors FROM text_chunks WHERE number = ?")
            .bind(chunk.number)
            .fetch_one(tx.connection())
            .await?;
        chunk.times = Times::from_bytes(&row.get::<Vec<u8>>(0)?).ok_or_else(damaged)?;
        chunk.actors = Actors::from_bytes(&row.get::<Vec<u8>>(1)?).ok_or_else(damaged)?;
        let rows = sql("SELECT trigram, places FROM text_postings WHERE chunk = ?")
            .bind(chunk.number)
            .fetch_all(tx.connection())
            .await?;
        for row in &rows {
            let (key, entry): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if terms::is_list(key) {
                chunk.terms.push_str(std::str::from_utf8(&entry).map_err(|_| damaged())?);
            } else {
                chunk.postings.push((key, entry));
            }
        }
    }
    Ok(earlier)
}

pub(super) async fn remove(tx: &mut dyn ViewTransaction, chunks: Vec<i64>) -> Result<(), sqlx::Error> {
    for table in ["text_postings WHERE chunk", "text_chunks WHERE number"] {
        sql(format!("DELETE FROM {table} = ANY(?)")).bind(chunks.clone()).execute(tx.connection()).await?;
    }
    Ok(())
}

impl Chunk {
    /// Becomes one with earlier chunks, unless that is too much for one. Gives the numbers of those that it has in it.
    pub(super) fn take_in(&mut self, earlier: Vec<Earlier>) -> Vec<i64> {
        if earlier.is_empty() {
            return Vec::new();
        }
        let Some(merged) = self.merged(&earlier) else { return Vec::new() };
        let Self { runs, times, actors, postings, terms, .. } = merged;
        (self.runs, self.times, self.actors, self.postings, self.terms) =
            (runs, times, actors, postings, terms);
        earlier.into_iter().map(|chunk| chunk.number).collect()
    }

    fn merged(&self, earlier: &[Earlier]) -> Option<Self> {
        let mut merged = Self::default();
        let Self { runs, times, actors, postings, terms, .. } = &mut merged;
        for chunk in earlier {
            let numbers = renumbered(&chunk.runs, runs)?;
            times.take_over(&numbers, &chunk.times);
            actors.take_over(&numbers, &chunk.actors);
            let names: HashMap<i64, &str> =
                terms::listed(&chunk.terms).map(|term| (term_key(term), term)).collect();
            for (key, places) in &chunk.postings {
                let into = match names.get(key) {
                    Some(term) => terms.rows_of(term)?,
                    None => postings.entry(*key).or_default(),
                };
                into.extend(decode(places)?.iter().filter_map(|number| numbers.get(number)));
            }
        }
        let numbers = renumbered(&self.runs, runs)?;
        times.take_over(&numbers, &self.times);
        actors.take_over(&numbers, &self.actors);
        for (trigram, places) in &self.postings {
            let places = places.iter().filter_map(|number| numbers.get(usize::from(*number)));
            postings.entry(*trigram).or_default().extend(places);
        }
        terms.take_over(&numbers, &self.terms);
        Some(merged)
    }
}

/// Numbers places anew, behind those that are numbered. `None` when they do not fit.
fn renumbered(places: &Runs, into: &mut Runs) -> Option<Vec<u16>> {
    places.places(0..places.len()).map(|(lane, place)| into.add(lane, place)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::postings::encode;
    use super::*;
    use proptest::prelude::*;

    /// Chunks of rows, each in one or more lanes that grow, with keys.
    fn chunks() -> impl Strategy<Value = Vec<Vec<(i64, i64, Vec<i64>)>>> {
        let row = (0..3_i64, 1..100_i64, prop::collection::vec(0..20_i64, 1..5));
        prop::collection::vec(prop::collection::vec(row, 1..30), 1..6).prop_map(|chunks| {
            let mut next = [0_i64; 3];
            let place = |(lane, step, keys): (i64, i64, Vec<i64>), next: &mut [i64; 3]| {
                let place = &mut next[usize::try_from(lane).unwrap()];
                *place += step;
                (lane, *place, keys)
            };
            let in_order = |mut chunk: Vec<(i64, i64, Vec<i64>)>| {
                chunk.sort_by_key(|(lane, ..)| *lane);
                chunk.into_iter().map(|row| place(row, &mut next)).collect()
            };
            chunks.into_iter().map(in_order).collect()
        })
    }

    fn chunk(rows: &[(i64, i64, Vec<i64>)]) -> Chunk {
        let mut chunk = Chunk::default();
        for (lane, place, keys) in rows {
            let number = chunk.runs.add(*lane, *place).unwrap();
            chunk.actors.add(number, 100 * lane + place);
            for key in keys {
                let rows = chunk.postings.entry(*key).or_default();
                if rows.last() != Some(&number) {
                    rows.push(number);
                }
                chunk.terms.add(&word(*key), number);
            }
        }
        chunk
    }

    fn word(key: i64) -> String {
        format!("word{key}")
    }

    /// The chunk as it is stored, and the terms that it has in its list.
    fn stored(number: i64, rows: &[(i64, i64, Vec<i64>)]) -> Earlier {
        let Chunk { runs, actors, postings, terms, .. } = chunk(rows);
        let (terms, entries) = terms.into_list(runs.len());
        let postings = postings.into_iter().chain(entries).map(|(key, rows)| (key, encode(&rows))).collect();
        Earlier { number, runs, times: <_>::default(), actors, terms, postings }
    }

    fn rows_of(chunk: &Chunk, key: i64) -> Vec<(i64, i64)> {
        places(chunk, &chunk.postings.get(&key).cloned().unwrap_or_default())
    }

    fn rows_of_word(chunk: &mut Chunk, key: i64) -> Vec<(i64, i64)> {
        let numbers = chunk.terms.rows_of(&format!("0{}", word(key))).unwrap().clone();
        places(chunk, &numbers)
    }

    fn places(chunk: &Chunk, numbers: &[u16]) -> Vec<(i64, i64)> {
        let numbers = numbers.iter().copied();
        chunk.runs.places(numbers.into_iter().map(usize::from)).collect()
    }

    proptest! {
        #[test]
        fn a_merged_chunk_has_the_rows_of_all(chunks in chunks()) {
            let mut made: Vec<Chunk> = chunks.iter().map(|rows| chunk(rows)).collect();
            let (last, before) = chunks.split_last().unwrap();
            let lists: Vec<String> = before.iter().map(|rows| stored(0, rows).terms).collect();
            let mut merged = chunk(last);
            let taken = merged.take_in((0..).zip(before).map(|(number, rows)| stored(number, rows)).collect());
            prop_assert_eq!(taken.len(), before.len());
            let numbered: HashMap<(i64, i64), usize> = merged.runs.places(0..merged.runs.len()).zip(0..).collect();
            for (lane, place, _) in chunks.iter().flatten() {
                let number = numbered[&(*lane, *place)];
                prop_assert_eq!(merged.actors.of(number), Some(100 * lane + place));
            }
            for key in 0..20 {
                let all: Vec<(i64, i64)> = made.iter().flat_map(|chunk| rows_of(chunk, key)).collect();
                prop_assert_eq!(rows_of(&merged, key), all);
                prop_assert!(merged.postings.get(&key).is_none_or(|rows| rows.is_sorted()));
                // Of a chunk that did not list the word, nobody is sure.
                let is_sure = |number: usize| lists.get(number).is_none_or(|list| {
                    terms::listed(list).any(|listed| listed == format!("0{}", word(key)))
                });
                let all: Vec<(i64, i64)> = made
                    .iter_mut()
                    .enumerate()
                    .filter(|(number, _)| is_sure(*number))
                    .flat_map(|(_, chunk)| rows_of_word(chunk, key))
                    .collect();
                prop_assert_eq!(rows_of_word(&mut merged, key), all);
            }
        }
    }

    #[test]
    fn what_does_not_fit_stays_apart() {
        let mut full = Chunk::default();
        for place in 0..CHUNK_ROWS as i64 {
            full.runs.add(0, place).unwrap();
        }
        let one = chunk(&[(0, 70_000, vec![1])]);
        let earlier = Earlier {
            number: 7,
            runs: one.runs.clone(),
            times: <_>::default(),
            actors: <_>::default(),
            terms: <_>::default(),
            postings: Vec::new(),
        };
        assert!(full.take_in(vec![earlier]).is_empty());
        assert_eq!(full.runs.len(), CHUNK_ROWS);
    }
}
