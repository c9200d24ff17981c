//! What others do to the log: clients of Kafka that know nothing of annals.

use std::time::Duration;

use annals_bus::{Bus, KafkaSettings, Partition, ReadLimit};
use bytes::Bytes;
use chrono::DateTime;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{SOON, prepared, server};

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server("ANNALS_KAFKA"));
    config
}

/// The name of a topic in the cluster.
pub fn outer(settings: &KafkaSettings, topic: &str) -> String {
    let shown = settings.to_string();
    let prefix = shown.split("topic_prefix=").nth(1).unwrap().split('&').next().unwrap();
    format!("{prefix}{topic}")
}

fn admin() -> AdminClient<DefaultClientContext> {
    config().create().unwrap()
}

/// Makes a topic as anybody would.
pub async fn create_topic(name: &str, partitions: i32, config: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in config {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin().create_topics(&[topic], &options).await.unwrap()[0].as_ref().unwrap();
}

/// Gives a topic more partitions, and returns when everybody sees them.
pub async fn add_partitions(name: &str, count: usize) {
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    let done = admin().create_partitions(&[NewPartitions::new(name, count)], &options).await.unwrap();
    done[0].as_ref().unwrap();
    let client: BaseConsumer = config().create().unwrap();
    super::until(|| async {
        let metadata = client.fetch_metadata(Some(name), Duration::from_secs(5)).unwrap();
        metadata.topics()[0].partitions().len() == count
    })
    .await;
}

/// Appends a record as anybody would.
pub fn produce(topic: &str, key: &str, value: &str) {
    let producer: BaseProducer = config().create().unwrap();
    producer.send(BaseRecord::to(topic).key(key).payload(value)).unwrap();
    producer.flush(SOON).unwrap();
}

/// Removes a topic, and returns when nobody sees it any more.
pub async fn delete_topic(name: &str) {
    let options = AdminOptions::new().operation_timeout(Some(SOON));
    admin().delete_topics(&[name], &options).await.unwrap()[0].as_ref().unwrap();
    let client: BaseConsumer = config().create().unwrap();
    super::until(|| async {
        let metadata = client.fetch_metadata(Some(name), Duration::from_secs(5)).unwrap();
        metadata.topics()[0].error().is_some()
    })
    .await;
}

/// Removes the records of a partition up to an offset, as retention does.
pub async fn delete_records(name: &str, partition: i32, before: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(name, partition, Offset::Offset(before)).unwrap();
    let done = admin().delete_records(&list, &AdminOptions::new()).await.unwrap();
    done.elements()[0].error().unwrap();
}

/// The offsets that a group has committed.
pub fn committed(group: &str, topic: &str, partition: i32) -> Offset {
    let client: BaseConsumer = config().set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let offsets = client.committed_offsets(list, SOON).unwrap();
    offsets.elements()[0].offset()
}

#[tokio::test]
async fn records_of_a_foreign_producer_are_read_as_they_are() {
    let (settings, bus) = prepared().await;
    let topic = outer(&settings, "beta");
    for codec in ["gzip", "zstd", "snappy", "lz4"] {
        let producer: BaseProducer = config().set("compression.codec", codec).create().unwrap();
        let headers =
            OwnedHeaders::new()
                .insert(Header { key: "a", value: Some("1") })
                .insert(Header::<&str> { key: "empty", value: None });
        let record = BaseRecord::to(&topic).key("k").payload(&[7; 2000][..]).timestamp(1_234_567_890_123);
        producer.send(record.headers(headers)).unwrap();
        producer.send(BaseRecord::<(), ()>::to(&topic).timestamp(5)).unwrap();
        producer.flush(SOON).unwrap();
    }
    let read = bus.read(&Partition::new("beta", 0), 0, ReadLimit::default()).await.unwrap();
    assert_eq!(read.len(), 8);
    for pair in read.chunks(2) {
        assert_eq!(pair[0].recorded_at, DateTime::from_timestamp_millis(1_234_567_890_123).unwrap());
        assert_eq!(pair[0].value, vec![7; 2000]);
        assert_eq!(pair[0].key.as_deref(), Some(&b"k"[..]));
        let expected = [("a".into(), Bytes::from_static(b"1")), ("empty".into(), Bytes::new())];
        assert_eq!(pair[0].headers, expected);
        assert_eq!((pair[1].key.as_ref(), pair[1].value.len(), pair[1].headers.len()), (None, 0, 0));
    }
}

#[tokio::test]
async fn a_header_of_the_engines_name_that_is_no_time_is_somebody_elses() {
    let (settings, bus) = prepared().await;
    let producer: BaseProducer = config().create().unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "ce_recordedtime", value: Some("yesterday") });
    let topic = outer(&settings, "beta");
    producer.send(BaseRecord::to(&topic).key("k").payload("x").headers(headers)).unwrap();
    producer.flush(SOON).unwrap();
    let read = bus.read(&Partition::new("beta", 0), 0, ReadLimit::default()).await.unwrap();
    assert_eq!(read[0].headers, [("ce_recordedtime".into(), Bytes::from_static(b"yesterday"))]);
}
