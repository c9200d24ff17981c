//! Feeding the index.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use foldhash::fast::RandomState;

use annals_store::error::Context;
use annals_store::sql::{On, sql};
use annals_store::{Dialect, OnConflict, Place, Rows, ViewStore, ViewTransaction, crash};

use super::super::AuditLog;
use super::actors::Actors;
use super::places::{self, IndexedRow, Positions, Runs};
use super::postings::encode;
use super::terms::{self, Terms};
use super::times::Times;
use super::trigrams::{Facet, facet, trigrams};
use super::{TEXT_CHUNKS, TEXT_POSTINGS, merge};
use crate::Result;
use crate::view::{Indexed, View};

/// Rows that are read at once: their texts may be long, and the next ones are read meanwhile.
const PIECE_ROWS: u32 = 500;

/// Bytes of text of a chunk: rows with long texts make it full early. In the worst case each byte begins a trigram of its own,
/// which takes some 60 bytes of memory.
const MAX_TEXT: usize = 8 << 20;

/// What is being done, in errors.
const FEEDING: &str = "feed the text index";

/// Takes the next rows into the index, one chunk of at most `at_most` rows, unless fewer than `at_least` wait.
pub(in super::super) async fn fill(store: &dyn ViewStore, at_least: u64, at_most: usize) -> Result<Indexed> {
    let mut tx = store.begin().await?;
    // Moves nothing; fails when the generation was retired.
    tx.advance(&[]).await?;
    let read = read(&mut *tx, at_least, at_most).await.during(Place::new(AuditLog::NAME), FEEDING)?;
    let (chunk, behind) = match read {
        Read::Waiting(behind) => return Ok(Indexed { rows: 0, behind }),
        Read::Chunk(chunk, behind) => (chunk, behind),
    };
    let rows = chunk.rows as u64;
    let earlier = merge::earlier(&mut *tx, &chunk).await.during(Place::new(AuditLog::NAME), FEEDING)?;
    if !chunk.write(&mut *tx, earlier).await? {
        // Another process fed the same rows meanwhile.
        return Ok(Indexed { rows: 0, behind: rows + behind });
    }
    crash::point("index:before-commit");
    tx.commit().await?;
    crash::point("index:after-commit");
    Ok(Indexed { rows, behind })
}

enum Read {
    /// Fewer rows than wanted: how many.
    Waiting(u64),
    /// A chunk, and how many rows wait behind it.
    Chunk(Box<Chunk>, u64),
}

async fn read(tx: &mut dyn ViewTransaction, at_least: u64, at_most: usize) -> Result<Read, sqlx::Error> {
    let newest = sql("SELECT number, reached FROM text_chunks ORDER BY number DESC LIMIT 1")
        .fetch_optional(tx.connection())
        .await?;
    let (number, mut reached) = match newest {
        Some(row) => {
            let reached = places::positions_from_bytes(&row.get::<Vec<u8>>(1)?);
            (row.get::<i64>(0)? + 1, reached.ok_or_else(super::find::damaged)?)
        }
        None => (0, Positions::new()),
    };
    // What is committed by now: every row before these ends is there, and stays as it is.
    let ends = places::ends(tx.connection()).await?;
    let waiting = places::between(&reached, &ends);
    if waiting < at_least.max(1) {
        return Ok(Read::Waiting(waiting));
    }
    if tx.connection().dialect() == Dialect::Postgres {
        // It knows little of a view that is being filled, and would gather and sort all rows that wait for each piece.
        sql("SET LOCAL enable_bitmapscan = off").execute(tx.connection()).await?;
    }
    let mut chunk = Box::new(Chunk { number, ..Chunk::default() });
    for (lane, end) in &ends {
        let next = chunk.read_lane(tx, *lane, (places::next(&reached, *lane), *end), at_most).await?;
        reached.retain(|(known, _)| known != lane);
        reached.push((*lane, next));
    }
    let behind = places::between(&reached, &ends);
    chunk.reached = reached;
    Ok(Read::Chunk(chunk, behind))
}

/// The rows of each trigram and facet.
pub(super) type Postings = HashMap<i64, Vec<u16>, RandomState>;

/// A chunk that is being made.
#[derive(Default)]
pub(super) struct Chunk {
    pub(super) number: i64,
    pub(super) runs: Runs,
    pub(super) times: Times,
    pub(super) actors: Actors,
    reached: Positions,
    pub(super) postings: Postings,
    pub(super) terms: Terms,
    rows: usize,
    /// Bytes of their texts.
    text: usize,
}

/// Rows of a lane that are to be taken next.
struct Piece {
    rows: Vec<IndexedRow>,
    /// The next place behind them that may have a row.
    next: i64,
}

impl Piece {
    /// Reads rows between these places.
    async fn read(
        tx: &mut dyn ViewTransaction,
        lane: i64,
        (from, end): (i64, i64),
        at_most: usize,
    ) -> Result<Self, sqlx::Error> {
        let limit = u32::try_from(at_most).unwrap_or(PIECE_ROWS).min(PIECE_ROWS);
        if limit == 0 || from >= end {
            return Ok(Self { rows: Vec::new(), next: from });
        }
        let mut connection = tx.connection();
        let statement = places::rows(connection.dialect(), lane, from, end, limit);
        let rows = statement.fetch_all(On::from(&mut connection)).await?;
        let rows = rows.iter().map(|row| IndexedRow::read(lane, row)).collect::<Result<Vec<_>, _>>()?;
        let next = match rows.last() {
            Some(last) if rows.len() == limit as usize => last.place + 1,
            _ => end,
        };
        Ok(Self { rows, next })
    }
}

impl Chunk {
    /// Takes rows of a lane until it ends or the chunk is full. Gives the next place to take.
    async fn read_lane(
        &mut self,
        tx: &mut dyn ViewTransaction,
        lane: i64,
        (from, end): (i64, i64),
        at_most: usize,
    ) -> Result<i64, sqlx::Error> {
        let mut left = at_most.saturating_sub(self.rows);
        let mut piece = Piece::read(tx, lane, (from, end), left).await?;
        while !piece.rows.is_empty() {
            left -= piece.rows.len();
            let (rows, refused) = self.number(piece.rows);
            // To take texts apart takes longest of all: both ways at once, while the next ones are read.
            let rows = Arc::new(rows);
            let (mut postings, mut terms) = (take(&mut self.postings), take(&mut self.terms));
            let of_terms = tokio::task::spawn_blocking({
                let rows = Arc::clone(&rows);
                move || {
                    rows.iter().for_each(|(number, row)| terms.add(&row.text, *number));
                    terms
                }
            });
            let of_trigrams = tokio::task::spawn_blocking(move || {
                rows.iter().for_each(|(number, row)| add_trigrams(&mut postings, row, *number));
                postings
            });
            let following = match refused {
                Some(place) => Ok(Piece { rows: Vec::new(), next: place }),
                None => Piece::read(tx, lane, (piece.next, end), left).await,
            };
            self.terms = of_terms.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
            self.postings = of_trigrams.await.map_err(|_| sqlx::Error::WorkerCrashed)?;
            piece = following?;
        }
        Ok(piece.next)
    }

    /// Numbers rows until the chunk is full. Gives them, and the place of the first one that it has no room for.
    fn number(&mut self, rows: Vec<IndexedRow>) -> (Vec<(u16, IndexedRow)>, Option<i64>) {
        let mut numbered = Vec::with_capacity(rows.len());
        for row in rows {
            let number = if self.text < MAX_TEXT { self.runs.add(row.lane, row.place) } else { None };
            let Some(number) = number else { return (numbered, Some(row.place)) };
            self.times.add(number, row.at);
            self.actors.add(number, row.actor);
            self.text += row.text.len();
            self.rows += 1;
            numbered.push((number, row));
        }
        (numbered, None)
    }

    /// Writes it in the place of earlier chunks, which it takes in. `false` when another process wrote the chunk of this
    /// number.
    async fn write(mut self, tx: &mut dyn ViewTransaction, earlier: Vec<merge::Earlier>) -> Result<bool> {
        let replaced = self.take_in(earlier);
        let (terms, rows_of_terms) = self.terms.into_list(self.runs.len());
        let mut row = Rows::new(&TEXT_CHUNKS);
        let (first_minute, last_minute) = self.times.span().into_inner();
        row.push([
            self.number.into(),
            self.runs.to_bytes().into(),
            first_minute.into(),
            last_minute.into(),
            places::positions_to_bytes(&self.reached).into(),
            self.times.to_bytes().into(),
            self.actors.to_bytes().into(),
        ]);
        if tx.write(&TEXT_CHUNKS, &row, OnConflict::Keep).await? == 0 {
            return Ok(false);
        }
        // It may also have merged that chunk into a later one since, and nothing of this number is there.
        let later = sql("SELECT count(*) FROM text_chunks WHERE number > ?").bind(self.number);
        let later: i64 =
            later.fetch_scalar(tx.connection()).await.during(Place::new(AuditLog::NAME), FEEDING)?;
        if later > 0 {
            return Ok(false);
        }
        if !replaced.is_empty() {
            let removed = merge::remove(tx, replaced).await;
            removed.during(Place::new(AuditLog::NAME), FEEDING)?;
        }
        let lists = terms::by_kind(&terms).into_iter().map(|(key, list)| (key, list.into_bytes()));
        let postings = self.postings.into_iter().chain(rows_of_terms).map(|(key, rows)| (key, encode(&rows)));
        let mut entries: Vec<(i64, Vec<u8>)> = postings.chain(lists).collect();
        // In the order of the key, whose pages are then written one after the other.
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut rows = Rows::new(&TEXT_POSTINGS);
        for (key, entry) in entries {
            rows.push([self.number.into(), key.into(), entry.into()]);
        }
        tx.write(&TEXT_POSTINGS, &rows, OnConflict::Keep).await?;
        Ok(true)
    }
}

/// Adds a row to those of each of its trigrams and facets; rows come in order.
fn add_trigrams(postings: &mut Postings, row: &IndexedRow, number: u16) {
    let facets = [facet(Facet::Customer, row.customer), facet(Facet::Action, row.action)];
    let object = row.entity.map(|id| facet(Facet::Object, id));
    for trigram in trigrams(&row.text).chain(facets).chain(object) {
        let rows = postings.entry(trigram).or_default();
        if rows.last() != Some(&number) {
            rows.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn rows(places: std::ops::Range<i64>, bytes: usize) -> Vec<IndexedRow> {
        let row = |place| IndexedRow {
            lane: 1,
            place,
            text: "x".repeat(bytes),
            at: DateTime::UNIX_EPOCH,
            customer: 1,
            actor: 1,
            action: 1,
            entity: None,
        };
        places.map(row).collect()
    }

    #[test]
    fn long_texts_make_a_chunk_full_and_one_that_is_too_long_has_its_own() {
        let mut chunk = Chunk::default();
        assert_eq!(chunk.number(rows(0..10, MAX_TEXT / 16)).1, None);
        let (taken, refused) = chunk.number(rows(10..20, MAX_TEXT / 16));
        assert_eq!((taken.len(), taken.last().map(|(number, _)| *number), refused), (6, Some(15), Some(16)));
        assert_eq!(chunk.rows, 16);
        assert_eq!(chunk.number(rows(16..17, 1)), (Vec::new(), Some(16)));
        let (taken, refused) = Chunk::default().number(rows(0..2, MAX_TEXT + 1));
        assert_eq!((taken.len(), refused), (1, Some(1)));
    }
}
