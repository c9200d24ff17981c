//! One property over all views and databases: however the log is cut into batches, whatever is repeated, and however many
//! transactions write at once, the rows are the same.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use annals_bus::partitioner::partition_of;
use annals_bus::{PartitionRecords, StoredRecord};
use annals_consumers::folder::{self, Folder};
use annals_consumers::for_each_view;
use annals_producers::fleet::Fleet;
use annals_schemas::{Event, codec};
use annals_store::sql::sql;
use annals_store::{Partition, Pool, StoreError, ViewStore};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::dump::{Dump, Part, select};
use crate::engines::{Databases, Store, on_every_store};
use crate::events::{base, events, logoff, logon};

on_every_store!(
    a_poison_record_is_a_dead_letter_and_its_neighbours_are_rows,
    a_writer_that_lost_its_position_changes_nothing,
    a_large_delivery_in_lanes_makes_the_same_rows_as_in_one_piece,
    logons_and_misplaced_logoffs_written_at_once_make_the_same_rows_as_in_one_piece,
);

/// Records in their partitions.
type Log = Vec<(Partition, StoredRecord)>;

/// A log of one partition per topic.
fn log(events: &[Event]) -> Log {
    partitioned(events, |_| 0)
}

fn partitioned(events: &[Event], number: impl Fn(&Event) -> u32) -> Log {
    let mut next = BTreeMap::new();
    events
        .iter()
        .enumerate()
        .map(|(index, event)| {
            let partition = Partition::new(event.event_type().topic().name, number(event));
            let offset = next.entry(partition.clone()).or_insert(0_u64);
            let record = StoredRecord {
                offset: *offset,
                // Some events are from the future of their append.
                recorded_at: base()
                    + TimeDelta::seconds(if index % 5 == 0 { -400 } else { 60 + index as i64 }),
                key: Some(event.key().into()),
                value: codec::encode(event).unwrap().into(),
                headers: Vec::new(),
            };
            *offset += 1;
            (partition, record)
        })
        .collect()
}

/// The same log, all of it appended at one time.
fn at_once(log: Log) -> Log {
    log.into_iter().map(|(p, record)| (p, StoredRecord { recorded_at: base(), ..record })).collect()
}

/// Each partition's records together, as a delivery brings them.
fn parts<V: View>(log: &[(Partition, StoredRecord)]) -> Vec<PartitionRecords> {
    let mut parts: Vec<PartitionRecords> = Vec::new();
    for (partition, record) in log {
        if !V::topics().iter().any(|topic| *partition.topic == *topic.name) {
            continue;
        }
        match parts.iter_mut().find(|part| part.partition == *partition) {
            Some(part) => part.records.push(record.clone()),
            None => parts.push(PartitionRecords {
                partition: partition.clone(),
                from: record.offset,
                records: vec![record.clone()],
            }),
        }
    }
    parts
}

/// Generations of a view, open and empty, in databases that go away with this value.
struct Shelf<V> {
    generations: Vec<(Arc<dyn ViewStore>, Pool)>,
    _databases: Databases,
    view: PhantomData<V>,
}

impl<V: Dump> Shelf<V> {
    async fn new(store: Store, generations: i64) -> Self {
        let databases = Databases::new(store).await;
        let mut opened = Vec::new();
        for generation in 1..=generations {
            let store = databases.database.view_store(V::NAME, generation, V::tables()).await.unwrap();
            opened.push((store, databases.database.readers(V::NAME, generation).await.unwrap()));
        }
        Self { generations: opened, _databases: databases, view: PhantomData }
    }

    fn store(&self, at: usize) -> &Arc<dyn ViewStore> {
        &self.generations[at].0
    }

    /// Folds a log into a generation, in batches that end after the given numbers of records.
    async fn fold(&self, at: usize, log: &[(Partition, StoredRecord)], cuts: &[usize]) {
        let store = self.store(at);
        let mut rest = log;
        let mut cuts = cuts.iter().copied().chain([usize::MAX]);
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            rest = after;
            let batch = folder::decode(parts::<V>(batch), None).await.unwrap();
            Folder::<V>::new(Arc::clone(store)).fold(batch).await.unwrap();
            // As if the process had been started again, with empty caches.
            if rest.len().is_multiple_of(3) {
                store.settle().await.unwrap();
            }
        }
    }

    async fn rows(&self, at: usize) -> Vec<String> {
        select::<V>(&self.generations[at].1, Part::Whole).await
    }

    async fn shown(&self, at: usize) -> Vec<String> {
        select::<V>(&self.generations[at].1, Part::Shown).await
    }

    /// Empties every generation.
    async fn clear(&self) {
        for (store, _) in &self.generations {
            let mut tx = store.begin().await.unwrap();
            for table in V::tables().iter().map(|table| table.name).chain(["positions", "dead_letters"]) {
                sql(format!("DELETE FROM {table}")).execute(tx.connection()).await.unwrap();
            }
            tx.commit().await.unwrap();
            store.settle().await.unwrap();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn check_cuts<V: Dump>(shelf: &Shelf<V>, events: &[Event], cuts: &[usize], seed: u64) {
    shelf.clear().await;
    let once = log(events);
    shelf.fold(0, &once, &[]).await;
    shelf.fold(1, &once, cuts).await;
    assert_eq!(shelf.rows(0).await, shelf.rows(1).await, "cut at {cuts:?}");
    // Every event again after the log, and some of them in between.
    let mut repeated = Vec::new();
    for (index, event) in events.iter().enumerate() {
        repeated.push(event.clone());
        if seed >> (index % 64) & 1 == 1 {
            repeated.push(events[index / 2].clone());
        }
    }
    repeated.extend(events.iter().rev().cloned());
    shelf.fold(2, &at_once(once), cuts).await;
    shelf.fold(3, &at_once(log(&repeated)), cuts).await;
    assert_eq!(shelf.shown(2).await, shelf.shown(3).await, "repeated");
}

fn cuts_and_repetitions_change_no_view(store: Store) {
    let runtime = runtime();
    macro_rules! check {
        ($view:ty) => {{
            let shelf = runtime.block_on(Shelf::<$view>::new(store, 4));
            let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
            let strategy = (events(1..80), prop::collection::vec(1..30_usize, 0..20), any::<u64>());
            runner
                .run(&strategy, |(events, cuts, seed)| {
                    runtime.block_on(check_cuts(&shelf, &events, &cuts, seed));
                    Ok(())
                })
                .unwrap();
        }};
    }
    for_each_view!(check);
}

fn logoffs_before_and_after_their_logon_end_it_alike(store: Store) {
    let runtime = runtime();
    let shelf = runtime.block_on(Shelf::<LoggedOnUsers>::new(store, 2));
    let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
    let strategy = events(1..40).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()));
    runner
        .run(&strategy, |(a, b)| {
            runtime.block_on(async {
                shelf.clear().await;
                shelf.fold(0, &at_once(log(&a)), &[7, 3]).await;
                shelf.fold(1, &at_once(log(&b)), &[5]).await;
                assert_eq!(shelf.shown(0).await, shelf.shown(1).await);
            });
            Ok(())
        })
        .unwrap();
}

/// What needs a runtime of its own.
macro_rules! properties {
    ($module:ident: $store:expr) => {
        mod $module {
            #[test]
            fn cuts_and_repetitions_change_no_view() {
                super::cuts_and_repetitions_change_no_view($store);
            }

            #[test]
            fn logoffs_before_and_after_their_logon_end_it_alike() {
                super::logoffs_before_and_after_their_logon_end_it_alike($store);
            }
        }
    };
}
properties!(properties_embedded: crate::engines::Store::Embedded);
properties!(properties_postgres: crate::engines::Store::Postgres);

fn sample(count: usize) -> Vec<Event> {
    events(count..count + 1).new_tree(&mut TestRunner::deterministic()).unwrap().current()
}

async fn a_poison_record_is_a_dead_letter_and_its_neighbours_are_rows(store: Store) {
    let shelf = Shelf::<AuditLog>::new(store, 1).await;
    let mut log = log(&sample(20));
    let bad: [&[u8]; 4] = [b"", b"\xC3\x01garbage!", b"\x00\x00\x00\x00\x07x", b"{\"json\": true}"];
    for (index, bytes) in bad.iter().enumerate() {
        log[index * 4 + 1].1.value = bytes.to_vec().into();
    }
    shelf.fold(0, &log, &[]).await;
    let letters = shelf.store(0).dead_letters(100).await.unwrap();
    assert_eq!(letters.len(), 4);
    for letter in &letters {
        assert!(bad.contains(&letter.bytes.as_slice()));
        assert!(!letter.reason.is_empty());
    }
    let positions = shelf.store(0).positions().await.unwrap();
    let folded: u64 = positions.iter().map(|position| position.next_offset).sum();
    assert_eq!(folded, 20, "the positions are past the dead letters");
}

async fn a_writer_that_lost_its_position_changes_nothing(store: Store) {
    let shelf = Shelf::<AuditLog>::new(store, 1).await;
    let log = log(&sample(30));
    shelf.fold(0, &log[..20], &[]).await;
    let before = shelf.rows(0).await;
    // Another writer read before the first one moved on: its batch begins at 0.
    let batch = folder::decode(parts::<AuditLog>(&log), None).await.unwrap();
    let error = Folder::<AuditLog>::new(Arc::clone(shelf.store(0))).fold(batch).await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    assert_eq!(shelf.rows(0).await, before);
    // A retired generation refuses every writer.
    let mut tx = shelf.store(0).begin().await.unwrap();
    tx.retire().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = shelf.store(0).begin().await.unwrap();
    assert!(matches!(tx.advance(&[]).await, Err(StoreError::Fenced(_))));
}

/// A fleet's events and colliding ones in four partitions of each topic, by their keys.
fn large() -> Log {
    let mut fleet = Fleet::new(11, true);
    let mut all: Vec<Event> = (0..12_000).map(|_| fleet.next(base())).collect();
    all.extend(sample(2_000));
    partitioned(&all, |event| partition_of(event.key().as_bytes(), 4))
}

async fn a_large_delivery_in_lanes_makes_the_same_rows_as_in_one_piece(store: Store) {
    let log = large();
    macro_rules! check {
        ($view:ty) => {{
            let shelf = Shelf::<$view>::new(store, 2).await;
            shelf.fold(0, &log, &[]).await;
            let lanes = shelf.store(1).lanes().max(2);
            let batches = folder::decode_in_lanes(parts::<$view>(&log), None, lanes).await.unwrap();
            assert_eq!(batches.len(), lanes);
            Folder::<$view>::new(Arc::clone(shelf.store(1))).fold_all(batches).await.unwrap();
            let positions = shelf.store(1).positions().await.unwrap();
            assert_eq!(shelf.store(0).positions().await.unwrap(), positions);
            assert_eq!(shelf.rows(0).await, shelf.rows(1).await);
        }};
    }
    for_each_view!(check);
}

/// A foreign producer put the logoff into another partition than its logon, and both are folded at the same moment.
async fn logons_and_misplaced_logoffs_written_at_once_make_the_same_rows_as_in_one_piece(store: Store) {
    let shelf = Shelf::<LoggedOnUsers>::new(store, 2).await;
    let pairs: Vec<Event> = (0..60).flat_map(|n| [logon(n), logoff(n)]).collect();
    let at_home = |event: &Event| partition_of(event.key().as_bytes(), 4);
    let log = partitioned(&pairs, |event| match event {
        Event::HostLoggedOff(_) => (at_home(event) + 1) % 4,
        _ => at_home(event),
    });
    shelf.fold(0, &log, &[]).await;
    let folder = Folder::<LoggedOnUsers>::new(Arc::clone(shelf.store(1)));
    for pair in log.chunks(2) {
        let parts = parts::<LoggedOnUsers>(pair);
        assert_eq!(parts.len(), 2);
        let batches = parts.into_iter().map(|part| folder::decode(vec![part], None));
        let batches = futures_util::future::try_join_all(batches).await.unwrap();
        folder.fold_all(batches).await.unwrap();
    }
    assert_eq!(shelf.rows(0).await, shelf.rows(1).await);
}
