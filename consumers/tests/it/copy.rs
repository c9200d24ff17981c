//! Copies: whole, again, interrupted anywhere, and refused where they must be.

mod archive;
mod faults;
mod into_log;
mod kafka;
mod property;
mod refused;

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_bus::{Bus, EmbeddedBus, Header, Partition, ReadLimit, Record, StoredRecord};
use annals_consumers::copy::{self, CopyError, Limits, LogSource, Summary};
use annals_store::DataDir;
use bytes::Bytes;
use chrono::{DateTime, Utc};

/// The topics of most tests.
const TOPICS: [&str; 2] = ["alpha", "beta"];

/// How many partitions they have.
const COUNTS: [(&str, u32); 2] = [("alpha", 3), ("beta", 1)];

/// Small pieces, so that a few records are many chunks and files.
const SMALL: Limits = Limits { chunk: ReadLimit { records: 7, bytes: 1024 }, file_bytes: 2048 };

/// A log in a directory that goes away.
struct Log {
    bus: Arc<dyn Bus>,
    _folder: tempfile::TempDir,
}

async fn log_with(counts: &[(&str, u32)]) -> Log {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDir::create(folder.path()).unwrap();
    Log { bus: Arc::new(EmbeddedBus::open(&directory, counts).await.unwrap()), _folder: folder }
}

async fn log() -> Log {
    log_with(&COUNTS).await
}

/// The nth record: some without a key, some that nobody can decode, times to the microsecond.
fn record(n: u64) -> Record {
    let key = (!n.is_multiple_of(11)).then(|| Bytes::from(format!("key-{}", n % 5)));
    let value = match n % 4 {
        0 => Bytes::new(),
        1 => Bytes::from(n.to_be_bytes().to_vec()),
        2 => Bytes::from(format!("\u{0}\u{0}\u{0}\u{0}\u{7}framed by a registry, perhaps {n}")),
        _ => Bytes::from(vec![n as u8; 90]),
    };
    let headers =
        (0..n % 3).map(|h| (format!("ce_{h}").into(), Bytes::from(vec![h as u8, n as u8]))).collect();
    let recorded_at = DateTime::from_timestamp_micros(1_700_000_000_123_456 + 1_001 * n as i64);
    Record { key, value, headers, recorded_at }
}

/// Appends the records of these numbers to both topics, in batches of uneven lengths.
async fn fill(bus: &dyn Bus, numbers: std::ops::Range<u64>) {
    for topic in TOPICS {
        let records: Vec<Record> = numbers.clone().map(record).collect();
        for batch in records.chunks(13) {
            bus.append(topic, batch.to_vec()).await.unwrap();
        }
    }
}

/// Every record of a topic, per partition.
async fn read_all(bus: &dyn Bus, topic: &str) -> Vec<Vec<StoredRecord>> {
    let mut all = Vec::new();
    for (partition, from) in bus.first_positions(&[topic]).await.unwrap() {
        all.push(read_from(bus, &partition, from).await);
    }
    all
}

async fn read_from(bus: &dyn Bus, partition: &Partition, from: u64) -> Vec<StoredRecord> {
    let mut records: Vec<StoredRecord> = Vec::new();
    loop {
        let next = records.last().map_or(from, |record| record.offset + 1);
        let more = bus.read(partition, next, ReadLimit::default()).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// What a copy must keep of a record.
type Content = (DateTime<Utc>, Bytes, Vec<Header>);

/// The records of a topic per key, in their order; those without a key in an order of their own.
async fn by_key(bus: &dyn Bus, topic: &str) -> BTreeMap<Option<Bytes>, Vec<Content>> {
    let mut keys: BTreeMap<_, Vec<Content>> = BTreeMap::new();
    for record in read_all(bus, topic).await.into_iter().flatten() {
        keys.entry(record.key).or_default().push((record.recorded_at, record.value, record.headers));
    }
    if let Some(keyless) = keys.get_mut(&None) {
        keyless.sort();
    }
    keys
}

/// Copies in small pieces.
async fn copied(from: &dyn Bus, to: &dyn Bus) -> Result<Summary, CopyError> {
    copy::into_log(&LogSource::new(from), to, &TOPICS, &SMALL, &mut |_| {}).await
}

/// Asserts that the target has what the source has: every record once, those of a key in order.
#[track_caller]
fn assert_same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) {
    assert!(found == expected, "found {found:?}\nexpected {expected:?}");
}

async fn assert_copied(from: &dyn Bus, to: &dyn Bus) {
    for topic in TOPICS {
        assert_same(by_key(to, topic).await, by_key(from, topic).await);
    }
}

/// Records copied, records that were there, records that are missing: of all topics.
fn counts(summary: &Summary) -> (u64, u64, u64) {
    let sum = |field: fn(&copy::TopicSummary) -> u64| summary.topics.iter().map(field).sum();
    (sum(|topic| topic.records), sum(|topic| topic.already_there), sum(|topic| topic.missing))
}
