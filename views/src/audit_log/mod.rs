//! The audit log: one row per event, for every question that an auditor asks of "who did what, when, from where".
//!
//! Texts that repeat (who, what, from where, to what) stand in dictionaries, so that the row and each index entry is
//! a few integers.

mod actions;
mod by_account;
mod condition;
mod counted;
mod counts;
pub mod feed;
pub mod fold;
mod histogram;
mod memory;
pub mod query;
mod ranking;
mod resolve;
mod search;
mod searched;
mod statement;
mod stretches;
mod text;
mod totals;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use annals_schemas::Topic;
use annals_schemas::topics::{AUDIT, HOST_LOGONS};
use annals_store::dictionary::Key;
use annals_store::{Column, ColumnKind, Index, Rows, Table, Value, ViewStore, ViewTransaction};

use foldhash::quality::RandomState;
use uuid::Uuid;

use crate::Result;
use crate::filter::fold as fold_case;
use crate::view::{Dedup, Indexed, LogEvent, View, clean_name};
use counts::Counted;
use fold::{Action, Actor, AuditRow};

pub use condition::AuditField;
pub use counted::{CountedPage, counted_page};
pub use counts::COUNTS;
pub use feed::{Feed, feed};
pub use memory::Memory;
pub use query::{
    AuditEvent, AuditQuery, Direction, Fields, LogPositions, Order, RowKey, Scope, SortKey, find, page,
    placed_page,
};
pub use text::{Effort, TEXT_CHUNKS, TEXT_POSTINGS};

/// The audit log.
pub enum AuditLog {}

/// Customers that events refer to.
pub const CUSTOMERS: Table = Table {
    name: "customers",
    columns: &[Column::new("id", ColumnKind::RowId), Column::new("customer", ColumnKind::Uuid)],
    unique: &["customer"],
    is_changed: false,
    indexes: &[],
};

/// Who: an identity under the name that it was shown with, at one customer: a question about a name that every customer has
/// is one about as many stretches, not about every name at every customer. `…_key` is the name as filters compare it:
/// without case.
pub const ACTORS: Table = Table {
    name: "actors",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("customer", ColumnKind::DictionaryId),
        Column::new("kind", ColumnKind::SmallInteger),
        Column::new("actor", ColumnKind::Uuid),
        Column::new("account", ColumnKind::Text),
        Column::new("qualified", ColumnKind::Text),
        Column::new("account_key", ColumnKind::Text),
        Column::new("qualified_key", ColumnKind::Text),
    ],
    // The keys follow from the names.
    unique: &["actor", "customer", "kind", "account", "qualified"],
    is_changed: false,
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
    is_changed: false,
    indexes: &[],
};

/// From where. `shown` is the address as texts are compared with it.
pub const ADDRESSES: Table = Table {
    name: "addresses",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("address", ColumnKind::Address),
        Column::new("shown", ColumnKind::Text),
    ],
    unique: &["address"],
    is_changed: false,
    indexes: &[],
};

/// To what. `entity_key` is the id as filters compare it: without case.
pub const ENTITIES: Table = Table {
    name: "entities",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("entity", ColumnKind::Text),
        Column::new("entity_key", ColumnKind::Text),
    ],
    unique: &["entity"],
    is_changed: false,
    indexes: &[Index { name: "entities_by_key", columns: &["entity_key"] }],
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
    is_changed: false,
    indexes: &[],
};

/// One row per event. `at` is the time that is shown; `claimed_at` is the event's own where that one is from the
/// future; `search` is what searches look through. Indexes go from the customer to the time, as questions do, that of
/// actors with the action behind it; one follows the log, for the feed and for what came since.
pub const EVENTS: Table = Table {
    name: "events",
    columns: &[
        Column::new("id", ColumnKind::RowNumber),
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
        Column::new("search", ColumnKind::Text),
        Column::nullable("sign_in", ColumnKind::Text),
        Column::new("misplaced", ColumnKind::SmallInteger),
        Column::new("partition", ColumnKind::DictionaryId),
        Column::new("\"offset\"", ColumnKind::Integer),
    ],
    unique: &["customer", "event_id"],
    is_changed: false,
    indexes: &[
        Index { name: "events_by_time", columns: &["customer", "at"] },
        Index { name: "events_by_actor", columns: &["customer", "actor", "at", "action"] },
        Index { name: "events_by_action", columns: &["customer", "action", "at"] },
        Index { name: "events_by_address", columns: &["customer", "address", "at"] },
        Index { name: "events_by_position", columns: &["partition", "\"offset\""] },
    ],
};

/// A batch, ready to be written.
pub struct Prepared {
    rows: Rows,
    counted: Vec<Counted>,
}

impl View for AuditLog {
    type Folded = Vec<AuditRow>;
    type Prepared = Prepared;

    const NAME: &'static str = "audit_log";
    const VERSION: i64 = 9;
    const HAS_INDEX: bool = true;
    const DEDUP: Dedup = Dedup::RowKey;

    fn topics() -> &'static [Topic] {
        &[AUDIT, HOST_LOGONS]
    }

    fn tables() -> &'static [&'static Table] {
        &[
            &CUSTOMERS,
            &ACTORS,
            &ACTIONS,
            &ADDRESSES,
            &ENTITIES,
            &PARTITIONS,
            &EVENTS,
            &COUNTS,
            &TEXT_CHUNKS,
            &TEXT_POSTINGS,
        ]
    }

    fn fold(batch: Vec<LogEvent>) -> Vec<AuditRow> {
        let mut rows: Vec<AuditRow> = batch.iter().map(fold::fold).collect();
        // Every index begins with the customer: its pages are visited once per batch rather than once per row. What comes
        // first of one event stays first.
        rows.sort_by_key(|row| row.customer);
        rows
    }

    async fn prepare(store: &dyn ViewStore, folded: Vec<AuditRow>) -> Result<Prepared> {
        let mut ids = Ids::resolve(store, &folded).await?;
        let mut prepared = Prepared { rows: Rows::new(&EVENTS), counted: Vec::with_capacity(folded.len()) };
        for row in folded {
            ids.push(row, &mut prepared);
        }
        Ok(prepared)
    }

    async fn apply(tx: &mut dyn ViewTransaction, prepared: Prepared) -> Result<()> {
        let written = tx.write_new(&EVENTS, &prepared.rows, ["partition", "\"offset\""]).await?;
        counts::count(tx, prepared.counted, &written).await
    }

    async fn index(store: &dyn ViewStore, at_least: u64, at_most: usize) -> Result<Indexed> {
        text::fill(store, at_least, at_most).await
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
        let partition = |row: &AuditRow| (Arc::clone(&row.partition.topic), row.partition.number);
        let customers = Places::new(rows.iter().map(|row| row.customer), customer_key);
        let customers = customers.with(store.resolve(&CUSTOMERS, &customers.keys).await?);
        let actors = Places::new(customers.iter().copied().zip(rows.iter().map(|row| &row.actor)), actor_key);
        let actions = Places::new(rows.iter().map(|row| &row.action), action_key);
        let addresses = Places::new(rows.iter().filter_map(|row| row.address), address_key);
        let entities = Places::new(rows.iter().filter_map(|row| row.entity.as_deref()), entity_key);
        let partitions = Places::new(rows.iter().map(partition), partition_key);
        let found = store
            .resolve_all(&[
                (&ACTORS, &actors.keys),
                (&ACTIONS, &actions.keys),
                (&ADDRESSES, &addresses.keys),
                (&ENTITIES, &entities.keys),
                (&PARTITIONS, &partitions.keys),
            ])
            .await?;
        let mut found = found.into_iter();
        let mut next = |places: Places| places.with(found.next().unwrap_or_default()).into_iter();
        Ok(Self {
            customers: customers.into_iter(),
            actors: next(actors),
            actions: next(actions),
            addresses: next(addresses),
            entities: next(entities),
            partitions: next(partitions),
        })
    }

    /// Adds a row. The iterators have one id for each row that has such a key: they were made from the rows.
    fn push(&mut self, row: AuditRow, into: &mut Prepared) {
        let id = |ids: &mut std::vec::IntoIter<i64>| ids.next().unwrap_or_default();
        let counted = Counted {
            customer: id(&mut self.customers),
            partition: id(&mut self.partitions),
            action: id(&mut self.actions),
            actor: id(&mut self.actors),
            at: row.at,
            offset: row.offset.cast_signed(),
        };
        let search = search::text(&row.description, &row.actor.account, row.address);
        into.rows.push([
            counted.customer.into(),
            row.event_id.into(),
            row.at.into(),
            row.claimed_at.into(),
            row.recorded_at.into(),
            counted.actor.into(),
            counted.action.into(),
            row.address.map(|_| id(&mut self.addresses)).into(),
            row.entity.map(|_| id(&mut self.entities)).into(),
            row.description.into(),
            search.into(),
            row.sign_in.into(),
            i64::from(row.misplaced).into(),
            counted.partition.into(),
            counted.offset.into(),
        ]);
        into.counted.push(counted);
    }
}

/// Keys of the distinct values, and for each value in their order the place of its key. A batch has few distinct ones, and
/// only those are made into keys and looked up.
struct Places {
    keys: Vec<Key>,
    order: Vec<usize>,
}

impl Places {
    fn new<T: Hash + Eq + Clone>(values: impl Iterator<Item = T>, key: impl Fn(T) -> Key) -> Self {
        let mut places: HashMap<T, usize, RandomState> = HashMap::default();
        let mut keys: Vec<Key> = Vec::new();
        let mut order: Vec<usize> = Vec::with_capacity(values.size_hint().0);
        for value in values {
            let place = *places.entry(value).or_insert_with_key(|value| {
                keys.push(key(value.clone()));
                keys.len() - 1
            });
            order.push(place);
        }
        Self { keys, order }
    }

    /// The id of each value, of the ids of the keys.
    fn with(&self, ids: Vec<i64>) -> Vec<i64> {
        self.order.iter().map(|place| ids[*place]).collect()
    }
}

fn customer_key(customer: Uuid) -> Key {
    vec![customer.into()]
}

fn entity_key(entity: &str) -> Key {
    vec![entity.into(), account_key(entity).into()]
}

fn actor_key((customer, actor): (i64, &Actor)) -> Key {
    vec![
        customer.into(),
        i64::from(actor.kind.number()).into(),
        actor.id.into(),
        actor.account.as_str().into(),
        actor.qualified.as_str().into(),
        account_key(&actor.account).into(),
        account_key(&actor.qualified).into(),
    ]
}

/// A name as filters compare it: without case. Small letters can be longer than what they were made from.
pub(crate) fn account_key(account: &str) -> String {
    clean_name(&fold_case(account))
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
    vec![address.into(), address.to_canonical().to_string().into()]
}

fn partition_key((topic, number): (Arc<str>, u32)) -> Key {
    vec![Value::Text(topic), i64::from(number).into()]
}
