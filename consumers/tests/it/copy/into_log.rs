//! Into a log: whole, again, and interrupted anywhere.

use std::sync::atomic::AtomicU64;

use annals_bus::{Bus, Record};
use annals_consumers::copy::{self, CopyError, Limits, LogSource, Progress};
use bytes::Bytes;

use super::faults::Faulty;
use super::{
    COUNTS, SMALL, TOPICS, assert_copied, assert_same, by_key, copied, counts, fill, log, log_with, read_all,
    record,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_the_log_a_second_one_adds_nothing_a_third_what_has_come_since() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..200).await;
    let mut seen = Vec::new();
    let source = LogSource::new(&*from.bus);
    let summary = copy::into_log(&source, &*to.bus, &TOPICS, &SMALL, &mut |progress| seen.push(progress))
        .await
        .unwrap();
    assert_eq!(counts(&summary), (400, 0, 0));
    assert!(summary.topics.iter().all(|topic| topic.bytes > 0));
    assert_eq!(seen.last(), Some(&Progress::Copying { done: 400, total: 400 }));
    assert_copied(&*from.bus, &*to.bus).await;

    let before = to.bus.note("copy:alpha").await.unwrap();
    assert_eq!(counts(&copied(&*from.bus, &*to.bus).await.unwrap()), (0, 400, 0));
    assert_eq!(to.bus.note("copy:alpha").await.unwrap(), before);

    fill(&*from.bus, 200..250).await;
    assert_eq!(counts(&copied(&*from.bus, &*to.bus).await.unwrap()), (100, 400, 0));
    assert_copied(&*from.bus, &*to.bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_keys_only_keeps_every_position_and_byte() {
    let (from, to) = (log().await, log().await);
    let keyed: Vec<Record> = (0..300).map(record).filter(|record| record.key.is_some()).collect();
    from.bus.append("alpha", keyed).await.unwrap();
    let source = LogSource::new(&*from.bus);
    // The usual limits as well as small ones.
    let summary =
        copy::into_log(&source, &*to.bus, &["alpha"], &Limits::default(), &mut |_| {}).await.unwrap();
    assert!(summary.topics[0].same_positions);
    assert_same(read_all(&*to.bus, "alpha").await, read_all(&*from.bus, "alpha").await);
    let again = log().await;
    assert!(copied(&*to.bus, &*again.bus).await.unwrap().topics[0].same_positions);
    assert_same(read_all(&*again.bus, "alpha").await, read_all(&*from.bus, "alpha").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_log_is_copied_and_goes_on_when_it_has_records() {
    let (from, to) = (log().await, log().await);
    assert_eq!(counts(&copied(&*from.bus, &*to.bus).await.unwrap()), (0, 0, 0));
    fill(&*from.bus, 0..20).await;
    assert_eq!(counts(&copied(&*from.bus, &*to.bus).await.unwrap()), (40, 0, 0));
    assert_copied(&*from.bus, &*to.bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_only_the_target_has_is_left_out() {
    let (from, to) = (log_with(&COUNTS[..1]).await, log().await);
    from.bus.append("alpha", vec![record(1)]).await.unwrap();
    let summary = copied(&*from.bus, &*to.bus).await.unwrap();
    assert_eq!(summary.topics.len(), 1);
    assert_eq!(counts(&summary), (1, 0, 0));
}

/// What of the broken append comes to the log, per partition.
const KEPT: [[usize; 3]; 6] = [[0, 0, 0], [9, 9, 9], [1, 0, 0], [0, 2, 1], [3, 0, 9], [0, 9, 0]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_breaks_off_in_any_append_goes_on_exactly() {
    let from = log().await;
    fill(&*from.bus, 0..60).await;
    let (mut broken, mut nth) = (0, 0);
    for kept in KEPT {
        nth = 0;
        loop {
            let to = log().await;
            let faulty = Faulty { appends: AtomicU64::new(nth), kept: kept.to_vec(), ..Faulty::new(&to.bus) };
            let result = copied(&*from.bus, &faulty).await;
            let whole = result.is_ok();
            if !whole {
                broken += 1;
                // Broken once more while it makes good what the first one left.
                let faulty =
                    Faulty { appends: AtomicU64::new(0), kept: vec![1, 0, 1], ..Faulty::new(&to.bus) };
                assert!(matches!(copied(&*from.bus, &faulty).await, Err(CopyError::Bus(_))));
                let (records, already_there, missing) = counts(&copied(&*from.bus, &*to.bus).await.unwrap());
                assert_eq!((records + already_there, missing), (120, 0), "append {nth}, kept {kept:?}");
            }
            assert_copied(&*from.bus, &*to.bus).await;
            nth += 1;
            if whole {
                break;
            }
        }
    }
    assert!(nth > 15 && broken >= 15 * KEPT.len(), "{nth} appends, {broken} broken copies");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_breaks_off_before_any_note_or_read_goes_on_exactly() {
    let from = log().await;
    fill(&*from.bus, 0..60).await;
    for what in ["note", "read"] {
        let mut broken = 0;
        for nth in 0.. {
            let to = log().await;
            let result = if what == "note" {
                let faulty = Faulty { notes: AtomicU64::new(nth), ..Faulty::new(&to.bus) };
                copied(&*from.bus, &faulty).await
            } else {
                let faulty = Faulty { reads: AtomicU64::new(nth), ..Faulty::new(&from.bus) };
                copied(&faulty, &*to.bus).await
            };
            match result {
                Ok(_) => break,
                Err(_) => broken += 1,
            }
            let (records, already_there, _) = counts(&copied(&*from.bus, &*to.bus).await.unwrap());
            assert_eq!(records + already_there, 120, "{what} {nth}");
            assert_copied(&*from.bus, &*to.bus).await;
        }
        assert!(broken > 15, "{broken} times before a {what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_keeps_the_order_of_every_key() {
    let from = log_with(&[("alpha", 4), ("beta", 2)]).await;
    fill(&*from.bus, 0..300).await;
    for count in [1, 2, 3, 7] {
        let to = log_with(&[("alpha", count), ("beta", count)]).await;
        let faulty = Faulty { appends: AtomicU64::new(9), kept: vec![2; 7], ..Faulty::new(&to.bus) };
        copied(&*from.bus, &faulty).await.unwrap_err();
        let summary = copied(&*from.bus, &*to.bus).await.unwrap();
        assert!(summary.topics.iter().all(|topic| !topic.same_positions));
        assert_copied(&*from.bus, &*to.bus).await;
        // And back again.
        let back = log_with(&[("alpha", 4), ("beta", 2)]).await;
        copied(&*to.bus, &*back.bus).await.unwrap();
        assert_copied(&*from.bus, &*back.bus).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_copied_side_by_side_in_time() {
    let (from, to) = (log_with(&[("alpha", 4)]).await, log_with(&[("alpha", 1)]).await);
    let keyed = (0..400).map(|n| Record { key: Some(Bytes::from(format!("key-{}", n % 20))), ..record(n) });
    from.bus.append("alpha", keyed.collect()).await.unwrap();
    copied(&*from.bus, &*to.bus).await.unwrap();
    let records = read_all(&*to.bus, "alpha").await.remove(0);
    let mut latest = records[0].recorded_at;
    for record in &records {
        // Four chunks of 7 records, of which each partition has every fourth.
        let behind = (latest - record.recorded_at).num_microseconds().unwrap();
        assert!(behind < 1_001 * 7 * 4 * 4, "{behind} microseconds late");
        latest = latest.max(record.recorded_at);
    }
    assert_same(by_key(&*to.bus, "alpha").await, by_key(&*from.bus, "alpha").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_removed_is_told() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..100).await;
    let source = Faulty { first: AtomicU64::new(10), ..Faulty::new(&from.bus) };
    let summary = copied(&source, &*to.bus).await.unwrap();
    assert_eq!(counts(&summary), (160, 0, 40), "four partitions lack ten records each");
    assert!(!summary.topics[0].same_positions);
    // What is removed after it was copied is not missing; what is removed before is.
    let source = Faulty { first: AtomicU64::new(20), ..Faulty::new(&from.bus) };
    assert_eq!(counts(&copied(&source, &*to.bus).await.unwrap()), (0, 160, 0));
    fill(&*from.bus, 100..200).await;
    let first = source.end_positions(&["beta"]).await.unwrap()[0].1 - 30;
    let source = Faulty { first: AtomicU64::new(first), ..Faulty::new(&from.bus) };
    let (records, already_there, missing) = counts(&copied(&source, &*to.bus).await.unwrap());
    assert_eq!((records, already_there, records + missing), (30, 160, 200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_finds_nothing_for_a_moment_is_not_taken_for_removed() {
    let from = log().await;
    fill(&*from.bus, 0..60).await;
    for dry in [1, 3] {
        let to = log().await;
        let source = Faulty { dry: AtomicU64::new(dry), ..Faulty::new(&from.bus) };
        assert_eq!(counts(&copied(&source, &*to.bus).await.unwrap()), (120, 0, 0));
        assert_copied(&*from.bus, &*to.bus).await;
        let archive = tempfile::tempdir().unwrap();
        let source = Faulty { dry: AtomicU64::new(dry), ..Faulty::new(&from.bus) };
        let source = LogSource::new(&source);
        let summary =
            copy::into_archive(&source, archive.path(), &TOPICS, &SMALL, &mut |_| {}).await.unwrap();
        assert_eq!(counts(&summary), (120, 0, 0));
    }
}
