//! Exact totals: from counters where they answer the question, else counted once and brought forward.
//!
//! A total is of the same snapshot as its page. Rows are only ever added, so that a total that was counted at some
//! positions of the log stays right for them; later, only the rows beyond are counted.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use annals_store::Transaction;
use annals_store::sql::{On, sql};
use chrono::{DateTime, Utc};

use super::condition::Piece;
use super::counts::{Dimension, Span};
use super::query::{AuditQuery, Direction};
use super::resolve::Resolved;
use super::statement::Statement;
use super::text::MAX_CANDIDATES;
use crate::filter::TimeRange;

/// Totals that one process remembers.
const MAX_REMEMBERED: usize = 1_000;

/// Counters that one look may seek: customers times keys.
const MAX_SEEKS: usize = 10_000;

/// Offsets from which on a page is looked for in the counters.
const DEEP: u64 = 2_000;

/// The totals that this process has counted. Cheap to make; one for all requests.
#[derive(Debug)]
pub struct Totals {
    remembered: Mutex<Remembered>,
    candidates: usize,
}

impl Default for Totals {
    fn default() -> Self {
        Self::with_candidates(MAX_CANDIDATES)
    }
}

#[derive(Debug, Default)]
struct Remembered {
    totals: HashMap<u128, Total>,
    /// The oldest first.
    order: VecDeque<u128>,
}

/// A total, and how much of the log it counts: the next offset of each partition, by the partition's id.
#[derive(Clone, Debug)]
struct Total {
    n: u64,
    counted_to: Vec<(i64, i64)>,
}

impl Totals {
    /// Totals that are counted among so many candidates of the text index at most. The answers are the same whatever the
    /// number is; tests see both ways to them.
    #[must_use]
    pub fn with_candidates(candidates: usize) -> Self {
        Self { remembered: Mutex::default(), candidates }
    }

    pub(super) fn candidates(&self) -> usize {
        self.candidates
    }

    fn get(&self, key: u128) -> Option<Total> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).totals.get(&key).cloned()
    }

    fn put(&self, key: u128, total: Total) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.totals.insert(key, total).is_none() {
            remembered.order.push_back(key);
        }
        if remembered.order.len() > MAX_REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.totals.remove(&oldest);
        }
    }
}

/// How far this snapshot has folded the log, by the partition's id. Partitions without a row are not in it.
pub(super) async fn positions(on: impl Into<On<'_>>) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sql("SELECT d.id, p.next_offset FROM partitions d
         JOIN positions p ON p.topic = d.topic AND p.partition = d.number ORDER BY d.id")
    .fetch_all(on)
    .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// How many rows match, whatever page is asked for. `generation` tells views apart that are folded anew.
pub(super) async fn total(
    tx: &mut Transaction,
    totals: &Totals,
    generation: i64,
    query: &AuditQuery,
    found: &Resolved,
) -> Result<u64, sqlx::Error> {
    if let Some(parts) = counted(found) {
        let mut total = 0;
        for part in &parts {
            total += part.sum(tx, found, found.time).await?;
        }
        return Ok(total);
    }
    let key = key(generation, query);
    let now = positions(&mut *tx).await?;
    let n = match totals.get(key) {
        Some(before) if is_behind(&before.counted_to, &now) => {
            before.n + count_beyond(tx, found, &before.counted_to, &now).await?
        }
        _ => count_rows(tx, found).await?,
    };
    totals.put(key, Total { n, counted_to: now });
    Ok(n)
}

fn key(generation: i64, query: &AuditQuery) -> u128 {
    // Two hashes of different beginnings: what collides in one does not in the other.
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        (generation, &query.filter).hash(&mut hasher);
        (&query.scope.all_of, &query.scope.own_of, query.scope.caller.0.number(), query.scope.caller.1)
            .hash(&mut hasher);
        hasher.finish()
    };
    u128::from(half(0)) << 64 | u128::from(half(1))
}

/// Whether a total can be brought forward. A snapshot may also be older than the one that was counted last.
fn is_behind(before: &[(i64, i64)], now: &[(i64, i64)]) -> bool {
    before.iter().all(|(id, next)| now.iter().any(|(known, reached)| known == id && reached >= next))
}

async fn count_rows(tx: &mut Transaction, found: &Resolved) -> Result<u64, sqlx::Error> {
    Statement::count(tx.connection().dialect(), found, None).into_sql().fetch_scalar(tx).await
}

async fn count_beyond(
    tx: &mut Transaction,
    found: &Resolved,
    before: &[(i64, i64)],
    now: &[(i64, i64)],
) -> Result<u64, sqlx::Error> {
    let mut n = 0;
    for (partition, reached) in now {
        let from = before.iter().find(|(id, _)| id == partition).map_or(0, |(_, next)| *next);
        if from < *reached {
            let dialect = tx.connection().dialect();
            let counted: u64 = Statement::count(dialect, found, Some((*partition, from)))
                .into_sql()
                .fetch_scalar(&mut *tx)
                .await?;
            n += counted;
        }
    }
    Ok(n)
}

/// A part of a question that counters answer.
struct Part {
    customers: Vec<i64>,
    dimension: Dimension,
    keys: Vec<i64>,
}

/// The question as what counters answer; `None` when they cannot.
fn counted(found: &Resolved) -> Option<Vec<Part>> {
    if found.condition.is_some()
        || found.event_ids.is_some()
        || found.addresses.is_some()
        || found.entities.is_some()
    {
        return None;
    }
    let (dimension, keys) = match (&found.actors, &found.actions) {
        (None, None) => (Dimension::All, vec![0]),
        (None, Some(actions)) => (Dimension::Action, actions.clone()),
        (Some(actors), None) => (Dimension::Actor, actors.clone()),
        (Some(_), Some(_)) => return None,
    };
    let mut parts = Vec::new();
    if !found.all_of.is_empty() {
        parts.push(Part { customers: found.all_of.clone(), dimension, keys });
    }
    if !found.own_of.is_empty() {
        if found.actions.is_some() {
            return None;
        }
        let own = found.callers.iter().filter(|id| found.actors.as_ref().is_none_or(|ids| ids.contains(id)));
        let (customers, keys) = (found.own_of.clone(), own.copied().collect());
        parts.push(Part { customers, dimension: Dimension::Actor, keys });
    }
    parts.iter().all(|part| part.customers.len() * part.keys.len() <= MAX_SEEKS).then_some(parts)
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

impl Part {
    /// How many events of a range of time there are.
    async fn sum(&self, tx: &mut Transaction, found: &Resolved, time: TimeRange) -> Result<u64, sqlx::Error> {
        let (before, days, behind) = Micros::of(time).split(Span::Day);
        let mut n = match days {
            Some(days) => self.spans(tx, Span::Day, days).await?,
            None => 0,
        };
        for edge in [before, behind] {
            n += self.edge(tx, found, edge).await?;
        }
        Ok(n)
    }

    /// Less than two days.
    async fn edge(&self, tx: &mut Transaction, found: &Resolved, edge: Micros) -> Result<u64, sqlx::Error> {
        let (mut n, mut rest) = (0, vec![edge]);
        if self.dimension.has_hours() {
            let (before, hours, behind) = edge.split(Span::Hour);
            if let Some(hours) = hours {
                n += self.spans(tx, Span::Hour, hours).await?;
            }
            rest = vec![before, behind];
        }
        for range in rest.into_iter().filter(|range| !range.is_empty()) {
            let dialect = tx.connection().dialect();
            let counted: u64 = Statement::count(dialect, &self.rows(found, range), None)
                .into_sql()
                .fetch_scalar(&mut *tx)
                .await?;
            n += counted;
        }
        Ok(n)
    }

    /// The rows of this part in a range of time.
    fn rows(&self, found: &Resolved, range: Micros) -> Resolved {
        let keys = Some(self.keys.clone());
        Resolved {
            all_of: self.customers.clone(),
            own_of: Vec::new(),
            time: range.range(),
            actors: if self.dimension == Dimension::Actor { keys.clone() } else { None },
            actions: if self.dimension == Dimension::Action { keys } else { None },
            ..found.clone()
        }
    }

    fn counters(
        &self,
        select: &str,
        span: Span,
        (first, end): (i64, i64),
        rest: &str,
    ) -> annals_store::sql::Sql {
        sql(format!(
            "SELECT {select} FROM counts WHERE customer = ANY(?) AND dimension = ? AND key = ANY(?) AND span = ?
             AND start >= ? AND start < ?{rest}"
        ))
        .bind(self.customers.clone())
        .bind(self.dimension.number())
        .bind(self.keys.clone())
        .bind(span.number())
        .bind(first)
        .bind(end)
    }

    async fn spans(&self, tx: &mut Transaction, span: Span, range: (i64, i64)) -> Result<u64, sqlx::Error> {
        self.counters("CAST(coalesce(sum(n), 0) AS bigint)", span, range, "").fetch_scalar(tx).await
    }

    /// How many events each span of a range has, those without any left out.
    async fn by_span(
        &self,
        tx: &mut Transaction,
        span: Span,
        range: (i64, i64),
    ) -> Result<Vec<(i64, u64)>, sqlx::Error> {
        let rows = self
            .counters("start, CAST(sum(n) AS bigint)", span, range, " GROUP BY start ORDER BY start")
            .fetch_all(tx)
            .await?;
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
    }
}

/// Brings a deep page near: the range of time in which it begins, and how many rows to skip there.
pub(super) async fn locate(
    tx: &mut Transaction,
    query: &AuditQuery,
    found: &mut Resolved,
) -> Result<u64, sqlx::Error> {
    let Some(direction) = query.by_time() else { return Ok(query.offset) };
    if query.offset < DEEP {
        return Ok(query.offset);
    }
    let parts = match counted(found) {
        Some(parts) if parts.len() == 1 => parts,
        _ => return Ok(query.offset),
    };
    let whole = Micros::of(found.time);
    let mut within = (whole, query.offset);
    for part in &parts {
        for span in [Span::Day, Span::Hour] {
            if span == Span::Day || part.dimension.has_hours() {
                within = part.skip(tx, found, span, direction, within).await?;
            }
        }
    }
    let (Micros(start, end), offset) = within;
    // The page goes on beyond the span in which it begins.
    let range = match direction {
        Direction::Ascending => Micros(start, whole.1),
        Direction::Descending => Micros(whole.0, end),
    };
    found.time = range.range();
    Ok(offset)
}

impl Part {
    /// Skips whole spans of a range, in the page's direction: what is left of the range begins with the wanted row's span.
    async fn skip(
        &self,
        tx: &mut Transaction,
        found: &Resolved,
        span: Span,
        direction: Direction,
        (range, mut offset): (Micros, u64),
    ) -> Result<(Micros, u64), sqlx::Error> {
        let (before, Some(spans), behind) = range.split(span) else { return Ok((range, offset)) };
        let first_edge = if direction == Direction::Ascending { before } else { behind };
        let edge = if first_edge.is_empty() { 0 } else { self.edge(tx, found, first_edge).await? };
        if offset < edge {
            return Ok((first_edge, offset));
        }
        offset -= edge;
        let mut counts = self.by_span(tx, span, spans).await?;
        if direction == Direction::Descending {
            counts.reverse();
        }
        for (number, n) in counts {
            if offset < n {
                let start = number * span.micros();
                return Ok((Micros(start, start + span.micros()), offset));
            }
            offset -= n;
        }
        Ok((if direction == Direction::Ascending { behind } else { before }, offset))
    }
}

/// The condition that rows stand before these positions, by the partition's id.
pub(super) fn before(positions: &[(i64, i64)]) -> Piece {
    if positions.is_empty() {
        return Piece::nothing();
    }
    Piece::either(positions.iter().map(|(partition, next)| {
        Piece::with("(events.partition = ? AND events.\"offset\" < ?)", [(*partition).into(), (*next).into()])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_is_its_spans_and_its_edges(start in -1_000_000_000_000i64..1_000_000_000_000, length in 0i64..1_000_000_000_000) {
            let range = Micros(start, start + length);
            for span in [Span::Hour, Span::Day] {
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
    }

    #[test]
    fn no_limit_is_no_edge() {
        let (before, spans, behind) = Micros::of(TimeRange::default()).split(Span::Day);
        assert!(before.is_empty() && behind.is_empty() && spans.is_some());
        assert_eq!(Micros(i64::MIN, i64::MAX).range(), TimeRange::default());
    }

    #[test]
    fn a_total_is_brought_forward_only() {
        assert!(is_behind(&[(1, 5)], &[(1, 5), (2, 1)]));
        assert!(!is_behind(&[(1, 5)], &[(1, 4)]) && !is_behind(&[(1, 5)], &[]));
    }

    #[test]
    fn remembered_totals_are_bounded() {
        let totals = Totals::default();
        for key in 0..3_000 {
            totals.put(key, Total { n: 1, counted_to: Vec::new() });
            totals.put(key, Total { n: 2, counted_to: Vec::new() });
        }
        assert!(totals.get(0).is_none());
        assert_eq!(totals.get(2_999).map(|total| total.n), Some(2));
    }
}
