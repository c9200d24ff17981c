//! The engine on Apache Kafka.
//!
//! Reading order: [`settings`] (the address), `record` (a record as Kafka has it), `producer` (appends), `reader` and
//! `positions` (reads without a group), `consumer`, `poller`, `batch`, `rebalance` and `repair` (the consumer of a group: the
//! owner's side, the thread that polls, what it hands over, the group's decisions, lost offsets), `meta` (incarnations and notes), `admin` (topics),
//! `health` (what librdkafka says besides its answers).
//!
//! Rights that a user needs in a cluster with access control, under the names with their prefix: `Describe`,
//! `DescribeConfigs`, `Read` and `Write` on the topics and on `annals.meta`, `Read` and `Describe` on the groups
//! `annals.*`, `IdempotentWrite` on older clusters; and for `annals topics ensure` also `Create` on the topics.

mod admin;
mod batch;
mod consumer;
mod group;
mod health;
mod meta;
mod poller;
mod positions;
mod producer;
mod reader;
mod rebalance;
mod record;
mod repair;
pub mod settings;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use tokio::task::AbortHandle;
use uuid::Uuid;

pub use admin::TopicReport;
pub use settings::KafkaSettings;

use crate::{
    Bus, BusError, Consumer, GroupMember, Partition, Position, ReadLimit, Record, Result, StartPositions,
    StoredRecord,
};
use admin::Tools;
use health::Health;
use meta::{META_TOPIC, Meta};
use producer::{Appender, Target};
use reader::Readers;

/// How often a log in trouble is asked whether it is there again.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How often clients that nobody uses are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How long opening waits for somebody who is making the topics right now.
const MAKER_PATIENCE: Duration = Duration::from_secs(3);

/// A topic of the log.
struct Topic {
    /// Its name in the cluster.
    outer: String,
    partitions: u32,
    incarnation: Uuid,
}

impl Topic {
    /// Its partitions, in order; `name` is its name in annals.
    fn partitions(&self, name: &str) -> Vec<Partition> {
        (0..self.partitions).map(|number| Partition::new(name, number)).collect()
    }
}

/// What every part of the engine shares.
struct Shared {
    settings: KafkaSettings,
    health: Arc<Health>,
    readers: Arc<Readers>,
    appender: Appender,
    /// By their names in annals.
    topics: BTreeMap<String, Topic>,
}

impl Shared {
    fn topic(&self, name: &str) -> Result<&Topic> {
        self.topics.get(name).ok_or_else(|| BusError::UnknownTopic(name.to_owned()))
    }

    fn find(&self, partition: &Partition) -> Result<&Topic> {
        let topic = self.topics.get(&*partition.topic).filter(|topic| partition.number < topic.partitions);
        topic.ok_or_else(|| BusError::UnknownPartition(partition.clone()))
    }
}

/// The event log on Apache Kafka.
pub struct KafkaBus {
    shared: Arc<Shared>,
    upkeep: AbortHandle,
}

impl KafkaBus {
    /// Makes the topics (name, partitions) that are missing, each with an incarnation of its own, and looks how the others
    /// are configured. `retention` is how long their records are kept; for ever without one. Several processes may do
    /// this at once. A topic that was removed since comes back as another incarnation.
    ///
    /// # Errors
    /// [`BusError::PartitionCount`] when a topic has another partition count; [`BusError::Unavailable`] and
    /// [`BusError::Refused`] when nobody answers or the right to make topics is missing.
    pub async fn ensure_topics(
        settings: &KafkaSettings,
        topics: &[(&str, u32)],
        retention: Option<Duration>,
    ) -> Result<Vec<TopicReport>> {
        let health = Arc::new(Health::new(settings));
        let readers = Arc::new(Readers::new(settings, Arc::clone(&health)));
        let appender = Appender::new(settings, Arc::clone(&health))?;
        let tools = Tools { settings: settings.clone(), health, readers, appender };
        let result = ensure_all(&tools, topics, retention).await;
        tools.appender.close().await;
        tools.readers.close().await;
        // Its producer waits for its thread.
        let _ = tokio::task::spawn_blocking(move || drop(tools)).await;
        result
    }

    /// Opens a log whose topics (name, partitions) were made by [`ensure_topics`](Self::ensure_topics).
    ///
    /// # Errors
    /// [`BusError::NotPrepared`] when a topic is missing, [`BusError::PartitionCount`] when it has another partition
    /// count, [`BusError::Unavailable`] when nobody answers in time, [`BusError::Refused`] when the login, the
    /// certificates or the rights are not enough.
    pub async fn open(settings: &KafkaSettings, topics: &[(&str, u32)]) -> Result<Self> {
        let health = Arc::new(Health::new(settings));
        let readers = Arc::new(Readers::new(settings, Arc::clone(&health)));
        first_contact(settings, &readers).await?;
        let topics = look_up(settings, &readers, topics).await?;
        let appender = Appender::new(settings, Arc::clone(&health))?;
        let shared = Arc::new(Shared { settings: settings.clone(), health, readers, appender, topics });
        let upkeep = tokio::spawn(keep_up(Arc::downgrade(&shared))).abort_handle();
        Ok(Self { shared, upkeep })
    }
}

async fn ensure_all(
    tools: &Tools,
    topics: &[(&str, u32)],
    retention: Option<Duration>,
) -> Result<Vec<TopicReport>> {
    first_contact(&tools.settings, &tools.readers).await?;
    admin::ensure_meta_topic(tools).await?;
    let mut reports = Vec::with_capacity(topics.len());
    for &(name, partitions) in topics {
        reports.push(admin::ensure_topic(tools, name, partitions, retention).await?);
    }
    Ok(reports)
}

async fn first_contact(settings: &KafkaSettings, readers: &Arc<Readers>) -> Result<()> {
    let meta = settings.outer_name(META_TOPIC);
    readers.with(None, move |reader| reader.first_contact(&meta)).await
}

/// The topics as the log has them.
async fn look_up(
    settings: &KafkaSettings,
    readers: &Arc<Readers>,
    wanted: &[(&str, u32)],
) -> Result<BTreeMap<String, Topic>> {
    let names: Vec<String> = [META_TOPIC]
        .iter()
        .chain(wanted.iter().map(|(name, _)| name))
        .map(|name| settings.outer_name(name))
        .collect();
    let wait = settings.timeout;
    let counts = readers
        .with(None, move |reader| {
            let count = |name: String| reader.partition_count(&name, wait).map(|count| (name, count));
            names.into_iter().map(count).collect::<Result<Vec<_>>>()
        })
        .await?;
    if let Some((topic, _)) = counts.iter().find(|(_, count)| count.is_none()) {
        return Err(BusError::NotPrepared { topic: topic.clone(), reason: "is missing" });
    }
    let give_up = Instant::now() + MAKER_PATIENCE;
    loop {
        let meta = Meta::read(readers, settings).await?;
        match with_incarnations(settings, wanted, &counts[1..], &meta) {
            Err(BusError::NotPrepared { .. }) if Instant::now() < give_up && meta.is_being_made() => {
                tokio::time::sleep(PROBE_INTERVAL).await;
            }
            result => return result,
        }
    }
}

fn with_incarnations(
    settings: &KafkaSettings,
    wanted: &[(&str, u32)],
    counts: &[(String, Option<u32>)],
    meta: &Meta,
) -> Result<BTreeMap<String, Topic>> {
    let mut topics = BTreeMap::new();
    for (&(name, wanted), (outer, actual)) in wanted.iter().zip(counts) {
        let actual = actual.unwrap_or_default();
        if actual != wanted {
            return Err(BusError::PartitionCount { topic: outer.clone(), actual, wanted });
        }
        let known = meta.incarnations(&settings.outer_name(name));
        let Some(incarnation) = known.made.filter(|_| known.intended.is_empty()) else {
            return Err(BusError::NotPrepared { topic: outer.clone(), reason: "has no incarnation" });
        };
        topics.insert(name.to_owned(), Topic { outer: outer.clone(), partitions: wanted, incarnation });
    }
    Ok(topics)
}

/// Asks a log that may be in trouble until it answers, and closes clients that nobody uses.
async fn keep_up(shared: Weak<Shared>) {
    let Some(health) = shared.upgrade().map(|shared| Arc::clone(&shared.health)) else { return };
    loop {
        let alarmed = tokio::select! {
            () = health.alarm.notified() => true,
            () = tokio::time::sleep(SWEEP_INTERVAL) => false,
        };
        let Some(shared) = shared.upgrade() else { return };
        let readers = Arc::clone(&shared.readers);
        let _ = tokio::task::spawn_blocking(move || readers.sweep()).await;
        if alarmed || health.trouble().is_some() {
            // What it finds out, the health hears.
            let _ = first_contact(&shared.settings, &shared.readers).await;
        }
        drop(shared);
        if health.trouble().is_some() {
            health.alarm.notify_one();
        }
        // Callbacks of every lost connection come again and again.
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn incarnation(&self, topic: &str) -> Result<Uuid> {
        Ok(self.shared.topic(topic)?.incarnation)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.health.trouble()
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>> {
        Ok(self.shared.topic(topic)?.partitions(topic))
    }

    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>> {
        let known = self.shared.topic(topic)?;
        let target = Target { name: topic, outer: &known.outer, partitions: known.partitions };
        let places = self.shared.appender.append(&target, records).await?;
        let incarnation = known.incarnation;
        let position = |(partition, offset)| Position { incarnation, partition, offset };
        Ok(places.into_iter().map(position).collect())
    }

    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        positions::read(&self.shared, partition, from, limit).await
    }

    async fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(consumer::KafkaConsumer::start(&self.shared, group, topics, starts, limit)?))
    }

    async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>> {
        let (group, settings) = (self.shared.settings.outer_name(group), self.shared.settings.clone());
        let work = move |reader: &mut reader::Reader| {
            let list = reader
                .consumer
                .fetch_group_list(Some(&group), reader.timeout)
                .map_err(|error| reader.health.explain("tell its groups", None, &error))?;
            let members = list.groups().iter().flat_map(|group| group.members());
            let member = |member: &rdkafka::groups::GroupMemberInfo| {
                group::member(member.client_id(), member.client_host(), member.assignment(), &settings)
            };
            Ok(members.map(member).collect())
        };
        self.shared.readers.with(None, work).await
    }

    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        positions::edges(&self.shared, topics, Offset::Beginning).await
    }

    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>> {
        positions::edges(&self.shared, topics, Offset::End).await
    }

    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64> {
        positions::position_at(&self.shared, partition, time).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>> {
        let mut meta = Meta::read(&self.shared.readers, &self.shared.settings).await?;
        Ok(meta.note(key))
    }

    async fn set_note(&self, key: &str, text: &str) -> Result<()> {
        meta::write_note(&self.shared.appender, &self.shared.settings, key, text).await
    }

    async fn close(&self) {
        self.shared.appender.close().await;
        self.upkeep.abort();
        self.shared.readers.close().await;
    }
}

impl Drop for KafkaBus {
    fn drop(&mut self) {
        self.upkeep.abort();
    }
}
