//! What a projector needs of a database: one generation of one view, and the one transaction in which its positions
//! move and its rows change.
//!
//! Every engine passes the same contract suite (`tests/it/contract.rs`).

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::table::{OnConflict, Rows, Table};
use crate::{Result, dictionary};

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

/// A connection for a view's hand-written reads.
pub enum Connection<'c> {
    /// The embedded engine.
    Sqlite(&'c mut sqlx::SqliteConnection),
}

/// One generation of one view, open for folding.
#[async_trait]
pub trait ViewStore: Send + Sync {
    /// All positions of this generation. A partition that is not in the list was never folded.
    async fn positions(&self) -> Result<Vec<StoredPosition>>;

    /// The log's incarnation that this generation was folded from; `None` before the first batch.
    async fn incarnation(&self) -> Result<Option<Uuid>>;

    /// Binds this generation to a log's incarnation. Does nothing when it is bound already.
    async fn bind_incarnation(&self, incarnation: Uuid) -> Result<()>;

    /// Opens the transaction of one batch. It waits for another writer, but not longer than the engine's limit.
    async fn begin(&self) -> Result<Box<dyn ViewTransaction>>;

    /// Resolves dictionary keys to surrogate ids, adding those that are new. Not part of any batch's transaction:
    /// dictionaries are append-only and shared.
    async fn resolve(&self, dictionary: &'static Table, keys: &[dictionary::Key]) -> Result<Vec<i64>>;

    /// Dead letters in log order, at most `limit`.
    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>>;

    /// How many dead letters there are.
    async fn dead_letter_count(&self) -> Result<u64>;

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
    async fn write(&mut self, table: &'static Table, rows: &Rows, on_conflict: OnConflict) -> Result<()>;

    /// Keeps records that could not be decoded.
    async fn write_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()>;

    /// Marks the generation as retired: every later [`advance`](ViewTransaction::advance) is fenced.
    async fn retire(&mut self) -> Result<()>;

    /// The positions as this transaction sees them.
    async fn positions(&mut self) -> Result<Vec<StoredPosition>>;

    /// Makes it all durable at once.
    async fn commit(self: Box<Self>) -> Result<()>;
}
