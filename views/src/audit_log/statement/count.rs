//! How many rows match: by looking at them, or by what the counters say.

use annals_store::Dialect;

use super::super::counts::{Dimension, NUMBERS, Span};
use super::super::resolve::Resolved;
use super::super::stretches::{Pair, Stretches};
use super::{Statement, can_be_looked_at, can_be_merged};

impl Statement {
    /// How many rows match: all of them, or those of one partition from an offset on.
    pub(in super::super) fn count(dialect: Dialect, found: &Resolved, beyond: Option<(i64, i64)>) -> Self {
        let mut statement = Self::new(dialect);
        if let Some((partition, from)) = beyond {
            statement.push("SELECT count(*) FROM events");
            statement.indexed_by("events_by_position");
            statement.push(" WHERE partition = ");
            statement.bind(partition);
            statement.push(" AND \"offset\" >= ");
            statement.bind(from);
            statement.push(" AND ");
            statement.anywhere(found);
            return statement;
        }
        let stretches = Stretches::of(found).unwrap_or_default();
        // Rows that are tested one by one are for the planner to read in the best order.
        let merged = found.condition.is_some() && can_be_merged(&stretches, found);
        let reads_all = dialect == Dialect::Sqlite && found.reads_all();
        if found.event_ids.is_some() || reads_all || !(merged || can_be_looked_at(&stretches, found)) {
            statement.push("SELECT count(*) FROM events");
            statement.not_indexed(found);
            statement.push(" WHERE ");
            statement.anywhere(found);
            return statement;
        }
        statement.push("SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM (");
        let mut first = true;
        for stretches in &stretches {
            let arms = if merged { stretches.pairs.as_slice() } else { &[] };
            for pair in arms {
                statement.push(if std::mem::take(&mut first) { "" } else { " UNION ALL " });
                statement.push("SELECT count(*) AS n");
                statement.arm(stretches, *pair, found);
            }
            if !merged {
                statement.push(if std::mem::take(&mut first) { "" } else { " UNION ALL " });
                statement.count_looks(stretches, found);
            }
        }
        statement.push(") AS arms");
        statement
    }

    /// Rows of stretches, counted stretch by stretch.
    fn count_looks(&mut self, stretches: &Stretches, found: &Resolved) {
        match self.dialect {
            Dialect::Sqlite => {
                self.push("SELECT count(*) AS n");
                self.looks(stretches, found);
            }
            Dialect::Postgres => {
                self.push("SELECT hit.n FROM ");
                self.pairs(&stretches.pairs);
                self.push(" CROSS JOIN LATERAL (SELECT count(*) AS n FROM events WHERE ");
                self.of_pair(stretches, found);
                self.push(") AS hit");
            }
        }
    }

    /// What the counters of pairs of customer and key say of rows of some spans: which of the `cuts` (span, first start, end),
    /// the start, and the sum of each part.
    pub(in super::super) fn counters(
        dialect: Dialect,
        pairs: &[Pair],
        dimension: Dimension,
        cuts: &[(Span, i64, i64)],
    ) -> Self {
        let mut statement = Self::new(dialect);
        let sums = NUMBERS.map(|number| format!("CAST(sum({number}) AS bigint)")).join(", ");
        statement.push(&format!("SELECT cut.column1, start, {sums} FROM (VALUES "));
        for (index, (span, first, end)) in cuts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            statement.push(&format!("{comma}({index}, {}, {first}, {end})", span.number()));
        }
        statement.push(") AS cut CROSS JOIN ");
        statement.pairs(pairs);
        let numbers = NUMBERS.join(", ");
        statement.push(&match dialect {
            Dialect::Sqlite => " CROSS JOIN counts WHERE ".to_owned(),
            // One look for each pair: the offset keeps the planner from a join over all counters.
            Dialect::Postgres => format!(" CROSS JOIN LATERAL (SELECT start, {numbers} FROM counts WHERE "),
        });
        statement.push("counts.customer = pair.column1 AND counts.key = pair.column2 AND dimension = ");
        statement.bind(dimension.number());
        statement.push(" AND span = cut.column2 AND start >= cut.column3 AND start < cut.column4");
        if dialect == Dialect::Postgres {
            statement.push(" OFFSET 0) AS hit");
        }
        statement.push(" GROUP BY cut.column1, start");
        statement
    }
}
