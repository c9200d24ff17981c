//! What must not be copied, and what must not be copied into: refused with the reason, and nothing is written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use annals_bus::{Bus, EmbeddedBus, Partition, ReadLimit, Record, StoredRecord};
use annals_consumers::copy::{self, CopyError, Extent, LogSource, Source, SourceTopic};
use annals_store::DataDir;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::Faulty;
use super::{COUNTS, SMALL, TOPICS, assert_copied, copied, fill, log, log_with, read_all, record};

async fn note(bus: &dyn Bus) -> Value {
    serde_json::from_str(&bus.note("copy:alpha").await.unwrap().unwrap()).unwrap()
}

/// Asserts that a copy is refused, and that the target stays as it was.
async fn refused(from: &dyn Bus, to: &dyn Bus) -> CopyError {
    let before =
        (read_all(to, "alpha").await, read_all(to, "beta").await, to.note("copy:alpha").await.unwrap());
    let error = copied(from, to).await.unwrap_err();
    let after =
        (read_all(to, "alpha").await, read_all(to, "beta").await, to.note("copy:alpha").await.unwrap());
    assert!(before == after, "the target was changed: {error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_not_copied_into_itself() {
    let from = log().await;
    fill(&*from.bus, 0..10).await;
    assert!(matches!(refused(&*from.bus, &*from.bus).await, CopyError::SameLog { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_records_of_its_own_is_refused_also_in_a_later_topic() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..10).await;
    to.bus.append("beta", vec![record(1), record(2)]).await.unwrap();
    let error = refused(&*from.bus, &*to.bus).await;
    assert!(matches!(&error, CopyError::NotEmpty { topic, records: 2 } if topic == "beta"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_is_refused_unless_nothing_was_copied_yet() {
    let (empty, from, other, to) = (log().await, log().await, log().await, log().await);
    copied(&*empty.bus, &*to.bus).await.unwrap();
    fill(&*from.bus, 0..30).await;
    copied(&*from.bus, &*to.bus).await.unwrap();
    fill(&*other.bus, 0..60).await;
    let error = refused(&*other.bus, &*to.bus).await;
    assert!(matches!(error, CopyError::OtherSource { .. }), "{error}");
    fill(&*from.bus, 30..40).await;
    copied(&*from.bus, &*to.bus).await.unwrap();
    assert_copied(&*from.bus, &*to.bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_restored_from_a_backup_and_went_on_otherwise_is_refused() {
    let (lost, restored, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), log().await);
    let archive = lost.path().join("archive");
    let open =
        async |folder: &Path| EmbeddedBus::open(&DataDir::create(folder).unwrap(), &COUNTS).await.unwrap();
    let from = open(lost.path()).await;
    fill(&from, 0..20).await;
    from.close().await;
    DataDir::create(restored.path()).unwrap();
    for file in ["log.db", "log.db-wal"] {
        let _ = std::fs::copy(lost.path().join(file), restored.path().join(file));
    }
    let (from, backup) = (open(lost.path()).await, open(restored.path()).await);
    fill(&from, 20..40).await;
    copied(&from, &*to.bus).await.unwrap();
    copy::into_archive(&LogSource::new(&from), &archive, &TOPICS, &SMALL, &mut |_| {}).await.unwrap();
    fill(&backup, 40..90).await;
    let error = refused(&backup, &*to.bus).await;
    assert!(matches!(error, CopyError::SourceChanged { .. }), "{error}");
    let into = copy::into_archive(&LogSource::new(&backup), &archive, &TOPICS, &SMALL, &mut |_| {}).await;
    assert!(matches!(into, Err(CopyError::SourceChanged { .. })), "{into:?}");
    // The log that was copied goes on, also where retention has removed what would be compared.
    let retained = Faulty { first: AtomicU64::new(1_000), ..Faulty::new(&(Arc::new(from) as Arc<dyn Bus>)) };
    copied(&retained, &*to.bus).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_noticed_between_two_copies() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..30).await;
    copied(&*from.bus, &*to.bus).await.unwrap();
    to.bus.append("beta", vec![record(7)]).await.unwrap();
    let error = refused(&*from.bus, &*to.bus).await;
    assert!(matches!(error, CopyError::OtherWriter { expected: 30, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_noticed_in_what_an_interruption_left() {
    for kept in [vec![0, 0, 0], vec![2, 1, 0]] {
        let (from, to) = (log().await, log().await);
        fill(&*from.bus, 0..60).await;
        let faulty = Faulty { appends: AtomicU64::new(4), kept, ..Faulty::new(&to.bus) };
        copied(&*from.bus, &faulty).await.unwrap_err();
        to.bus.append("alpha", vec![Record { value: Bytes::from_static(b"x"), ..record(1) }]).await.unwrap();
        let error = refused(&*from.bus, &*to.bus).await;
        assert!(matches!(error, CopyError::NotOurs { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_writer_is_noticed_while_copying() {
    /// Writes to the target whenever it is read from.
    struct Meddler<'a>(LogSource<'a>, &'a dyn Bus);

    #[async_trait]
    impl Source for Meddler<'_> {
        async fn topic(&self, topic: &str) -> copy::Result<Option<SourceTopic>> {
            self.0.topic(topic).await
        }

        async fn read(
            &self,
            partition: &Partition,
            from: u64,
            limit: ReadLimit,
        ) -> copy::Result<Vec<StoredRecord>> {
            if from > 0 {
                self.1.append(&partition.topic, vec![Record::default()]).await.unwrap();
            }
            self.0.read(partition, from, limit).await
        }
    }

    let (from, to) = (log().await, log_with(&[("alpha", 1)]).await);
    fill(&*from.bus, 0..60).await;
    let source = Meddler(LogSource::new(&*from.bus), &*to.bus);
    let error = copy::into_log(&source, &*to.bus, &["alpha"], &SMALL, &mut |_| {}).await.unwrap_err();
    let CopyError::OtherWriter { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!(found, expected + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_or_target_that_lost_records_is_refused() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..30).await;
    copied(&*from.bus, &*to.bus).await.unwrap();
    let whole = note(&*to.bus).await;
    let mut beyond = whole.clone();
    beyond["next"][0] = json!(whole["next"][0].as_u64().unwrap() + 1);
    to.bus.set_note("copy:alpha", &beyond.to_string()).await.unwrap();
    let error = refused(&*from.bus, &*to.bus).await;
    assert!(matches!(error, CopyError::SourceBehind { .. }), "{error}");
    let mut beyond = whole.clone();
    beyond["ends"][0] = json!(whole["ends"][0].as_u64().unwrap() + 1);
    to.bus.set_note("copy:alpha", &beyond.to_string()).await.unwrap();
    let error = refused(&*from.bus, &*to.bus).await;
    assert!(matches!(error, CopyError::TargetBehind { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_of_another_target_says_nothing_and_one_of_a_newer_annals_is_refused() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..30).await;
    copied(&*from.bus, &*to.bus).await.unwrap();
    let mut noted = note(&*to.bus).await;
    noted["later"] = json!(1);
    to.bus.set_note("copy:alpha", &noted.to_string()).await.unwrap();
    assert!(matches!(refused(&*from.bus, &*to.bus).await, CopyError::Note { .. }));
    // As after a topic that was removed and made again.
    noted.as_object_mut().unwrap().remove("later");
    noted["target"] = json!(Uuid::new_v4());
    to.bus.set_note("copy:alpha", &noted.to_string()).await.unwrap();
    assert!(matches!(refused(&*from.bus, &*to.bus).await, CopyError::NotEmpty { .. }));
    let fresh = log().await;
    fresh.bus.set_note("copy:alpha", &noted.to_string()).await.unwrap();
    copied(&*from.bus, &*fresh.bus).await.unwrap();
    assert_copied(&*from.bus, &*fresh.bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_retention_removed_after_an_interruption_is_refused() {
    let (from, to) = (log().await, log().await);
    fill(&*from.bus, 0..60).await;
    let faulty = Faulty { appends: AtomicU64::new(0), kept: vec![1, 1, 1], ..Faulty::new(&to.bus) };
    copied(&*from.bus, &faulty).await.unwrap_err();
    let source = Faulty { first: AtomicU64::new(3), ..Faulty::new(&from.bus) };
    let error = refused(&source, &*to.bus).await;
    assert!(matches!(error, CopyError::ChunkGone { noted: 7, found: 4, .. }), "{error}");
}

/// A source with a record that is larger than our logs take.
struct Large;

#[async_trait]
impl Source for Large {
    async fn topic(&self, _topic: &str) -> copy::Result<Option<SourceTopic>> {
        let partitions = vec![Extent { number: 0, first: 0, end: 1 }];
        Ok(Some(SourceTopic { incarnation: Uuid::from_u128(1), partitions }))
    }

    async fn read(&self, _: &Partition, offset: u64, _: ReadLimit) -> copy::Result<Vec<StoredRecord>> {
        let value = Bytes::from(vec![1; 2 * 1024 * 1024]);
        let record = StoredRecord { offset, recorded_at: Utc::now(), key: None, value, headers: Vec::new() };
        Ok(if offset == 0 { vec![record] } else { Vec::new() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_for_a_log_is_named_and_goes_into_an_archive() {
    let to = log_with(&[("alpha", 1)]).await;
    let error = copy::into_log(&Large, &*to.bus, &["alpha"], &SMALL, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CopyError::RecordTooLarge { offset: 0, .. }), "{error}");
    assert_eq!(to.bus.note("copy:alpha").await.unwrap(), None);
    let folder = tempfile::tempdir().unwrap();
    let summary = copy::into_archive(&Large, folder.path(), &["alpha"], &SMALL, &mut |_| {}).await.unwrap();
    assert_eq!(summary.topics[0].records, 1);
}
