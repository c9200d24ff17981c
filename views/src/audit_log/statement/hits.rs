//! Pages and totals among the rows that the text index names, and those that it does not know yet.

use annals_store::Dialect;

use super::super::query::AuditQuery;
use super::super::resolve::Resolved;
use super::super::text::Hits;
use super::{MAX_MERGED_TEXT, MAX_MERGED_VALUES, Statement, joins_of_order, order_by, row_name, size};

/// What rows are sorted by, beside the time.
const SORTED_COLUMNS: &str =
    ", events.recorded_at, events.customer, events.actor, events.action, events.address,
 events.entity, events.description, events.sign_in";

impl Statement {
    /// One page among the rows that the text index names, each with the number of all that match as `total`.
    pub(in super::super) fn page_of_hits(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        hits: &Hits,
    ) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        // Other orders than that by time need more of a row, and the texts of dictionaries.
        let columns = if query.by_time().is_some() { "" } else { SORTED_COLUMNS };
        let joins = joins_of_order(query);
        statement.push("WITH found AS MATERIALIZED (");
        statement.hits(&format!("events.{row} AS id, events.at, events.event_id{columns}"), found, hits);
        statement.push(&format!("), page AS (SELECT events.id FROM found AS events{joins}"));
        statement.push(&order_by(dialect, query));
        statement.page_with(query, ", (SELECT count(*) FROM found) AS total");
        statement
    }

    /// How many of the rows that the text index names match.
    pub(in super::super) fn count_of_hits(dialect: Dialect, found: &Resolved, hits: &Hits) -> Self {
        let mut statement = Self::new(dialect);
        statement.push("SELECT count(*) FROM (");
        statement.hits("1 AS hit", found, hits);
        statement.push(") AS found");
        statement
    }

    /// The matching rows among candidates and tail.
    fn hits(&mut self, columns: &str, found: &Resolved, hits: &Hits) {
        let outer = if self.dialect == Dialect::Postgres { "hits.*" } else { columns };
        self.push(&format!("SELECT {outer} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                // Whatever the planner guesses, rows are looked up by their number. The list is in order and has no number
                // twice: `IN` would sort it once more.
                self.push("(SELECT value AS place FROM json_each(");
                self.bind(hits.places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.push(")) AS hit CROSS JOIN events NOT INDEXED WHERE events.id = hit.place AND ");
            }
            Dialect::Postgres => {
                // The places of all lanes in one list, and for each lane its stretch of it. A slice is nothing that the
                // planner could guess at: it takes the index, as it should.
                let lanes = hits.places.chunk_by(|(one, _), (other, _)| one == other);
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
                    ") AS hit(lane, first, last) CROSS JOIN LATERAL (SELECT {columns} FROM events
                     WHERE events.partition = hit.lane AND events.\"offset\" = ANY((CAST("
                ));
                self.bind(hits.places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.push(" AS bigint[]))[hit.first:hit.last]) AND ");
            }
        }
        self.anywhere(found);
        if self.dialect == Dialect::Postgres {
            self.push(") AS hits");
        }
        if hits.tail.is_empty() {
            return;
        }
        self.push(&format!(" UNION ALL SELECT {outer} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                let first = hits.tail.iter().map(|(_, place)| *place).max().unwrap_or_default();
                self.push("events NOT INDEXED WHERE events.id >= ");
                self.bind(first);
                self.push(" AND ");
            }
            Dialect::Postgres => {
                let lanes: Vec<String> =
                    hits.tail.iter().map(|(lane, place)| format!("({lane}, {place})")).collect();
                // The offset keeps the planner from a join over all rows.
                self.push(&format!(
                    "(VALUES {}) AS hit(lane, place) CROSS JOIN LATERAL (SELECT {columns} FROM events
                     WHERE events.partition = hit.lane AND events.\"offset\" >= hit.place AND ",
                    lanes.join(", ")
                ));
            }
        }
        self.anywhere(found);
        if self.dialect == Dialect::Postgres {
            self.push(" OFFSET 0) AS hits");
        }
    }
}

/// Whether the condition fits into a statement that has it twice.
pub(in super::super) fn fits_hits(found: &Resolved) -> bool {
    let customers = found.all_of.len() + found.own_of.len();
    let (values, text) = size(found);
    2 * (8 + customers + found.callers.len() + values) <= MAX_MERGED_VALUES && 2 * text <= MAX_MERGED_TEXT
}
