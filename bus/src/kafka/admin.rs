//! Topics: making them, and looking how they are configured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::health::{Events, Health};
use super::meta::{self, META_TOPIC};
use super::producer::{Appender, MAX_BATCH_BYTES};
use super::reader::Readers;
use super::settings::KafkaSettings;
use crate::{BusError, Result};

/// Longer than any record is old.
const NO_LIMIT_MS: &str = "9223372036854775807";

/// Ten years: segments are cut by their size. By time, an import of old records would cut one for every week of them.
const SEGMENT_MS: &str = "315360000000";

/// How often it is looked whether a topic that was made is there.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic after [`ensure_topics`](super::KafkaBus::ensure_topics).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    /// Its name in the cluster.
    pub topic: String,
    /// Whether it was made now.
    pub created: bool,
    /// Configurations that are not as annals would have made them, in words. They are left as they are.
    pub remarks: Vec<String>,
}

/// What `ensure` works with.
pub(super) struct Tools {
    pub(super) settings: KafkaSettings,
    pub(super) health: Arc<Health>,
    pub(super) readers: Arc<Readers>,
    pub(super) appender: Appender,
}

impl Tools {
    /// Number of partitions of a topic; `None` when there is no such topic.
    pub(super) async fn partition_count(&self, outer: &str) -> Result<Option<u32>> {
        let (outer, wait) = (outer.to_owned(), self.settings.timeout);
        self.readers.with(None, move |reader| reader.partition_count(&outer, wait)).await
    }

    /// Makes a topic. `false` when somebody else made it first.
    pub(super) async fn create(
        &self,
        outer: &str,
        partitions: u32,
        config: &[(&str, String)],
    ) -> Result<bool> {
        let replication = self.settings.replication.map_or(-1, i32::from);
        let partition_count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut topic = NewTopic::new(outer, partition_count, TopicReplication::Fixed(replication));
        for (key, value) in config {
            topic = topic.set(key, value);
        }
        let client = client(&self.settings, &self.health)?;
        let made = client.create_topics(&[topic], &options(&self.settings)).await;
        retire(client);
        let made = made.map_err(|error| self.health.explain("make a topic", None, &error))?;
        match made.into_iter().next() {
            Some(Ok(_)) => self.wait_until_seen(outer, partitions).await.map(|()| true),
            Some(Err((_, Code::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, code))) => Err(self.health.explain_code("make a topic", Some(outer), code)),
            None => Err(self.health.timed_out("make a topic")),
        }
    }

    async fn wait_until_seen(&self, outer: &str, partitions: u32) -> Result<()> {
        let give_up = Instant::now() + self.settings.timeout;
        while self.partition_count(outer).await? != Some(partitions) {
            if Instant::now() > give_up {
                return Err(self.health.timed_out("make a topic"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// What a topic of records is configured with.
fn wanted(settings: &KafkaSettings, retention: Option<Duration>) -> Vec<(&'static str, String)> {
    let mut config = vec![
        ("cleanup.policy", "delete".into()),
        ("retention.ms", retention.map_or_else(|| "-1".into(), |time| time.as_millis().to_string())),
        ("retention.bytes", "-1".into()),
        ("message.timestamp.type", "CreateTime".into()),
        ("message.timestamp.before.max.ms", NO_LIMIT_MS.into()),
        ("message.timestamp.after.max.ms", NO_LIMIT_MS.into()),
        ("max.message.bytes", MAX_BATCH_BYTES.to_string()),
    ];
    if retention.is_none() {
        config.push(("segment.ms", SEGMENT_MS.into()));
    }
    let by_copies = settings.replication.map(|copies| copies.saturating_sub(1).max(1));
    if let Some(min_insync) = settings.min_insync.or(by_copies) {
        config.push(("min.insync.replicas", min_insync.to_string()));
    }
    config
}

/// Makes one topic when it is not there, and gives it its incarnation.
pub(super) async fn ensure_topic(
    tools: &Tools,
    name: &str,
    partitions: u32,
    retention: Option<Duration>,
) -> Result<TopicReport> {
    let outer = tools.settings.outer_name(name);
    let config = wanted(&tools.settings, retention);
    let created = meta::ensure_incarnation(tools, &outer, partitions, &config).await?;
    let actual = tools.partition_count(&outer).await?;
    match actual {
        None => return Err(BusError::NotPrepared { topic: outer, reason: "disappeared" }),
        Some(actual) if actual != partitions => {
            return Err(BusError::PartitionCount { topic: outer, actual, wanted: partitions });
        }
        Some(_) => {}
    }
    let remarks = if created { Vec::new() } else { remarks(tools, &outer, &config).await? };
    Ok(TopicReport { topic: outer, created, remarks })
}

/// Makes the topic of incarnations and notes when it is not there.
pub(super) async fn ensure_meta_topic(tools: &Tools) -> Result<()> {
    let outer = tools.settings.outer_name(META_TOPIC);
    if tools.partition_count(&outer).await?.is_none() {
        let mut config: Vec<(&str, String)> = vec![("cleanup.policy", "compact".into())];
        config.extend(
            wanted(&tools.settings, None).into_iter().filter(|(key, _)| *key == "min.insync.replicas"),
        );
        tools.create(&outer, 1, &config).await?;
        tools.wait_until_seen(&outer, 1).await?;
    }
    Ok(())
}

async fn remarks(tools: &Tools, outer: &str, wanted: &[(&str, String)]) -> Result<Vec<String>> {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let actual = describe(&tools.settings, &tools.health, outer, &names).await?;
    let differing = wanted.iter().zip(actual).filter(|((name, value), actual)| {
        // Segments may be cut as anybody likes: nothing is lost or refused by it.
        *name != "segment.ms" && actual.as_ref().is_some_and(|actual| actual != value)
    });
    Ok(differing
        .map(|((name, value), actual)| format!("`{name}` is {}, not {value}", actual.unwrap_or_default()))
        .collect())
}

/// Whether a topic is declared to keep its records for ever.
pub(super) async fn keeps_for_ever(
    settings: &KafkaSettings,
    health: &Arc<Health>,
    outer: &str,
) -> Result<bool> {
    let found =
        describe(settings, health, outer, &["retention.ms", "retention.bytes", "cleanup.policy"]).await?;
    Ok(found.iter().map(Option::as_deref).eq([Some("-1"), Some("-1"), Some("delete")]))
}

/// The values of these configurations of a topic.
async fn describe(
    settings: &KafkaSettings,
    health: &Arc<Health>,
    outer: &str,
    names: &[&str],
) -> Result<Vec<Option<String>>> {
    const DOING: &str = "tell how a topic is configured";
    let client = client(settings, health)?;
    let asked = [ResourceSpecifier::Topic(outer)];
    let described = client.describe_configs(&asked, &options(settings)).await;
    retire(client);
    let described = described.map_err(|error| health.explain(DOING, Some(outer), &error))?;
    let resource = match described.into_iter().next() {
        Some(Ok(resource)) => resource,
        Some(Err(code)) => return Err(health.explain_code(DOING, Some(outer), code)),
        None => return Err(health.timed_out(DOING)),
    };
    Ok(names.iter().map(|name| resource.get(name).and_then(|entry| entry.value.clone())).collect())
}

/// A client for administration, made for one request: nobody serves its callbacks in between.
fn client(settings: &KafkaSettings, health: &Arc<Health>) -> Result<AdminClient<Events>> {
    let mut config = settings.client_config();
    config.remove("allow.auto.create.topics");
    AdminClient::from_config_and_context(&config, Events(Arc::clone(health)))
        .map_err(|error| BusError::Settings(error.to_string()))
}

/// Drops the client. It waits for its thread, which must not hold up other tasks.
fn retire(client: AdminClient<Events>) {
    std::thread::spawn(move || drop(client));
}

fn options(settings: &KafkaSettings) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(settings.timeout)).operation_timeout(Some(settings.timeout))
}
