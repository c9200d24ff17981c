//! Rows that the text index names, and those that it does not know yet: which of them match, and pages among them.

use annals_store::Dialect;

use super::super::query::AuditQuery;
use super::super::resolve::Resolved;
use super::super::stretches::Stretches;
use super::{
    MAX_MERGED_TEXT, MAX_MERGED_VALUES, Statement, columns_of_order, joins_of_order, order_by, row_name, size,
};

/// Rows that PostgreSQL looks up one by one to sort them.
const MAX_LOOKED_UP: u64 = 20_000;

/// PostgreSQL's rows of a lane; which places of it follows.
const ROWS_OF_LANE: &str = "SELECT events.ctid, events.* FROM events WHERE events.partition = hit.lane";

/// Between these rows and the question: the offset keeps the planner from any other way to them. Three rows of a month
/// would be looked for among all rows of that month.
const FENCE: &str = "OFFSET 0) AS events WHERE ";

impl Statement {
    /// One page among rows that are called so by the text index, and all from the places of a tail on; each row with the
    /// number of all that match as `total`.
    pub(in super::super) fn page_of_places(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        places: &[(i64, i64)],
        tail: &[(i64, i64)],
    ) -> Self {
        let called = format!("events.{} AS id", row_name(dialect));
        let mut statement = Self::with_found(dialect, &called, query, found, places, tail);
        let joins = joins_of_order(query);
        statement.push(&format!(", page AS (SELECT events.id FROM found AS events{joins}"));
        statement.push(&order_by(dialect, query));
        statement.page_with(query, ", (SELECT count(*) FROM found) AS total");
        statement
    }

    /// Lane and place of the rows that have some ranks in the query's order, of those that match: how many, and from which
    /// one on; each with the number of all that match as `total`.
    pub(in super::super) fn ranking_of_places(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        places: &[(i64, i64)],
        tail: &[(i64, i64)],
        ranks: (u64, u64),
    ) -> Self {
        let called = place_columns(dialect);
        let mut statement = Self::with_found(dialect, called, query, found, places, tail);
        statement.push(
            " SELECT events.lane, events.place, (SELECT count(*) FROM found) AS total FROM found AS events",
        );
        statement.push(&joins_of_order(query));
        statement.ranks(query, ranks);
        statement
    }

    /// Begins with `found`: the matching rows among some places, and among all from the places of a tail on; how they are
    /// called, and what the order needs of them.
    fn with_found(
        dialect: Dialect,
        called: &str,
        query: &AuditQuery,
        found: &Resolved,
        places: &[(i64, i64)],
        tail: &[(i64, i64)],
    ) -> Self {
        let mut statement = Self::new(dialect);
        statement.push("WITH found AS MATERIALIZED (");
        statement.hits(&format!("{called}{}", columns_of_order(query)), found, places, tail);
        statement.push(")");
        statement
    }

    /// Lane and place of the rows that have some ranks in the query's order, among all rows, of which `total` match.
    pub(in super::super) fn ranking(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        ranks: (u64, u64),
        total: u64,
    ) -> Self {
        let mut statement = Self::new(dialect);
        let stretches = Stretches::of(found).unwrap_or_default();
        match stretches.as_slice() {
            // PostgreSQL would look up each customer with each actor, of whom most are not of that customer. Many rows are
            // found sooner in the order in which they stand.
            [stretches]
                if dialect == Dialect::Postgres
                    && found.pairs.is_some()
                    && found.condition.is_none()
                    && total <= MAX_LOOKED_UP =>
            {
                statement.push("SELECT events.lane, events.place FROM ");
                statement.pairs(&stretches.pairs);
                let columns = format!("{}{}", place_columns(dialect), columns_of_order(query));
                statement.push(&format!(" CROSS JOIN LATERAL (SELECT {columns} FROM events WHERE "));
                statement.of_pair(stretches, found);
                // The offset keeps the planner from a join over all rows.
                statement.push(" OFFSET 0) AS events");
                statement.push(&joins_of_order(query));
            }
            _ => {
                statement.push(&format!("SELECT {} FROM events", place_columns(dialect)));
                statement.not_indexed(found);
                statement.push(&joins_of_order(query));
                statement.push(" WHERE ");
                statement.anywhere(found);
            }
        }
        statement.ranks(query, ranks);
        statement
    }

    fn ranks(&mut self, query: &AuditQuery, (first, len): (u64, u64)) {
        self.push(&order_by(self.dialect, query));
        self.push(" LIMIT ");
        self.bind(len.cast_signed());
        self.push(" OFFSET ");
        self.bind(first.cast_signed());
    }

    /// Time, lane, place and actor of those that match: among rows that are called so by the text index, and among all from the
    /// places of a tail on.
    pub(in super::super) fn matching(
        dialect: Dialect,
        found: &Resolved,
        places: &[(i64, i64)],
        tail: &[(i64, i64)],
    ) -> Self {
        let mut statement = Self::new(dialect);
        let columns = format!("events.at, {}, events.actor", place_columns(dialect));
        statement.hits(&columns, found, places, tail);
        statement
    }

    /// The matching rows among some places, and among all from the places of a tail on.
    fn hits(&mut self, columns: &str, found: &Resolved, places: &[(i64, i64)], tail: &[(i64, i64)]) {
        let outer = if self.dialect == Dialect::Postgres { "hits.*" } else { columns };
        self.push(&format!("SELECT {outer} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                // Whatever the planner guesses, rows are looked up by their number. The list is in order and has no number
                // twice: `IN` would sort it once more.
                self.push("(SELECT value AS place FROM json_each(");
                self.bind(places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.push(")) AS hit CROSS JOIN events NOT INDEXED WHERE events.id = hit.place AND ");
            }
            Dialect::Postgres => {
                // The places of all lanes in one list, and for each lane its stretch of it. A slice is nothing that the
                // planner could guess at: it takes the index, as it should.
                let lanes = places.chunk_by(|(one, _), (other, _)| one == other);
                let mut stretches: [Vec<i64>; 3] = Default::default();
                for lane in lanes {
                    let first = stretches[2].last().map_or(1, |last| last + 1);
                    let last = first + lane.len().cast_signed() as i64 - 1;
                    for (list, value) in stretches.iter_mut().zip([lane[0].0, first, last]) {
                        list.push(value);
                    }
                }
                self.push("unnest(");
                for (index, list) in stretches.into_iter().enumerate() {
                    self.push(if index == 0 { "CAST(" } else { ", CAST(" });
                    self.bind(list);
                    self.push(" AS bigint[])");
                }
                self.push(&format!(
                    ") AS hit(lane, first, last) CROSS JOIN LATERAL (SELECT {columns} FROM ({ROWS_OF_LANE}
                     AND events.\"offset\" = ANY((CAST("
                ));
                self.bind(places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.push(&format!(" AS bigint[]))[hit.first:hit.last]) {FENCE}"));
            }
        }
        self.anywhere(found);
        if self.dialect == Dialect::Postgres {
            self.push(") AS hits");
        }
        if tail.is_empty() {
            return;
        }
        self.push(&format!(" UNION ALL SELECT {outer} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                let first = tail.iter().map(|(_, place)| *place).max().unwrap_or_default();
                self.push("events NOT INDEXED WHERE events.id >= ");
                self.bind(first);
                self.push(" AND ");
            }
            Dialect::Postgres => {
                let lanes: Vec<String> =
                    tail.iter().map(|(lane, place)| format!("({lane}, {place})")).collect();
                self.push(&format!(
                    "(VALUES {}) AS hit(lane, place) CROSS JOIN LATERAL (SELECT {columns} FROM ({ROWS_OF_LANE}
                     AND events.\"offset\" >= hit.place {FENCE}",
                    lanes.join(", ")
                ));
            }
        }
        self.anywhere(found);
        if self.dialect == Dialect::Postgres {
            self.push(") AS hits");
        }
    }
}

/// What the text index calls a row.
fn place_columns(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "0 AS lane, events.id AS place",
        Dialect::Postgres => "CAST(events.partition AS bigint) AS lane, events.\"offset\" AS place",
    }
}

/// Whether the condition fits into a statement that has it twice.
pub(in super::super) fn fits_hits(found: &Resolved) -> bool {
    let customers = found.all_of.len() + found.own_of.len();
    let (values, text) = size(found);
    2 * (8 + customers + found.callers.len() + values) <= MAX_MERGED_VALUES && 2 * text <= MAX_MERGED_TEXT
}
