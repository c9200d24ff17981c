//! Offsets that are not there: removed records, removed topics.

use std::time::Duration;

use annals_bus::{Bus, BusError, KafkaBus, Partition, ReadLimit};

use super::foreign::{delete_records, delete_topic, outer};
use super::{TOPICS, assigned, failure, member, prepared, settings, soon};
use crate::{record, records};

async fn append_ten(bus: &KafkaBus) {
    bus.append("beta", (0..10).map(|n: u8| record("k", vec![n])).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_records_are_told_where_they_were_to_stay() {
    let (settings, bus) = prepared().await;
    append_ten(&bus).await;
    delete_records(&outer(&settings, "beta"), 0, 6).await;
    let partition = Partition::new("beta", 0);
    assert_eq!(bus.first_positions(&["beta"]).await.unwrap(), [(partition.clone(), 6)]);
    let error = bus.read(&partition, 2, ReadLimit::default()).await.unwrap_err();
    assert!(matches!(error, BusError::Removed { offset: 2, first: 6, .. }), "{error}");
    assert!(
        error.to_string().contains("although `beta` is declared to keep its records for ever"),
        "{error}"
    );
    assert_eq!(bus.read(&partition, 6, ReadLimit::default()).await.unwrap().len(), 4);
    let mut consumer = member(&bus, "g", "beta", vec![(partition, 2)]).await;
    assigned(&mut *consumer).await;
    let error = failure(&mut *consumer).await;
    assert!(matches!(error, BusError::Removed { offset: 2, first: 6, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declared_retention_is_passed_over() {
    let settings = settings();
    let retention = Some(Duration::from_secs(3600));
    KafkaBus::ensure_topics(&settings, &TOPICS, retention).await.unwrap();
    let bus = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    append_ten(&bus).await;
    let topic = outer(&settings, "beta");
    delete_records(&topic, 0, 6).await;
    let partition = Partition::new("beta", 0);
    let read = bus.read(&partition, 2, ReadLimit::default()).await.unwrap();
    assert_eq!((read[0].offset, read.len()), (6, 4));
    let mut consumer = member(&bus, "g", "beta", vec![(partition.clone(), 2)]).await;
    assigned(&mut *consumer).await;
    let first = soon(records(&mut *consumer)).await;
    // From where the view stands, so that its position moves over the gap.
    assert_eq!((first[0].from, first[0].records[0].offset, first[0].next_offset()), (2, 6, 10));
    append_ten(&bus).await;
    assert_eq!(soon(records(&mut *consumer)).await[0].from, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_removed_under_a_consumer_is_told() {
    let (settings, bus) = prepared().await;
    append_ten(&bus).await;
    let mut consumer = member(&bus, "g", "beta", Vec::new()).await;
    assigned(&mut *consumer).await;
    soon(records(&mut *consumer)).await;
    delete_topic(&outer(&settings, "beta")).await;
    let error = failure(&mut *consumer).await;
    assert!(matches!(&error, BusError::Recreated(topic) if topic == "beta"), "{error}");
    let error = KafkaBus::open(&settings, &TOPICS).await.err().unwrap();
    assert!(error.to_string().contains("is missing; run `annals topics ensure`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_created_again_is_another_incarnation() {
    let (settings, bus) = prepared().await;
    append_ten(&bus).await;
    let before = bus.incarnation("beta").await.unwrap();
    let other = bus.incarnation("alpha").await.unwrap();
    let partition = Partition::new("beta", 0);
    let mut consumer = member(&bus, "g", "beta", Vec::new()).await;
    assigned(&mut *consumer).await;
    soon(records(&mut *consumer)).await;
    delete_topic(&outer(&settings, "beta")).await;
    KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    let again = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    assert_ne!(again.incarnation("beta").await.unwrap(), before);
    assert_eq!(again.incarnation("alpha").await.unwrap(), other);
    let error = again.read(&partition, 7, ReadLimit::default()).await.unwrap_err();
    assert!(matches!(error, BusError::OffsetOutOfRange { offset: 7, end: 0, .. }), "{error}");
    let error = failure(&mut *consumer).await;
    let told = matches!(
        error,
        BusError::Recreated(_) | BusError::OffsetOutOfRange { .. } | BusError::Unavailable { .. }
    );
    assert!(told, "{error}");
    // A consumer of the old incarnation gets nothing from the new one.
    let mut late = member(&bus, "late", "beta", Vec::new()).await;
    let error = failure(&mut *late).await;
    assert!(matches!(&error, BusError::Recreated(topic) if topic == "beta"), "{error}");
}
