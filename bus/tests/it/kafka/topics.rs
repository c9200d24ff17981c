//! Topics: making them, agreeing on them, and what is wrong with those that are there.

use annals_bus::{Bus, BusError, KafkaBus, KafkaSettings};

use super::foreign::{create_topic, outer, produce};
use super::{TOPICS, address, prepared, settings};
use crate::record;

#[tokio::test]
async fn a_log_that_was_not_prepared_says_what_to_do() {
    let error = KafkaBus::open(&settings(), &TOPICS).await.err().unwrap();
    assert!(error.to_string().ends_with("is missing; run `annals topics ensure`"), "{error}");
}

#[tokio::test]
async fn topics_are_made_once_and_left_alone_afterwards() {
    let (settings, bus) = prepared().await;
    let before = bus.incarnation("alpha").await.unwrap();
    assert_ne!(bus.incarnation("beta").await.unwrap(), before);
    bus.append("alpha", vec![record("k", "x")]).await.unwrap();
    let reports = KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    assert!(reports.iter().all(|report| !report.created && report.remarks.is_empty()), "{reports:?}");
    let again = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    assert_eq!(again.incarnation("alpha").await.unwrap(), before);
    assert_eq!(again.append("alpha", vec![record("k", "y")]).await.unwrap()[0].offset, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_make_the_same_topics_agree() {
    let settings = settings();
    let ensure = || KafkaBus::ensure_topics(&settings, &TOPICS, None);
    let reports = tokio::join!(ensure(), ensure(), ensure());
    let reports = [reports.0.unwrap(), reports.1.unwrap(), reports.2.unwrap()];
    for topic in 0..2 {
        assert_eq!(reports.iter().filter(|report| report[topic].created).count(), 1, "{reports:?}");
    }
    let one = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    let two = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    for (topic, _) in TOPICS {
        assert_eq!(one.incarnation(topic).await.unwrap(), two.incarnation(topic).await.unwrap());
    }
}

#[tokio::test]
async fn who_died_while_making_a_topic_is_taken_over_from() {
    let (settings, bus) = prepared().await;
    let (before, intended) = (bus.incarnation("beta").await.unwrap(), uuid::Uuid::new_v4());
    let (meta, topic) = (outer(&settings, "annals.meta"), outer(&settings, "beta"));
    let claim = format!(r#"{{"step":"intends","incarnation":"{intended}","previous":"{before}"}}"#);
    produce(&meta, &format!("incarnation:{topic}:{intended}:intends"), &claim);
    let error = KafkaBus::open(&settings, &TOPICS).await.err().unwrap();
    assert!(error.to_string().contains("has no incarnation; run `annals topics ensure`"), "{error}");
    let reports = KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    assert!(reports.iter().all(|report| !report.created), "{reports:?}");
    let again = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    assert_eq!(again.incarnation("beta").await.unwrap(), intended);
}

#[tokio::test]
async fn another_partition_count_is_refused_with_the_way_out() {
    let (settings, _bus) = prepared().await;
    let other = [("alpha", 4), ("beta", 1)];
    for error in [
        KafkaBus::ensure_topics(&settings, &other, None).await.err().unwrap(),
        KafkaBus::open(&settings, &other).await.err().unwrap(),
    ] {
        let text = error.to_string();
        assert!(text.contains("has 3 partitions, not 4") && text.contains("`annals log copy`"), "{text}");
    }
}

#[tokio::test]
async fn a_topic_that_others_made_is_adopted_and_what_differs_is_told() {
    let settings = settings();
    let name = outer(&settings, "alpha");
    create_topic(&name, 3, &[("retention.ms", "604800000"), ("max.message.bytes", "1000")]).await;
    let reports = KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    assert_eq!((reports[0].topic.as_str(), reports[0].created), (name.as_str(), false));
    let remarks = reports[0].remarks.join("\n");
    assert!(remarks.contains("`retention.ms` is 604800000, not -1"), "{remarks}");
    assert!(remarks.contains("`max.message.bytes` is 1000"), "{remarks}");
    assert!(remarks.contains("`message.timestamp.after.max.ms` is 3600000"), "{remarks}");
    KafkaBus::open(&settings, &TOPICS).await.unwrap();
}

#[tokio::test]
async fn a_cluster_without_enough_servers_says_so() {
    let settings = KafkaSettings::parse(&address("&replication=3")).unwrap();
    let error = KafkaBus::ensure_topics(&settings, &TOPICS, None).await.err().unwrap();
    assert!(matches!(error, BusError::Broker { .. }), "{error}");
    assert!(error.to_string().contains("eplication factor"), "{error}");
}

#[tokio::test]
async fn a_closed_log_takes_nothing_more() {
    let (_settings, bus) = prepared().await;
    bus.append("beta", vec![record("k", "x")]).await.unwrap();
    bus.close().await;
    assert!(matches!(bus.append("beta", vec![record("k", "x")]).await, Err(BusError::Closed)));
}
