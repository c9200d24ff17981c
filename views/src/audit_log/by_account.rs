//! Pages in the order of accounts among rows that the text index names. It says who acted in each of them, so that only
//! the rows of those accounts are looked at that the page is about.

use std::collections::{BTreeMap, HashMap, HashSet};

use annals_store::Transaction;
use annals_store::sql::sql;

use super::query::{AuditQuery, Direction, SortKey};
use super::text::Hits;

/// Hits of which it is found out who acted: a few bytes of memory for each.
const MAX_HITS: usize = 4_000_000;

/// Actors whose accounts are read.
const MAX_ACTORS: usize = 50_000;

/// The rows of the accounts that a page is about.
pub(super) struct Part {
    /// By lane and place.
    pub(super) places: Vec<(i64, i64)>,
    /// How many rows come before them.
    pub(super) first: u64,
}

/// What a query's page is about, when it is in the order of accounts before all else. `None` when they are too many to be
/// told apart so.
pub(super) async fn part(
    tx: &mut Transaction,
    query: &AuditQuery,
    hits: &Hits,
) -> Result<Option<Part>, sqlx::Error> {
    let Some((SortKey::Account, direction)) = query.order.first() else { return Ok(None) };
    if hits.count() > MAX_HITS {
        return Ok(None);
    }
    let by_actor = hits.by_actor(tx).await?;
    if by_actor.actors.len() > MAX_ACTORS {
        return Ok(None);
    }
    let ids: Vec<i64> = by_actor.actors.iter().map(|(actor, _)| *actor).collect();
    let rows = sql("SELECT id, account FROM actors WHERE id = ANY(?)").bind(ids).fetch_all(tx).await?;
    let mut named: HashMap<i64, String> =
        rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    drop(rows);
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for (at, (actor, rows)) in by_actor.actors.iter().enumerate() {
        let name = named.remove(actor).ok_or(sqlx::Error::RowNotFound)?;
        let account = accounts.entry(name).or_default();
        account.rows += rows;
        account.actors.push(at);
    }
    let (first, wanted) = about(accounts.into_values(), *direction, query.offset, query.limit.into());
    let wanted: HashSet<usize> = wanted.into_iter().flat_map(|account| account.actors).collect();
    Ok(Some(Part { places: by_actor.places(|at| wanted.contains(&at)), first }))
}

/// An account: in how many rows it acted, and which actors are called so.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    rows: u64,
    actors: Vec<usize>,
}

/// Those of the accounts, which come in order, that have the rows of a page, and how many rows come before them.
fn about(
    accounts: impl DoubleEndedIterator<Item = Account>,
    direction: Direction,
    offset: u64,
    limit: u64,
) -> (u64, Vec<Account>) {
    let (mut before, mut next, mut wanted) = (0, 0, Vec::new());
    let mut take = |account: Account| {
        let first = next;
        next += account.rows;
        if next <= offset {
            before = next;
        } else if first < offset.saturating_add(limit) {
            wanted.push(account);
        }
    };
    match direction {
        Direction::Ascending => accounts.for_each(&mut take),
        Direction::Descending => accounts.rev().for_each(&mut take),
    }
    (before, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Rows of the accounts, one by one, against what is said to be looked at.
        #[test]
        fn a_page_is_among_the_rows_of_its_accounts(
            rows in prop::collection::vec(1..6_u64, 0..20),
            (offset, limit) in (0..60_u64, 1..10_u64),
            is_ascending: bool,
        ) {
            let direction = if is_ascending { Direction::Ascending } else { Direction::Descending };
            let accounts = rows.iter().enumerate().map(|(at, rows)| Account { rows: *rows, actors: vec![at] });
            let (first, wanted) = about(accounts, direction, offset, limit);
            let all = |at: usize| std::iter::repeat_n(at, rows[at] as usize);
            let mut all: Vec<usize> = (0..rows.len()).flat_map(all).collect();
            if !is_ascending {
                all.reverse();
            }
            let page: Vec<usize> = all.iter().skip(offset as usize).take(limit as usize).copied().collect();
            let among = wanted.iter().flat_map(|account| std::iter::repeat_n(account.actors[0], account.rows as usize));
            let skip = (offset - first.min(offset)) as usize;
            let found: Vec<usize> = among.clone().skip(skip).take(limit as usize).collect();
            prop_assert_eq!(found, page);
            // And no account that has none of them.
            prop_assert!(wanted.len() as u64 <= limit);
        }
    }
}
