//! The SQL of a question.
//!
//! A page is found in two steps. The first works on one index: each index begins with (customer, something) and ends
//! with the time, so a question about one customer and one actor reads its answer in order and stops at the limit.
//! A question about several customers or actors is one such arm for each, merged by SQLite (`UNION ALL` with
//! `ORDER BY` merges sorted arms and takes no more of each than it needs; PostgreSQL does the same by a merge of
//! appended scans). The second step fetches the page's rows with their texts.

use annals_store::sql::{Sql, sql};
use annals_store::{Dialect, Transaction, Value};
use uuid::Uuid;

use super::condition::Piece;
use super::query::{AuditQuery, Direction, Fields, Order, SortKey};
use super::resolve::Resolved;
use super::text::Hits;

/// Arms of one merged query; SQLite takes at most 500. Beyond it the rows are sorted instead.
const MAX_ARMS: usize = 400;

/// Ids of one filter that are bound one by one.
const MAX_BOUND_IDS: usize = 200;

/// Pairs of customer and leading id that are looked up before the arms are made.
const MAX_LOOKS: usize = 20_000;

/// Values that one merged query binds; SQLite takes at most 32,766. Every arm repeats the filters that do not lead, so
/// that a few long lists are too many. Beyond it the rows are sorted instead.
const MAX_MERGED_VALUES: usize = 30_000;

/// Bytes that a condition may have in all arms together; SQLite takes statements of 1,000,000.
const MAX_MERGED_TEXT: usize = 500_000;

/// SQL with its arguments, built together so that they cannot drift apart.
pub(super) struct Statement {
    dialect: Dialect,
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, sql: String::new(), values: Vec::new() }
    }

    pub(super) fn into_sql(self) -> Sql {
        sql(self.sql).bind_all(self.values).once()
    }

    /// One page.
    pub(super) fn page(
        dialect: Dialect,
        query: &AuditQuery,
        found: &Resolved,
        pairs: Option<&[Pair]>,
    ) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        let arms = arms(found, pairs);
        statement.sql.push_str("WITH page AS (");
        match query.by_time() {
            Some(direction) if found.event_ids.is_none() && can_be_merged(&arms, found) => {
                for (index, arm) in arms.iter().enumerate() {
                    statement.sql.push_str(if index == 0 { "" } else { " UNION ALL " });
                    statement.sql.push_str(&format!("SELECT {row} AS id, at, event_id"));
                    statement.arm(arm, found);
                }
                let way = if direction == Direction::Descending { " DESC" } else { "" };
                statement.sql.push_str(&format!(" ORDER BY at{way}, event_id"));
            }
            _ => {
                statement.sql.push_str(&format!("SELECT events.{row} AS id FROM events "));
                statement.sql.push_str(JOINS);
                statement.sql.push_str(" WHERE ");
                statement.anywhere(found);
                statement.sql.push_str(&order_by(dialect, query));
            }
        }
        statement.sql.push_str(" LIMIT ");
        statement.bind(i64::from(query.limit));
        statement.sql.push_str(" OFFSET ");
        statement.bind(query.offset.cast_signed());
        statement.sql.push(')');
        statement.rows("page", query.fields);
        statement.sql.push_str(&order_by(dialect, query));
        statement
    }

    /// Rows of one partition from an offset on, in the order of the log; of not more than so many offsets.
    pub(super) fn feed(
        dialect: Dialect,
        found: &Resolved,
        partition: i64,
        (from, to): (i64, i64),
        limit: u32,
    ) -> Self {
        let mut statement = Self::new(dialect);
        statement.sql.push_str(&format!("WITH page AS (SELECT {} AS id FROM events", row_name(dialect)));
        statement.indexed_by("events_by_position");
        statement.sql.push_str(" WHERE partition = ");
        statement.bind(partition);
        for (sign, offset) in [(">=", from), ("<", to)] {
            statement.sql.push_str(&format!(" AND \"offset\" {sign} "));
            statement.bind(offset);
        }
        statement.sql.push_str(" AND ");
        statement.anywhere(found);
        statement.sql.push_str(" ORDER BY partition, \"offset\" LIMIT ");
        statement.bind(i64::from(limit));
        statement.sql.push(')');
        statement.rows("page", Fields::All);
        statement.sql.push_str(" ORDER BY events.\"offset\"");
        statement
    }

    /// How many rows match: all of them, or those of one partition from an offset on.
    pub(super) fn count(dialect: Dialect, found: &Resolved, beyond: Option<(i64, i64)>) -> Self {
        let mut statement = Self::new(dialect);
        let arms = arms(found, None);
        if let Some((partition, from)) = beyond {
            statement.sql.push_str("SELECT count(*) FROM events");
            statement.indexed_by("events_by_position");
            statement.sql.push_str(" WHERE partition = ");
            statement.bind(partition);
            statement.sql.push_str(" AND \"offset\" >= ");
            statement.bind(from);
            statement.sql.push_str(" AND ");
            statement.anywhere(found);
        } else if found.event_ids.is_none() && can_be_merged(&arms, found) {
            statement.sql.push_str("SELECT CAST(coalesce(sum(n), 0) AS bigint) FROM (");
            for (index, arm) in arms.iter().enumerate() {
                statement.sql.push_str(if index == 0 { "" } else { " UNION ALL " });
                statement.sql.push_str("SELECT count(*) AS n");
                statement.arm(arm, found);
            }
            statement.sql.push_str(") AS arms");
        } else {
            statement.sql.push_str("SELECT count(*) FROM events WHERE ");
            statement.anywhere(found);
        }
        statement
    }

    /// One page among the rows that the text index names, each with the number of all that match as `total`.
    pub(super) fn page_of_hits(dialect: Dialect, query: &AuditQuery, found: &Resolved, hits: &Hits) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        // Other orders than that by time need the texts of dictionaries.
        let (columns, joins) = if query.by_time().is_some() { ("", "") } else { (SORTED_COLUMNS, JOINS) };
        statement.sql.push_str("WITH found AS MATERIALIZED (");
        statement.hits(&format!("events.{row} AS id, events.at, events.event_id{columns}"), found, hits);
        statement.sql.push_str(&format!("), page AS (SELECT events.id FROM found AS events {joins}"));
        statement.sql.push_str(&order_by(dialect, query));
        statement.sql.push_str(" LIMIT ");
        statement.bind(i64::from(query.limit));
        statement.sql.push_str(" OFFSET ");
        statement.bind(query.offset.cast_signed());
        statement.sql.push(')');
        statement.rows_with("page", query.fields, ", (SELECT count(*) FROM found) AS total");
        statement.sql.push_str(&order_by(dialect, query));
        statement
    }

    /// How many of the rows that the text index names match.
    pub(super) fn count_of_hits(dialect: Dialect, found: &Resolved, hits: &Hits) -> Self {
        let mut statement = Self::new(dialect);
        statement.sql.push_str("SELECT count(*) FROM (");
        statement.hits("1 AS hit", found, hits);
        statement.sql.push_str(") AS found");
        statement
    }

    /// The matching rows among candidates and tail.
    fn hits(&mut self, columns: &str, found: &Resolved, hits: &Hits) {
        self.sql.push_str(&format!("SELECT {columns} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                // Whatever the planner guesses, rows are looked up by their number.
                self.sql.push_str("events NOT INDEXED WHERE events.id = ANY(");
                self.bind(hits.places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.sql.push_str(") AND ");
            }
            Dialect::Postgres => {
                let (lanes, places): (Vec<i64>, Vec<i64>) = hits.places.iter().copied().unzip();
                self.sql.push_str("unnest(CAST(");
                self.bind(lanes);
                self.sql.push_str(" AS bigint[]), CAST(");
                self.bind(places);
                // One look into the index for each: the limit keeps the planner from a join over all rows.
                self.sql.push_str(&format!(
                    " AS bigint[])) AS hit(lane, place) CROSS JOIN LATERAL ({BY_PLACE} = hit.place LIMIT 1) AS events WHERE "
                ));
            }
        }
        self.anywhere(found);
        if hits.tail.is_empty() {
            return;
        }
        self.sql.push_str(&format!(" UNION ALL SELECT {columns} FROM "));
        match self.dialect {
            Dialect::Sqlite => {
                let first = hits.tail.iter().map(|(_, place)| *place).max().unwrap_or_default();
                self.sql.push_str("events NOT INDEXED WHERE events.id >= ");
                self.bind(first);
                self.sql.push_str(" AND ");
            }
            Dialect::Postgres => {
                let lanes: Vec<String> =
                    hits.tail.iter().map(|(lane, place)| format!("({lane}, {place})")).collect();
                self.sql.push_str(&format!(
                    "(VALUES {}) AS hit(lane, place) CROSS JOIN LATERAL ({BY_PLACE} >= hit.place OFFSET 0) AS events WHERE ",
                    lanes.join(", ")
                ));
            }
        }
        self.anywhere(found);
    }

    /// The rows of a page that was found, with their texts.
    fn rows(&mut self, page: &str, fields: Fields) {
        self.rows_with(page, fields, "");
    }

    /// The rows of a page that was found, with their texts and further columns.
    fn rows_with(&mut self, page: &str, fields: Fields, more: &str) {
        self.sql.push_str(" SELECT ");
        self.sql.push_str(SUMMARY_COLUMNS);
        if fields == Fields::All {
            self.sql.push_str(", ");
            self.sql.push_str(OTHER_COLUMNS);
        }
        self.sql.push_str(more);
        let row = row_name(self.dialect);
        self.sql.push_str(&format!(" FROM {page} JOIN events ON events.{row} = {page}.id "));
        self.sql.push_str(JOINS);
        if fields == Fields::All {
            self.sql.push_str(" JOIN partitions ON partitions.id = events.partition");
        }
    }

    fn bind(&mut self, value: impl Into<Value>) {
        self.sql.push('?');
        self.values.push(value.into());
    }

    fn append(&mut self, piece: &Piece) {
        self.sql.push_str(&piece.sql);
        self.values.extend(piece.values.iter().cloned());
    }

    /// SQLite chooses among indexes by guesses; where one is known to be right, it is named.
    fn indexed_by(&mut self, index: &str) {
        if self.dialect == Dialect::Sqlite {
            self.sql.push_str(" INDEXED BY ");
            self.sql.push_str(index);
        }
    }

    fn ids(&mut self, column: &str, ids: &[i64]) {
        self.sql.push_str(column);
        if self.dialect == Dialect::Postgres || ids.len() > MAX_BOUND_IDS {
            // One name can stand for any number of identities: they travel as one value.
            self.sql.push_str(" = ANY(");
            self.bind(ids.to_vec());
            self.sql.push(')');
            return;
        }
        self.sql.push_str(" IN (");
        for (index, id) in ids.iter().enumerate() {
            self.sql.push_str(if index == 0 { "" } else { "," });
            self.bind(*id);
        }
        self.sql.push(')');
    }

    fn times(&mut self, found: &Resolved) {
        for (sign, time) in [(">=", found.time.start), ("<=", found.time.end)] {
            if let Some(time) = time {
                self.sql.push_str(&format!(" AND events.at {sign} "));
                self.bind(time);
            }
        }
    }

    /// One arm: one customer and one value of the column that leads.
    fn arm(&mut self, arm: &Arm, found: &Resolved) {
        self.sql.push_str(" FROM events");
        self.indexed_by(match arm.leader {
            Some(("actor", _)) => "events_by_actor",
            Some(("action", _)) => "events_by_action",
            Some(("address", _)) => "events_by_address",
            _ => "events_by_time",
        });
        self.sql.push_str(" WHERE events.customer = ");
        self.bind(arm.customer);
        if let Some((column, id)) = arm.leader {
            self.sql.push_str(" AND events.");
            self.sql.push_str(column);
            self.sql.push_str(" = ");
            self.bind(id);
        }
        if arm.own {
            self.sql.push_str(" AND ");
            self.ids("events.actor", &found.callers);
        }
        for (column, ids) in found.filters() {
            if let Some(ids) = ids
                && arm.leader.is_none_or(|(leader, _)| leader != column)
            {
                self.sql.push_str(" AND ");
                self.ids(&format!("events.{column}"), ids);
            }
        }
        self.times(found);
        if let Some(condition) = &found.condition {
            self.sql.push_str(" AND ");
            self.append(condition);
        }
    }

    /// Everything in one condition, for rows that are sorted or counted after they are found.
    fn anywhere(&mut self, found: &Resolved) {
        self.sql.push('(');
        self.ids("events.customer", &found.all_of);
        if !found.own_of.is_empty() {
            self.sql.push_str(" OR ");
            self.ids("events.customer", &found.own_of);
            self.sql.push_str(" AND ");
            self.ids("events.actor", &found.callers);
        }
        self.sql.push(')');
        for (column, ids) in found.filters() {
            if let Some(ids) = ids {
                self.sql.push_str(" AND ");
                self.ids(&format!("events.{column}"), ids);
            }
        }
        if let Some(event_ids) = &found.event_ids {
            self.sql.push_str(" AND events.event_id IN (");
            for (index, id) in event_ids.iter().enumerate() {
                self.sql.push_str(if index == 0 { "" } else { "," });
                self.bind(*id);
            }
            self.sql.push(')');
        }
        self.times(found);
        if let Some(condition) = &found.condition {
            self.sql.push_str(" AND ");
            self.append(condition);
        }
    }
}

/// What names a row within one snapshot.
fn row_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "id",
        Dialect::Postgres => "ctid",
    }
}

/// One sorted stretch of an index.
struct Arm {
    customer: i64,
    leader: Option<(&'static str, i64)>,
    own: bool,
}

/// The column that leads and its ids: equalities in the index, which the time order follows.
fn leader(found: &Resolved) -> Option<(&'static str, &[i64])> {
    found.filters().filter(|(column, _)| *column != "entity").find_map(|(column, ids)| Some((column, ids?)))
}

/// A customer and an id of the leading column.
pub(super) type Pair = (i64, i64);

/// Which pairs of customer and leading id have any row. Most have none: an actor belongs to one customer. A look into
/// the index for each costs far less than an arm for each. `None` when there is nothing to save, or too much to look at.
pub(super) async fn existing_pairs(
    tx: &mut Transaction,
    found: &Resolved,
) -> Result<Option<Vec<Pair>>, sqlx::Error> {
    let Some((column, ids)) = leader(found) else { return Ok(None) };
    let looks = found.all_of.len() * ids.len();
    if found.all_of.len() < 2 || looks > MAX_LOOKS || found.all_of.len() + ids.len() > MAX_MERGED_VALUES {
        return Ok(None);
    }
    let dialect = tx.connection().dialect();
    let mut statement = Statement::new(dialect);
    for (name, values) in [("WITH c(id) AS (VALUES ", &found.all_of[..]), ("), l(id) AS (VALUES ", ids)] {
        statement.sql.push_str(name);
        for (index, value) in values.iter().enumerate() {
            statement.sql.push_str(if index == 0 { "(" } else { ",(" });
            statement.bind(*value);
            statement.sql.push(')');
        }
    }
    // PostgreSQL would turn EXISTS into a join over all rows; a limit within LATERAL keeps it one look each.
    let (before, after) = match dialect {
        Dialect::Sqlite => ("WHERE EXISTS (SELECT 1", ")"),
        Dialect::Postgres => ("CROSS JOIN LATERAL (SELECT 1", " LIMIT 1) AS hit"),
    };
    statement.sql.push_str(&format!(
        ") SELECT c.id, l.id FROM c CROSS JOIN l {before} FROM events WHERE customer = c.id AND {column} = l.id"
    ));
    statement.times(found);
    statement.sql.push_str(after);
    let rows = statement.into_sql().fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect::<Result<_, sqlx::Error>>().map(Some)
}

fn arms(found: &Resolved, pairs: Option<&[Pair]>) -> Vec<Arm> {
    let arm = |(customer, leader): (i64, Option<(&'static str, i64)>)| Arm { customer, leader, own: false };
    let all_of = found.all_of.iter().copied();
    let mut arms: Vec<Arm> = match (leader(found), pairs) {
        (None, _) => all_of.map(|customer| arm((customer, None))).collect(),
        (Some((column, _)), Some(pairs)) => {
            pairs.iter().map(|&(customer, id)| arm((customer, Some((column, id))))).collect()
        }
        (Some((column, ids)), None) => all_of
            .flat_map(|customer| ids.iter().map(move |id| (customer, Some((column, *id)))))
            .map(arm)
            .collect(),
    };
    for &customer in &found.own_of {
        // Own events lead by the caller; an actor filter beside it is only a condition on top.
        let own = found.callers.iter().filter(|id| found.actors.as_ref().is_none_or(|ids| ids.contains(id)));
        arms.extend(own.map(|id| Arm { customer, leader: Some(("actor", *id)), own: false }));
    }
    if arms.is_empty() {
        // No arm can match; an impossible one keeps the statement whole.
        arms.push(Arm { customer: -1, leader: None, own: true });
    }
    arms
}

fn can_be_merged(arms: &[Arm], found: &Resolved) -> bool {
    // Customer, leader, start and end, and at most every id of every filter.
    let listed: usize = found.filters().filter_map(|(_, ids)| ids).map(<[i64]>::len).sum();
    let (places, text) =
        found.condition.as_ref().map_or((0, 0), |condition| (condition.values.len(), condition.sql.len()));
    arms.len() <= MAX_ARMS
        && arms.len() * (4 + found.callers.len() + listed + places) <= MAX_MERGED_VALUES
        && arms.len() * text <= MAX_MERGED_TEXT
}

/// Whether the condition fits into a statement that has it twice.
pub(super) fn fits_hits(found: &Resolved) -> bool {
    let customers = found.all_of.len() + found.own_of.len();
    let listed: usize = found.filters().filter_map(|(_, ids)| ids).map(<[i64]>::len).sum();
    let (places, text) =
        found.condition.as_ref().map_or((0, 0), |condition| (condition.values.len(), condition.sql.len()));
    2 * (8 + customers + found.callers.len() + listed + places) <= MAX_MERGED_VALUES
        && 2 * text <= MAX_MERGED_TEXT
}

/// Rows of PostgreSQL by their place in the log.
const BY_PLACE: &str = "SELECT events.ctid, events.* FROM events
 WHERE events.partition = hit.lane AND events.\"offset\"";

/// What rows are sorted by, beside the time.
const SORTED_COLUMNS: &str =
    ", events.recorded_at, events.customer, events.actor, events.action, events.address,
 events.entity, events.description, events.sign_in";

const JOINS: &str = "JOIN customers ON customers.id = events.customer
 JOIN actors ON actors.id = events.actor
 JOIN actions ON actions.id = events.action
 LEFT JOIN addresses ON addresses.id = events.address
 LEFT JOIN entities ON entities.id = events.entity";

const SUMMARY_COLUMNS: &str =
    "events.event_id, customers.customer, events.at, events.recorded_at, actors.account,
 addresses.address, actions.name, actions.category, actions.severity, actions.entity_type, entities.entity";

const OTHER_COLUMNS: &str =
    "events.claimed_at, actors.kind, actors.actor, actors.qualified, events.description,
 events.sign_in, events.misplaced, partitions.topic, partitions.number, events.\"offset\"";

fn order_by(dialect: Dialect, query: &AuditQuery) -> String {
    let newest_first = [(SortKey::Time, Direction::Descending)];
    let order: &[Order] = if query.order.is_empty() { &newest_first } else { &query.order };
    let by_customer = customer_rank(dialect, &query.customer_order);
    let mut sql = String::from(" ORDER BY ");
    for (key, direction) in order {
        sql.push_str(match key {
            SortKey::Time => "events.at",
            SortKey::RecordedAt => "events.recorded_at",
            SortKey::EventId => "events.event_id",
            SortKey::Account => "actors.account",
            SortKey::Customer => &by_customer,
            SortKey::Action => "actions.name",
            SortKey::Category => "actions.category",
            // As the text that is shown: ERROR, INFO, WARNING. Text sorts by bytes, on every engine.
            SortKey::Severity => "(actions.severity + 1) % 3",
            SortKey::EntityType => "actions.entity_type",
            SortKey::EntityId => "coalesce(entities.entity, '')",
            SortKey::Address => address_rank(dialect),
            SortKey::Description => "events.description",
            SortKey::SignIn => "coalesce(events.sign_in, '')",
        });
        sql.push_str(match (key, direction) {
            // The engines differ in where nothing stands; no other key can be nothing.
            (SortKey::Address, Direction::Ascending) => " NULLS FIRST, ",
            (SortKey::Address, Direction::Descending) => " DESC NULLS LAST, ",
            (_, Direction::Ascending) => ", ",
            (_, Direction::Descending) => " DESC, ",
        });
    }
    sql.push_str("events.event_id");
    sql
}

/// An address by its 16 bytes, an IPv4 address in its IPv6-mapped form, so that both sort together.
fn address_rank(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "addresses.address",
        Dialect::Postgres => {
            "CASE family(addresses.address) WHEN 4
             THEN inet '::ffff:0.0.0.0' + (addresses.address - inet '0.0.0.0') ELSE addresses.address END"
        }
    }
}

/// A customer's place among the names. The ids are ours, written as digits, so that nothing of a request is in the SQL.
fn customer_rank(dialect: Dialect, customers: &[Uuid]) -> String {
    if customers.is_empty() {
        return "customers.customer".to_owned();
    }
    let cases: Vec<String> = customers
        .iter()
        .enumerate()
        .map(|(place, id)| match dialect {
            Dialect::Sqlite => format!("WHEN x'{}' THEN {place}", id.simple()),
            Dialect::Postgres => format!("WHEN uuid '{id}' THEN {place}"),
        })
        .collect();
    format!("CASE customers.customer {} END", cases.join(" "))
}
