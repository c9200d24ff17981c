//! The SQL of a question: what its statements are made of. The statements are in the modules below, by what is asked:
//! [`page`] finds a page, [`count`] counts, [`hits`] does both among the rows that the text index names.
//!
//! Whichever way a page's rows are found, a second step of the same statement fetches them with their texts.

mod count;
mod hits;
mod page;

use annals_store::sql::{Sql, sql};
use annals_store::{Dialect, Value};
use uuid::Uuid;

use super::condition::Piece;
use super::query::{AuditQuery, Direction, Fields, Order, SortKey};
use super::resolve::Resolved;
use super::stretches::{Pair, Stretches};

pub(super) use hits::fits_hits;
pub(super) use page::{DEEP, gains_by_location};

/// Arms of one merged query; SQLite takes at most 500. Beyond it the rows are sorted instead.
const MAX_ARMS: usize = 400;

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
        statement.rows(Fields::All, "");
        statement.push(" ORDER BY events.\"offset\"");
        statement
    }

    /// Ends `WITH page AS (`, which names rows in order, where the query's page ends, and fetches its rows in that order,
    /// with further columns.
    fn page_with(&mut self, query: &AuditQuery, more: &str) {
        self.push(" LIMIT ");
        self.bind(i64::from(query.limit));
        self.push(" OFFSET ");
        self.bind(query.offset.cast_signed());
        self.push(")");
        self.rows(query.fields, more);
        self.push(&order_by(self.dialect, query));
    }

    /// The rows that `page` names, with their texts and further columns.
    fn rows(&mut self, fields: Fields, more: &str) {
        self.push(" SELECT ");
        self.push(SUMMARY_COLUMNS);
        if fields == Fields::All {
            self.push(", ");
            self.push(OTHER_COLUMNS);
        }
        self.push(more);
        let row = row_name(self.dialect);
        self.push(&format!(" FROM page JOIN events ON events.{row} = page.id"));
        JOINS.iter().for_each(|join| self.push(join));
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

    /// SQLite would go by an index of customers also where every row has to be read, in an order that is not the rows'.
    fn not_indexed(&mut self, found: &Resolved) {
        if self.dialect == Dialect::Sqlite && found.reads_all() {
            self.push(" NOT INDEXED");
        }
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
        if found.sees_all {
            // Every row's customer is known in this snapshot: a test of each row would say nothing.
            self.push("1 = 1");
        } else {
            self.push("(");
            self.ids("events.customer", &found.all_of);
            if !found.own_of.is_empty() {
                self.push(" OR ");
                self.ids("events.customer", &found.own_of);
                self.push(" AND ");
                let callers: Vec<i64> = found.callers.iter().map(|(_, id)| *id).collect();
                self.ids("events.actor", &callers);
            }
            self.push(")");
        }
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

fn count_of(stretches: &[Stretches]) -> usize {
    stretches.iter().map(|stretches| stretches.pairs.len()).sum()
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

const JOIN_CUSTOMERS: &str = " JOIN customers ON customers.id = events.customer";
const JOIN_ACTORS: &str = " JOIN actors ON actors.id = events.actor";
const JOIN_ACTIONS: &str = " JOIN actions ON actions.id = events.action";
const JOIN_ADDRESSES: &str = " LEFT JOIN addresses ON addresses.id = events.address";
const JOIN_ENTITIES: &str = " LEFT JOIN entities ON entities.id = events.entity";
const JOINS: [&str; 5] = [JOIN_CUSTOMERS, JOIN_ACTORS, JOIN_ACTIONS, JOIN_ADDRESSES, JOIN_ENTITIES];

const SUMMARY_COLUMNS: &str =
    "events.event_id, customers.customer, events.at, events.recorded_at, actors.account,
 addresses.address, actions.name, actions.category, actions.severity, actions.entity_type, entities.entity";

const OTHER_COLUMNS: &str =
    "events.claimed_at, actors.kind, actors.actor, actors.qualified, events.description,
 events.sign_in, events.misplaced, partitions.topic, partitions.number, events.\"offset\"";

/// The dictionaries that an order needs, and no others: all rows that match go through them.
fn joins_of_order(query: &AuditQuery) -> String {
    let mut joins: Vec<&str> = query
        .order
        .iter()
        .filter_map(|(key, _)| match key {
            SortKey::Account => Some(JOIN_ACTORS),
            SortKey::Customer => Some(JOIN_CUSTOMERS),
            SortKey::Action | SortKey::Category | SortKey::Severity | SortKey::EntityType => {
                Some(JOIN_ACTIONS)
            }
            SortKey::EntityId => Some(JOIN_ENTITIES),
            SortKey::Address => Some(JOIN_ADDRESSES),
            SortKey::Time
            | SortKey::RecordedAt
            | SortKey::EventId
            | SortKey::Description
            | SortKey::SignIn => None,
        })
        .collect();
    joins.sort_unstable();
    joins.dedup();
    joins.concat()
}

/// What an order needs of a row, beside the texts of dictionaries.
fn columns_of_order(query: &AuditQuery) -> String {
    let mut columns = vec![", events.at", ", events.event_id"];
    columns.extend(query.order.iter().filter_map(|(key, _)| match key {
        SortKey::Time | SortKey::EventId => None,
        SortKey::RecordedAt => Some(", events.recorded_at"),
        SortKey::Account => Some(", events.actor"),
        SortKey::Customer => Some(", events.customer"),
        SortKey::Action | SortKey::Category | SortKey::Severity | SortKey::EntityType => {
            Some(", events.action")
        }
        SortKey::EntityId => Some(", events.entity"),
        SortKey::Address => Some(", events.address"),
        SortKey::Description => Some(", events.description"),
        SortKey::SignIn => Some(", events.sign_in"),
    }));
    columns.sort_unstable();
    columns.dedup();
    columns.concat()
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
