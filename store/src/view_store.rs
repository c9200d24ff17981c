//! What a projector needs of a database: one generation of one view, and the one transaction in which its positions
//! move and its rows change.
//!
//! Every engine passes the same contract suite (`tests/it/contract.rs`).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::error::Context;
use crate::sql::{Connection, On, sql};
use crate::table::{OnConflict, Rows, Table};
use crate::{Place, Result, StoreError, dictionary};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub number: u32,
}

impl Partition {
    /// A partition by topic and number.
    #[must_use]
    pub fn new(topic: &str, number: u32) -> Self {
        Self { topic: topic.into(), number }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// How far a generation has folded one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPosition {
    /// The partition.
    pub partition: Partition,
    /// Offset of the next record to fold.
    pub next_offset: u64,
    /// Event id of the record before it, when that one could be decoded: what a re-created log cannot fake.
    pub last_event_id: Option<Uuid>,
}

/// A move of one position: refused unless the stored one is still `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: Partition,
    /// The offset that was read from.
    pub from: u64,
    /// The next offset to fold.
    pub to: u64,
    /// Event id of the last record folded.
    pub last_event_id: Option<Uuid>,
}

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands.
    pub partition: Partition,
    /// Its offset.
    pub offset: u64,
    /// When it was appended.
    pub recorded_at: DateTime<Utc>,
    /// Why it could not be decoded, the whole chain.
    pub reason: String,
    /// The record's value.
    pub bytes: Vec<u8>,
}

/// One generation of one view, open for folding.
#[async_trait]
pub trait ViewStore: Send + Sync {
    /// All positions of this generation. A partition that is not in the list was never folded.
    async fn positions(&self) -> Result<Vec<StoredPosition>>;

    /// The incarnation of each topic that this generation was folded from; empty before the first batch.
    async fn incarnations(&self) -> Result<Vec<(String, Uuid)>>;

    /// Binds this generation to the incarnation of a topic. Does nothing when it is bound already.
    async fn bind_incarnation(&self, topic: &str, incarnation: Uuid) -> Result<()>;

    /// Opens the transaction of one batch. It waits for another writer of the same partitions, but not longer than the
    /// engine's limit.
    async fn begin(&self) -> Result<Box<dyn ViewTransaction>>;

    /// Opens a transaction that keeps every other writer of this generation out until it ends, after those that are
    /// under way have ended.
    async fn fence(&self) -> Result<Box<dyn ViewTransaction>>;

    /// How many transactions of different partitions may run at once with profit.
    fn lanes(&self) -> usize;

    /// Resolves dictionary keys to surrogate ids, adding those that are new. Not part of any batch's transaction:
    /// dictionaries are append-only and shared.
    async fn resolve(&self, dictionary: &'static Table, keys: &[dictionary::Key]) -> Result<Vec<i64>> {
        let ids = self.resolve_all(&[(dictionary, keys)]).await?;
        Ok(ids.into_iter().flatten().collect())
    }

    /// Resolves keys of several dictionaries, as [`resolve`](Self::resolve) does; new ones of all of them become durable
    /// together. Every caller names dictionaries in the same order.
    async fn resolve_all(&self, keys: &[(&'static Table, &[dictionary::Key])]) -> Result<Vec<Vec<i64>>>;

    /// Dead letters in log order, at most `limit`.
    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>>;

    /// How many dead letters there are.
    async fn dead_letter_count(&self) -> Result<u64>;

    /// Puts the indexes of a generation that nothing was folded into aside, because many rows come: one that is made from
    /// all of them at once costs a part of one that is kept with each. Keys stay. Gives whether they are aside, also when
    /// they were before; a generation that has rows keeps its indexes.
    async fn put_indexes_aside(&self) -> Result<bool>;

    /// Whether questions find their way while indexes are aside. Those to SQLite name the index that they need, and fail.
    fn answers_without_indexes(&self) -> bool;

    /// Whether [`put_indexes_aside`](Self::put_indexes_aside) was called and [`make_indexes`](Self::make_indexes) not yet.
    async fn are_indexes_aside(&self) -> Result<bool>;

    /// Makes the indexes that were put aside; does nothing when none were. Other writers wait meanwhile, readers do not.
    /// It takes seconds for each million rows.
    async fn make_indexes(&self) -> Result<()>;

    /// Gives back memory that only catching up needs.
    async fn settle(&self) -> Result<()>;

    /// Closes every connection, waiting for those in use.
    async fn close(&self);
}

/// The transaction of one batch. Dropped without [`commit`](ViewTransaction::commit) it leaves no trace.
#[async_trait]
pub trait ViewTransaction: Send {
    /// Moves the positions by compare-and-set, in (topic, partition) order. Must come before anything else, so that
    /// a writer that lost its partition changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`](crate::StoreError::Fenced) when a position is not where it was read, or the
    /// generation was retired.
    async fn advance(&mut self, moves: &[Advance]) -> Result<()>;

    /// The connection, for the fold's reads.
    fn connection(&mut self) -> Connection<'_>;

    /// Writes rows in bulk.
    /// Gives the number of rows that were added or changed.
    async fn write(&mut self, table: &'static Table, rows: &Rows, on_conflict: OnConflict) -> Result<u64>;

    /// Writes those rows whose key is not there yet, of a table that numbers its rows. Gives two numbers of each row that was
    /// written: the values of these columns.
    async fn write_new(
        &mut self,
        table: &'static Table,
        rows: &Rows,
        numbers: [&'static str; 2],
    ) -> Result<Vec<(i64, i64)>>;

    /// Keeps records that could not be decoded.
    async fn write_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()>;

    /// Marks the generation as retired: every later [`advance`](ViewTransaction::advance) is fenced.
    async fn retire(&mut self) -> Result<()>;

    /// The positions as this transaction sees them.
    async fn positions(&mut self) -> Result<Vec<StoredPosition>>;

    /// Makes it all durable at once.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// The incarnation of each topic that a generation was folded from.
pub(crate) async fn stored_incarnations<'e>(
    on: impl Into<On<'e>>,
    place: &Place,
) -> Result<Vec<(String, Uuid)>> {
    let rows = sql("SELECT substr(key, 13), value FROM marks WHERE key LIKE 'incarnation:%'")
        .fetch_all(on)
        .await
        .during(place, "read the incarnations")?;
    rows.iter()
        .map(|row| {
            let id: Vec<u8> = row.get(1)?;
            Ok((row.get(0)?, Uuid::from_slice(&id).map_err(|error| sqlx::Error::Decode(error.into()))?))
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(place, "read the incarnations")
}

/// The positions that a generation holds, in order.
pub(crate) async fn stored_positions<'e>(
    on: impl Into<On<'e>>,
    place: &Place,
) -> Result<Vec<StoredPosition>> {
    let rows = sql("SELECT topic, partition, next_offset, last_event_id FROM positions ORDER BY 1, 2")
        .fetch_all(on)
        .await
        .during(place, "read positions")?;
    rows.iter()
        .map(|row| {
            Ok(StoredPosition {
                partition: Partition::new(&row.get::<String>(0)?, row.get(1)?),
                next_offset: row.get(2)?,
                last_event_id: row.get(3)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(place, "read positions")
}

/// Dead letters of a generation in log order, at most `limit`.
pub(crate) async fn stored_dead_letters<'e>(
    on: impl Into<On<'e>>,
    place: &Place,
    limit: u32,
) -> Result<Vec<DeadLetter>> {
    let rows = sql("SELECT topic, partition, \"offset\", recorded_at, reason, bytes FROM dead_letters
         ORDER BY topic, partition, \"offset\" LIMIT ?")
    .bind(limit)
    .fetch_all(on)
    .await
    .during(place, "read dead letters")?;
    rows.iter()
        .map(|row| {
            Ok(DeadLetter {
                partition: Partition::new(&row.get::<String>(0)?, row.get(1)?),
                offset: row.get(2)?,
                recorded_at: row.get(3)?,
                reason: row.get(4)?,
                bytes: row.get(5)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(place, "read dead letters")
}

/// Moves positions by compare-and-set, in order; then looks whether the generation was retired.
pub(crate) async fn advance(mut connection: Connection<'_>, place: &Place, moves: &[Advance]) -> Result<()> {
    let mut moves: Vec<&Advance> = moves.iter().collect();
    moves.sort_by(|a, b| a.partition.cmp(&b.partition));
    for step in moves {
        // A position that is not stored yet stands at 0, whatever offset the log begins with.
        let moved =
            sql("INSERT INTO positions (topic, partition, next_offset, last_event_id) SELECT ?1, ?2, ?4, ?5
             WHERE ?3 = 0 OR EXISTS (SELECT 1 FROM positions WHERE topic = ?1 AND partition = ?2)
             ON CONFLICT (topic, partition) DO UPDATE
             SET next_offset = excluded.next_offset, last_event_id = excluded.last_event_id
             WHERE positions.next_offset = ?3")
            .bind(step.partition.topic.as_ref())
            .bind(step.partition.number)
            .bind(step.from.cast_signed())
            .bind(step.to.cast_signed())
            .bind(step.last_event_id)
            .execute(&mut connection)
            .await
            .during(place, "move positions")?;
        if moved != 1 {
            return Err(StoreError::Fenced(place.clone()));
        }
    }
    // After the positions: a writer that waited for a fence must see what was done behind it.
    let retired: Option<i64> = sql("SELECT 1 FROM marks WHERE key = 'retired'")
        .fetch_optional_scalar(&mut connection)
        .await
        .during(place, "move positions")?;
    if retired.is_some() { Err(StoreError::Fenced(place.clone())) } else { Ok(()) }
}

/// Keeps dead letters; one that is there already stays.
pub(crate) async fn keep_dead_letters(
    mut connection: Connection<'_>,
    place: &Place,
    letters: &[DeadLetter],
) -> Result<()> {
    for letter in letters {
        sql("INSERT INTO dead_letters (topic, partition, \"offset\", recorded_at, reason, bytes)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING")
        .bind(letter.partition.topic.as_ref())
        .bind(letter.partition.number)
        .bind(letter.offset.cast_signed())
        .bind(letter.recorded_at)
        // PostgreSQL's texts cannot hold U+0000.
        .bind(letter.reason.replace('\0', "\u{FFFD}"))
        .bind(letter.bytes.clone())
        .execute(&mut connection)
        .await
        .during(place, "keep a dead letter")?;
    }
    Ok(())
}

/// Key of the mark that says that indexes are aside.
const ASIDE: &str = "indexes_aside";

/// Puts indexes aside, behind a fence. Says whether they are.
pub(crate) async fn put_aside(
    mut connection: Connection<'_>,
    place: &Place,
    tables: &[&'static Table],
) -> Result<bool> {
    const DOING: &str = "put its indexes aside";
    if are_aside(connection.reborrow(), place).await? {
        return Ok(true);
    }
    let folded: Option<i64> = sql("SELECT 1 FROM positions LIMIT 1")
        .fetch_optional_scalar(&mut connection)
        .await
        .during(place, DOING)?;
    if folded.is_some() {
        return Ok(false);
    }
    sql("INSERT INTO marks (key, value) VALUES (?, ?)")
        .bind(ASIDE)
        .bind(vec![1_u8])
        .execute(&mut connection)
        .await
        .during(place, DOING)?;
    for index in tables.iter().flat_map(|table| table.indexes) {
        sql(format!("DROP INDEX {}", index.name))
            .once()
            .execute(&mut connection)
            .await
            .during(place, DOING)?;
    }
    Ok(true)
}

/// Whether indexes are aside.
pub(crate) async fn are_aside<'e>(on: impl Into<On<'e>>, place: &Place) -> Result<bool> {
    let mark: Option<i64> = sql("SELECT 1 FROM marks WHERE key = ?")
        .bind(ASIDE)
        .fetch_optional_scalar(on)
        .await
        .during(place, "look for its indexes")?;
    Ok(mark.is_some())
}

/// Takes the mark away, within the transaction that makes the indexes: others who would do the same wait for its end.
/// Says whether there was one.
pub(crate) async fn take_aside(connection: Connection<'_>, place: &Place) -> Result<bool> {
    let taken = sql("DELETE FROM marks WHERE key = ?")
        .bind(ASIDE)
        .execute(connection)
        .await
        .during(place, "make its indexes")?;
    Ok(taken > 0)
}
