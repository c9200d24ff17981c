//! The contract of [`Bus`], written against the trait. Each engine calls [`run`] with a fresh, empty log that has the
//! topics `alpha` (3 partitions) and `beta` (1 partition).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use annals_bus::partitioner::partition_of;
use annals_bus::{Bus, BusError, Delivery, Partition, ReadLimit, Record};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use crate::{SOON, consumer, record, records};

/// Runs the whole suite, each case against a log of its own.
macro_rules! suite {
    ($fresh:path) => {
        crate::contract::cases!($fresh;
            positions_are_dense_and_follow_the_key,
            what_was_appended_is_read_back_as_it_was,
            a_read_keeps_its_limits_and_can_be_continued,
            a_consumer_begins_where_it_is_told_and_follows_the_tail,
            concurrent_appends_are_all_there_in_the_order_of_each_caller,
            a_reader_beyond_the_end_is_told,
            a_time_is_found,
            unknown_names_are_refused,
            a_record_that_is_too_large_is_refused_whole,
            first_times_survive_copying,
            an_empty_append_is_nothing,
            a_dropped_wait_loses_nothing,
            notes_are_kept_and_replaced,
            the_first_positions_are_those_of_the_first_records,
        );
    };
}
macro_rules! cases {
    ($fresh:path; $($case:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let log = $fresh().await;
            crate::contract::$case(&*log.bus).await;
            log.bus.close().await;
        })+
    };
}
pub(crate) use cases;
pub(crate) use suite;

pub async fn positions_are_dense_and_follow_the_key(bus: &dyn Bus) {
    let keys: Vec<String> = (0..50).map(|n| format!("key-{}", n % 7)).collect();
    let sent: Vec<Record> = keys.iter().map(|key| record(key, "x")).collect();
    let positions = bus.append("alpha", sent).await.unwrap();
    let incarnation = bus.incarnation("alpha").await.unwrap();
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for (key, position) in keys.iter().zip(&positions) {
        assert_eq!(position.incarnation, incarnation);
        assert_eq!(position.partition.number, partition_of(key.as_bytes(), 3));
        let expected = next.entry(position.partition.number).or_default();
        assert_eq!(position.offset, *expected);
        *expected += 1;
    }
    for (partition, end) in bus.end_positions(&["alpha"]).await.unwrap() {
        assert_eq!(end, next.get(&partition.number).copied().unwrap_or_default());
    }
}

pub async fn what_was_appended_is_read_back_as_it_was(bus: &dyn Bus) {
    let before = Utc::now() - TimeDelta::milliseconds(1);
    let sent = vec![
        Record {
            key: Some(Bytes::from_static(b"k\0\xff")),
            value: Bytes::from_static(b"\x00\x01\xfe"),
            headers: vec![("ce_id".into(), Bytes::from_static(b"1")), ("ce_id".into(), Bytes::new())],
            recorded_at: None,
        },
        Record::default(),
        record("k", vec![7; 200_000]),
    ];
    let positions = bus.append("beta", sent.clone()).await.unwrap();
    let read = bus.read(&Partition::new("beta", 0), 0, ReadLimit::default()).await.unwrap();
    assert_eq!(read.len(), 3);
    for ((read, sent), position) in read.iter().zip(&sent).zip(&positions) {
        assert_eq!((&read.key, &read.value, &read.headers), (&sent.key, &sent.value, &sent.headers));
        assert_eq!(read.offset, position.offset);
        assert!(read.recorded_at >= before && read.recorded_at <= Utc::now());
    }
}

pub async fn a_read_keeps_its_limits_and_can_be_continued(bus: &dyn Bus) {
    for n in 0..10 {
        let sent = (0..30).map(|m| record("k", format!("{:04}", n * 30 + m))).collect();
        bus.append("beta", sent).await.unwrap();
    }
    let partition = Partition::new("beta", 0);
    for (limit, expected) in [
        (ReadLimit { records: 7, bytes: usize::MAX }, 7),
        (ReadLimit { records: 1000, bytes: 50 }, 10),
        (ReadLimit { records: 1000, bytes: 0 }, 1),
    ] {
        assert_eq!(bus.read(&partition, 13, limit).await.unwrap().len(), expected, "{limit:?}");
    }
    let mut from = 0;
    let mut all = Vec::new();
    loop {
        let read = bus.read(&partition, from, ReadLimit { records: 41, bytes: usize::MAX }).await.unwrap();
        let Some(last) = read.last() else { break };
        from = last.offset + 1;
        all.extend(read);
    }
    assert!(all.iter().enumerate().all(|(n, r)| r.offset == n as u64 && r.value == format!("{n:04}")));
    assert_eq!(all.len(), 300);
}

pub async fn a_consumer_begins_where_it_is_told_and_follows_the_tail(bus: &dyn Bus) {
    let partition = Partition::new("beta", 0);
    bus.append("beta", (0..5).map(|n| record("k", vec![n])).collect()).await.unwrap();
    let mut consumer = consumer(bus, &["beta"], vec![(partition.clone(), 3)]).await;
    let Delivery::Assigned(assigned) = consumer.next().await.unwrap() else {
        panic!("the first is the assignment")
    };
    assert_eq!(assigned, [(partition.clone(), 3)]);
    let first = records(&mut *consumer).await;
    assert_eq!((first[0].from, first[0].records.len(), first[0].next_offset()), (3, 2, 5));
    // Nothing more: the wait is for the tail.
    assert!(tokio::time::timeout(Duration::from_millis(1), consumer.next()).await.is_err());
    let (next, ()) = tokio::join!(tokio::time::timeout(SOON, records(&mut *consumer)), async {
        bus.append("beta", vec![record("k", "tail")]).await.unwrap();
    });
    let next = next.unwrap();
    assert_eq!((next[0].from, next[0].records[0].value.clone()), (5, Bytes::from_static(b"tail")));
}

pub async fn concurrent_appends_are_all_there_in_the_order_of_each_caller(bus: &dyn Bus) {
    let callers = futures_util::future::join_all((0..40).map(|caller| async move {
        let mut last = None;
        for n in 0..10_u8 {
            let key = format!("caller-{caller}");
            let positions = bus.append("alpha", vec![record(&key, vec![caller, n])]).await.unwrap();
            assert!(last < Some(positions[0].offset));
            last = Some(positions[0].offset);
        }
    }));
    callers.await;
    let mut seen: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for partition in bus.partitions("alpha").await.unwrap() {
        for record in bus.read(&partition, 0, ReadLimit::default()).await.unwrap() {
            seen.entry(record.value[0]).or_default().push(record.value[1]);
        }
    }
    assert_eq!(seen.len(), 40);
    assert!(seen.values().all(|values| values.iter().copied().eq(0..10)));
}

pub async fn a_reader_beyond_the_end_is_told(bus: &dyn Bus) {
    let partition = Partition::new("beta", 0);
    bus.append("beta", vec![record("k", "x")]).await.unwrap();
    assert!(bus.read(&partition, 1, ReadLimit::default()).await.unwrap().is_empty());
    let error = bus.read(&partition, 2, ReadLimit::default()).await.unwrap_err();
    assert!(matches!(error, BusError::OffsetOutOfRange { offset: 2, end: 1, .. }), "{error}");
    let mut consumer = consumer(bus, &["beta"], vec![(partition, 9)]).await;
    assert!(matches!(consumer.next().await.unwrap(), Delivery::Assigned(_)));
    assert!(matches!(consumer.next().await, Err(BusError::OffsetOutOfRange { offset: 9, .. })));
}

pub async fn a_time_is_found(bus: &dyn Bus) {
    let at = |second: i64| DateTime::from_timestamp(1_000_000 + second, 0).unwrap();
    let partition = Partition::new("beta", 0);
    assert_eq!(bus.position_at(&partition, at(0)).await.unwrap(), 0);
    // Times of a copied log may go back; the first record that reaches the time counts.
    for group in [vec![1, 3], vec![2], vec![5, 4], vec![4, 9]] {
        let sent = group.iter().map(|s| Record { recorded_at: Some(at(*s)), ..record("k", "x") }).collect();
        bus.append("beta", sent).await.unwrap();
    }
    for (second, offset) in [(0, 0), (1, 0), (2, 1), (3, 1), (4, 3), (5, 3), (6, 6), (9, 6), (10, 7)] {
        assert_eq!(bus.position_at(&partition, at(second)).await.unwrap(), offset, "second {second}");
    }
}

pub async fn unknown_names_are_refused(bus: &dyn Bus) {
    assert!(matches!(bus.append("gamma", vec![record("k", "x")]).await, Err(BusError::UnknownTopic(_))));
    assert!(matches!(bus.partitions("gamma").await, Err(BusError::UnknownTopic(_))));
    assert!(matches!(bus.end_positions(&["beta", "gamma"]).await, Err(BusError::UnknownTopic(_))));
    let nowhere = Partition::new("beta", 1);
    assert!(matches!(bus.read(&nowhere, 0, ReadLimit::default()).await, Err(BusError::UnknownPartition(_))));
}

pub async fn a_record_that_is_too_large_is_refused_whole(bus: &dyn Bus) {
    let sent = vec![record("k", "x"), record("k", vec![0; 3 * 1024 * 1024])];
    assert!(matches!(bus.append("beta", sent).await, Err(BusError::RecordTooLarge { .. })));
    assert_eq!(bus.end_positions(&["beta"]).await.unwrap()[0].1, 0);
}

pub async fn first_times_survive_copying(bus: &dyn Bus) {
    let first = DateTime::from_timestamp_micros(1_234_567_890_123_456).unwrap();
    bus.append("beta", vec![Record { recorded_at: Some(first), ..record("k", "x") }]).await.unwrap();
    let read = bus.read(&Partition::new("beta", 0), 0, ReadLimit::default()).await.unwrap();
    assert_eq!(read[0].recorded_at, first);
}

pub async fn an_empty_append_is_nothing(bus: &dyn Bus) {
    assert!(bus.append("beta", Vec::new()).await.unwrap().is_empty());
    assert_eq!(bus.end_positions(&["beta"]).await.unwrap()[0].1, 0);
}

pub async fn a_dropped_wait_loses_nothing(bus: &dyn Bus) {
    let mut consumer = consumer(bus, &["alpha"], Vec::new()).await;
    assert!(matches!(consumer.next().await.unwrap(), Delivery::Assigned(_)));
    let mut seen = HashSet::new();
    let writer = async {
        for n in 0..200_u8 {
            bus.append("alpha", vec![record(&n.to_string(), vec![n])]).await.unwrap();
        }
    };
    let reader = async {
        let mut rounds = 0_u64;
        while seen.len() < 200 {
            // Cut short again and again, at whatever moment; sometimes long enough on the slowest machine.
            rounds += 1;
            let patience = Duration::from_micros(rounds * 50 % 20_000);
            if let Ok(Ok(Delivery::Records(parts))) = tokio::time::timeout(patience, consumer.next()).await {
                for value in parts.into_iter().flat_map(|part| part.records).map(|record| record.value[0]) {
                    assert!(seen.insert(value), "twice: {value}");
                }
            }
        }
    };
    tokio::time::timeout(SOON, async { tokio::join!(writer, reader) }).await.unwrap();
}

pub async fn notes_are_kept_and_replaced(bus: &dyn Bus) {
    assert_eq!(bus.note("copy").await.unwrap(), None);
    bus.set_note("copy", "one").await.unwrap();
    bus.set_note("copy", "two\nlines \u{e9}").await.unwrap();
    bus.set_note("other", "").await.unwrap();
    assert_eq!(bus.note("copy").await.unwrap().as_deref(), Some("two\nlines \u{e9}"));
    assert_eq!(bus.note("other").await.unwrap().as_deref(), Some(""));
    assert_eq!(bus.trouble(), None);
}

pub async fn the_first_positions_are_those_of_the_first_records(bus: &dyn Bus) {
    bus.append("alpha", (0..9).map(|n| record(&n.to_string(), "x")).collect()).await.unwrap();
    let first = bus.first_positions(&["alpha", "beta"]).await.unwrap();
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|(_, offset)| *offset == 0), "{first:?}");
    assert!(matches!(bus.first_positions(&["gamma"]).await, Err(BusError::UnknownTopic(_))));
    assert!(matches!(bus.incarnation("gamma").await, Err(BusError::UnknownTopic(_))));
}

/// A log of one case, with what must live as long as it.
pub struct Log {
    pub bus: Arc<dyn Bus>,
    pub _keep: Box<dyn std::any::Any + Send + Sync>,
}
