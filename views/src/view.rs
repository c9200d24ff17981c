//! What a view is to the projector.

use std::future::Future;

use annals_schemas::limits::{MAX_NAME_BYTES, cut};
use annals_schemas::{Event, Topic};
use annals_store::{Partition, Table, ViewStore, ViewTransaction};
use chrono::{DateTime, TimeDelta, Utc};

use crate::Result;

/// How far an event's own time may be ahead of the time of its append before it counts as from the future.
pub const FUTURE_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// An event with its place in the log.
#[derive(Clone, Debug)]
pub struct LogEvent {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: u64,
    /// Time of the first append.
    pub recorded_at: DateTime<Utc>,
    /// Whether the record stands in another partition than its key says: folded, and flagged.
    pub misplaced: bool,
    /// The event.
    pub event: Event,
}

impl LogEvent {
    /// Whether the event's own time is from the future.
    #[must_use]
    pub fn is_from_the_future(&self) -> bool {
        self.event.meta().occurred_at > self.recorded_at + FUTURE_TOLERANCE
    }

    /// The time that every dialect shows, filters and sorts by: the event's own, or the append's for an event from
    /// the future.
    #[must_use]
    pub fn time(&self) -> DateTime<Utc> {
        if self.is_from_the_future() { self.recorded_at } else { self.event.meta().occurred_at }
    }
}

/// Why the same (customer, `event_id`) twice changes nothing that a query shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// The row's unique key is the event; the first one is kept.
    RowKey,
    /// As `RowKey`, and what is derived from several rows is computed again from the rows, never counted up.
    RowKeyAndDerived,
}

/// What one step of indexing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Rows that were taken into the index.
    pub rows: u64,
    /// Rows that wait: at most so many, since places without a row count too.
    pub behind: u64,
}

/// A read model: its tables, its fold and its place in the program. Never made; a view is a type.
pub trait View: Send + Sync + 'static {
    /// What the pure fold makes of a batch.
    type Folded: Send + 'static;
    /// What is made of that before the batch's transaction begins.
    type Prepared: Send;

    /// Name, as on the command line and in metrics.
    const NAME: &'static str;
    /// Version of tables and fold. A changed one is folded again from the log.
    const VERSION: i64;
    /// Whether an index follows its rows; see [`View::index`].
    const HAS_INDEX: bool = false;
    /// How it absorbs repeated events.
    const DEDUP: Dedup;

    /// The topics that it folds.
    fn topics() -> &'static [Topic];

    /// Its tables.
    fn tables() -> &'static [&'static Table];

    /// Folds what needs no state. Pure and total; runs beside the writing of the batch before.
    fn fold(batch: Vec<LogEvent>) -> Self::Folded;

    /// Fills dictionaries, outside the batch's transaction.
    fn prepare(
        store: &dyn ViewStore,
        folded: Self::Folded,
    ) -> impl Future<Output = Result<Self::Prepared>> + Send;

    /// Takes rows that are committed into an index that follows them with a position of its own: at most `at_most`, in a
    /// transaction of its own, and none while fewer than `at_least` wait. A view without such an index has nothing to do.
    fn index(
        _store: &dyn ViewStore,
        _at_least: u64,
        _at_most: usize,
    ) -> impl Future<Output = Result<Indexed>> + Send {
        std::future::ready(Ok(Indexed::default()))
    }

    /// Within the batch's transaction, after its positions have moved: loads, folds, writes.
    fn apply(
        tx: &mut dyn ViewTransaction,
        prepared: Self::Prepared,
    ) -> impl Future<Output = Result<()>> + Send;
}

/// PostgreSQL's texts cannot hold U+0000; folds replace it, so that every engine shows the same.
#[must_use]
pub fn clean(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// A name as keys take it: clean, and short enough that an index entry of any engine can hold two of them. Foreign
/// producers may send longer ones.
#[must_use]
pub fn clean_name(text: &str) -> String {
    cut(&clean(text), MAX_NAME_BYTES)
}
