//! Appends: an idempotent producer, and a wait for every delivery report.
//!
//! librdkafka keeps the order of a partition over its own retries. An append that runs out of time may leave some of its
//! records in the log; whoever repeats it repeats them all.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{SubsecRound, Utc};
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::{Notify, oneshot};

use super::health::{Events, Health, code_of, lock};
use super::record;
use super::settings::KafkaSettings;
use crate::partitioner::partition_of;
use crate::{BusError, Partition, Record, Result};

/// How long an append is tried, in unanswered requests: a change of leader takes longer than one of them.
const PATIENCE_IN_TIMEOUTS: u32 = 3;

/// Records that are handed to librdkafka before other tasks get their turn.
const AT_ONCE: usize = 500;

/// How long until a full queue of librdkafka is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(2);

/// Memory of records that wait to be sent.
const QUEUE_KIB: &str = "262144";

/// Bytes of one batch on the wire.
const BATCH_BYTES: &str = "1000000";

/// Largest batch that a topic takes: our largest record with whatever Kafka and the headers add to it.
pub(super) const MAX_BATCH_BYTES: usize = 2 * crate::record::MAX_RECORD_BYTES;

/// The deliveries of one append.
struct Deliveries {
    offsets: Vec<AtomicI64>,
    left: AtomicUsize,
    failure: Mutex<Option<Code>>,
    done: Mutex<Option<oneshot::Sender<()>>>,
}

/// What travels with a record through librdkafka.
struct Ticket {
    deliveries: Arc<Deliveries>,
    index: usize,
}

struct Context(Events);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let deliveries = &ticket.deliveries;
        match result {
            Ok(message) => deliveries.offsets[ticket.index].store(message.offset(), Ordering::Relaxed),
            Err((error, _)) => {
                lock(&deliveries.failure).get_or_insert(code_of(error).unwrap_or(Code::Fail));
            }
        }
        if deliveries.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = lock(&deliveries.done).take()
        {
            let _ = done.send(());
        }
    }
}

type Producer = ThreadedProducer<Context>;

/// A topic that is appended to.
pub(super) struct Target<'a> {
    /// Its name in annals.
    pub(super) name: &'a str,
    /// Its name in the cluster.
    pub(super) outer: &'a str,
    /// Its partitions.
    pub(super) partitions: u32,
}

pub(super) struct Appender {
    settings: KafkaSettings,
    health: Arc<Health>,
    /// Replaced after an error that a producer cannot live with.
    producer: Mutex<Arc<Producer>>,
    round_robin: AtomicU32,
    closed: AtomicBool,
    under_way: AtomicUsize,
    idle: Notify,
}

impl Appender {
    pub(super) fn new(settings: &KafkaSettings, health: Arc<Health>) -> Result<Self> {
        let producer = Mutex::new(Arc::new(start(settings, &health)?));
        Ok(Self {
            settings: settings.clone(),
            health,
            producer,
            round_robin: AtomicU32::default(),
            closed: AtomicBool::default(),
            under_way: AtomicUsize::default(),
            idle: Notify::new(),
        })
    }

    /// Appends records; gives their places in their order.
    pub(super) async fn append(
        &self,
        target: &Target<'_>,
        records: Vec<Record>,
    ) -> Result<Vec<(Partition, u64)>> {
        for record in &records {
            record.checked_size()?;
        }
        let _under_way = UnderWay::begin(self)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let producer = Arc::clone(&lock(&self.producer));
        let result = self.deliver(&producer, target, &records).await;
        match &result {
            Ok(_) => {
                self.health.answered();
                metrics::counter!("annals_appended_records_total").increment(records.len() as u64);
                metrics::histogram!("annals_append_seconds").record(started.elapsed().as_secs_f64());
            }
            Err(error) => {
                self.health.failed(error);
                self.replace_if_dead(&producer);
            }
        }
        result
    }

    async fn deliver(
        &self,
        producer: &Producer,
        target: &Target<'_>,
        records: &[Record],
    ) -> Result<Vec<(Partition, u64)>> {
        let (done, all_reported) = oneshot::channel();
        let deliveries = Arc::new(Deliveries {
            offsets: records.iter().map(|_| AtomicI64::new(-1)).collect(),
            left: AtomicUsize::new(records.len()),
            failure: Mutex::default(),
            done: Mutex::new(Some(done)),
        });
        let numbers: Vec<u32> = records.iter().map(|record| self.place(record, target.partitions)).collect();
        self.enqueue(producer, target, records, &numbers, &deliveries).await?;
        all_reported.await.map_err(|_| BusError::Closed)?;
        if let Some(code) = *lock(&deliveries.failure) {
            return Err(self.failed(producer, target.name, code));
        }
        let names: Vec<Partition> = (0..target.partitions).map(|n| Partition::new(target.name, n)).collect();
        let place = |(number, offset): (u32, &AtomicI64)| {
            (names[number as usize].clone(), offset.load(Ordering::Relaxed).unsigned_abs())
        };
        Ok(numbers.into_iter().zip(&deliveries.offsets).map(place).collect())
    }

    fn place(&self, record: &Record, partitions: u32) -> u32 {
        match &record.key {
            Some(key) => partition_of(key, partitions),
            None => self.round_robin.fetch_add(1, Ordering::Relaxed) % partitions.max(1),
        }
    }

    async fn enqueue(
        &self,
        producer: &Producer,
        target: &Target<'_>,
        records: &[Record],
        numbers: &[u32],
        deliveries: &Arc<Deliveries>,
    ) -> Result<()> {
        let now = Utc::now().trunc_subsecs(6);
        let exactly_now = record::exact(now);
        let give_up = Instant::now() + self.settings.timeout * PATIENCE_IN_TIMEOUTS;
        for (index, (record, number)) in records.iter().zip(numbers).enumerate() {
            let recorded_at = record.recorded_at.unwrap_or(now);
            let ticket = Box::new(Ticket { deliveries: Arc::clone(deliveries), index });
            let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(target.outer, ticket)
                .partition(number.cast_signed())
                .payload(&record.value[..])
                .timestamp(record::timestamp_ms(recorded_at))
                .headers(match record.recorded_at {
                    None => record::headers(&record.headers, &exactly_now),
                    Some(first) => record::headers(&record.headers, &record::exact(first)),
                });
            if let Some(key) = &record.key {
                message = message.key(&key[..]);
            }
            while let Err((error, refused)) = producer.send(message) {
                if code_of(&error) != Some(Code::QueueFull) || Instant::now() > give_up {
                    let code = code_of(&error).unwrap_or(Code::Fail);
                    return Err(self.failed(producer, target.name, code));
                }
                tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                message = refused;
            }
            if index % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// What a failed delivery means.
    fn failed(&self, producer: &Producer, topic: &str, code: Code) -> BusError {
        match producer.client().fatal_error() {
            // The next append has a new producer: trying again may help.
            Some((_, reason)) => BusError::Unavailable { address: self.settings.address(), reason },
            None => self.health.explain_code("take the records", Some(topic), code),
        }
    }

    fn replace_if_dead(&self, dead: &Arc<Producer>) {
        let mut current = lock(&self.producer);
        if dead.client().fatal_error().is_some() && Arc::ptr_eq(&current, dead) {
            match start(&self.settings, &self.health) {
                Ok(fresh) => {
                    let old = std::mem::replace(&mut *current, Arc::new(fresh));
                    // Dropping it waits for its thread.
                    std::thread::spawn(move || drop(old));
                }
                Err(error) => tracing::error!(%error, "the producer cannot be started again"),
            }
        }
    }

    /// Refuses further appends and waits for those under way.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        loop {
            let idle = self.idle.notified();
            if self.under_way.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// An append that `close` waits for.
struct UnderWay<'a>(&'a Appender);

impl<'a> UnderWay<'a> {
    fn begin(appender: &'a Appender) -> Result<Self> {
        // Counted before looking: a close that comes between the two waits for this append or is seen by it.
        appender.under_way.fetch_add(1, Ordering::SeqCst);
        let under_way = Self(appender);
        if appender.closed.load(Ordering::SeqCst) { Err(BusError::Closed) } else { Ok(under_way) }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

fn start(settings: &KafkaSettings, health: &Arc<Health>) -> Result<Producer> {
    let mut config = settings.client_config();
    // Producers have no such setting: they make a topic only when the cluster lets them, and annals asks for none that
    // it has not seen.
    config.remove("allow.auto.create.topics");
    config
        .set("enable.idempotence", "true")
        .set("compression.codec", settings.compression)
        .set("linger.ms", settings.linger_ms.to_string())
        .set("batch.size", BATCH_BYTES)
        .set("message.max.bytes", MAX_BATCH_BYTES.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        .set("message.timeout.ms", (settings.timeout * PATIENCE_IN_TIMEOUTS).as_millis().to_string())
        .set("socket.timeout.ms", settings.timeout.as_millis().max(10).to_string());
    Producer::from_config_and_context(&config, Context(Events(Arc::clone(health))))
        .map_err(|error| BusError::Settings(error.to_string()))
}
