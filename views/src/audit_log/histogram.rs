//! How many events there are when, from the counters: totals without looking at rows, and where a page stands.
//!
//! A range of time is cut into long spans that counters have, shorter ones at both ends, and what is left of the shortest
//! there: only that is counted row by row.

use std::collections::{BTreeMap, BTreeSet};

use annals_store::Transaction;
use annals_store::sql::Row;
use chrono::{DateTime, Utc};

use super::counts::{Dimension, EVERYONE, PARTS, Span};
use super::query::Direction;
use super::resolve::Resolved;
use super::statement::Statement;
use super::stretches::{Pair, Stretches};
use crate::filter::TimeRange;

/// Rows that are as soon looked at as counted by shorter spans.
const FEW_ROWS: u64 = 1_000;

/// The number of events of a question in each piece of its range of time, in the order of time.
pub(super) struct Histogram {
    parts: Vec<Part>,
    spans: &'static [Span],
    pieces: Vec<Slice>,
}

/// A piece of time, and how many events are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    range: Micros,
    n: u64,
    /// `None`: rows that are in no whole span.
    span: Option<Span>,
}

/// Where a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// A range of time that has all rows of the page.
    pub(super) range: TimeRange,
    /// Rows of the range to skip.
    pub(super) offset: u64,
    /// Rows in the range.
    pub(super) rows: u64,
}

/// A part of a question that counters answer.
struct Part {
    dimension: Dimension,
    /// Customers and keys whose counters are added up.
    counters: Vec<Pair>,
    /// Its rows, without a range of time.
    rows: Resolved,
}

impl Part {
    /// Reads the counters of everyone, where the part is of all customers.
    fn count_everyone(&mut self) {
        if self.dimension != Dimension::Actor {
            let keys: BTreeSet<i64> = self.counters.iter().map(|(_, key)| *key).collect();
            self.counters = keys.into_iter().map(|key| (EVERYONE, key)).collect();
        }
    }
}

impl Histogram {
    /// `None` when counters do not answer the question.
    pub(super) async fn of(tx: &mut Transaction, found: &Resolved) -> Result<Option<Self>, sqlx::Error> {
        let Some(mut parts) = parts(found) else { return Ok(None) };
        if found.all_of.len() > 1 && found.sees_all(tx).await? {
            parts.iter_mut().for_each(Part::count_everyone);
        }
        // Those that all parts are counted by.
        let shortest = parts.iter().map(|part| part.dimension.spans()).min_by_key(|spans| spans.len());
        let mut histogram = Self { spans: shortest.unwrap_or_default(), parts, pieces: Vec::new() };
        let mut cuts = Vec::new();
        cut(Micros::of(found.time), histogram.spans, &mut cuts);
        histogram.pieces = histogram.count(tx, &cuts).await?;
        Ok(Some(histogram))
    }

    pub(super) fn total(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.n).sum()
    }

    /// Where the page of `limit` rows from an offset on stands, to the shortest span that is counted, or to one of few rows.
    pub(super) async fn locate(
        mut self,
        tx: &mut Transaction,
        direction: Direction,
        offset: u64,
        limit: u32,
    ) -> Result<Location, sqlx::Error> {
        let last = offset.saturating_add(u64::from(limit)).saturating_sub(1);
        for row in [offset, last] {
            loop {
                let (at, _) = find(&self.pieces, direction, row);
                let Some(piece) = self.pieces.get(at).filter(|piece| piece.n > FEW_ROWS) else { break };
                let Some(shorter) = piece.span.and_then(|span| self.spans.iter().find(|s| **s < span)) else {
                    break;
                };
                let mut cuts = Vec::new();
                cut(piece.range, std::slice::from_ref(shorter), &mut cuts);
                let pieces = self.count(tx, &cuts).await?;
                self.pieces.splice(at..=at, pieces);
            }
        }
        Ok(location(&self.pieces, direction, offset, last))
    }

    /// Counts what was cut, in the order of time; spans without any event are left out.
    async fn count(&self, tx: &mut Transaction, cuts: &[Cut]) -> Result<Vec<Slice>, sqlx::Error> {
        let dialect = tx.connection().dialect();
        let mut slices: BTreeMap<i64, Slice> = BTreeMap::new();
        let mut add = |range: Micros, span, n: u64| {
            slices.entry(range.0).or_insert(Slice { range, n: 0, span }).n += n;
        };
        let spans: Vec<(Span, i64, i64)> = cuts.iter().filter_map(Cut::spans).collect();
        let rows: Vec<_> = spans.iter().map(rows_of).collect();
        for part in self.parts.iter().filter(|_| !spans.is_empty()) {
            let statement = Statement::counters(dialect, &part.counters, part.dimension, &rows);
            for row in statement.into_sql().fetch_all(&mut *tx).await? {
                let cut = spans.get(usize::try_from(row.get::<i64>(0)?).unwrap_or(usize::MAX));
                let Some((span, first, end)) = cut else { continue };
                for (number, n) in numbers(*span, row.get(1)?, &counts_of(&row)?) {
                    if n > 0 && (*first..*end).contains(&number) {
                        let start = number.saturating_mul(span.micros());
                        add(Micros(start, start.saturating_add(span.micros())), Some(*span), n);
                    }
                }
            }
        }
        for cut in cuts {
            let Cut::Rows(range) = cut else { continue };
            for part in &self.parts {
                let rows = Resolved { time: range.range(), ..part.rows.clone() };
                let counted = Statement::count(dialect, &rows, None).into_sql();
                add(*range, None, counted.fetch_scalar(&mut *tx).await?);
            }
        }
        Ok(slices.into_values().collect())
    }
}

/// The rows that have these spans: their span, the first start, and that behind the last.
fn rows_of((span, first, end): &(Span, i64, i64)) -> (Span, i64, i64) {
    let (whole, parts) = span.whole();
    // The least and the greatest number stand for no limit, and are those of blocks then.
    (whole, first.div_euclid(parts), (end - 1).div_euclid(parts) + 1)
}

fn counts_of(row: &Row) -> Result<[u64; PARTS], sqlx::Error> {
    let mut counts = [0; PARTS];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = row.get(2 + at)?;
    }
    Ok(counts)
}

/// The spans that a row has, by their numbers, with their counts.
fn numbers(span: Span, start: i64, counts: &[u64; PARTS]) -> Vec<(i64, u64)> {
    match span.whole() {
        (_, 1) => vec![(start, counts.iter().sum())],
        (_, parts) => (start.saturating_mul(parts)..).zip(counts.iter().copied()).collect(),
    }
}

/// What a range of time is cut into.
enum Cut {
    /// Whole spans, by the number of the first and that behind the last.
    Spans(Span, i64, i64),
    /// What is in no span, to be counted row by row.
    Rows(Micros),
}

impl Cut {
    fn spans(&self) -> Option<(Span, i64, i64)> {
        match self {
            Self::Spans(span, first, end) => Some((*span, *first, *end)),
            Self::Rows(_) => None,
        }
    }
}

/// Cuts a range into spans, the longest in its middle, in the order of time.
fn cut(range: Micros, spans: &[Span], into: &mut Vec<Cut>) {
    if range.is_empty() {
        return;
    }
    let Some((longest, shorter)) = spans.split_first() else { return into.push(Cut::Rows(range)) };
    let (before, whole, behind) = range.split(*longest);
    cut(before, shorter, into);
    into.extend(whole.map(|(first, end)| Cut::Spans(*longest, first, end)));
    cut(behind, shorter, into);
}

/// The piece in which a row stands, and how many rows come before that piece.
fn find(pieces: &[Slice], direction: Direction, row: u64) -> (usize, u64) {
    let mut before = 0;
    let mut place = pieces.len();
    let order: &mut dyn Iterator<Item = usize> = match direction {
        Direction::Ascending => &mut (0..pieces.len()),
        Direction::Descending => &mut (0..pieces.len()).rev(),
    };
    for at in order {
        place = at;
        if row < before + pieces[at].n {
            return (at, before);
        }
        before += pieces[at].n;
    }
    // Behind all rows: the last piece that has any.
    (place, before - pieces.get(place).map_or(0, |piece| piece.n))
}

fn location(pieces: &[Slice], direction: Direction, first: u64, last: u64) -> Location {
    let (from, before) = find(pieces, direction, first);
    let (to, _) = find(pieces, direction, last);
    let within = pieces.get(from.min(to)..=from.max(to)).unwrap_or_default();
    let range = match within {
        [first, .., last] => Micros(first.range.0, last.range.1),
        [one] => one.range,
        [] => Micros(0, 0),
    };
    Location {
        range: range.range(),
        offset: first.saturating_sub(before),
        rows: within.iter().map(|piece| piece.n).sum(),
    }
}

/// The question as what counters answer; `None` when they cannot.
fn parts(found: &Resolved) -> Option<Vec<Part>> {
    let asks_more = found.condition.is_some()
        || found.narrowing.is_some()
        || found.event_ids.is_some()
        || found.addresses.is_some()
        || found.entities.is_some()
        || (found.actors.is_some() && found.actions.is_some());
    // Of a caller's own events, nothing is counted apart.
    if asks_more || (!found.own_of.is_empty() && found.actions.is_some()) {
        return None;
    }
    let mut parts = Vec::new();
    for stretches in Stretches::of(found)? {
        let dimension = match stretches.leader {
            None => Dimension::All,
            Some("action") => Dimension::Action,
            Some(_) => Dimension::Actor,
        };
        let rows = Resolved {
            own_of: Vec::new(),
            pairs: Some(stretches.pairs.clone()),
            // What leads is said by the pairs.
            actors: (dimension == Dimension::Actor).then(Vec::new),
            actions: (dimension == Dimension::Action).then(Vec::new),
            ..found.clone()
        };
        parts.push(Part { dimension, counters: stretches.pairs, rows });
    }
    Some(parts)
}

/// Microseconds since 1970 from the first up to the second, which is not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Micros(i64, i64);

impl Micros {
    fn of(time: TimeRange) -> Self {
        let start = time.start.map_or(i64::MIN, |start| start.timestamp_micros());
        let end = time.end.map_or(i64::MAX, |end| end.timestamp_micros().saturating_add(1));
        Self(start, end)
    }

    fn is_empty(self) -> bool {
        self.0 >= self.1
    }

    /// The whole spans in it, by their numbers, and what is left before and behind them.
    fn split(self, span: Span) -> (Self, Option<(i64, i64)>, Self) {
        let length = span.micros();
        // The least and the greatest number stand for no limit.
        let first = if self.0 == i64::MIN {
            i64::MIN / length
        } else {
            self.0.div_euclid(length) + i64::from(self.0.rem_euclid(length) != 0)
        };
        let last = if self.1 == i64::MAX { i64::MAX / length } else { self.1.div_euclid(length) };
        if first >= last {
            return (self, None, Self(0, 0));
        }
        let before = if self.0 == i64::MIN { Self(0, 0) } else { Self(self.0, first * length) };
        let behind = if self.1 == i64::MAX { Self(0, 0) } else { Self(last * length, self.1) };
        (before, Some((first, last)), behind)
    }

    fn range(self) -> TimeRange {
        let time = |micros| DateTime::<Utc>::from_timestamp_micros(micros);
        TimeRange {
            start: if self.0 == i64::MIN { None } else { time(self.0) },
            end: if self.1 == i64::MAX { None } else { time(self.1 - 1) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_is_its_spans_and_its_edges(start in -1_000_000_000_000i64..1_000_000_000_000, length in 0i64..1_000_000_000_000) {
            let range = Micros(start, start + length);
            for span in [Span::Hour, Span::Quarter, Span::TwoDays, Span::Block] {
                let (before, spans, behind) = range.split(span);
                let whole = spans.map_or(0, |(first, end)| (end - first) * span.micros());
                prop_assert_eq!(whole + (before.1 - before.0) + (behind.1 - behind.0), length);
                if let Some((first, end)) = spans {
                    prop_assert!(before.is_empty() || before.1 == first * span.micros());
                    prop_assert!(behind.is_empty() || behind.0 == end * span.micros());
                    prop_assert!(before.1 - before.0 < span.micros() && behind.1 - behind.0 < span.micros());
                }
            }
        }

        #[test]
        fn cuts_are_all_of_a_range_once(
            start in -1_000_000_000_000i64..9_000_000_000_000, length in 0i64..20_000_000_000_000,
            of in prop::sample::select(vec![Dimension::All, Dimension::Action, Dimension::Actor])
        ) {
            let spans = of.spans();
            let mut cuts = Vec::new();
            cut(Micros(start, start + length), spans, &mut cuts);
            let mut at = start;
            for cut in &cuts {
                let range = match cut {
                    Cut::Rows(range) => {
                        prop_assert!(range.1 - range.0 < 2 * spans.last().unwrap().micros());
                        *range
                    }
                    Cut::Spans(span, first, end) => Micros(first * span.micros(), end * span.micros()),
                };
                prop_assert!(range.0 == at && !range.is_empty());
                at = range.1;
            }
            prop_assert_eq!(at, start + length);
        }

        /// Rows of given times, one by one, against where their counts say that a page stands.
        #[test]
        fn a_page_stands_where_its_rows_are(
            counts in prop::collection::vec(0..5_u64, 1..20), offset in 0..60_u64, limit in 1..10_u32, descending in any::<bool>()
        ) {
            let direction = if descending { Direction::Descending } else { Direction::Ascending };
            let slices: Vec<Slice> = counts
                .iter()
                .zip(0_i64..)
                .map(|(n, hour)| Slice { range: Micros(hour * 10, hour * 10 + 10), n: *n, span: None })
                .collect();
            let mut rows: Vec<i64> = slices.iter().flat_map(|s| vec![s.range.0; s.n as usize]).collect();
            prop_assume!(offset < rows.len() as u64);
            if descending {
                rows.reverse();
            }
            let page: Vec<i64> = rows.iter().skip(offset as usize).take(limit as usize).copied().collect();
            let found = location(&slices, direction, offset, offset + u64::from(limit) - 1);
            let (start, end) = (found.range.start.unwrap(), found.range.end.unwrap());
            let within: Vec<i64> = rows
                .into_iter()
                .filter(|at| (start.timestamp_micros()..=end.timestamp_micros()).contains(at))
                .collect();
            prop_assert_eq!(found.rows, within.len() as u64);
            let again: Vec<i64> = within.into_iter().skip(found.offset as usize).take(limit as usize).collect();
            prop_assert_eq!(again, page);
        }
    }

    #[test]
    fn no_limit_is_no_edge() {
        let (before, spans, behind) = Micros::of(TimeRange::default()).split(Span::TwoDays);
        assert!(before.is_empty() && behind.is_empty() && spans.is_some());
        assert_eq!(Micros(i64::MIN, i64::MAX).range(), TimeRange::default());
    }
}
