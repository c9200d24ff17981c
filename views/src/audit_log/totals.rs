//! Exact totals where counters ([`super::histogram`]) do not answer: counted once, remembered, and brought forward.
//!
//! A total is of the same snapshot as its page. Rows are only ever added, so that a total that was counted at some
//! positions of the log stays right for them; later, only the rows beyond are counted.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use annals_store::Transaction;
use annals_store::sql::{On, sql};

use super::condition::Piece;
use super::query::AuditQuery;
use super::resolve::Resolved;
use super::statement::Statement;
use super::text::MAX_CANDIDATES;

/// Totals that one process remembers.
const MAX_REMEMBERED: usize = 1_000;

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

/// How many rows match, counted row by row, whatever page is asked for. `generation` tells views apart that are folded anew.
pub(super) async fn total(
    tx: &mut Transaction,
    totals: &Totals,
    generation: i64,
    query: &AuditQuery,
    found: &Resolved,
) -> Result<u64, sqlx::Error> {
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
