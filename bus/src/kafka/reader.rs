//! Reads without a group: a few clients of librdkafka that are kept open, each standing in one partition.
//!
//! A read that continues where a client stands goes on without asking anew; rebuilds and copies read that way.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use super::health::{Events, Health, code_of, lock};
use super::record;
use super::settings::KafkaSettings;
use crate::{BusError, ReadLimit, Result, StoredRecord};

/// Clients at most. Each has threads and connections of its own.
const MAX_CLIENTS: usize = 6;

/// A client that nobody used for this long is closed.
const IDLE: Duration = Duration::from_secs(30);

/// What a client may hold that nobody asked for yet.
const PREFETCH_KIB: &str = "16384";

/// Records of one partition in one answer, in bytes.
const FETCH_BYTES: &str = "4194304";

/// How long an answer waits for more to come. At the end of a partition nothing will.
const FETCH_WAIT_MS: &str = "10";

/// How long one look for callbacks and messages may last.
const POLL: Duration = Duration::from_millis(100);

/// Callbacks that may have gathered during one request: log lines and errors of each connection.
const CALLBACKS_AT_ONCE: usize = 50;

/// How a read ended that found nothing.
pub(super) enum Edge {
    /// This is the end of the partition.
    End,
    /// The partition has no such offset, but these: the first and the next one.
    OutOfRange { first: u64, end: u64 },
}

/// The clients.
pub(super) struct Readers {
    settings: KafkaSettings,
    health: Arc<Health>,
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(settings: &KafkaSettings, health: Arc<Health>) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_CLIENTS));
        Self { settings: settings.clone(), health, idle: Mutex::default(), permits }
    }

    /// Does blocking work with a client; `place` is where it should best stand.
    pub(super) async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        place: Option<(String, u32, u64)>,
        work: impl FnOnce(&mut Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| BusError::Closed)?;
        let readers = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let mut reader = readers.take(place.as_ref())?;
            let result = work(&mut reader);
            match &result {
                Ok(_) => readers.health.answered(),
                Err(error) => readers.health.failed(error),
            }
            reader.used = Instant::now();
            if !readers.permits.is_closed() {
                lock(&readers.idle).push(reader);
            }
            drop(permit);
            result
        });
        task.await.unwrap_or_else(|_| {
            Err(BusError::Broker { operation: "be read", reason: "the reading task ended".into() })
        })
    }

    fn take(&self, place: Option<&(String, u32, u64)>) -> Result<Reader> {
        let idle = {
            let mut idle = lock(&self.idle);
            let best = idle.iter().position(|reader| place.is_some() && reader.place.as_ref() == place);
            // Else the one that was not used for the longest time: whoever reads on may need the others.
            best.or(if idle.is_empty() { None } else { Some(0) }).map(|index| idle.remove(index))
        };
        idle.map_or_else(|| Reader::new(&self.settings, &self.health), Ok)
    }

    /// Closes the clients that nobody uses.
    pub(super) fn sweep(&self) {
        let (old, kept) = std::mem::take(&mut *lock(&self.idle))
            .into_iter()
            .partition::<Vec<_>, _>(|reader| reader.used.elapsed() > IDLE);
        lock(&self.idle).extend(kept);
        drop(old);
    }

    /// Ends all reading.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *lock(&self.idle));
        let _ = tokio::task::spawn_blocking(move || drop(idle)).await;
    }
}

/// One client.
pub(super) struct Reader {
    pub(super) consumer: BaseConsumer<Events>,
    pub(super) health: Arc<Health>,
    pub(super) timeout: Duration,
    /// Topic (its outer name), partition and next offset; `None` when it stands nowhere.
    place: Option<(String, u32, u64)>,
    /// The record at that offset, when it was taken from librdkafka already but did not fit into the last read.
    ahead: Option<StoredRecord>,
    used: Instant,
}

impl Reader {
    fn new(settings: &KafkaSettings, health: &Arc<Health>) -> Result<Self> {
        let mut config = settings.client_config();
        // The group is never joined; librdkafka wants its name before it reads anything.
        config
            .set("group.id", settings.outer_name("annals.readers"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", PREFETCH_KIB)
            .set("fetch.message.max.bytes", FETCH_BYTES)
            .set("fetch.wait.max.ms", FETCH_WAIT_MS)
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100");
        let consumer = BaseConsumer::from_config_and_context(&config, Events(Arc::clone(health)))
            .map_err(|error| BusError::Settings(error.to_string()))?;
        let (health, timeout) = (Arc::clone(health), settings.timeout);
        Ok(Self { consumer, health, timeout, place: None, ahead: None, used: Instant::now() })
    }

    /// Reads from an offset on. An edge only when there is nothing.
    pub(super) fn read(
        &mut self,
        topic: &str,
        partition: u32,
        from: u64,
        limit: ReadLimit,
    ) -> Result<Result<Vec<StoredRecord>, Edge>> {
        let wanted = (topic.to_owned(), partition, from);
        let continues = self.place.as_ref() == Some(&wanted);
        // Whatever goes wrong below, it stands nowhere.
        self.place = None;
        if !continues {
            self.stand_at(topic, partition, from)?;
        }
        let (mut records, edge) = self.collect(topic, from, limit)?;
        let edge = match edge {
            // The client may have reached the end a while ago. Only one that asks anew knows.
            Some(Edge::End) if records.is_empty() && continues => {
                self.stand_at(topic, partition, from)?;
                let (more, edge) = self.collect(topic, from, limit)?;
                records = more;
                edge
            }
            edge => edge,
        };
        match edge {
            None => {
                let next = records.last().map_or(from, |record| record.offset + 1);
                self.place = Some((topic.to_owned(), partition, next));
            }
            // At the end nothing was fetched ahead that would be worth keeping.
            Some(_) => self.leave()?,
        }
        match edge {
            Some(Edge::OutOfRange { .. }) if records.is_empty() => {
                let (first, end) = self.watermarks(topic, partition)?;
                Ok(Err(Edge::OutOfRange { first, end }))
            }
            Some(Edge::End) if records.is_empty() => Ok(Err(Edge::End)),
            _ => Ok(Ok(records)),
        }
    }

    fn stand_at(&mut self, topic: &str, partition: u32, offset: u64) -> Result<()> {
        self.ahead = None;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition.cast_signed(), Offset::Offset(offset.cast_signed()))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| self.health.explain("be read", Some(topic), &error))
    }

    fn leave(&self) -> Result<()> {
        self.consumer.unassign().map_err(|error| self.health.explain("be read", None, &error))
    }

    /// Takes what is there up to the limit. Waits for the first record only.
    fn collect(
        &mut self,
        topic: &str,
        from: u64,
        limit: ReadLimit,
    ) -> Result<(Vec<StoredRecord>, Option<Edge>)> {
        let give_up = Instant::now() + self.timeout;
        let mut filling = Filling { records: self.ahead.take().into_iter().collect(), limit, bytes: 0 };
        filling.bytes = filling.records.iter().map(size).sum();
        loop {
            if filling.is_full() {
                return Ok((filling.records, None));
            }
            let wait = if filling.records.is_empty() { POLL } else { Duration::ZERO };
            match self.consumer.poll(wait) {
                Some(Ok(message)) if message.offset().unsigned_abs() < from => {}
                Some(Ok(message)) => {
                    self.ahead = filling.add(record::stored(&message));
                    if self.ahead.is_some() {
                        return Ok((filling.records, None));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok((filling.records, Some(Edge::End))),
                Some(Err(error)) => match code_of(&error) {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Ok((filling.records, Some(Edge::OutOfRange { first: 0, end: 0 })));
                    }
                    // The callbacks have told of it, and librdkafka tries again.
                    Some(code) if self.health.explain_code("be read", None, code).is_transient() => {}
                    _ => return Err(self.health.explain("be read", Some(topic), &error)),
                },
                None if !filling.records.is_empty() => return Ok((filling.records, None)),
                None if Instant::now() > give_up => return Err(self.health.timed_out("be read")),
                None => {}
            }
        }
    }

    /// The first offset that a partition has, and the one its next record will get.
    pub(super) fn watermarks(&self, topic: &str, partition: u32) -> Result<(u64, u64)> {
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition.cast_signed(), self.timeout)
            .map_err(|error| self.health.explain("be read", Some(topic), &error))?;
        Ok((low.unsigned_abs(), high.unsigned_abs()))
    }

    /// The offsets of times, in Kafka's milliseconds, or of the logical [`Offset::Beginning`] and [`Offset::End`].
    /// `None` where no record is as late.
    pub(super) fn offsets(&self, asked: &[(&str, u32, Offset)]) -> Result<Vec<Option<u64>>> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in asked {
            list.add_partition_offset(topic, partition.cast_signed(), *offset)
                .map_err(|error| self.health.explain("be read", Some(topic), &error))?;
        }
        let first = asked.first().map(|(topic, ..)| *topic);
        let answer = self
            .consumer
            .offsets_for_times(list, self.timeout)
            .map_err(|error| self.health.explain("tell its offsets", first, &error))?;
        let offset_of = |(topic, partition, _): &(&str, u32, Offset)| {
            let found = answer.find_partition(topic, partition.cast_signed());
            let Some(found) = found else { return Err(self.health.timed_out("tell its offsets")) };
            found.error().map_err(|error| self.health.explain("tell its offsets", Some(topic), &error))?;
            match found.offset() {
                Offset::Offset(offset) => Ok(Some(offset.unsigned_abs())),
                _ => Ok(None),
            }
        };
        asked.iter().map(offset_of).collect()
    }

    /// Callbacks say why there is no answer. One look serves one of them.
    fn serve_callbacks(&self) {
        for _ in 0..CALLBACKS_AT_ONCE {
            let _ = self.consumer.poll(Duration::ZERO);
        }
    }

    /// Number of partitions of a topic; `None` when there is no such topic.
    pub(super) fn partition_count(&self, topic: &str, wait: Duration) -> Result<Option<u32>> {
        let explain = |error: KafkaError| self.health.explain("tell its topics", Some(topic), &error);
        let result = self.consumer.fetch_metadata(Some(topic), wait);
        self.serve_callbacks();
        let metadata = result.map_err(explain)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(Code::from) {
            Some(code) if super::health::is_missing(code) => Ok(None),
            Some(code) => Err(self.health.explain_code("tell its topics", Some(topic), code)),
            None => Ok(Some(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))),
        }
    }

    /// Waits for the first answer of the log, but no longer than the time limit.
    pub(super) fn first_contact(&self, topic: &str) -> Result<()> {
        let give_up = Instant::now() + self.timeout;
        loop {
            match self.partition_count(topic, POLL * 5) {
                Ok(_) => return Ok(()),
                Err(error) if !error.is_transient() || Instant::now() > give_up => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Records up to a limit. The first always fits.
struct Filling {
    records: Vec<StoredRecord>,
    bytes: usize,
    limit: ReadLimit,
}

impl Filling {
    fn is_full(&self) -> bool {
        !self.records.is_empty()
            && (self.records.len() >= self.limit.records || self.bytes >= self.limit.bytes)
    }

    /// Adds a record, or gives it back when it would pass the limit.
    fn add(&mut self, record: StoredRecord) -> Option<StoredRecord> {
        let size = size(&record);
        if !self.records.is_empty() && self.bytes.saturating_add(size) > self.limit.bytes {
            return Some(record);
        }
        self.bytes += size;
        self.records.push(record);
        None
    }
}

/// What counts against a [`ReadLimit`].
pub(super) fn size(record: &StoredRecord) -> usize {
    record.value.len() + record.key.as_ref().map_or(0, |key| key.len())
}
