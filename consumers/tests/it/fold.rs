//! One property over all views: however the log is cut into batches, whatever is repeated, the rows are the same.

use std::path::Path;
use std::sync::Arc;

use annals_bus::{Partition, PartitionRecords, StoredRecord};
use annals_consumers::folder::{self, Folder};
use annals_consumers::for_each_view;
use annals_schemas::{Event, codec};
use annals_store::sqlite::SqliteViewStore;
use annals_store::{StoreError, ViewStore};
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::events::{base, events};
use crate::{Dump, rows, shown};

/// A log of one partition per topic.
fn log(events: &[Event]) -> Vec<(Partition, StoredRecord)> {
    let mut next = std::collections::HashMap::new();
    events
        .iter()
        .enumerate()
        .map(|(index, event)| {
            let partition = Partition::new(event.event_type().topic().name, 0);
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

/// Folds a log in batches that end after the given numbers of records.
async fn fold<V: Dump>(
    folder: &Path,
    name: &str,
    log: &[(Partition, StoredRecord)],
    cuts: &[usize],
) -> std::path::PathBuf {
    let path = folder.join(name);
    let store: Arc<dyn ViewStore> = Arc::new(SqliteViewStore::open(&path, V::tables()).await.unwrap());
    let mut rest = log;
    let mut cuts = cuts.iter().copied().chain([usize::MAX]);
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(cuts.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
        rest = after;
        let mut parts: Vec<PartitionRecords> = Vec::new();
        for (partition, record) in batch {
            // A batch of the log brings each partition's records together.
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
        let batch = folder::decode(parts).await.unwrap();
        Folder::<V>::new(Arc::clone(&store)).fold(batch).await.unwrap();
        // A new store for the next batch: as if the process had been started again, with empty caches.
        if rest.len().is_multiple_of(3) {
            store.settle().await.unwrap();
        }
    }
    store.close().await;
    path
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn check_view<V: Dump>() {
    let runtime = runtime();
    let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
    let strategy = (events(1..80), prop::collection::vec(1..30_usize, 0..20), any::<u64>());
    runner
        .run(&strategy, |(events, cuts, seed)| {
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let once = log(&events);
                let whole = fold::<V>(folder.path(), "whole", &once, &[]).await;
                let cut = fold::<V>(folder.path(), "cut", &once, &cuts).await;
                assert_eq!(rows::<V>(&whole).await, rows::<V>(&cut).await, "cut at {cuts:?}");
                // Every event again after the log, and some of them in between.
                let mut repeated = Vec::new();
                for (index, event) in events.iter().enumerate() {
                    repeated.push(event.clone());
                    if seed >> (index % 64) & 1 == 1 {
                        repeated.push(events[index / 2].clone());
                    }
                }
                repeated.extend(events.iter().rev().cloned());
                let repeated: Vec<_> = log(&repeated)
                    .into_iter()
                    .map(|(partition, record)| (partition, StoredRecord { recorded_at: base(), ..record }))
                    .collect();
                let plain: Vec<_> = once
                    .into_iter()
                    .map(|(partition, record)| (partition, StoredRecord { recorded_at: base(), ..record }))
                    .collect();
                let plain = fold::<V>(folder.path(), "plain", &plain, &cuts).await;
                let repeated = fold::<V>(folder.path(), "repeated", &repeated, &cuts).await;
                assert_eq!(shown::<V>(&plain).await, shown::<V>(&repeated).await, "repeated");
            });
            Ok(())
        })
        .unwrap();
}

#[test]
fn cuts_and_repetitions_change_no_view() {
    macro_rules! check {
        ($view:ty) => {
            check_view::<$view>();
        };
    }
    for_each_view!(check);
}

#[test]
fn logoffs_before_and_after_their_logon_end_it_alike() {
    type Users = annals_views::logged_on_users::LoggedOnUsers;
    let runtime = runtime();
    let mut runner = TestRunner::new(ProptestConfig { cases: 40, ..ProptestConfig::default() });
    runner
        .run(
            &(events(1..40).prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle()))),
            |(a, b)| {
                runtime.block_on(async {
                    let folder = tempfile::tempdir().unwrap();
                    let same_time = |events: &[Event]| -> Vec<_> {
                        log(events)
                            .into_iter()
                            .map(|(p, r)| (p, StoredRecord { recorded_at: base(), ..r }))
                            .collect()
                    };
                    let a = fold::<Users>(folder.path(), "a", &same_time(&a), &[7, 3]).await;
                    let b = fold::<Users>(folder.path(), "b", &same_time(&b), &[5]).await;
                    assert_eq!(shown::<Users>(&a).await, shown::<Users>(&b).await);
                });
                Ok(())
            },
        )
        .unwrap();
}

#[tokio::test]
async fn a_poison_record_is_a_dead_letter_and_its_neighbours_are_rows() {
    type Audit = annals_views::audit_log::AuditLog;
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let sample = events(20..21).new_tree(&mut runner).unwrap().current();
    let mut log = log(&sample);
    let bad: [&[u8]; 4] = [b"", b"\xC3\x01garbage!", b"\x00\x00\x00\x00\x07x", b"{\"json\": true}"];
    for (index, bytes) in bad.iter().enumerate() {
        log[index * 4 + 1].1.value = bytes.to_vec().into();
    }
    let path = fold::<Audit>(folder.path(), "audit", &log, &[]).await;
    let store = SqliteViewStore::open(&path, annals_views::audit_log::AuditLog::tables()).await.unwrap();
    let letters = store.dead_letters(100).await.unwrap();
    assert_eq!(letters.len(), 4);
    for letter in &letters {
        assert!(bad.contains(&letter.bytes.as_slice()));
        assert!(!letter.reason.is_empty());
    }
    let folded: u64 = store.positions().await.unwrap().iter().map(|position| position.next_offset).sum();
    assert_eq!(folded, 20, "the positions are past the dead letters");
    store.close().await;
}

use annals_views::View;
use proptest::strategy::ValueTree;

#[tokio::test]
async fn a_writer_that_lost_its_position_changes_nothing() {
    type Audit = annals_views::audit_log::AuditLog;
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let sample = events(30..31).new_tree(&mut runner).unwrap().current();
    let log = log(&sample);
    let path = fold::<Audit>(folder.path(), "audit", &log[..20], &[]).await;
    let before = rows::<Audit>(&path).await;
    let store: Arc<dyn ViewStore> = Arc::new(SqliteViewStore::open(&path, Audit::tables()).await.unwrap());
    // Another writer read before the first one moved on: its batch begins at 0.
    let stale: Vec<PartitionRecords> = log
        .iter()
        .fold(
            std::collections::BTreeMap::new(),
            |mut parts: std::collections::BTreeMap<_, Vec<_>>, (p, r)| {
                parts.entry(p.clone()).or_default().push(r.clone());
                parts
            },
        )
        .into_iter()
        .map(|(partition, records)| PartitionRecords { partition, from: 0, records })
        .collect();
    let batch = folder::decode(stale).await.unwrap();
    let error = Folder::<Audit>::new(Arc::clone(&store)).fold(batch).await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    store.close().await;
    assert_eq!(rows::<Audit>(&path).await, before);
    // A retired generation refuses every writer.
    let store = SqliteViewStore::open(&path, Audit::tables()).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.retire().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.advance(&[]).await, Err(StoreError::Fenced(_))));
}
