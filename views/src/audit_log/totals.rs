//! Exact totals where counters ([`super::histogram`]) do not answer: counted once, remembered, and brought forward.
//!
//! A total is of the same snapshot as its page.

use annals_store::Transaction;
use annals_store::sql::{On, sql};

use super::condition::Piece;
use super::memory::{Key, Memory};
use super::resolve::Resolved;
use super::statement::Statement;
use super::text::since;

/// A total, and how much of the log it counts: the next offset of each partition, by the partition's id.
#[derive(Clone, Debug)]
pub(super) struct Total {
    n: u64,
    counted_to: Vec<(i64, i64)>,
}

/// How far this snapshot has folded the log, by the partition's id. Partitions without a row are not in it.
pub(super) async fn positions(on: impl Into<On<'_>>) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sql("SELECT d.id, p.next_offset FROM partitions d
         JOIN positions p ON p.topic = d.topic AND p.partition = d.number ORDER BY d.id")
    .fetch_all(on)
    .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// How many rows match, counted row by row, whatever page is asked for.
pub(super) async fn total(
    tx: &mut Transaction,
    memory: &Memory,
    question: Key,
    found: &Resolved,
) -> Result<u64, sqlx::Error> {
    let now = positions(&mut *tx).await?;
    let beyond =
        memory.total(question).and_then(|before| Some((before.n, since(&before.counted_to, &now)?.1)));
    let n = match beyond {
        Some((n, tail)) => n + count_beyond(tx, found, &tail).await?,
        None => count_rows(tx, found).await?,
    };
    memory.keep_total(question, Total { n, counted_to: now });
    Ok(n)
}

async fn count_rows(tx: &mut Transaction, found: &Resolved) -> Result<u64, sqlx::Error> {
    Statement::count(tx.connection().dialect(), found, None).into_sql().fetch_scalar(tx).await
}

async fn count_beyond(
    tx: &mut Transaction,
    found: &Resolved,
    tail: &[(i64, i64)],
) -> Result<u64, sqlx::Error> {
    let mut n = 0;
    for from in tail {
        let dialect = tx.connection().dialect();
        let counted: u64 =
            Statement::count(dialect, found, Some(*from)).into_sql().fetch_scalar(&mut *tx).await?;
        n += counted;
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
        let is_behind =
            |before: &[(i64, i64)], now: &[(i64, i64)]| since(&before.to_vec(), &now.to_vec()).is_some();
        assert!(is_behind(&[(1, 5)], &[(1, 5), (2, 1)]));
        assert!(!is_behind(&[(1, 5)], &[(1, 4)]) && !is_behind(&[(1, 5)], &[]));
    }
}
