//! Every filter, page and total of the audit log against a plain evaluation of the same rows, while the view grows.

mod drawn;
mod index;
mod meaning;
mod pages;
mod remembered;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_bus::{PartitionRecords, StoredRecord};
use annals_consumers::folder::{self, Folder};
use annals_schemas::{ActorKind, Event, codec};
use annals_store::{Followed, GenerationReader, Partition};
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditLog, AuditQuery, Direction, Effort, Memory, Scope, SortKey, placed_page,
};
use annals_views::filter::Filter;
use annals_views::{Indexed, View as _};
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};
use uuid::Uuid;

use crate::engines::{Databases, Store};
use crate::events::base;

/// Every key that rows can be sorted by.
const SORT_KEYS: [SortKey; 13] = {
    use SortKey as K;
    [
        K::Time,
        K::RecordedAt,
        K::EventId,
        K::Account,
        K::Customer,
        K::Action,
        K::Category,
        K::Severity,
        K::EntityType,
        K::EntityId,
        K::Address,
        K::Description,
        K::SignIn,
    ]
};

fn everybody() -> Scope {
    let all_of = (0xC0..0xC4_u128).map(Uuid::from_u128).collect();
    Scope { all_of, own_of: Vec::new(), caller: (ActorKind::PortalAccount, Uuid::nil()) }
}

fn runner() -> TestRunner {
    // Always the same: a failure must come again.
    TestRunner::new(ProptestConfig { rng_seed: RngSeed::Fixed(4_711), ..ProptestConfig::default() })
}

fn some<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// A view that grows.
struct Growing {
    folder: Folder<AuditLog>,
    followed: Followed,
    ends: BTreeMap<Partition, u64>,
    databases: Databases,
}

impl Growing {
    async fn new(store: Store) -> Self {
        let databases = Databases::new(store).await;
        let control = databases.database.control().await.unwrap();
        let (name, version) = (AuditLog::NAME, AuditLog::VERSION);
        let followed =
            Followed::start(&control, &databases.database, name, version, Some(AuditLog::tables()))
                .await
                .unwrap();
        let number = followed.current().generation.number;
        let view = databases.database.view_store(name, number, AuditLog::tables()).await.unwrap();
        Self { folder: Folder::new(view), followed, ends: BTreeMap::new(), databases }
    }

    /// Takes rows into the text index: at most so many.
    async fn index(&self, at_most: usize) -> Indexed {
        AuditLog::index(&**self.folder.store(), 1, at_most).await.unwrap()
    }

    async fn fold(&mut self, events: &[Event]) {
        let mut parts: BTreeMap<Partition, PartitionRecords> = BTreeMap::new();
        for event in events {
            let number = u32::from(event.meta().actor.id.as_bytes()[15] % 3);
            let partition = Partition::new(event.event_type().topic().name, number);
            let end = self.ends.entry(partition.clone()).or_default();
            let part = parts.entry(partition.clone()).or_insert_with(|| PartitionRecords {
                partition,
                from: *end,
                records: Vec::new(),
            });
            part.records.push(StoredRecord {
                offset: *end,
                recorded_at: base() + TimeDelta::days(30),
                key: Some(event.key().into()),
                value: codec::encode(event).unwrap().into(),
                headers: Vec::new(),
            });
            *end += 1;
        }
        let batch = folder::decode::<AuditLog>(parts.into_values().collect(), None).await.unwrap();
        self.folder.fold(batch).await.unwrap();
    }

    fn reader(&self) -> Arc<GenerationReader> {
        self.followed.current()
    }

    /// Every row, as everybody sees it.
    async fn rows(&self) -> Vec<AuditEvent> {
        let all = AuditQuery::newest(everybody(), Filter::Everything, 1_000_000);
        placed_page(&self.reader(), &all).await.unwrap().0
    }
}

fn sees(scope: &Scope, row: &AuditEvent) -> bool {
    scope.all_of.contains(&row.customer)
        || scope.own_of.contains(&row.customer)
            && (row.actor_kind, row.actor) == (Some(scope.caller.0), scope.caller.1)
}

/// What a filter means, newest first.
fn expected(rows: &[AuditEvent], scope: &Scope, filter: &Filter<AuditField>) -> Vec<AuditEvent> {
    let mut rows: Vec<_> =
        rows.iter().filter(|row| sees(scope, row) && filter.matches(*row)).cloned().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.at), row.event_id));
    rows
}

fn ids(events: &[AuditEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.event_id).collect()
}

/// What remembers answers, one for each way in which the text index helps: few candidates are too many, which is to say that
/// it does not; each is looked at; as much as possible is known of them without a look.
fn every_effort(few_candidates: usize) -> [Memory; 3] {
    let all = Effort::default();
    [
        Effort { candidates: few_candidates, ..all },
        Effort { few: usize::MAX, ..all },
        Effort { few: 0, ..all },
    ]
    .map(Memory::with_effort)
}

/// All that a filter finds now.
async fn in_order(view: &Growing, filter: &Filter<AuditField>, direction: Direction) -> Vec<AuditEvent> {
    let mut wanted = expected(&view.rows().await, &everybody(), filter);
    if direction == Direction::Ascending {
        wanted.sort_by_key(|row| (row.at, row.event_id));
    }
    wanted
}
