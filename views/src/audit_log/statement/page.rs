//! A page by way of the indexes of rows.
//!
//! It is found on the stretches of one index ([`super::super::stretches`]), each of which is in the order of time:
//! - few are merged: an arm for each, `UNION ALL` with `ORDER BY`, of which SQLite takes no more than it needs;
//! - many are looked at one after the other, and what is found is sorted: few rows, as the counters have told the range of
//!   time in which the page stands ([`super::super::histogram`]), and each stretch gives no more than a page.

use annals_store::Dialect;

use super::super::query::{AuditQuery, Direction};
use super::super::resolve::Resolved;
use super::super::stretches::Stretches;
use super::{Statement, can_be_looked_at, can_be_merged, count_of, joins_of_order, order_by, row_name};

/// Arms from which on SQLite takes longer to read the statement than to look at all stretches and sort what is there.
const MANY_ARMS: usize = 64;

/// Rows that PostgreSQL may sort before it pays to find out where a page stands: of all rows, whose counters take several
/// looks, and of an actor or action.
const MAX_LOOKED_AT: [u64; 2] = [5_000, 1_000];

/// Offsets from which on a page is looked for in the counters.
pub(in super::super) const DEEP: u64 = 2_000;

/// Rows that are rather sorted than merged out of many arms.
const MAX_SORTED: u64 = 10_000;

impl Statement {
    /// One page. `rows` is how many rows are in the question's range of time, where it is known; `most_pass` is whether what
    /// is tested row by row is known to be true of many.
    pub(in super::super) fn page(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        rows: Option<u64>,
        most_pass: bool,
    ) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        let stretches = Stretches::of(found).unwrap_or_default();
        statement.push("WITH page AS (");
        match (query.by_time(), Way::of(dialect, &stretches, found, rows, most_pass)) {
            (Some(direction), Way::Merge) => statement.merge(&stretches, found, direction),
            (Some(direction), Way::Look) => {
                let most = query.offset.saturating_add(u64::from(query.limit)).cast_signed();
                statement.look(&stretches, found, direction, most);
            }
            _ => {
                statement.push(&format!("SELECT events.{row} AS id FROM events"));
                statement.not_indexed(found);
                statement.push(&joins_of_order(query));
                statement.push(" WHERE ");
                statement.anywhere(found);
                statement.push(&order_by(dialect, query));
            }
        }
        statement.page_with(query, "");
        statement
    }

    /// All stretches in the order of time, an arm for each.
    fn merge(&mut self, stretches: &[Stretches], found: &Resolved, direction: Direction) {
        let row = row_name(self.dialect);
        let arms = stretches.iter().flat_map(|s| s.pairs.iter().map(move |pair| (s, *pair)));
        for (index, (stretches, pair)) in arms.enumerate() {
            self.push(if index == 0 { "" } else { " UNION ALL " });
            self.push(&format!("SELECT {row} AS id, at, event_id"));
            self.arm(stretches, pair, found);
        }
        self.push(by_time(direction));
    }

    /// The first `most` rows of each stretch at least, in the order of time.
    fn look(&mut self, stretches: &[Stretches], found: &Resolved, direction: Direction, most: i64) {
        for (index, stretches) in stretches.iter().enumerate() {
            self.push(if index == 0 { "" } else { " UNION ALL " });
            match self.dialect {
                Dialect::Sqlite => {
                    self.push("SELECT events.id AS id, events.at AS at, events.event_id AS event_id");
                    self.looks(stretches, found);
                }
                Dialect::Postgres => {
                    self.push("SELECT hit.id, hit.at, hit.event_id FROM ");
                    self.pairs(&stretches.pairs);
                    self.push(" CROSS JOIN LATERAL (SELECT ctid AS id, at, event_id FROM events WHERE ");
                    self.of_pair(stretches, found);
                    self.push(by_time(direction));
                    self.push(" LIMIT ");
                    self.bind(most);
                    self.push(") AS hit");
                }
            }
        }
        self.push(by_time(direction));
    }
}

fn by_time(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => " ORDER BY at, event_id",
        Direction::Descending => " ORDER BY at DESC, event_id",
    }
}

/// Whether a page is found sooner when it is known where it stands.
pub(in super::super) fn gains_by_location(dialect: Dialect, query: &AuditQuery, found: &Resolved) -> bool {
    if query.offset >= DEEP {
        return true;
    }
    let Some(stretches) = Stretches::of(found) else { return false };
    let arms = count_of(&stretches);
    match dialect {
        Dialect::Sqlite => arms >= MANY_ARMS,
        // Each stretch gives as many rows as the page reaches to.
        Dialect::Postgres => {
            let rows = arms as u64 * query.offset.saturating_add(query.limit.into());
            let is_led = stretches.iter().all(|stretches| stretches.leader.is_some());
            arms > 1 && rows > MAX_LOOKED_AT[usize::from(is_led)]
        }
    }
}

/// How the rows of a page are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One arm for each stretch, merged.
    Merge,
    /// A look at each stretch; what is found is sorted.
    Look,
    /// All rows by one condition, sorted.
    Sort,
}

impl Way {
    fn of(
        dialect: Dialect,
        stretches: &[Stretches],
        found: &Resolved,
        rows: Option<u64>,
        most_pass: bool,
    ) -> Self {
        if found.event_ids.is_some() {
            return Self::Sort;
        }
        let arms = count_of(stretches);
        // Stretches of which most rows fail would be read to their ends, each for a page of its own.
        let looks = (found.condition.is_none() || most_pass) && can_be_looked_at(stretches, found);
        let merges = can_be_merged(stretches, found);
        let prefers_looks = match dialect {
            // Its planner takes longer over arms than over rows, and may take the wrong index for one.
            Dialect::Postgres => arms > 1,
            Dialect::Sqlite => arms >= MANY_ARMS && rows.is_some_and(|rows| rows <= MAX_SORTED),
        };
        match (looks, merges) {
            (true, _) if prefers_looks => Self::Look,
            (_, true) => Self::Merge,
            (true, false) => Self::Look,
            (false, false) => Self::Sort,
        }
    }
}
