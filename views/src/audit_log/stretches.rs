//! Stretches of the indexes of rows: what a question about several customers, actors or actions reads.
//!
//! Each index begins with (customer, something), which the time follows. So the rows of one customer and one actor stand
//! together in the order of time: a stretch. Questions are about some of them.

use annals_store::sql::Sql;
use annals_store::{Dialect, Transaction};

use super::resolve::Resolved;
use super::statement::Statement;

/// Stretches of one question, and pairs of customer and leading id of which it is found out whether they have any row. It
/// also bounds what one statement binds: SQLite takes 32,766 values.
const MAX_STRETCHES: usize = 10_000;

/// A customer and an id of the leading column; 0 where none leads.
pub(super) type Pair = (i64, i64);

/// Stretches of one index.
#[derive(Debug)]
pub(super) struct Stretches {
    pub(super) index: &'static str,
    pub(super) leader: Option<&'static str>,
    pub(super) pairs: Vec<Pair>,
}

impl Stretches {
    /// What a question is about: the stretches of the customers of whom all is visible, and of the caller's own events at
    /// others. At least one, if need be one that has no row. `None` when they are too many.
    pub(super) fn of(found: &Resolved) -> Option<Vec<Self>> {
        let mut all = Vec::new();
        let (leader, ids) = leader(found).unzip();
        let index = match leader {
            Some("actor") => "events_by_actor",
            Some("action") => "events_by_action",
            Some("address") => "events_by_address",
            _ => "events_by_time",
        };
        let pairs = match &found.pairs {
            Some(pairs) => few(pairs)?,
            None => product(&found.all_of, ids.unwrap_or(&[0]))?,
        };
        if !pairs.is_empty() {
            all.push(Self { index, leader, pairs });
        }
        // Own events lead by the caller; an actor filter beside it leaves some of the caller's ids.
        let pairs = few(&found.own_pairs().collect::<Vec<_>>())?;
        if !pairs.is_empty() || all.is_empty() {
            let pairs = if pairs.is_empty() { vec![(-1, -1)] } else { pairs };
            all.push(Self { index: "events_by_actor", leader: Some("actor"), pairs });
        }
        Some(all)
    }
}

/// `None` when there are too many.
fn few(pairs: &[Pair]) -> Option<Vec<Pair>> {
    (pairs.len() <= MAX_STRETCHES).then(|| pairs.to_vec())
}

/// `None` when there would be too many.
fn product(customers: &[i64], ids: &[i64]) -> Option<Vec<Pair>> {
    (customers.len().saturating_mul(ids.len()) <= MAX_STRETCHES)
        .then(|| customers.iter().flat_map(|customer| ids.iter().map(|id| (*customer, *id))).collect())
}

/// The column that leads and its ids: equalities in the index, which the time order follows.
pub(super) fn leader(found: &Resolved) -> Option<(&'static str, &[i64])> {
    found.filters().filter(|(column, _)| *column != "entity").find_map(|(column, ids)| Some((column, ids?)))
}

/// Finds out which pairs of customer and leading id have any row, unless they are known: an actor has one customer. One look
/// into the index for each costs far less than what would be done with each. Does nothing when there is nothing to save,
/// or too much to look at.
pub(super) async fn find_pairs(tx: &mut Transaction, found: &mut Resolved) -> Result<(), sqlx::Error> {
    let Some((column, ids)) = leader(found) else { return Ok(()) };
    if found.all_of.len() < 2 || found.pairs.is_some() {
        return Ok(());
    }
    let Some(pairs) = product(&found.all_of, ids) else { return Ok(()) };
    let rows = looks(tx.connection().dialect(), found, column, &pairs).fetch_all(tx).await?;
    let pairs = rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?)));
    found.pairs = Some(pairs.collect::<Result<_, sqlx::Error>>()?);
    Ok(())
}

fn looks(dialect: Dialect, found: &Resolved, column: &str, pairs: &[Pair]) -> Sql {
    let mut statement = Statement::new(dialect);
    statement.push("SELECT pair.column1, pair.column2 FROM ");
    statement.pairs(pairs);
    // PostgreSQL would turn EXISTS into a join over all rows; a limit within LATERAL keeps it one look each.
    let (before, after) = match dialect {
        Dialect::Sqlite => ("WHERE EXISTS (SELECT 1", ")"),
        Dialect::Postgres => ("CROSS JOIN LATERAL (SELECT 1", " LIMIT 1) AS hit"),
    };
    statement
        .push(&format!(" {before} FROM events WHERE customer = pair.column1 AND {column} = pair.column2"));
    statement.times(found);
    statement.push(after);
    statement.into_sql()
}
