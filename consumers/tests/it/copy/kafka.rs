//! Between the engines, on a real Apache Kafka.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use annals_bus::record::MAX_RECORD_BYTES;
use annals_bus::{Bus, KafkaBus, KafkaSettings, Record};
use annals_consumers::copy::{self, ArchiveSource, CopyError, LogSource, Summary};
use annals_testing::servers;
use bytes::Bytes;
use chrono::DateTime;
use uuid::Uuid;

use super::faults::Faulty;
use super::{
    COUNTS, SMALL, TOPICS, assert_copied, assert_same, by_key, copied, counts, fill, log, log_with, read_all,
    record,
};
use crate::kafka::{OwnTopics, topics};

/// A log that nobody else uses.
async fn kafka(topics: &[(&str, u32)]) -> Arc<dyn Bus> {
    let server = tokio::task::spawn_blocking(servers::kafka).await.unwrap();
    let prefix = Uuid::new_v4().simple();
    let address = format!("kafka://{}?topic_prefix=copy-{prefix}.", server.bootstrap);
    let settings = KafkaSettings::parse(&address).unwrap();
    KafkaBus::ensure_topics(&settings, topics, None).await.unwrap();
    Arc::new(KafkaBus::open(&settings, topics).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_goes_to_kafka_and_comes_back_as_it_was() {
    let (from, there, back) = (log().await, kafka(&COUNTS).await, log().await);
    fill(&*from.bus, 0..200).await;
    assert_eq!(counts(&copied(&*from.bus, &*there).await.unwrap()), (400, 0, 0));
    assert_copied(&*from.bus, &*there).await;
    assert_eq!(counts(&copied(&*from.bus, &*there).await.unwrap()), (0, 400, 0));
    fill(&*from.bus, 200..250).await;
    assert_eq!(counts(&copied(&*from.bus, &*there).await.unwrap()), (100, 400, 0));
    assert_eq!(counts(&copied(&*there, &*back.bus).await.unwrap()), (500, 0, 0));
    assert_copied(&*from.bus, &*back.bus).await;
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keys_only_every_byte_and_position_survives_kafka() {
    let (from, there, back) = (log().await, kafka(&COUNTS).await, log().await);
    let keyed = (0..300).map(record).filter(|record| record.key.is_some());
    from.bus.append("alpha", keyed.collect()).await.unwrap();
    assert!(copied(&*from.bus, &*there).await.unwrap().topics[0].same_positions);
    assert!(copied(&*there, &*back.bus).await.unwrap().topics[0].same_positions);
    let expected = read_all(&*from.bus, "alpha").await;
    assert_same(read_all(&*there, "alpha").await, expected.clone());
    assert_same(read_all(&*back.bus, "alpha").await, expected);
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_into_kafka_that_breaks_off_goes_on_exactly() {
    let from = log_with(&[("alpha", 2), ("beta", 2)]).await;
    fill(&*from.bus, 0..60).await;
    for (nth, kept) in [(0, vec![0, 0, 0]), (3, vec![2, 1, 0]), (6, vec![9, 9, 9]), (12, vec![0, 3, 1])] {
        let there = kafka(&COUNTS).await;
        let faulty = Faulty { appends: AtomicU64::new(nth), kept, ..Faulty::new(&there) };
        copied(&*from.bus, &faulty).await.unwrap_err();
        let (records, already_there, _) = counts(&copied(&*from.bus, &*there).await.unwrap());
        assert_eq!(records + already_there, 120);
        assert_copied(&*from.bus, &*there).await;
        there.append("alpha", vec![record(1)]).await.unwrap();
        let error = copied(&*from.bus, &*there).await.unwrap_err();
        assert!(matches!(error, CopyError::OtherWriter { .. }), "{error}");
        there.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_kafka_is_restored_to_either_engine() {
    let (from, there) = (log().await, kafka(&COUNTS).await);
    fill(&*from.bus, 0..100).await;
    copied(&*from.bus, &*there).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    copy::into_archive(&LogSource::new(&*there), folder.path(), &TOPICS, &SMALL, &mut |_| {}).await.unwrap();
    let (embedded, kafka) = (log_with(&[("alpha", 1), ("beta", 2)]).await, kafka(&COUNTS).await);
    for to in [&embedded.bus, &kafka] {
        let source = ArchiveSource::open(folder.path(), &mut |_| {}).await.unwrap();
        let summary = copy::into_log(&source, &**to, &TOPICS, &SMALL, &mut |_| {}).await.unwrap();
        assert_eq!(counts(&summary), (200, 0, 0));
        assert_copied(&*from.bus, &**to).await;
    }
    there.close().await;
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_from_kafka_is_told_and_the_rest_is_copied() {
    let own = OwnTopics::make().await;
    let there = KafkaBus::open(&own.settings, &topics()).await.unwrap();
    let (topic, count) = topics()[0];
    let keyed: Vec<_> = (0..300).map(record).filter(|record| record.key.is_some()).collect();
    there.append(topic, keyed).await.unwrap();
    let ends = there.end_positions(&[topic]).await.unwrap();
    let (largest, end) = ends.into_iter().max_by_key(|(_, end)| *end).unwrap();
    own.remove_records(&largest, end - 10).await;
    let (to, folder) = (log_with(&[(topic, count)]).await, tempfile::tempdir().unwrap());
    let source = LogSource::new(&there);
    let summary = copy::into_log(&source, &*to.bus, &[topic], &SMALL, &mut |_| {}).await.unwrap();
    assert_eq!(summary.topics[0].missing, end - 10);
    let archived = copy::into_archive(&source, folder.path(), &[topic], &SMALL, &mut |_| {}).await.unwrap();
    assert_eq!(
        (archived.topics[0].missing, archived.topics[0].records),
        (end - 10, summary.topics[0].records)
    );
    assert_same(by_key(&*to.bus, topic).await, by_key(&there, topic).await);
    // All of it is deleted now, also what the next run would compare.
    own.remove_records(&largest, end).await;
    let again = copy::into_log(&source, &*to.bus, &[topic], &SMALL, &mut |_| {}).await.unwrap();
    assert_eq!((again.topics[0].records, again.topics[0].missing), (0, 0));
    there.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_at_the_edge_survive_kafka_or_stop_the_copy() {
    let edge = |n: u64, change: fn(&mut Record)| {
        let mut record = Record { key: Some(Bytes::from_static(b"k")), ..record(n) };
        change(&mut record);
        record
    };
    let at = |micros| DateTime::from_timestamp_micros(micros);
    let (from, there) = (log_with(&[("alpha", 1)]).await, kafka(&[("alpha", 1)]).await);
    let sound = vec![
        edge(1, |record| record.key = Some(Bytes::new())),
        edge(2, |record| *record = Record { recorded_at: record.recorded_at, ..Record::default() }),
        edge(3, |record| record.headers = vec![(annals_bus::SmolStr::default(), Bytes::new()); 3]),
        Record { recorded_at: at(-1), ..edge(4, |_| {}) },
        Record { recorded_at: at(0), ..edge(5, |_| {}) },
        edge(6, |record| record.value = Bytes::from(vec![6; MAX_RECORD_BYTES - 300])),
    ];
    from.bus.append("alpha", sound).await.unwrap();
    copied_alpha(&*from.bus, &*there).await.unwrap();
    assert_same(read_all(&*there, "alpha").await, read_all(&*from.bus, "alpha").await);
    // In the middle of others, where the comparison at the end would not see it.
    let name = edge(7, |record| record.headers = vec![("a\0b".into(), Bytes::new())]);
    from.bus.append("alpha", vec![name, record(8)]).await.unwrap();
    let error = copied_alpha(&*from.bus, &*there).await.unwrap_err();
    assert!(matches!(error, CopyError::Unverified(_)), "{error}");
    there.close().await;
}

async fn copied_alpha(from: &dyn Bus, to: &dyn Bus) -> Result<Summary, CopyError> {
    copy::into_log(&LogSource::new(from), to, &["alpha"], &SMALL, &mut |_| {}).await
}
