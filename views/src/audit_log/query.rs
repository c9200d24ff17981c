//! Questions to the audit log: what can be asked, and the rows of the answer. `statement` makes the SQL.

use std::net::IpAddr;

use annals_schemas::{ActorKind, Severity};
use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use annals_store::{Place, Pool, Transaction, Value};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::statement::{self, Statement};
use super::{AuditLog, account_key};
use crate::Result;
use crate::view::View;

/// Values that one filter may list; papi's parameters can bring more, and SQLite binds at most 32,766 in all.
pub const MAX_FILTER_VALUES: usize = 1_000;

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
    /// Customer, in the order of [`AuditQuery::customer_order`].
    Customer,
    /// Name of the action.
    Action,
    /// Category.
    Category,
    /// Severity, as the text that is shown.
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

/// What is wanted of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Who, what, when, from where: what papi shows. The other fields are empty.
    Summary,
    /// Everything. Descriptions can be long, so that a page of them takes memory.
    All,
}

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
    /// What is wanted of each row.
    pub fields: Fields,
    /// Sort keys; none means newest first.
    pub order: Vec<Order>,
    /// Customers in the order of the names that the dialect shows, for [`SortKey::Customer`]. The view knows ids only.
    pub customer_order: Vec<Uuid>,
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
pub async fn page(readers: &Pool, query: &AuditQuery) -> Result<Vec<AuditEvent>> {
    run(readers, query).await.during(Place::new(AuditLog::NAME), "read the audit log")
}

async fn run(readers: &Pool, query: &AuditQuery) -> Result<Vec<AuditEvent>, sqlx::Error> {
    if query.limit == 0 || query.offset > i64::MAX as u64 {
        return Ok(Vec::new());
    }
    // One snapshot for dictionaries and rows.
    let mut tx = readers.snapshot().await?;
    let Some(found) = Resolved::of(&mut tx, query).await? else { return Ok(Vec::new()) };
    let pairs = statement::existing_pairs(&mut tx, query, &found).await?;
    let statement = Statement::of(readers.dialect(), query, &found, pairs.as_deref());
    let rows = statement.into_sql().fetch_all(&mut tx).await?;
    rows.iter().map(|row| read_event(row, query.fields)).collect()
}

/// The query's texts as dictionary ids. A text that no dictionary has matches nothing.
pub(super) struct Resolved {
    /// Customers of whom all is visible.
    pub(super) all_of: Vec<i64>,
    /// Customers of whom only the caller's own is.
    pub(super) own_of: Vec<i64>,
    /// The caller's ids, when there is anything of which only the own is visible.
    pub(super) callers: Vec<i64>,
    pub(super) actors: Option<Vec<i64>>,
    pub(super) actions: Option<Vec<i64>>,
    pub(super) addresses: Option<Vec<i64>>,
    pub(super) entities: Option<Vec<i64>>,
}

type Texts<'t> = &'t [String];

impl Resolved {
    /// `None` when nothing can match.
    async fn of(tx: &mut Transaction, query: &AuditQuery) -> Result<Option<Self>, sqlx::Error> {
        let wanted = |customer: &&Uuid| query.customers.as_ref().is_none_or(|list| list.contains(customer));
        let wanted = |list: &[Uuid]| list.iter().filter(wanted).copied().collect::<Vec<_>>();
        let ids = "SELECT id FROM customers WHERE customer IN";
        let all_of = lookup(tx, ids, wanted(&query.scope.all_of)).await?;
        let mut own_of = lookup(tx, ids, wanted(&query.scope.own_of)).await?;
        own_of.retain(|id| !all_of.contains(id));
        let mut callers = Vec::new();
        if !own_of.is_empty() {
            let (kind, id) = query.scope.caller;
            callers = sql("SELECT id FROM actors WHERE kind = ? AND actor = ?")
                .bind(i64::from(kind.number()))
                .bind(id)
                .fetch_scalars(&mut *tx)
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
            let keys = || accounts.iter().map(|account| account_key(account));
            let mut ids = lookup(tx, "SELECT id FROM actors WHERE account_key IN", keys()).await?;
            ids.extend(lookup(tx, "SELECT id FROM actors WHERE qualified_key IN", keys()).await?);
            ids.sort_unstable();
            ids.dedup();
            resolved.actors = Some(ids);
        }
        resolved.actions = actions(tx, query.actions.as_deref(), query.entity_types.as_deref()).await?;
        if let Some(addresses) = &query.addresses {
            let keys = addresses.iter().copied();
            resolved.addresses = Some(lookup(tx, "SELECT id FROM addresses WHERE address IN", keys).await?);
        }
        if let Some(entities) = &query.entities {
            resolved.entities = Some(lookup(tx, "SELECT id FROM entities WHERE entity IN", entities).await?);
        }
        let nothing = resolved.all_of.is_empty() && resolved.own_of.is_empty()
            || resolved.filters().any(|(_, ids)| ids.is_some_and(<[i64]>::is_empty))
            || query.event_ids.as_ref().is_some_and(Vec::is_empty);
        Ok((!nothing).then_some(resolved))
    }

    /// Column and ids of each filter, the most selective column first.
    pub(super) fn filters(&self) -> impl Iterator<Item = (&'static str, Option<&[i64]>)> {
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
    tx: &mut Transaction,
    names: Option<Texts<'_>>,
    entity_types: Option<Texts<'_>>,
) -> Result<Option<Vec<i64>>, sqlx::Error> {
    let by_name = match names {
        Some(names) => Some(lookup(tx, "SELECT id FROM actions WHERE name IN", names).await?),
        None => None,
    };
    let by_type = match entity_types {
        Some(types) => Some(lookup(tx, "SELECT id FROM actions WHERE entity_type IN", types).await?),
        None => None,
    };
    Ok(match (by_name, by_type) {
        (Some(names), Some(types)) => Some(names.into_iter().filter(|id| types.contains(id)).collect()),
        (names, types) => names.or(types),
    })
}

async fn lookup<V: Into<Value>>(
    tx: &mut Transaction,
    select: &str,
    values: impl IntoIterator<Item = V>,
) -> Result<Vec<i64>, sqlx::Error> {
    let values: Vec<Value> = values.into_iter().map(Into::into).collect();
    let mut ids = Vec::new();
    for chunk in values.chunks(MAX_FILTER_VALUES) {
        let statement = sql(format!("{select} ({})", vec!["?"; chunk.len()].join(",")));
        let statement = if chunk.len() == 1 { statement } else { statement.once() };
        ids.extend(statement.bind_all(chunk.iter().cloned()).fetch_scalars::<i64>(&mut *tx).await?);
    }
    Ok(ids)
}

fn read_event(row: &Row, fields: Fields) -> Result<AuditEvent, sqlx::Error> {
    let mut event = AuditEvent {
        event_id: row.get(0)?,
        customer: row.get(1)?,
        at: row.get(2)?,
        recorded_at: row.get(3)?,
        account: row.get(4)?,
        address: row.get(5)?,
        name: row.get(6)?,
        category: row.get(7)?,
        severity: match row.get::<i64>(8)? {
            0 => Severity::Info,
            1 => Severity::Warning,
            _ => Severity::Error,
        },
        entity_type: row.get(9)?,
        entity_id: row.get::<Option<String>>(10)?.unwrap_or_default(),
        claimed_at: None,
        actor_kind: None,
        actor: Uuid::nil(),
        qualified_account: String::new(),
        description: String::new(),
        sign_in: None,
        misplaced: false,
        topic: String::new(),
        partition: 0,
        offset: 0,
    };
    if fields == Fields::All {
        let kind: i64 = row.get(12)?;
        event.claimed_at = row.get(11)?;
        event.actor_kind = usize::try_from(kind).ok().and_then(|kind| ActorKind::ALL.get(kind).copied());
        event.actor = row.get(13)?;
        event.qualified_account = row.get(14)?;
        event.description = row.get(15)?;
        event.sign_in = row.get(16)?;
        event.misplaced = row.get::<i64>(17)? != 0;
        event.topic = row.get(18)?;
        event.partition = row.get(19)?;
        event.offset = row.get(20)?;
    }
    Ok(event)
}
