//! Counters: how many events there are by hours and longer spans, so that a total need not look at the rows.
//!
//! They are written in the transaction of the rows and contain the partition, as every row does: two projectors never
//! change the same counter.

use std::collections::{BTreeMap, HashMap, HashSet};

use annals_store::{Column, ColumnKind, OnConflict, Rows, Table, ViewTransaction};
use chrono::{DateTime, Utc};
use foldhash::quality::RandomState;

use crate::Result;

/// How many events of a customer, or of [`EVERYONE`], and a partition happened in each part of a span of time; of all of them,
/// or of one action or actor. A row for each number would be written and read several times as often.
pub const COUNTS: Table = Table {
    name: "counts",
    columns: &[
        Column::new("customer", ColumnKind::DictionaryId),
        Column::new("dimension", ColumnKind::SmallInteger),
        Column::new("key", ColumnKind::DictionaryId),
        Column::new("span", ColumnKind::SmallInteger),
        Column::new("start", ColumnKind::Integer),
        Column::new("partition", ColumnKind::DictionaryId),
        Column::new(NUMBERS[0], ColumnKind::Integer),
        Column::new(NUMBERS[1], ColumnKind::Integer),
        Column::new(NUMBERS[2], ColumnKind::Integer),
        Column::new(NUMBERS[3], ColumnKind::Integer),
        Column::new(NUMBERS[4], ColumnKind::Integer),
        Column::new(NUMBERS[5], ColumnKind::Integer),
        Column::new(NUMBERS[6], ColumnKind::Integer),
        Column::new(NUMBERS[7], ColumnKind::Integer),
    ],
    unique: &["customer", "dimension", "key", "span", "start", "partition"],
    is_changed: true,
    indexes: &[],
};

/// In place of a customer: all of them together, but for actors, who are of one customer each. Whoever sees everything need
/// not add up every customer's counters.
pub(super) const EVERYONE: i64 = 0;

/// Parts of a span, at most.
pub(super) const PARTS: usize = 8;

/// The columns of a span's parts, in the order of time.
pub(super) const NUMBERS: [&str; PARTS] = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"];

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

    /// The spans that it is counted by, the longest first: those that have rows, and the parts of the last one of these.
    /// Actions and actors have an index entry per event, in which an edge is counted fast; and the more keys there are, the
    /// more counters each span has.
    pub(super) fn spans(self) -> &'static [Span] {
        match self {
            Self::All => &[Span::Block, Span::TwoDays, Span::Quarter, Span::Hour],
            Self::Action => &[Span::Block, Span::TwoDays, Span::Quarter],
            Self::Actor => &[Span::Block, Span::TwoDays],
        }
    }
}

/// A length of time, counted from 1970 in UTC. Each is six or eight times the one before: a range is cut into at most twice
/// as many of each, whatever its length, and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Span {
    Hour,
    /// A quarter of a day.
    Quarter,
    TwoDays,
    /// 16 days: the counters of years are few.
    Block,
}

impl Span {
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    pub(super) fn micros(self) -> i64 {
        match self {
            Self::Hour => 3_600_000_000,
            Self::Quarter => 6 * Self::Hour.micros(),
            Self::TwoDays => 8 * Self::Quarter.micros(),
            Self::Block => 8 * Self::TwoDays.micros(),
        }
    }

    /// The span whose rows have this one as a part, and how many parts it has. A block is a part of nothing.
    pub(super) fn whole(self) -> (Self, i64) {
        let whole = match self {
            Self::Hour => Self::Quarter,
            Self::Quarter => Self::TwoDays,
            Self::TwoDays | Self::Block => Self::Block,
        };
        (whole, whole.micros() / self.micros())
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

/// Counts the events of a batch whose rows were written now, which are named by partition and offset: a repeated event has
/// its row elsewhere in the log.
///
/// # Errors
/// When the database fails.
pub(super) async fn count(
    tx: &mut dyn ViewTransaction,
    mut events: Vec<Counted>,
    written: &[(i64, i64)],
) -> Result<()> {
    if written.len() != events.len() {
        let written: HashSet<_, RandomState> = written.iter().copied().collect();
        events.retain(|event| written.contains(&(event.partition, event.offset)));
    }
    // What is counted more finely than the rest; everything else is made from it. There are few of these beside the events.
    let mut actions: HashMap<[i64; 4], i64, RandomState> = HashMap::default();
    let mut actors: HashMap<[i64; 4], i64, RandomState> = HashMap::default();
    for event in &events {
        let at = |span: Span| event.at.timestamp_micros().div_euclid(span.micros());
        let of = |key, span| [event.customer, event.partition, key, at(span)];
        *actions.entry(of(event.action, Span::Hour)).or_default() += 1;
        *actors.entry(of(event.actor, Span::TwoDays)).or_default() += 1;
    }
    // In the order of the key, whose pages are then written one after the other.
    let mut counts: BTreeMap<[i64; 6], [i64; PARTS]> = BTreeMap::new();
    let mut add =
        |[customer, partition, key]: [i64; 3], dimension: Dimension, (part, number): (Span, i64), n| {
            let (whole, parts) = part.whole();
            let row =
                [customer, dimension.number(), key, whole.number(), number.div_euclid(parts), partition];
            let at = usize::try_from(number.rem_euclid(parts)).unwrap_or_default();
            if let Some(count) = counts.entry(row).or_default().get_mut(at) {
                *count += n;
            }
        };
    for ([customer, partition, actor, two_days], n) in actors {
        add([customer, partition, actor], Dimension::Actor, (Span::TwoDays, two_days), n);
    }
    for ([customer, partition, action, hour], n) in actions {
        for (dimension, key) in [(Dimension::All, 0), (Dimension::Action, action)] {
            for part in dimension.spans().iter().skip(1) {
                let number = hour.div_euclid(part.micros() / Span::Hour.micros());
                for customer in [EVERYONE, customer] {
                    add([customer, partition, key], dimension, (*part, number), n);
                }
            }
        }
    }
    let mut rows = Rows::new(&COUNTS);
    for ([customer, dimension, key, span, start, partition], [n0, n1, n2, n3, n4, n5, n6, n7]) in counts {
        let row = [customer, dimension, key, span, start, partition, n0, n1, n2, n3, n4, n5, n6, n7];
        rows.push(row.map(Into::into));
    }
    tx.write(&COUNTS, &rows, OnConflict::Add(&NUMBERS)).await?;
    Ok(())
}
