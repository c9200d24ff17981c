//! Questions to the audit log.
//!
//! A page is found in two steps. The first works on one index: each index begins with (customer, something) and ends
//! with the time, so a question about one customer and one actor reads its answer in order and stops at the limit.
//! A question about several customers or actors is one such arm for each, merged by SQLite (`UNION ALL` with
//! `ORDER BY` merges sorted arms and takes no more of each than it needs). The second step fetches the page's rows
//! with their texts.

use std::net::IpAddr;
use std::path::Path;

use annals_schemas::{ActorKind, Severity};
use annals_store::error::Context;
use chrono::{DateTime, Utc};
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Row};
use uuid::Uuid;

use super::AuditLog;
use crate::view::View;
use crate::{Result, address};

/// Values that one filter may list; papi's parameters can bring more, and SQLite binds at most 32,766 in all.
pub const MAX_FILTER_VALUES: usize = 1_000;

/// Arms of one merged query; SQLite takes at most 500. Beyond it the rows are sorted instead.
const MAX_ARMS: usize = 400;

/// Values that one merged query binds; SQLite takes at most 32,766. Every arm repeats the filters that do not lead, so
/// that a few long lists are too many. Beyond it the rows are sorted instead.
const MAX_MERGED_VALUES: usize = 30_000;

/// Whose events the caller may see. Made in one place, from the caller's grants; every query carries one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Customers whose events are all visible.
    pub all_of: Vec<Uuid>,
    /// Customers of whose events only the caller's own are visible.
    pub own_of: Vec<Uuid>,
    /// The caller: events compare kind and id, never names.
    pub caller: (ActorKind, Uuid),
}

/// What rows are sorted by. Ties are broken by the event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// Time that is shown.
    Time,
    /// Time of the first append.
    RecordedAt,
    /// Event id.
    EventId,
    /// Account as shown.
    Account,
    /// Customer's id. Dialects that show names sort by them themselves only within a page.
    Customer,
    /// Name of the action.
    Action,
    /// Category.
    Category,
    /// Severity, INFO first.
    Severity,
    /// Type of the affected object.
    EntityType,
    /// Id of the affected object.
    EntityId,
    /// Address, by its 16 bytes; none first.
    Address,
    /// Description.
    Description,
}

/// Which way rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// One sort key with its direction.
pub type Order = (SortKey, Direction);

/// A question. Lists that are `None` do not filter; an empty list matches nothing.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// What the caller may see.
    pub scope: Scope,
    /// First moment.
    pub start: Option<DateTime<Utc>>,
    /// Last moment.
    pub end: Option<DateTime<Utc>>,
    /// Accounts, in short or in full, compared without case.
    pub accounts: Option<Vec<String>>,
    /// Customers.
    pub customers: Option<Vec<Uuid>>,
    /// Addresses.
    pub addresses: Option<Vec<IpAddr>>,
    /// Names of actions.
    pub actions: Option<Vec<String>>,
    /// Types of affected objects.
    pub entity_types: Option<Vec<String>>,
    /// Ids of affected objects.
    pub entities: Option<Vec<String>>,
    /// Event ids.
    pub event_ids: Option<Vec<Uuid>>,
    /// Sort keys; none means newest first.
    pub order: Vec<Order>,
    /// Rows to skip.
    pub offset: u64,
    /// Rows to give.
    pub limit: u32,
}

/// A row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `fold::AuditRow`")]
pub struct AuditEvent {
    pub event_id: Uuid,
    pub customer: Uuid,
    pub at: DateTime<Utc>,
    pub claimed_at: Option<DateTime<Utc>>,
    pub recorded_at: DateTime<Utc>,
    pub actor_kind: Option<ActorKind>,
    pub actor: Uuid,
    pub account: String,
    pub qualified_account: String,
    pub address: Option<IpAddr>,
    pub name: String,
    pub category: String,
    pub severity: Severity,
    pub entity_type: String,
    pub entity_id: String,
    pub description: String,
    pub sign_in: Option<String>,
    pub misplaced: bool,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
}

/// Answers a question.
///
/// # Errors
/// When the view cannot be read.
pub async fn page(readers: &SqlitePool, query: &AuditQuery) -> Result<Vec<AuditEvent>> {
    let path = Path::new(AuditLog::NAME);
    run(readers, query).await.during(path, "read the audit log")
}

async fn run(readers: &SqlitePool, query: &AuditQuery) -> Result<Vec<AuditEvent>, sqlx::Error> {
    if query.limit == 0 || query.offset > i64::MAX as u64 {
        return Ok(Vec::new());
    }
    // One snapshot for dictionaries and rows.
    let mut tx = readers.begin().await?;
    let Some(found) = Resolved::of(&mut tx, query).await? else { return Ok(Vec::new()) };
    let statement = Statement::of(query, &found);
    let rows = sqlx::query_with(AssertSqlSafe(statement.sql), statement.arguments)
        .persistent(false)
        .fetch_all(&mut *tx)
        .await?;
    rows.iter().map(read_event).collect()
}

/// The query's texts as dictionary ids. A text that no dictionary has matches nothing.
struct Resolved {
    /// Customers of whom all is visible.
    all_of: Vec<i64>,
    /// Customers of whom only the caller's own is.
    own_of: Vec<i64>,
    /// The caller's ids, when there is anything of which only the own is visible.
    callers: Vec<i64>,
    actors: Option<Vec<i64>>,
    actions: Option<Vec<i64>>,
    addresses: Option<Vec<i64>>,
    entities: Option<Vec<i64>>,
}

type Texts<'t> = &'t [String];

impl Resolved {
    /// `None` when nothing can match.
    async fn of(connection: &mut sqlx::SqliteConnection, query: &AuditQuery) -> Result<Option<Self>, sqlx::Error> {
        let wanted = |customer: &&Uuid| query.customers.as_ref().is_none_or(|list| list.contains(customer));
        let blob = |list: &[Uuid]| list.iter().filter(wanted).map(|id| id.into_bytes().to_vec()).collect::<Vec<_>>();
        let ids = "SELECT id FROM customers WHERE customer IN";
        let all_of = lookup(connection, ids, &blob(&query.scope.all_of)).await?;
        let mut own_of = lookup(connection, ids, &blob(&query.scope.own_of)).await?;
        own_of.retain(|id| !all_of.contains(id));
        let mut callers = Vec::new();
        if !own_of.is_empty() {
            let (kind, id) = query.scope.caller;
            callers = sqlx::query_scalar("SELECT id FROM actors WHERE kind = ? AND actor = ?")
                .bind(kind.number())
                .bind(id)
                .fetch_all(&mut *connection)
                .await?;
        }
        let mut resolved = Self {
            all_of,
            own_of: if callers.is_empty() { Vec::new() } else { own_of },
            callers,
            actors: None,
            actions: None,
            addresses: None,
            entities: None,
        };
        if let Some(accounts) = &query.accounts {
            let keys: Vec<String> = accounts.iter().map(|account| account.to_lowercase()).collect();
            let mut ids = lookup(connection, "SELECT id FROM actors WHERE account_key IN", &keys).await?;
            ids.extend(lookup(connection, "SELECT id FROM actors WHERE qualified_key IN", &keys).await?);
            ids.sort_unstable();
            ids.dedup();
            resolved.actors = Some(ids);
        }
        resolved.actions = actions(connection, query.actions.as_deref(), query.entity_types.as_deref()).await?;
        if let Some(addresses) = &query.addresses {
            let keys: Vec<Vec<u8>> = addresses.iter().map(|a| address::to_bytes(*a).to_vec()).collect();
            resolved.addresses =
                Some(lookup(connection, "SELECT id FROM addresses WHERE address IN", &keys).await?);
        }
        if let Some(entities) = &query.entities {
            resolved.entities = Some(lookup(connection, "SELECT id FROM entities WHERE entity IN", entities).await?);
        }
        let nothing = resolved.all_of.is_empty() && resolved.own_of.is_empty()
            || resolved.filters().any(|(_, ids)| ids.is_some_and(<[i64]>::is_empty))
            || query.event_ids.as_ref().is_some_and(Vec::is_empty);
        Ok((!nothing).then_some(resolved))
    }

    /// Column and ids of each filter, the most selective column first.
    fn filters(&self) -> impl Iterator<Item = (&'static str, Option<&[i64]>)> {
        [
            ("actor", self.actors.as_deref()),
            ("address", self.addresses.as_deref()),
            ("action", self.actions.as_deref()),
            ("entity", self.entities.as_deref()),
        ]
        .into_iter()
    }
}

/// Actions by name and by entity type; both narrow the same dictionary.
async fn actions(
    connection: &mut sqlx::SqliteConnection,
    names: Option<Texts<'_>>,
    entity_types: Option<Texts<'_>>,
) -> Result<Option<Vec<i64>>, sqlx::Error> {
    let by_name = match names {
        Some(names) => Some(lookup(connection, "SELECT id FROM actions WHERE name IN", names).await?),
        None => None,
    };
    let by_type = match entity_types {
        Some(types) => Some(lookup(connection, "SELECT id FROM actions WHERE entity_type IN", types).await?),
        None => None,
    };
    Ok(match (by_name, by_type) {
        (Some(names), Some(types)) => Some(names.into_iter().filter(|id| types.contains(id)).collect()),
        (names, types) => names.or(types),
    })
}

async fn lookup<'v, T>(
    connection: &mut sqlx::SqliteConnection,
    select: &str,
    values: &'v [T],
) -> Result<Vec<i64>, sqlx::Error>
where
    T: sqlx::Type<sqlx::Sqlite> + Clone + Send + sqlx::Encode<'v, sqlx::Sqlite>,
{
    let mut ids = Vec::new();
    for chunk in values.chunks(MAX_FILTER_VALUES) {
        let sql = format!("{select} ({})", vec!["?"; chunk.len()].join(","));
        let mut query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).persistent(chunk.len() == 1);
        for value in chunk {
            query = query.bind(value.clone());
        }
        ids.extend(query.fetch_all(&mut *connection).await?);
    }
    Ok(ids)
}

/// SQL with its arguments, built together so that they cannot drift apart.
#[derive(Default)]
struct Statement {
    sql: String,
    arguments: SqliteArguments,
}

impl Statement {
    fn of(query: &AuditQuery, found: &Resolved) -> Self {
        let mut statement = Self::default();
        let by_time = match query.order.as_slice() {
            [] => Some(Direction::Descending),
            [(SortKey::Time, direction)] => Some(*direction),
            _ => None,
        };
        let arms = arms(found);
        statement.sql.push_str("WITH page AS (");
        match by_time {
            Some(direction) if query.event_ids.is_none() && can_be_merged(&arms, found) => {
                for (index, arm) in arms.iter().enumerate() {
                    statement.sql.push_str(if index == 0 { "" } else { " UNION ALL " });
                    statement.sql.push_str("SELECT id, at, event_id FROM events WHERE ");
                    statement.arm(arm, query, found);
                }
                let way = if direction == Direction::Descending { " DESC" } else { "" };
                statement.sql.push_str(&format!(" ORDER BY at{way}, event_id"));
            }
            _ => {
                statement.sql.push_str("SELECT events.id AS id FROM events ");
                statement.sql.push_str(JOINS);
                statement.sql.push_str(" WHERE ");
                statement.sorted(query, found);
                statement.sql.push_str(&order_by(&query.order));
            }
        }
        statement.sql.push_str(" LIMIT ");
        statement.bind(i64::from(query.limit));
        statement.sql.push_str(" OFFSET ");
        statement.bind(query.offset.cast_signed());
        statement.sql.push_str(") SELECT ");
        statement.sql.push_str(COLUMNS);
        statement.sql.push_str(" FROM page JOIN events ON events.id = page.id ");
        statement.sql.push_str(JOINS);
        statement.sql.push_str(&order_by(&query.order));
        statement
    }

    fn bind<'v, T: sqlx::Encode<'v, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>>(&mut self, value: T) {
        self.sql.push('?');
        // Numbers and blobs always encode; a failure would leave a parameter unbound, which compares as null.
        let _ = self.arguments.add(value);
    }

    fn ids(&mut self, column: &str, ids: &[i64]) {
        self.sql.push_str(column);
        self.sql.push_str(" IN (");
        for (index, id) in ids.iter().enumerate() {
            self.sql.push_str(if index == 0 { "" } else { "," });
            self.bind(*id);
        }
        self.sql.push(')');
    }

    fn times(&mut self, query: &AuditQuery) {
        if let Some(start) = query.start {
            self.sql.push_str(" AND at >= ");
            self.bind(start.timestamp_micros());
        }
        if let Some(end) = query.end {
            self.sql.push_str(" AND at <= ");
            self.bind(end.timestamp_micros());
        }
    }

    /// One arm: one customer and one value of the column that leads.
    fn arm(&mut self, arm: &Arm, query: &AuditQuery, found: &Resolved) {
        self.sql.push_str("customer = ");
        self.bind(arm.customer);
        if let Some((column, id)) = arm.leader {
            self.sql.push_str(" AND ");
            self.sql.push_str(column);
            self.sql.push_str(" = ");
            self.bind(id);
        }
        if arm.own {
            self.sql.push_str(" AND ");
            self.ids("+actor", &found.callers);
        }
        for (column, ids) in found.filters() {
            if let Some(ids) = ids
                && arm.leader.is_none_or(|(leader, _)| leader != column)
            {
                self.sql.push_str(" AND ");
                // The plus keeps SQLite from choosing this column's index instead of the leader's.
                self.ids(&format!("+{column}"), ids);
            }
        }
        self.times(query);
    }

    /// Everything in one condition, for rows that are sorted after they are found.
    fn sorted(&mut self, query: &AuditQuery, found: &Resolved) {
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
        if let Some(event_ids) = &query.event_ids {
            self.sql.push_str(" AND event_id IN (");
            for (index, id) in event_ids.iter().enumerate() {
                self.sql.push_str(if index == 0 { "" } else { "," });
                self.bind(*id);
            }
            self.sql.push(')');
        }
        self.times(query);
    }
}

/// One sorted stretch of an index.
struct Arm {
    customer: i64,
    leader: Option<(&'static str, i64)>,
    own: bool,
}

fn arms(found: &Resolved) -> Vec<Arm> {
    // The first filter leads: its ids are equalities in the index, and the time order follows.
    let leader = found.filters().filter(|(column, _)| *column != "entity").find_map(|(c, ids)| Some((c, ids?)));
    let mut arms = Vec::new();
    for &customer in &found.all_of {
        match leader {
            Some((column, ids)) => {
                arms.extend(ids.iter().map(|id| Arm { customer, leader: Some((column, *id)), own: false }));
            }
            None => arms.push(Arm { customer, leader: None, own: false }),
        }
    }
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
    arms.len() <= MAX_ARMS && arms.len() * (4 + found.callers.len() + listed) <= MAX_MERGED_VALUES
}

const JOINS: &str = "JOIN customers ON customers.id = events.customer
 JOIN actors ON actors.id = events.actor
 JOIN actions ON actions.id = events.action
 JOIN partitions ON partitions.id = events.partition
 LEFT JOIN addresses ON addresses.id = events.address
 LEFT JOIN entities ON entities.id = events.entity";

const COLUMNS: &str = "events.event_id, customers.customer, events.at, events.claimed_at, events.recorded_at,
 actors.kind, actors.actor, actors.account, actors.qualified, addresses.address, actions.name, actions.category,
 actions.severity, actions.entity_type, coalesce(entities.entity, ''), events.description, events.sign_in,
 events.misplaced, partitions.topic, partitions.number, events.\"offset\"";

fn order_by(order: &[Order]) -> String {
    let newest_first = [(SortKey::Time, Direction::Descending)];
    let order = if order.is_empty() { &newest_first[..] } else { order };
    let mut sql = String::from(" ORDER BY ");
    for (key, direction) in order {
        sql.push_str(match key {
            SortKey::Time => "events.at",
            SortKey::RecordedAt => "events.recorded_at",
            SortKey::EventId => "events.event_id",
            SortKey::Account => "actors.account",
            SortKey::Customer => "customers.customer",
            SortKey::Action => "actions.name",
            SortKey::Category => "actions.category",
            SortKey::Severity => "actions.severity",
            SortKey::EntityType => "actions.entity_type",
            SortKey::EntityId => "coalesce(entities.entity, '')",
            SortKey::Address => "addresses.address",
            SortKey::Description => "events.description",
        });
        sql.push_str(if *direction == Direction::Descending { " DESC, " } else { ", " });
    }
    sql.push_str("events.event_id");
    sql
}

fn read_event(row: &SqliteRow) -> Result<AuditEvent, sqlx::Error> {
    let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let kind: i64 = row.try_get(5)?;
    Ok(AuditEvent {
        event_id: row.try_get(0)?,
        customer: row.try_get(1)?,
        at: time(row.try_get(2)?),
        claimed_at: row.try_get::<Option<i64>, _>(3)?.map(time),
        recorded_at: time(row.try_get(4)?),
        actor_kind: usize::try_from(kind).ok().and_then(|kind| ActorKind::ALL.get(kind).copied()),
        actor: row.try_get(6)?,
        account: row.try_get(7)?,
        qualified_account: row.try_get(8)?,
        address: row.try_get::<Option<&[u8]>, _>(9)?.and_then(address::from_bytes),
        name: row.try_get(10)?,
        category: row.try_get(11)?,
        severity: match row.try_get::<i64, _>(12)? {
            0 => Severity::Info,
            1 => Severity::Warning,
            _ => Severity::Error,
        },
        entity_type: row.try_get(13)?,
        entity_id: row.try_get(14)?,
        description: row.try_get(15)?,
        sign_in: row.try_get(16)?,
        misplaced: row.try_get::<i64, _>(17)? != 0,
        topic: row.try_get(18)?,
        partition: row.try_get(19)?,
        offset: row.try_get::<i64, _>(20)?.unsigned_abs(),
    })
}
