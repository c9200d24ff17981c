//! Questions to the audit log: what can be asked, and the rows of the answer. `statement` makes the SQL.

use std::borrow::Cow;
use std::net::IpAddr;

use annals_schemas::{ActorKind, Severity};
use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use annals_store::{GenerationReader, Partition, Place, Pool, Transaction};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::AuditLog;
use super::actions::severity;
use super::condition::{AuditField, Piece};
use super::histogram::Histogram;
use super::resolve::Resolved;
use super::searched::Searched;
use super::statement::{self, Statement};
use super::stretches;
use super::text::Effort;
use super::totals;
use crate::Result;
use crate::filter::{self, FieldValue, Filter, Test, TimeRange};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// Opaque id of the sign-in; none first.
    SignIn,
}

/// Which way rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// A question.
#[derive(Clone, Debug)]
pub struct AuditQuery {
    /// What the caller may see.
    pub scope: Scope,
    /// Which events are asked for.
    pub filter: Filter<AuditField>,
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
    /// Only rows that stand before these positions of the log: what a walk saw when it began.
    pub within: Option<LogPositions>,
    /// Only rows that follow this one in the order by time.
    pub after: Option<RowKey>,
}

impl AuditQuery {
    /// The newest events that are visible.
    #[must_use]
    pub fn newest(scope: Scope, filter: Filter<AuditField>, limit: u32) -> Self {
        Self {
            scope,
            filter,
            fields: Fields::All,
            order: Vec::new(),
            customer_order: Vec::new(),
            offset: 0,
            limit,
            within: None,
            after: None,
        }
    }

    /// Whether accounts come before all else in the order.
    pub(super) fn is_by_account(&self) -> bool {
        matches!(self.order.first(), Some((SortKey::Account, _)))
    }

    /// The direction of an order by nothing but time.
    pub(super) fn by_time(&self) -> Option<Direction> {
        match self.order.as_slice() {
            [] => Some(Direction::Descending),
            [(SortKey::Time, direction)] => Some(*direction),
            _ => None,
        }
    }
}

/// Where a row stands in the order by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// The time that is shown.
    pub at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

/// The next offset of each partition. A partition that is not in it: nothing of it.
pub type LogPositions = Vec<(Partition, u64)>;

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

impl filter::Row<AuditField> for AuditEvent {
    fn value(&self, field: AuditField) -> FieldValue<'_> {
        use AuditField as F;
        fn text(text: &str) -> FieldValue<'_> {
            FieldValue::Texts(vec![text.into()])
        }
        match field {
            F::EventId => FieldValue::Id(self.event_id),
            F::Customer => FieldValue::Id(self.customer),
            F::Actor => FieldValue::Id(self.actor),
            F::At => FieldValue::Time(self.at),
            F::RecordedAt => FieldValue::Time(self.recorded_at),
            F::Account => text(&self.account),
            F::AnyAccount => {
                FieldValue::Texts(vec![self.account.as_str().into(), self.qualified_account.as_str().into()])
            }
            F::Address => FieldValue::Address(self.address),
            F::Action => text(&self.name),
            F::Category => text(&self.category),
            F::Severity => text(self.severity.as_str()),
            F::EntityType => text(&self.entity_type),
            F::Entity => text(&self.entity_id),
            F::Description => text(&self.description),
            F::SignIn => text(self.sign_in.as_deref().unwrap_or_default()),
            F::Anything => {
                let address =
                    self.address.map(|address| address.to_canonical().to_string()).unwrap_or_default();
                FieldValue::Texts(vec![
                    self.account.as_str().into(),
                    self.description.as_str().into(),
                    address.into(),
                ])
            }
        }
    }
}

/// Answers a question.
///
/// # Errors
/// When the view cannot be read.
pub async fn page(readers: &Pool, query: &AuditQuery) -> Result<Vec<AuditEvent>> {
    let read = async {
        // One snapshot for dictionaries and rows.
        let mut tx = readers.snapshot().await?;
        match resolved(&mut tx, query).await? {
            Some(found) => rows(&mut tx, query, found).await,
            None => Ok(Vec::new()),
        }
    };
    read.await.map_err(|error| failed(READING, error))
}

/// Answers a question, and says how far the log is folded in the same snapshot.
///
/// # Errors
/// When the view cannot be read.
pub async fn placed_page(
    reader: &GenerationReader,
    query: &AuditQuery,
) -> Result<(Vec<AuditEvent>, LogPositions)> {
    let read = async {
        let mut tx = reader.pool.snapshot().await?;
        let positions = log_positions(&mut tx).await?;
        let events = match resolved(&mut tx, query).await? {
            Some(found) => rows(&mut tx, query, found).await?,
            None => Vec::new(),
        };
        Ok((events, positions))
    };
    read.await.map_err(|error| failed(READING, error))
}

/// One event, if the caller may see it.
///
/// # Errors
/// When the view cannot be read.
pub async fn find(readers: &Pool, scope: &Scope, event_id: Uuid) -> Result<Option<AuditEvent>> {
    let filter = Filter::Is(AuditField::EventId, Test::Ids(vec![event_id]));
    let found = page(readers, &AuditQuery::newest(scope.clone(), filter, 1)).await?;
    Ok(found.into_iter().next())
}

/// What is being done, in errors.
pub(super) const READING: &str = "read the audit log";

pub(super) fn failed(doing: &'static str, error: sqlx::Error) -> annals_store::StoreError {
    match Err::<(), _>(error).during(Place::new(AuditLog::NAME), doing) {
        Err(error) => error,
        Ok(()) => unreachable!("an error was given"),
    }
}

async fn resolved(tx: &mut Transaction, query: &AuditQuery) -> Result<Option<Resolved>, sqlx::Error> {
    match Resolved::of(tx, &query.scope, &query.filter).await? {
        Some(found) => narrowed(tx, query, found).await,
        None => Ok(None),
    }
}

/// What holds for this page beyond its filter.
pub(super) async fn narrowed(
    tx: &mut Transaction,
    query: &AuditQuery,
    mut found: Resolved,
) -> Result<Option<Resolved>, sqlx::Error> {
    if let Some(positions) = &query.within {
        let known = partition_ids(tx).await?;
        let id =
            |partition: &Partition| known.iter().find(|(known, _)| known == partition).map(|(_, id)| *id);
        let ids: Vec<(i64, i64)> =
            positions.iter().filter_map(|(p, next)| Some((id(p)?, next.cast_signed()))).collect();
        found.narrow(totals::before(&ids));
    }
    if let Some(key) = query.after {
        let ascending = query.by_time() == Some(Direction::Ascending);
        let (sign, limit) = if ascending {
            (">", TimeRange { start: Some(key.at), end: None })
        } else {
            ("<", TimeRange { start: None, end: Some(key.at) })
        };
        found.time = found.time.and(limit);
        found.narrow(Piece::with(
            format!("(events.at {sign} ? OR events.event_id > ?)"),
            [key.at.into(), key.event_id.into()],
        ));
    }
    Ok((!found.time.is_empty()).then_some(found))
}

async fn rows(
    tx: &mut Transaction,
    query: &AuditQuery,
    mut found: Resolved,
) -> Result<Vec<AuditEvent>, sqlx::Error> {
    if let Some(searched) = Searched::of(tx, &found, Effort::default(), false).await?
        && let Some(events) = searched.page(tx, query, &found).await?
    {
        return Ok(events);
    }
    stretches::find_pairs(tx, &mut found).await?;
    let histogram = if query.offset < statement::DEEP { None } else { Histogram::of(tx, &found).await? };
    ordinary_rows(tx, query, found, histogram, false).await
}

/// A page by way of the indexes of rows. The histogram is of the question; it tells where a page stands that is not narrowed.
pub(super) async fn ordinary_rows(
    tx: &mut Transaction,
    query: &AuditQuery,
    mut found: Resolved,
    histogram: Option<Histogram>,
    most_pass: bool,
) -> Result<Vec<AuditEvent>, sqlx::Error> {
    if query.limit == 0 || query.offset > i64::MAX as u64 {
        return Ok(Vec::new());
    }
    let dialect = tx.connection().dialect();
    let mut query = Cow::Borrowed(query);
    let mut rows = None;
    if let (Some(histogram), Some(direction), None) = (histogram, query.by_time(), &found.narrowing)
        && statement::gains_by_location(dialect, &query, &found)
    {
        let location = histogram.locate(tx, direction, query.offset, query.limit).await?;
        found.time = location.range;
        query.to_mut().offset = location.offset;
        rows = Some(location.rows);
    }
    let statement = Statement::page(dialect, &query, &found, rows, most_pass);
    let rows = statement.into_sql().fetch_all(&mut *tx).await?;
    rows.iter().map(|row| read_event(row, query.fields)).collect()
}

/// The partitions that rows are of.
pub(super) async fn partition_ids(tx: &mut Transaction) -> Result<Vec<(Partition, i64)>, sqlx::Error> {
    let rows = sql("SELECT topic, number, id FROM partitions").fetch_all(tx).await?;
    rows.iter().map(|row| Ok((Partition::new(&row.get::<String>(0)?, row.get(1)?), row.get(2)?))).collect()
}

/// How far this snapshot has folded the log.
pub(super) async fn log_positions(tx: &mut Transaction) -> Result<LogPositions, sqlx::Error> {
    let rows = sql("SELECT topic, partition, next_offset FROM positions ORDER BY topic, partition")
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok((Partition::new(&row.get::<String>(0)?, row.get(1)?), row.get(2)?))).collect()
}

pub(super) fn read_event(row: &Row, fields: Fields) -> Result<AuditEvent, sqlx::Error> {
    let mut event = AuditEvent {
        event_id: row.get(0)?,
        customer: row.get(1)?,
        at: row.get(2)?,
        recorded_at: row.get(3)?,
        account: row.get(4)?,
        address: row.get(5)?,
        name: row.get(6)?,
        category: row.get(7)?,
        severity: severity(row.get(8)?),
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
