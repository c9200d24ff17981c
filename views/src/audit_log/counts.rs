//! Counters: how many events there are by hours, days and blocks of days, so that a total need not look at the rows.
//!
//! They are written in the transaction of the rows and contain the partition, as every row does: two projectors never
//! change the same counter.

use std::collections::{BTreeMap, HashMap};

use annals_store::sql::sql;
use annals_store::{Column, ColumnKind, OnConflict, Rows, Table, ViewTransaction};
use chrono::{DateTime, Utc};
use foldhash::quality::RandomState;

use crate::Result;

/// How many events of a customer and a partition happened in a span of time; of all of them, or of one action or actor.
pub const COUNTS: Table = Table {
    name: "counts",
    columns: &[
        Column::new("customer", ColumnKind::DictionaryId),
        Column::new("dimension", ColumnKind::SmallInteger),
        Column::new("key", ColumnKind::DictionaryId),
        Column::new("span", ColumnKind::SmallInteger),
        Column::new("start", ColumnKind::Integer),
        Column::new("partition", ColumnKind::DictionaryId),
        Column::new("n", ColumnKind::Integer),
    ],
    unique: &["customer", "dimension", "key", "span", "start", "partition"],
    indexes: &[],
};

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dimension {
    /// Every event, under the key 0.
    All,
    Action,
    Actor,
}

impl Dimension {
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    /// The spans that it is counted by, the longest first. There are many actors, and each has an index entry per event, in
    /// which an edge is counted fast.
    pub(super) fn spans(self) -> &'static [Span] {
        match self {
            Self::All | Self::Action => &[Span::Block, Span::Day, Span::Hour],
            Self::Actor => &[Span::Day],
        }
    }
}

/// A length of time, counted from 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    Hour,
    Day,
    /// 32 days: the counters of years are few.
    Block,
}

impl Span {
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    pub(super) fn micros(self) -> i64 {
        match self {
            Self::Hour => 3_600_000_000,
            Self::Day => 24 * Self::Hour.micros(),
            Self::Block => 32 * Self::Day.micros(),
        }
    }
}

/// An event as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub(super) customer: i64,
    pub(super) partition: i64,
    pub(super) action: i64,
    pub(super) actor: i64,
    pub(super) at: DateTime<Utc>,
    pub(super) offset: i64,
}

/// Counts the events of a batch that were not there before: those whose rows now stand at their positions.
///
/// # Errors
/// When the database fails.
pub(super) async fn count(
    tx: &mut dyn ViewTransaction,
    mut events: Vec<Counted>,
    written: u64,
) -> Result<()> {
    if written != events.len() as u64 {
        retain_written(tx, &mut events).await?;
    }
    // What is counted more finely than the rest; everything else is made from it. There are few of these beside the events.
    let mut actions: HashMap<[i64; 4], i64, RandomState> = HashMap::default();
    let mut actors: HashMap<[i64; 4], i64, RandomState> = HashMap::default();
    for event in &events {
        let at = |span: Span| event.at.timestamp_micros().div_euclid(span.micros());
        let of = |key, span| [event.customer, event.partition, key, at(span)];
        *actions.entry(of(event.action, Span::Hour)).or_default() += 1;
        *actors.entry(of(event.actor, Span::Day)).or_default() += 1;
    }
    // In the order of the key, whose pages are then written one after the other.
    let mut counts: BTreeMap<[i64; 6], i64> = BTreeMap::new();
    for ([customer, partition, actor, day], n) in actors {
        counts.insert([customer, Dimension::Actor.number(), actor, Span::Day.number(), day, partition], n);
    }
    for ([customer, partition, action, hour], n) in actions {
        for (dimension, key) in [(Dimension::All, 0), (Dimension::Action, action)] {
            for span in dimension.spans() {
                let start = hour.div_euclid(span.micros() / Span::Hour.micros());
                let counter = [customer, dimension.number(), key, span.number(), start, partition];
                *counts.entry(counter).or_default() += n;
            }
        }
    }
    let mut rows = Rows::new(&COUNTS);
    for ([customer, dimension, key, span, start, partition], n) in counts {
        rows.push([customer, dimension, key, span, start, partition, n].map(Into::into));
    }
    tx.write(&COUNTS, &rows, OnConflict::Add(&["n"])).await?;
    Ok(())
}

/// Leaves those events whose rows this batch wrote. A repeated event has its row elsewhere in the log.
async fn retain_written(tx: &mut dyn ViewTransaction, events: &mut Vec<Counted>) -> Result<()> {
    let mut ranges: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for event in &*events {
        let range = ranges.entry(event.partition).or_insert((event.offset, event.offset));
        *range = (range.0.min(event.offset), range.1.max(event.offset));
    }
    let mut written = std::collections::HashSet::new();
    for (partition, (first, last)) in ranges {
        let offsets: Vec<i64> =
            sql("SELECT \"offset\" FROM events WHERE partition = ? AND \"offset\" BETWEEN ? AND ?")
                .bind(partition)
                .bind(first)
                .bind(last)
                .fetch_scalars(tx.connection())
                .await
                .map_err(|error| super::query::failed("count events", error))?;
        written.extend(offsets.into_iter().map(|offset| (partition, offset)));
    }
    events.retain(|event| written.contains(&(event.partition, event.offset)));
    Ok(())
}
