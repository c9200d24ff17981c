//! The SQL of a question.
//!
//! A page is found in two steps. The first works on the stretches of one index ([`super::stretches`]), each of which is in
//! the order of time:
//! - few are merged: an arm for each, `UNION ALL` with `ORDER BY`, of which SQLite takes no more than it needs;
//! - many are looked at one after the other, and what is found is sorted: few rows, as the counters have told the range of
//!   time in which the page stands ([`super::histogram`]), and each stretch gives no more than a page.
//!
//! The second step fetches the page's rows with their texts.

use annals_store::sql::{Sql, sql};
use annals_store::{Dialect, Value};
use uuid::Uuid;

use super::condition::Piece;
use super::counts::{Dimension, Span};
use super::query::{AuditQuery, Direction, Fields, Order, SortKey};
use super::resolve::Resolved;
use super::stretches::{Pair, Stretches};
use super::text::Hits;

/// Arms of one merged query; SQLite takes at most 500. Beyond it the rows are sorted instead.
const MAX_ARMS: usize = 400;

/// Arms from which on SQLite takes longer to read the statement than to look at all stretches and sort what is there.
const MANY_ARMS: usize = 64;

/// Rows that PostgreSQL may sort before it pays to find out where a page stands.
const MAX_LOOKED_AT: u64 = 5_000;

/// Offsets from which on a page is looked for in the counters.
pub(super) const DEEP: u64 = 2_000;

/// Rows that are rather sorted than merged out of many arms.
const MAX_SORTED: u64 = 10_000;

/// Ids of one filter that are bound one by one.
const MAX_BOUND_IDS: usize = 200;

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
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, sql: String::new(), values: Vec::new() }
    }

    pub(super) fn into_sql(self) -> Sql {
        sql(self.sql).bind_all(self.values).once()
    }

    /// One page. `rows` is how many rows are in the question's range of time, where it is known.
    pub(super) fn page(dialect: Dialect, query: &AuditQuery, found: &Resolved, rows: Option<u64>) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        let stretches = Stretches::of(found).unwrap_or_default();
        statement.push("WITH page AS (");
        match (query.by_time(), Way::of(dialect, &stretches, found, rows)) {
            (Some(direction), Way::Merge) => statement.merge(&stretches, found, direction),
            (Some(direction), Way::Look) => {
                let most = query.offset.saturating_add(u64::from(query.limit)).cast_signed();
                statement.look(&stretches, found, direction, most);
            }
            _ => {
                statement.push(&format!("SELECT events.{row} AS id FROM events "));
                statement.push(JOINS);
                statement.push(" WHERE ");
                statement.anywhere(found);
                statement.push(&order_by(dialect, query));
            }
        }
        statement.push(" LIMIT ");
        statement.bind(i64::from(query.limit));
        statement.push(" OFFSET ");
        statement.bind(query.offset.cast_signed());
        statement.push(")");
        statement.rows("page", query.fields);
        statement.push(&order_by(dialect, query));
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

    /// Rows of one partition from an offset on, in the order of the log; of not more than so many offsets.
    pub(super) fn feed(
        dialect: Dialect,
        found: &Resolved,
        partition: i64,
        (from, to): (i64, i64),
        limit: u32,
    ) -> Self {
        let mut statement = Self::new(dialect);
        statement.push(&format!("WITH page AS (SELECT {} AS id FROM events", row_name(dialect)));
        statement.indexed_by("events_by_position");
        statement.push(" WHERE partition = ");
        statement.bind(partition);
        for (sign, offset) in [(">=", from), ("<", to)] {
            statement.push(&format!(" AND \"offset\" {sign} "));
            statement.bind(offset);
        }
        statement.push(" AND ");
        statement.anywhere(found);
        statement.push(" ORDER BY partition, \"offset\" LIMIT ");
        statement.bind(i64::from(limit));
        statement.push(")");
        statement.rows("page", Fields::All);
        statement.push(" ORDER BY events.\"offset\"");
        statement
    }

    /// How many rows match: all of them, or those of one partition from an offset on.
    pub(super) fn count(dialect: Dialect, found: &Resolved, beyond: Option<(i64, i64)>) -> Self {
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
        if found.event_ids.is_some() || !(merged || can_be_looked_at(&stretches, found)) {
            statement.push("SELECT count(*) FROM events WHERE ");
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

    /// What the counters of pairs of customer and key say of each span that has any event.
    pub(super) fn counters(
        dialect: Dialect,
        pairs: &[Pair],
        dimension: Dimension,
        spans: &[(Span, i64, i64)],
    ) -> Self {
        let mut statement = Self::new(dialect);
        statement.push("SELECT span, start, CAST(sum(n) AS bigint) FROM (VALUES ");
        for (index, (span, first, end)) in spans.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            statement.push(&format!("{comma}({}, {first}, {end})", span.number()));
        }
        statement.push(") AS cut CROSS JOIN ");
        statement.pairs(pairs);
        statement.push(match dialect {
            Dialect::Sqlite => " CROSS JOIN counts WHERE ",
            // One look for each pair: the offset keeps the planner from a join over all counters.
            Dialect::Postgres => " CROSS JOIN LATERAL (SELECT span, start, n FROM counts WHERE ",
        });
        statement.push("counts.customer = pair.column1 AND counts.key = pair.column2 AND dimension = ");
        statement.bind(dimension.number());
        statement.push(" AND span = cut.column1 AND start >= cut.column2 AND start < cut.column3");
        if dialect == Dialect::Postgres {
            statement.push(" OFFSET 0) AS hit");
        }
        statement.push(" GROUP BY span, start");
        statement
    }

    /// One page among the rows that the text index names, each with the number of all that match as `total`.
    pub(super) fn page_of_hits(dialect: Dialect, query: &AuditQuery, found: &Resolved, hits: &Hits) -> Self {
        let mut statement = Self::new(dialect);
        let row = row_name(dialect);
        // Other orders than that by time need the texts of dictionaries.
        let (columns, joins) = if query.by_time().is_some() { ("", "") } else { (SORTED_COLUMNS, JOINS) };
        statement.push("WITH found AS MATERIALIZED (");
        statement.hits(&format!("events.{row} AS id, events.at, events.event_id{columns}"), found, hits);
        statement.push(&format!("), page AS (SELECT events.id FROM found AS events {joins}"));
        statement.push(&order_by(dialect, query));
        statement.push(" LIMIT ");
        statement.bind(i64::from(query.limit));
        statement.push(" OFFSET ");
        statement.bind(query.offset.cast_signed());
        statement.push(")");
        statement.rows_with("page", query.fields, ", (SELECT count(*) FROM found) AS total");
        statement.push(&order_by(dialect, query));
        statement
    }

    /// How many of the rows that the text index names match.
    pub(super) fn count_of_hits(dialect: Dialect, found: &Resolved, hits: &Hits) -> Self {
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
                // Whatever the planner guesses, rows are looked up by their number.
                self.push("events NOT INDEXED WHERE events.id = ANY(");
                self.bind(hits.places.iter().map(|(_, place)| *place).collect::<Vec<i64>>());
                self.push(") AND ");
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

    /// The rows of a page that was found, with their texts.
    fn rows(&mut self, page: &str, fields: Fields) {
        self.rows_with(page, fields, "");
    }

    /// The rows of a page that was found, with their texts and further columns.
    fn rows_with(&mut self, page: &str, fields: Fields, more: &str) {
        self.push(" SELECT ");
        self.push(SUMMARY_COLUMNS);
        if fields == Fields::All {
            self.push(", ");
            self.push(OTHER_COLUMNS);
        }
        self.push(more);
        let row = row_name(self.dialect);
        self.push(&format!(" FROM {page} JOIN events ON events.{row} = {page}.id "));
        self.push(JOINS);
        if fields == Fields::All {
            self.push(" JOIN partitions ON partitions.id = events.partition");
        }
    }

    fn bind(&mut self, value: impl Into<Value>) {
        self.push("?");
        self.values.push(value.into());
    }

    pub(super) fn push(&mut self, sql: &str) {
        self.sql.push_str(sql);
    }

    /// Pairs as a table `pair`, for a look at each.
    pub(super) fn pairs(&mut self, pairs: &[Pair]) {
        match self.dialect {
            Dialect::Sqlite => {
                self.push("(VALUES ");
                for (index, (customer, id)) in pairs.iter().enumerate() {
                    self.push(if index == 0 { "(" } else { ",(" });
                    self.bind(*customer);
                    self.push(",");
                    self.bind(*id);
                    self.push(")");
                }
                self.push(") AS pair");
            }
            Dialect::Postgres => {
                let (customers, ids): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
                self.push("unnest(CAST(");
                self.bind(customers);
                self.push(" AS bigint[]), CAST(");
                self.bind(ids);
                self.push(" AS bigint[])) AS pair(column1, column2)");
            }
        }
    }

    fn append(&mut self, piece: &Piece) {
        self.push(&piece.sql);
        self.values.extend(piece.values.iter().cloned());
    }

    /// SQLite chooses among indexes by guesses; where one is known to be right, it is named.
    fn indexed_by(&mut self, index: &str) {
        if self.dialect == Dialect::Sqlite {
            self.push(" INDEXED BY ");
            self.push(index);
        }
    }

    fn ids(&mut self, column: &str, ids: &[i64]) {
        self.push(column);
        if self.dialect == Dialect::Postgres || ids.len() > MAX_BOUND_IDS {
            // One name can stand for any number of identities: they travel as one value.
            self.push(" = ANY(");
            self.bind(ids.to_vec());
            self.push(")");
            return;
        }
        self.push(" IN (");
        for (index, id) in ids.iter().enumerate() {
            self.push(if index == 0 { "" } else { "," });
            self.bind(*id);
        }
        self.push(")");
    }

    pub(super) fn times(&mut self, found: &Resolved) {
        for (sign, time) in [(">=", found.time.start), ("<=", found.time.end)] {
            if let Some(time) = time {
                self.push(&format!(" AND events.at {sign} "));
                self.bind(time);
            }
        }
    }

    /// One arm: one stretch.
    fn arm(&mut self, stretches: &Stretches, (customer, id): Pair, found: &Resolved) {
        self.push(" FROM events");
        self.indexed_by(stretches.index);
        self.push(" WHERE events.customer = ");
        self.bind(customer);
        if let Some(leader) = stretches.leader {
            self.push(&format!(" AND events.{leader} = "));
            self.bind(id);
        }
        self.beyond(stretches, found);
    }

    /// All stretches of an index, each looked at; for SQLite, whose joins can be told their order.
    fn looks(&mut self, stretches: &Stretches, found: &Resolved) {
        self.push(" FROM ");
        self.pairs(&stretches.pairs);
        self.push(" CROSS JOIN events");
        self.indexed_by(stretches.index);
        self.push(" WHERE ");
        self.of_pair(stretches, found);
    }

    /// The rows of one of the pairs that are looked at.
    fn of_pair(&mut self, stretches: &Stretches, found: &Resolved) {
        self.push("events.customer = pair.column1");
        if let Some(leader) = stretches.leader {
            self.push(&format!(" AND events.{leader} = pair.column2"));
        }
        self.beyond(stretches, found);
    }

    /// What a question asks of the rows of a stretch.
    fn beyond(&mut self, stretches: &Stretches, found: &Resolved) {
        for (column, ids) in found.filters() {
            if let Some(ids) = ids
                && stretches.leader != Some(column)
            {
                self.push(" AND ");
                self.ids(&format!("events.{column}"), ids);
            }
        }
        self.times(found);
        self.conditions(found);
    }

    fn conditions(&mut self, found: &Resolved) {
        for condition in found.condition.iter().chain(&found.narrowing) {
            self.push(" AND ");
            self.append(condition);
        }
    }

    /// Everything in one condition, for rows that are sorted or counted after they are found.
    fn anywhere(&mut self, found: &Resolved) {
        self.push("(");
        self.ids("events.customer", &found.all_of);
        if !found.own_of.is_empty() {
            self.push(" OR ");
            self.ids("events.customer", &found.own_of);
            self.push(" AND ");
            self.ids("events.actor", &found.callers);
        }
        self.push(")");
        for (column, ids) in found.filters() {
            if let Some(ids) = ids {
                self.push(" AND ");
                self.ids(&format!("events.{column}"), ids);
            }
        }
        if let Some(event_ids) = &found.event_ids {
            self.push(" AND events.event_id IN (");
            for (index, id) in event_ids.iter().enumerate() {
                self.push(if index == 0 { "" } else { "," });
                self.bind(*id);
            }
            self.push(")");
        }
        self.times(found);
        self.conditions(found);
    }
}

/// What names a row within one snapshot.
fn row_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "id",
        Dialect::Postgres => "ctid",
    }
}

/// Whether a page is found sooner when it is known where it stands.
pub(super) fn gains_by_location(dialect: Dialect, query: &AuditQuery, found: &Resolved) -> bool {
    if query.offset >= DEEP {
        return true;
    }
    let Some(stretches) = Stretches::of(found) else { return false };
    let arms = count_of(&stretches);
    match dialect {
        Dialect::Sqlite => arms >= MANY_ARMS,
        // Each stretch gives as many rows as the page reaches to.
        Dialect::Postgres => {
            arms as u64 * query.offset.saturating_add(query.limit.into()) > MAX_LOOKED_AT && arms > 1
        }
    }
}

fn count_of(stretches: &[Stretches]) -> usize {
    stretches.iter().map(|stretches| stretches.pairs.len()).sum()
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
    fn of(dialect: Dialect, stretches: &[Stretches], found: &Resolved, rows: Option<u64>) -> Self {
        if found.event_ids.is_some() {
            return Self::Sort;
        }
        let arms = count_of(stretches);
        // Stretches of which most rows fail would be read to their ends, each for a page of its own.
        let looks = found.condition.is_none() && can_be_looked_at(stretches, found);
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

/// How many values a question's conditions bind, and how long they are.
fn size(found: &Resolved) -> (usize, usize) {
    let listed: usize = found.filters().filter_map(|(_, ids)| ids).map(<[i64]>::len).sum();
    let conditions = found.condition.iter().chain(&found.narrowing);
    let (values, text) = conditions.fold((0, 0), |(values, text), condition| {
        (values + condition.values.len(), text + condition.sql.len())
    });
    // Customer, leader, start and end, and at most every id of every filter.
    (4 + listed + values, text)
}

fn can_be_merged(stretches: &[Stretches], found: &Resolved) -> bool {
    let arms = count_of(stretches);
    let (values, text) = size(found);
    (1..=MAX_ARMS).contains(&arms) && arms * values <= MAX_MERGED_VALUES && arms * text <= MAX_MERGED_TEXT
}

fn can_be_looked_at(stretches: &[Stretches], found: &Resolved) -> bool {
    let (values, text) = size(found);
    !stretches.is_empty()
        && 2 * count_of(stretches) + stretches.len() * values <= MAX_MERGED_VALUES
        && stretches.len() * text <= MAX_MERGED_TEXT
}

/// Whether the condition fits into a statement that has it twice.
pub(super) fn fits_hits(found: &Resolved) -> bool {
    let customers = found.all_of.len() + found.own_of.len();
    let (values, text) = size(found);
    2 * (8 + customers + found.callers.len() + values) <= MAX_MERGED_VALUES && 2 * text <= MAX_MERGED_TEXT
}

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

fn by_time(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => " ORDER BY at, event_id",
        Direction::Descending => " ORDER BY at DESC, event_id",
    }
}

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
