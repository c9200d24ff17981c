//! Consumers of one group: how they share, hand over and leave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annals_bus::{Bus, BusError, Consumer, Delivery, KafkaBus, Partition, ReadLimit, StartPositions};
use async_trait::async_trait;
use rdkafka::Offset;

use super::foreign::{add_partitions, committed, outer};
use super::{TOPICS, assigned, failure, member, prepared, soon, until};
use crate::{Starts, record, records};

fn partitions(assigned: &[(Partition, u64)]) -> BTreeSet<u32> {
    assigned.iter().map(|(partition, _)| partition.number).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_member_gets_a_share_only_when_the_first_has_let_go() {
    let (_settings, bus) = prepared().await;
    let mut one = member(&bus, "g", "alpha", Vec::new()).await;
    assert_eq!(partitions(&assigned(&mut *one).await), BTreeSet::from([0, 1, 2]));
    let mut two = member(&bus, "g", "alpha", Vec::new()).await;
    let revoked = soon(one.next()).await.unwrap();
    let Delivery::Revoked(gone, guard) = revoked else { panic!("expected a revocation, got {revoked:?}") };
    assert!(!gone.is_empty() && gone.len() < 3, "{gone:?}");
    let kept: BTreeSet<u32> = (0..3).filter(|n| gone.iter().all(|p| p.number != *n)).collect();
    bus.append("alpha", (0..60).map(|n| record(&n.to_string(), "x")).collect()).await.unwrap();
    // The second has joined, and has nothing as long as the first holds on.
    let has = |wanted: usize, ours: usize| {
        let bus = &bus;
        async move {
            let members = bus.group_members("g").await.unwrap();
            members.len() == wanted && members.iter().any(|member| member.partitions.len() == ours)
        }
    };
    until(|| has(2, kept.len())).await;
    let early = tokio::time::timeout(Duration::from_millis(300), two.next()).await;
    assert!(matches!(&early, Err(_) | Ok(Ok(Delivery::Assigned(_)))), "{early:?}");
    if let Ok(Ok(Delivery::Assigned(nothing))) = early {
        assert!(nothing.is_empty(), "{nothing:?}");
    }
    drop(guard);
    let got = soon(async {
        loop {
            let got = partitions(&assigned(&mut *two).await);
            if !got.is_empty() {
                return got;
            }
        }
    })
    .await;
    assert_eq!(got, gone.iter().map(|partition| partition.number).collect());
    assert_eq!(read_all_of(&mut *two, &got).await, got);
    assert_eq!(read_all_of(&mut *one, &kept).await, kept);
}

/// Reads until each of these partitions has brought something from its beginning; gives what has.
async fn read_all_of(consumer: &mut dyn Consumer, partitions: &BTreeSet<u32>) -> BTreeSet<u32> {
    let mut seen = BTreeSet::new();
    while !partitions.is_subset(&seen) {
        for part in soon(records(consumer)).await {
            assert!(part.from > 0 || part.records[0].offset == 0, "{part:?}");
            seen.insert(part.partition.number);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_starts_in_the_middle_and_skips_nothing() {
    let (_settings, bus) = prepared().await;
    let sent = (0..300).map(|n: u32| record(&n.to_string(), n.to_string())).collect();
    bus.append("alpha", sent).await.unwrap();
    let ends = bus.end_positions(&["alpha"]).await.unwrap();
    let starts: Vec<_> = ends.iter().map(|(partition, end)| (partition.clone(), end / 2)).collect();
    let mut consumer = member(&bus, "g", "alpha", starts.clone()).await;
    let mut given = assigned(&mut *consumer).await;
    given.sort();
    assert_eq!(given, starts);
    let mut next: BTreeMap<Partition, u64> = starts.into_iter().collect();
    while ends.iter().any(|(partition, end)| next[partition] < *end) {
        for part in soon(records(&mut *consumer)).await {
            let next = next.get_mut(&part.partition).unwrap();
            assert_eq!(part.from, *next);
            for record in part.records {
                assert_eq!(record.offset, *next);
                *next += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_is_replaced_at_once() {
    let (settings, bus) = prepared().await;
    let second = KafkaBus::open(&settings.clone().with_client_id("second"), &TOPICS).await.unwrap();
    let mut one = member(&bus, "g", "beta", Vec::new()).await;
    assert_eq!(assigned(&mut *one).await.len(), 1);
    let mut two = member(&second, "g", "beta", Vec::new()).await;
    until(|| async { bus.group_members("g").await.unwrap().len() == 2 }).await;
    let members = bus.group_members("g").await.unwrap();
    let names: BTreeSet<&str> = members.iter().map(|member| member.client_id.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["annals", "second"]));
    assert!(members.iter().all(|member| member.host == "127.0.0.1"), "{members:?}");
    let left = std::time::Instant::now();
    drop(one);
    let got = soon(async {
        loop {
            match two.next().await.unwrap() {
                Delivery::Assigned(got) if got.is_empty() => {}
                Delivery::Assigned(got) => return got,
                other => panic!("expected an assignment, got {other:?}"),
            }
        }
    })
    .await;
    assert_eq!(got, [(Partition::new("beta", 0), 0)]);
    // Long before the group would have missed it.
    assert!(left.elapsed() < Duration::from_secs(8), "{:?}", left.elapsed());
    until(|| async { bus.group_members("g").await.unwrap().len() == 1 }).await;
    assert!(bus.group_members("nobody").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_owner_stays_in_its_group_and_misses_nothing() {
    let (_settings, bus) = prepared().await;
    let limit = ReadLimit { records: 10, bytes: usize::MAX };
    let mut consumer = bus.consumer("g", &["alpha"], Arc::new(Starts(Vec::new())), limit).await.unwrap();
    assert_eq!(assigned(&mut *consumer).await.len(), 3);
    let sent = (0..500).map(|n: u32| record(&n.to_string(), n.to_string())).collect();
    bus.append("alpha", sent).await.unwrap();
    // The owner takes nothing. A second member comes, and the first serves the rebalance all the same: it is told of it
    // in its turn, after the records that it was given before.
    let mut second = member(&bus, "g", "alpha", Vec::new()).await;
    until(|| async { bus.group_members("g").await.unwrap().len() == 2 }).await;
    let mut seen = BTreeSet::new();
    let mut revoked = Vec::new();
    while revoked.is_empty() {
        match soon(consumer.next()).await.unwrap() {
            Delivery::Records(parts) => {
                for part in parts {
                    let offsets = part.records.iter().map(|r| (part.partition.clone(), r.offset));
                    offsets.for_each(|place| assert!(seen.insert(place)));
                }
            }
            Delivery::Revoked(partitions, _guard) => revoked = partitions,
            Delivery::Assigned(more) => assert!(more.is_empty(), "{more:?}"),
        }
    }
    let ends = bus.end_positions(&["alpha"]).await.unwrap();
    let kept: Vec<_> = ends.iter().filter(|(partition, _)| !revoked.contains(partition)).collect();
    let expected: usize = kept.iter().map(|(_, end)| usize::try_from(*end).unwrap()).sum();
    let of_kept = |seen: &BTreeSet<(Partition, u64)>| {
        seen.iter().filter(|(partition, _)| !revoked.contains(partition)).count()
    };
    while of_kept(&seen) < expected {
        if let Delivery::Records(parts) = soon(consumer.next()).await.unwrap() {
            for part in parts {
                let offsets = part.records.iter().map(|r| (part.partition.clone(), r.offset));
                offsets.for_each(|place| assert!(seen.insert(place)));
            }
        }
    }
    drop(consumer);
    let mut total = 0;
    while total < 3 {
        if let Delivery::Assigned(more) = soon(second.next()).await.unwrap() {
            total += more.len();
        }
    }
}

/// Longer than a thread waits for its owner before it pauses.
const PAUSED_BY: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_went_while_its_owner_was_busy_is_read_when_it_comes_back() {
    let (_settings, bus) = prepared().await;
    let limit = ReadLimit { records: 10, bytes: usize::MAX };
    let mut one = bus.consumer("g", &["alpha"], Arc::new(Starts(Vec::new())), limit).await.unwrap();
    assert_eq!(assigned(&mut *one).await.len(), 3);
    bus.append("alpha", (0..500).map(|n: u32| record(&n.to_string(), "x")).collect()).await.unwrap();
    let busy_since = std::time::Instant::now();
    // It takes nothing, so its partitions are paused; and then some of them go.
    let mut two = member(&bus, "g", "alpha", Vec::new()).await;
    until(|| async { busy_since.elapsed() > PAUSED_BY && bus.group_members("g").await.unwrap().len() == 2 })
        .await;
    loop {
        if let Delivery::Revoked(gone, _guard) = soon(one.next()).await.unwrap() {
            assert!(!gone.is_empty());
            break;
        }
    }
    while assigned(&mut *two).await.is_empty() {}
    drop(two);
    let ends: BTreeMap<Partition, u64> = bus.end_positions(&["alpha"]).await.unwrap().into_iter().collect();
    let mut reached: BTreeMap<Partition, u64> = BTreeMap::new();
    while reached != ends {
        match soon(one.next()).await.unwrap() {
            Delivery::Records(parts) => {
                reached.extend(parts.iter().map(|part| (part.partition.clone(), part.next_offset())));
            }
            Delivery::Assigned(_) => {}
            other => panic!("expected no more to go, got {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_somebody_adds_are_told_and_not_passed_over() {
    let (settings, bus) = prepared().await;
    let mut one = member(&bus, "g", "alpha", Vec::new()).await;
    assigned(&mut *one).await;
    add_partitions(&outer(&settings, "alpha"), 5).await;
    // The group shares them out when it is formed anew.
    let mut two = member(&bus, "g", "alpha", Vec::new()).await;
    let error = tokio::select! {
        error = failure(&mut *one) => error,
        error = failure(&mut *two) => error,
    };
    assert!(
        matches!(&error, BusError::PartitionCount { actual: 5, wanted: 3, topic } if *topic == outer(&settings, "alpha")),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_shown_to_lag_tools_and_nothing_starts_from_it() {
    let (settings, bus) = prepared().await;
    bus.append("beta", (0..5).map(|_| record("k", "x")).collect()).await.unwrap();
    let mut consumer = member(&bus, "g", "beta", Vec::new()).await;
    assigned(&mut *consumer).await;
    soon(records(&mut *consumer)).await;
    consumer.progress().folded(&[(Partition::new("beta", 0), 4)]);
    let (group, topic) = (outer(&settings, "g"), outer(&settings, "beta"));
    let (committed_group, committed_topic) = (group.clone(), topic.clone());
    until(|| {
        let (group, topic) = (committed_group.clone(), committed_topic.clone());
        async move {
            let look = move || committed(&group, &topic, 0) == Offset::Offset(4);
            tokio::task::spawn_blocking(look).await.unwrap()
        }
    })
    .await;
    drop(consumer);
    let mut again = member(&bus, "g", "beta", vec![(Partition::new("beta", 0), 1)]).await;
    assert_eq!(assigned(&mut *again).await[0].1, 1);
    assert_eq!(soon(records(&mut *again)).await[0].records[0].offset, 1);
}

/// A database that is down for a while.
struct Down(std::sync::atomic::AtomicU32);

#[async_trait]
impl StartPositions for Down {
    async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String> {
        if self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 1 {
            return Err("the database is down".into());
        }
        Ok(vec![0; partitions.len()])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_positions_that_cannot_be_read_are_asked_for_again() {
    let (_settings, bus) = prepared().await;
    bus.append("beta", vec![record("k", "x")]).await.unwrap();
    let starts = Arc::new(Down(3.into()));
    let mut consumer = bus.consumer("g", &["beta"], starts, ReadLimit::default()).await.unwrap();
    for _ in 0..2 {
        let error = soon(consumer.next()).await.unwrap_err();
        assert!(matches!(&error, BusError::StartPositions(why) if why == "the database is down"), "{error}");
    }
    assert_eq!(assigned(&mut *consumer).await.len(), 1);
    assert_eq!(soon(records(&mut *consumer)).await[0].records.len(), 1);
}
