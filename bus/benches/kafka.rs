//! Measures the engine on Apache Kafka: appends against a bare librdkafka producer, reading, and the latency of the tail.
//!
//! `ANNALS_KAFKA=HOST:PORT cargo bench -p annals-bus --bench kafka`; without it nothing is measured.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use annals_bus::{
    Bus, Delivery, KafkaBus, KafkaSettings, Partition, ReadLimit, Record, StartPositions, partitioner,
};
use async_trait::async_trait;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

const TOPIC: &str = "bench";
const PARTITIONS: u32 = 4;
const RECORDS: usize = 300_000;
const BATCH: usize = 5_000;
const ROUNDS: usize = 3;
/// Live events per second, and for how long.
const RATE: u64 = 2_000;
const LIVE: Duration = Duration::from_secs(10);

struct Beginning;

#[async_trait]
impl StartPositions for Beginning {
    async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String> {
        Ok(vec![0; partitions.len()])
    }
}

/// An event as annals has them: about 350 bytes, of which most differ from one to the next.
fn payload(n: usize) -> Vec<u8> {
    let mut state = n as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut value = format!("{n:012}|login-succeeded|user-{}@example.com|", n % 5000).into_bytes();
    while value.len() < 200 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.extend(format!("{:04x}", state >> 48).bytes());
    }
    value.extend_from_slice("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 portal.example.com /login from 10.0.0.1 with password".as_bytes());
    value
}

fn key(n: usize) -> String {
    format!("customer-{}/actor-{}", n % 7, n % 5000)
}

async fn bus() -> (String, KafkaBus) {
    let prefix = uuid::Uuid::new_v4().simple();
    let extra = std::env::var("ANNALS_KAFKA_PARAMETERS").unwrap_or_default();
    let server = std::env::var("ANNALS_KAFKA").unwrap();
    let address = format!("kafka://{server}?topic_prefix=b-{prefix}.{extra}");
    let settings = KafkaSettings::parse(&address).unwrap();
    KafkaBus::ensure_topics(&settings, &[(TOPIC, PARTITIONS)], None).await.unwrap();
    (format!("b-{prefix}.{TOPIC}"), KafkaBus::open(&settings, &[(TOPIC, PARTITIONS)]).await.unwrap())
}

#[derive(Default)]
struct Count(Arc<AtomicU64>);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What librdkafka does with the same settings when nobody wants to know anything of it but that all is delivered.
fn bare(topic: &str, records: &[(String, Vec<u8>)]) -> f64 {
    let delivered = Arc::new(AtomicU64::new(0));
    let producer: ThreadedProducer<Count> = ClientConfig::new()
        .set("bootstrap.servers", std::env::var("ANNALS_KAFKA").unwrap())
        .set("enable.idempotence", "true")
        .set("compression.codec", "lz4")
        .set("linger.ms", "2")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "262144")
        .create_with_context(Count(Arc::clone(&delivered)))
        .unwrap();
    // The connection and the producer's id are not measured.
    producer.send(BaseRecord::<(), ()>::to(topic)).unwrap();
    producer.flush(Duration::from_secs(60)).unwrap();
    let begun = Instant::now();
    for (key, value) in records {
        let number = partitioner::partition_of(key.as_bytes(), PARTITIONS).cast_signed();
        let mut record = BaseRecord::to(topic).key(key).payload(value).partition(number).timestamp(1);
        while let Err((error, back)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull));
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    assert_eq!(delivered.load(Ordering::Relaxed), records.len() as u64 + 1);
    records.len() as f64 / begun.elapsed().as_secs_f64()
}

async fn append(bus: &KafkaBus, records: &[(String, Vec<u8>)], callers: usize) -> f64 {
    let batches: Vec<Vec<Record>> = records
        .chunks(BATCH)
        .map(|chunk| {
            let record = |(key, value): &(String, Vec<u8>)| Record {
                key: Some(key.clone().into()),
                value: value.clone().into(),
                ..Record::default()
            };
            chunk.iter().map(record).collect()
        })
        .collect();
    let mut shares: Vec<Vec<Vec<Record>>> = (0..callers).map(|_| Vec::new()).collect();
    for (n, batch) in batches.into_iter().enumerate() {
        shares[n % callers].push(batch);
    }
    let begun = Instant::now();
    let caller = |share: Vec<Vec<Record>>| async {
        for batch in share {
            bus.append(TOPIC, batch).await.unwrap();
        }
    };
    futures_util::future::join_all(shares.into_iter().map(caller)).await;
    records.len() as f64 / begun.elapsed().as_secs_f64()
}

async fn consume(bus: &KafkaBus) -> f64 {
    let limit = ReadLimit { records: 20_000, bytes: 16 * 1024 * 1024 };
    let ends = bus.end_positions(&[TOPIC]).await.unwrap();
    let total: u64 = ends.iter().map(|(_, end)| end).sum();
    let mut consumer = bus.consumer("bench", &[TOPIC], Arc::new(Beginning), limit).await.unwrap();
    let mut seen = 0;
    let mut begun = Instant::now();
    while seen < total {
        match consumer.next().await.unwrap() {
            Delivery::Assigned(_) => begun = Instant::now(),
            Delivery::Records(parts) => {
                seen += parts.iter().map(|part| part.records.len() as u64).sum::<u64>()
            }
            Delivery::Revoked(..) => unreachable!(),
        }
    }
    total as f64 / begun.elapsed().as_secs_f64()
}

async fn read(bus: &KafkaBus) -> f64 {
    let limit = ReadLimit { records: 20_000, bytes: 16 * 1024 * 1024 };
    let begun = Instant::now();
    let mut total = 0;
    for (partition, end) in bus.end_positions(&[TOPIC]).await.unwrap() {
        let mut from = 0;
        while from < end {
            let records = bus.read(&partition, from, limit).await.unwrap();
            total += records.len();
            from = records.last().unwrap().offset + 1;
        }
    }
    total as f64 / begun.elapsed().as_secs_f64()
}

/// Milliseconds from the acknowledgement of an append until a consumer has it: median, p99, largest.
async fn latency(bus: &KafkaBus) -> (f64, f64, f64) {
    let ends = bus.end_positions(&[TOPIC]).await.unwrap();
    struct Ends(Vec<(Partition, u64)>);
    #[async_trait]
    impl StartPositions for Ends {
        async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String> {
            Ok(partitions.iter().map(|p| self.0.iter().find(|(q, _)| p == q).unwrap().1).collect())
        }
    }
    let mut consumer =
        bus.consumer("live", &[TOPIC], Arc::new(Ends(ends)), ReadLimit::default()).await.unwrap();
    assert!(matches!(consumer.next().await.unwrap(), Delivery::Assigned(_)));
    let every = Duration::from_millis(5);
    let per_append = RATE * every.as_millis() as u64 / 1000;
    let appends = (LIVE.as_millis() / every.as_millis()) as usize;
    let acknowledged = std::sync::Mutex::new(std::collections::HashMap::new());
    let base = Instant::now();
    let writer = async {
        let mut tick = tokio::time::interval(every);
        let mut under_way = futures_util::stream::FuturesUnordered::new();
        for n in 0..appends {
            tick.tick().await;
            let acknowledged = &acknowledged;
            under_way.push(async move {
                let record = |m: u64| Record {
                    key: Some(key(n + m as usize).into()),
                    value: payload(n).into(),
                    ..Record::default()
                };
                let positions = bus.append(TOPIC, (0..per_append).map(record).collect()).await.unwrap();
                let now = base.elapsed();
                let mut acknowledged = acknowledged.lock().unwrap();
                acknowledged.extend(positions.into_iter().map(|p| ((p.partition, p.offset), now)));
            });
            while futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(&mut under_way))
                .flatten()
                .is_some()
            {}
        }
        while futures_util::StreamExt::next(&mut under_way).await.is_some() {}
    };
    let reader = async {
        let mut seen = Vec::new();
        while seen.len() < appends * per_append as usize {
            if let Delivery::Records(parts) = consumer.next().await.unwrap() {
                let now = base.elapsed();
                for part in parts {
                    let places = part.records.iter().map(|r| ((part.partition.clone(), r.offset), now));
                    seen.extend(places);
                }
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(writer, reader);
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut late: Vec<f64> = seen
        .into_iter()
        .map(|(place, at)| at.saturating_sub(acknowledged[&place]).as_secs_f64() * 1000.0)
        .collect();
    late.sort_by(f64::total_cmp);
    (late[late.len() / 2], late[late.len() * 99 / 100], late[late.len() - 1])
}

#[tokio::main]
async fn main() {
    if std::env::var_os("ANNALS_KAFKA").is_none() {
        println!("ANNALS_KAFKA is not set: nothing to measure");
        return;
    }
    let records: Vec<(String, Vec<u8>)> = (0..RECORDS).map(|n| (key(n), payload(n))).collect();
    let bytes = records.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() / RECORDS;
    println!("{RECORDS} records of {bytes} bytes, {PARTITIONS} partitions, batches of {BATCH}");
    for round in 1..=ROUNDS {
        let (topic, bus) = bus().await;
        append(&bus, &records[..BATCH], 1).await;
        let ours = append(&bus, &records, 1).await;
        let several = append(&bus, &records, 4).await;
        let bare = tokio::task::block_in_place(|| bare(&topic, &records));
        println!(
            "round {round}: append {ours:.0}/s, by 4 callers {several:.0}/s, bare librdkafka {bare:.0}/s: {:.2} and {:.2} of it",
            ours / bare,
            several / bare
        );
        println!("round {round}: consume {:.0}/s, read {:.0}/s", consume(&bus).await, read(&bus).await);
        bus.close().await;
    }
    let (_, bus) = bus().await;
    let (median, p99, largest) = latency(&bus).await;
    println!(
        "visible after acknowledgement at {RATE}/s: median {median:.1} ms, p99 {p99:.1} ms, largest {largest:.1} ms"
    );
    bus.close().await;
}
