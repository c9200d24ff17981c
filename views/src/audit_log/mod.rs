//! The audit log: one row per event, for every question that an auditor asks of "who did what, when, from where".
//!
//! Texts that repeat (who, what, from where, to what) stand in dictionaries, so that the row and each index entry is
//! a few integers.

pub mod fold;
pub mod query;

use annals_schemas::topics::{AUDIT, HOST_LOGONS};
use annals_schemas::Topic;
use annals_store::dictionary::Key;
use annals_store::{Column, ColumnKind, Index, OnConflict, Rows, Table, Value, ViewStore, ViewTransaction};

use crate::view::{Dedup, LogEvent, View};
use crate::{Result, address};
use fold::{Action, Actor, AuditRow};

pub use query::{AuditEvent, AuditQuery, Direction, Order, Scope, SortKey};

/// The audit log.
pub enum AuditLog {}

/// Customers that events refer to.
pub const CUSTOMERS: Table = Table {
    name: "customers",
    columns: &[Column::new("id", ColumnKind::RowId), Column::new("customer", ColumnKind::Uuid)],
    unique: &["customer"],
    indexes: &[],
};

/// Who: an identity under the name that it was shown with. `…_key` is the name as filters compare it: without case.
pub const ACTORS: Table = Table {
    name: "actors",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("kind", ColumnKind::SmallInteger),
        Column::new("actor", ColumnKind::Uuid),
        Column::new("account", ColumnKind::Text),
        Column::new("qualified", ColumnKind::Text),
        Column::new("account_key", ColumnKind::Text),
        Column::new("qualified_key", ColumnKind::Text),
    ],
    unique: &["kind", "actor", "account", "qualified", "account_key", "qualified_key"],
    indexes: &[
        Index { name: "actors_by_account", columns: &["account_key"] },
        Index { name: "actors_by_qualified", columns: &["qualified_key"] },
    ],
};

/// What: name, category, severity and entity type repeat together.
pub const ACTIONS: Table = Table {
    name: "actions",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("name", ColumnKind::Text),
        Column::new("category", ColumnKind::Text),
        Column::new("severity", ColumnKind::SmallInteger),
        Column::new("entity_type", ColumnKind::Text),
    ],
    unique: &["name", "category", "severity", "entity_type"],
    indexes: &[],
};

/// From where.
pub const ADDRESSES: Table = Table {
    name: "addresses",
    columns: &[Column::new("id", ColumnKind::RowId), Column::new("address", ColumnKind::Address)],
    unique: &["address"],
    indexes: &[],
};

/// To what.
pub const ENTITIES: Table = Table {
    name: "entities",
    columns: &[Column::new("id", ColumnKind::RowId), Column::new("entity", ColumnKind::Text)],
    unique: &["entity"],
    indexes: &[],
};

/// Where in the log.
pub const PARTITIONS: Table = Table {
    name: "partitions",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("topic", ColumnKind::Text),
        Column::new("number", ColumnKind::Integer),
    ],
    unique: &["topic", "number"],
    indexes: &[],
};

/// One row per event. `at` is the time that is shown; `claimed_at` is the event's own where that one is from the
/// future. Every index begins with the customer and ends with the time, as every question does.
pub const EVENTS: Table = Table {
    name: "events",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("customer", ColumnKind::DictionaryId),
        Column::new("event_id", ColumnKind::Uuid),
        Column::new("at", ColumnKind::Timestamp),
        Column::nullable("claimed_at", ColumnKind::Timestamp),
        Column::new("recorded_at", ColumnKind::Timestamp),
        Column::new("actor", ColumnKind::DictionaryId),
        Column::new("action", ColumnKind::DictionaryId),
        Column::nullable("address", ColumnKind::DictionaryId),
        Column::nullable("entity", ColumnKind::DictionaryId),
        Column::new("description", ColumnKind::Text),
        Column::nullable("sign_in", ColumnKind::Text),
        Column::new("misplaced", ColumnKind::SmallInteger),
        Column::new("partition", ColumnKind::DictionaryId),
        Column::new("\"offset\"", ColumnKind::Integer),
    ],
    unique: &["customer", "event_id"],
    indexes: &[
        Index { name: "events_by_time", columns: &["customer", "at"] },
        Index { name: "events_by_actor", columns: &["customer", "actor", "at"] },
        Index { name: "events_by_action", columns: &["customer", "action", "at"] },
        Index { name: "events_by_address", columns: &["customer", "address", "at"] },
    ],
};

/// A batch, ready to be written.
pub struct Prepared {
    rows: Rows,
}

impl View for AuditLog {
    type Prepared = Prepared;

    const NAME: &'static str = "audit_log";
    const VERSION: i64 = 1;
    const DEDUP: Dedup = Dedup::RowKey;

    fn topics() -> &'static [Topic] {
        &[AUDIT, HOST_LOGONS]
    }

    fn tables() -> &'static [&'static Table] {
        &[&CUSTOMERS, &ACTORS, &ACTIONS, &ADDRESSES, &ENTITIES, &PARTITIONS, &EVENTS]
    }

    async fn prepare(store: &dyn ViewStore, batch: Vec<LogEvent>) -> Result<Prepared> {
        let folded: Vec<AuditRow> = batch.iter().map(fold::fold).collect();
        drop(batch);
        let mut ids = Ids::resolve(store, &folded).await?;
        let mut rows = Rows::new(&EVENTS);
        for row in folded {
            rows.push(ids.row(row));
        }
        Ok(Prepared { rows })
    }

    async fn apply(tx: &mut dyn ViewTransaction, prepared: Prepared) -> Result<()> {
        tx.write(&EVENTS, &prepared.rows, OnConflict::Keep).await
    }
}

/// Surrogate ids of a batch, in the order of its rows.
struct Ids {
    customers: std::vec::IntoIter<i64>,
    actors: std::vec::IntoIter<i64>,
    actions: std::vec::IntoIter<i64>,
    addresses: std::vec::IntoIter<i64>,
    entities: std::vec::IntoIter<i64>,
    partitions: std::vec::IntoIter<i64>,
}

impl Ids {
    async fn resolve(store: &dyn ViewStore, rows: &[AuditRow]) -> Result<Self> {
        async fn all(
            store: &dyn ViewStore,
            dictionary: &'static Table,
            keys: Vec<Key>,
        ) -> Result<std::vec::IntoIter<i64>> {
            Ok(store.resolve(dictionary, &keys).await?.into_iter())
        }
        let keys = |key: fn(&AuditRow) -> Option<Key>| rows.iter().filter_map(key).collect::<Vec<_>>();
        Ok(Self {
            customers: all(store, &CUSTOMERS, keys(|row| Some(vec![row.customer.into()]))).await?,
            actors: all(store, &ACTORS, keys(|row| Some(actor_key(&row.actor)))).await?,
            actions: all(store, &ACTIONS, keys(|row| Some(action_key(&row.action)))).await?,
            addresses: all(store, &ADDRESSES, keys(|row| row.address.map(address_key))).await?,
            entities: all(store, &ENTITIES, keys(|row| row.entity.as_deref().map(|e| vec![e.into()]))).await?,
            partitions: all(store, &PARTITIONS, keys(|row| Some(partition_key(row)))).await?,
        })
    }

    /// The row's values. The iterators have one id for each row that has such a key: they were made from the rows.
    fn row(&mut self, row: AuditRow) -> [Value; 14] {
        let id = |ids: &mut std::vec::IntoIter<i64>| Value::from(ids.next());
        [
            id(&mut self.customers),
            row.event_id.into(),
            row.at.into(),
            row.claimed_at.into(),
            row.recorded_at.into(),
            id(&mut self.actors),
            id(&mut self.actions),
            if row.address.is_some() { id(&mut self.addresses) } else { Value::Null },
            if row.entity.is_some() { id(&mut self.entities) } else { Value::Null },
            row.description.into(),
            row.sign_in.into(),
            i64::from(row.misplaced).into(),
            id(&mut self.partitions),
            row.offset.cast_signed().into(),
        ]
    }
}

fn actor_key(actor: &Actor) -> Key {
    vec![
        i64::from(actor.kind.number()).into(),
        actor.id.into(),
        actor.account.as_str().into(),
        actor.qualified.as_str().into(),
        actor.account.to_lowercase().into(),
        actor.qualified.to_lowercase().into(),
    ]
}

fn action_key(action: &Action) -> Key {
    vec![
        action.name.as_str().into(),
        action.category.as_str().into(),
        (action.severity as i64).into(),
        action.entity_type.as_str().into(),
    ]
}

fn address_key(address: std::net::IpAddr) -> Key {
    vec![Value::Bytes(address::to_bytes(address).to_vec())]
}

fn partition_key(row: &AuditRow) -> Key {
    vec![row.partition.topic.as_ref().into(), i64::from(row.partition.number).into()]
}
