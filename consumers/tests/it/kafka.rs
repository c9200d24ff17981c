//! Topics of a test's own, and what an administrator can do to them.

use std::time::{Duration, Instant};

use annals_bus::{KafkaBus, KafkaSettings};
use annals_schemas::TOPICS;
use annals_testing::servers;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::SOON;

/// Names and partition counts, as the buses take them.
pub fn topics() -> [(&'static str, u32); TOPICS.len()] {
    TOPICS.map(|topic| (topic.name, topic.partitions))
}

/// Topics that nobody else uses, by their prefix. They are removed with this value.
pub struct OwnTopics {
    pub settings: KafkaSettings,
    prefix: String,
    bootstrap: String,
}

impl OwnTopics {
    pub async fn make() -> Self {
        let server = tokio::task::spawn_blocking(servers::kafka).await.unwrap();
        let prefix = format!("t-{}.", Uuid::new_v4().simple());
        let address = format!("kafka://{}?topic_prefix={prefix}", server.bootstrap);
        let own = Self { settings: address.parse().unwrap(), prefix, bootstrap: server.bootstrap };
        own.ensure().await;
        own
    }

    /// Makes those that are missing, as `annals topics ensure` does.
    pub async fn ensure(&self) {
        KafkaBus::ensure_topics(&self.settings, &topics(), None).await.unwrap();
    }

    /// Removes the topics of records, and waits until nobody sees them any more.
    pub async fn remove(&self) {
        let names = TOPICS.map(|topic| self.outer(topic.name));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for removed in self.admin().delete_topics(&names, &options()).await.unwrap() {
            removed.unwrap();
        }
        let watching: BaseConsumer = self.config().create().unwrap();
        let gone = |name: &str| {
            let seen = watching.fetch_metadata(Some(name), Duration::from_secs(10)).unwrap();
            let missing = RDKafkaErrorCode::UnknownTopicOrPartition;
            seen.topics()[0].error().is_some_and(|error| RDKafkaErrorCode::from(error) == missing)
        };
        let deadline = Instant::now() + SOON;
        while !names.iter().all(|name| tokio::task::block_in_place(|| gone(name))) {
            assert!(Instant::now() < deadline, "topics are not removed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes the records of a partition before an offset.
    pub async fn remove_records(&self, partition: &annals_bus::Partition, before: u64) {
        let mut offsets = TopicPartitionList::new();
        let (outer, number) = (self.outer(&partition.topic), partition.number.cast_signed());
        offsets.add_partition_offset(&outer, number, Offset::Offset(before.cast_signed())).unwrap();
        self.admin().delete_records(&offsets, &options()).await.unwrap();
    }

    fn outer(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(SOON)).operation_timeout(Some(SOON))
}

impl Drop for OwnTopics {
    fn drop(&mut self) {
        let admin = self.admin();
        let names: Vec<String> = TOPICS
            .iter()
            .map(|topic| topic.name)
            .chain(["annals.meta"])
            .map(|name| self.outer(name))
            .collect();
        // The runtime of the test may be ending. A server that is gone has no topics to remove.
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(5)));
            let _ = runtime.block_on(admin.delete_topics(&names, &options));
        });
        let _ = removed.join();
    }
}
