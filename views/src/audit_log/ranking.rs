//! Pages in an order that takes all matching rows to be sorted: the first look remembers many more ranks than it was asked
//! for, and pages among these look at their own rows only.
//!
//! Rows that came since are seen by every page. Let `n` be at least how many they are. A row of the old rank `r` now has a
//! rank from `r` to `r + n`, so that the rows which now have the ranks from `first` on are among the old ranks from
//! `first - n` on and the new rows. Those before `first - n` are still before all of them, and need not be looked at.

use annals_store::Transaction;
use annals_store::sql::Row;

use super::memory::{Key, Memory};
use super::query::{AuditEvent, AuditQuery};
use super::resolve::Resolved;
use super::searched::{Searched, page_of};
use super::statement::{self, Statement};
use super::text::{Positions, ends, in_order, since};

/// Ranks that are remembered at least, and at most.
const RANKS: std::ops::RangeInclusive<u64> = 2_000..=65_536;

/// Rows that may have come since before all rows are sorted anew.
const MAX_NEW: u64 = 1_000;

/// The matching rows of a stretch of ranks.
#[derive(Debug)]
pub(super) struct Ranking {
    /// How far the view was filled.
    reached: Positions,
    /// How many rows matched then.
    total: u64,
    /// The first rank, from 0 on.
    first: u64,
    /// The rows in order, by lane and place.
    rows: Vec<(i64, i64)>,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'q> {
    pub(super) memory: &'q Memory,
    pub(super) question: Key,
    pub(super) query: &'q AuditQuery,
    pub(super) found: &'q Resolved,
}

/// What a page looks at.
#[derive(Debug, PartialEq, Eq)]
struct Part<'r> {
    rows: &'r [(i64, i64)],
    /// The rank of the first one.
    first: u64,
}

impl Ranking {
    /// How much memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + size_of_val(self.reached.as_slice())
    }

    /// What a page of these ranks looks at beside the new rows; `None` when it is not all here.
    fn part(&self, offset: u64, limit: u64, new: u64) -> Option<Part<'_>> {
        let first = offset.saturating_sub(new);
        let end = offset.saturating_add(limit).min(self.total);
        let at = |rank: u64| usize::try_from(rank.checked_sub(self.first)?).ok();
        let rows = self.rows.get(at(first)?..at(end)?)?;
        (!rows.is_empty()).then_some(Part { rows, first })
    }
}

/// Which ranks are found with a page.
fn ranks(query: &AuditQuery) -> (u64, u64) {
    // Rows that come meanwhile must not make the next page, or this one again, a matter of ranks that are not here.
    let first = query.offset.saturating_sub(MAX_NEW);
    let end = query.offset.saturating_add(query.limit.into());
    (first, (end - first).max(end.saturating_mul(8).clamp(*RANKS.start(), *RANKS.end())))
}

/// Whether the query's page is worth a ranking.
pub(super) fn is_for(query: &AuditQuery, found: &Resolved) -> bool {
    query.by_time().is_none()
        && query.within.is_none()
        && query.after.is_none()
        && query.limit > 0
        && query.offset <= i64::MAX as u64
        && found.event_ids.is_none()
        && statement::fits_hits(found)
}

/// The query's page and how many rows match, from what is remembered. `None` when that is not enough.
pub(super) async fn remembered(
    tx: &mut Transaction,
    asked: Asked<'_>,
) -> Result<Option<(Vec<AuditEvent>, u64)>, sqlx::Error> {
    let Asked { memory, question, query, found } = asked;
    let Some(ranking) = memory.ranking(question.of_order(query)) else { return Ok(None) };
    let now = ends(tx.connection()).await?;
    let Some((new, tail)) = since(&ranking.reached, &now).filter(|(new, _)| *new <= MAX_NEW) else {
        return Ok(None);
    };
    let Some(part) = ranking.part(query.offset, query.limit.into(), new) else { return Ok(None) };
    let query = AuditQuery { offset: query.offset - part.first, ..query.clone() };
    let (events, matching) = page_of(tx, &query, found, &in_order(part.rows.to_vec()), &tail).await?;
    // No row tells how many there are.
    let Some(matching) = matching else { return Ok(None) };
    Ok(Some((events, ranking.total + matching - part.rows.len() as u64)))
}

/// The query's page and how many rows match, where the index names all of them. `None` when another way is shorter.
pub(super) async fn among(
    tx: &mut Transaction,
    asked: Asked<'_>,
    searched: &Searched,
) -> Result<Option<(Vec<AuditEvent>, u64)>, sqlx::Error> {
    let Asked { query, found, .. } = asked;
    if query.is_by_account() && searched.gains_by_actors() {
        return Ok(None);
    }
    let Some((places, tail)) = searched.places() else { return Ok(None) };
    let dialect = tx.connection().dialect();
    let ranks = ranks(query);
    let rows = Statement::ranking_of_places(dialect, query, found, &places, tail, ranks).into_sql();
    let rows = rows.fetch_all(&mut *tx).await?;
    let Some(total) = rows.first().map(|row| row.get("total")).transpose()? else { return Ok(None) };
    let events = keep(tx, asked, &rows, (ranks.0, total)).await?;
    Ok(Some((events, total)))
}

/// The query's page in the order of accounts, where the index names all rows that match. `None` when another way is shorter.
async fn of_accounts(
    tx: &mut Transaction,
    asked: Asked<'_>,
    searched: &Searched,
    total: u64,
) -> Result<Option<Vec<AuditEvent>>, sqlx::Error> {
    let Asked { memory, query, found, .. } = asked;
    let Some(part) = searched.of_accounts(tx, query).await? else { return Ok(None) };
    if part.places.len() <= memory.effort().again() {
        // As soon looked at again with every page.
        let query = AuditQuery { offset: query.offset - part.first, ..query.clone() };
        return Ok(Some(page_of(tx, &query, found, &part.places, &[]).await?.0));
    }
    let dialect = tx.connection().dialect();
    let all = (0, part.places.len() as u64);
    let rows = Statement::ranking_of_places(dialect, query, found, &part.places, &[], all).into_sql();
    let rows = rows.fetch_all(&mut *tx).await?;
    keep(tx, asked, &rows, (part.first, total)).await.map(Some)
}

/// The query's page, which begins before the end of the `total` rows that match. `searched` has them, if the index names all.
pub(super) async fn page(
    tx: &mut Transaction,
    asked: Asked<'_>,
    searched: Option<&Searched>,
    total: u64,
) -> Result<Vec<AuditEvent>, sqlx::Error> {
    if let Some(searched) = searched
        && let Some(events) = of_accounts(tx, asked, searched, total).await?
    {
        return Ok(events);
    }
    let Asked { query, found, .. } = asked;
    let dialect = tx.connection().dialect();
    let ranks = ranks(query);
    let rows = Statement::ranking(dialect, query, found, ranks, total).into_sql();
    let rows = rows.fetch_all(&mut *tx).await?;
    keep(tx, asked, &rows, (ranks.0, total)).await
}

/// Keeps the ranking that was found with a page, from its first rank on, among `total` rows; and fetches the page.
async fn keep(
    tx: &mut Transaction,
    asked: Asked<'_>,
    rows: &[Row],
    (first, total): (u64, u64),
) -> Result<Vec<AuditEvent>, sqlx::Error> {
    let Asked { memory, question, query, found } = asked;
    let ranking = Ranking {
        reached: ends(tx.connection()).await?,
        total,
        first,
        rows: rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, sqlx::Error>>()?,
    };
    let events = match ranking.part(query.offset, query.limit.into(), 0) {
        Some(part) => {
            let query = AuditQuery { offset: 0, ..query.clone() };
            page_of(tx, &query, found, &in_order(part.rows.to_vec()), &[]).await?.0
        }
        None => Vec::new(),
    };
    memory.keep_ranking(question.of_order(query), ranking);
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_page_stands_among_its_part_and_the_new_rows(
            old in prop::collection::btree_set(0..400_i64, 1..200),
            new in prop::collection::btree_set(400..800_i64, 0..40),
            shuffle in 1..800_i64,
            (first, len) in (0..100_u64, 1..150_usize),
            (offset, limit, too_many) in (0..250_u64, 1..40_u64, 0..10_u64),
        ) {
            // Some order in which new rows are anywhere: 1,601 is a prime number.
            let rank = |row: &i64| row * (2 * shuffle + 1) % 1_601;
            let sorted = |rows: Vec<i64>| { let mut rows = rows; rows.sort_by_key(rank); rows };
            let before = sorted(old.iter().copied().collect());
            let now = sorted(old.union(&new).copied().collect());
            let rows = before.iter().skip(first as usize).take(len).map(|row| (0, *row)).collect();
            let ranking = Ranking { reached: Vec::new(), total: before.len() as u64, first, rows };
            let Some(part) = ranking.part(offset, limit, new.len() as u64 + too_many) else { return Ok(()) };
            let looked_at = sorted(part.rows.iter().map(|(_, row)| *row).chain(new).collect());
            let (skip, limit) = ((offset - part.first) as usize, limit as usize);
            let page: Vec<_> = looked_at.iter().skip(skip).take(limit).collect();
            let wanted: Vec<_> = now.iter().skip(offset as usize).take(limit).collect();
            prop_assert_eq!(page, wanted);
        }
    }

    #[test]
    fn a_page_beyond_the_ranks_is_not_there() {
        let ranking = Ranking { reached: Vec::new(), total: 100, first: 10, rows: vec![(0, 0); 30] };
        let part =
            |offset, limit, new| ranking.part(offset, limit, new).map(|part| (part.first, part.rows.len()));
        assert_eq!(part(10, 30, 0), Some((10, 30)));
        assert_eq!(part(15, 5, 5), Some((10, 10)));
        assert_eq!((part(15, 5, 6), part(9, 5, 0), part(30, 11, 0)), (None, None, None));
        let whole = Ranking { reached: Vec::new(), total: 5, first: 0, rows: vec![(0, 0); 5] };
        assert_eq!(whole.part(3, 100, 9).map(|part| part.rows.len()), Some(5));
        assert_eq!((whole.part(5, 100, 0), whole.part(u64::MAX, 100, 0)), (None, None));
    }
}
