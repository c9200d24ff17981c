//! Random logs, random partitions, random interruptions: in the end the target has what the source has.

use std::sync::atomic::AtomicU64;

use annals_bus::{ReadLimit, Record};
use annals_consumers::copy::{self, ArchiveSource, Limits, LogSource};
use bytes::Bytes;
use chrono::DateTime;
use proptest::prelude::*;

use super::faults::Faulty;
use super::{assert_copied, log_with};

/// A key out of a few, a value out of fewer: neighbours that are equal are the difficult ones.
fn any_record() -> impl Strategy<Value = Record> {
    let key = prop::option::weighted(0.8, 0..6_u8);
    (key, 0..3_u8, 0..2_usize, 0..50_i64).prop_map(|(key, value, headers, micros)| Record {
        key: key.map(|key| Bytes::from(vec![key; usize::from(key)])),
        value: Bytes::from(vec![value; usize::from(value) * 20]),
        headers: vec![("h".into(), Bytes::from(vec![value])); headers],
        recorded_at: DateTime::from_timestamp_micros(1_700_000_000_000_000 + micros),
    })
}

#[derive(Clone, Debug)]
struct Break {
    appends: u64,
    notes: u64,
    reads: u64,
    kept: Vec<usize>,
    through_archive: bool,
    /// Records that the source gets before the next attempt.
    grown: usize,
}

fn any_break() -> impl Strategy<Value = Break> {
    (0..9_u64, 0..12_u64, 3..40_u64, prop::collection::vec(0..6_usize, 4), any::<bool>(), 0..20_usize)
        .prop_map(|(appends, notes, reads, kept, through_archive, grown)| Break {
            appends,
            notes,
            reads,
            kept,
            through_archive,
            grown,
        })
}

async fn run(records: Vec<Record>, (from_count, to_count): (u32, u32), chunk: usize, breaks: Vec<Break>) {
    let counts = |count| [("alpha", count), ("beta", 1)];
    let (from, to) = (log_with(&counts(from_count)).await, log_with(&counts(to_count)).await);
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { chunk: ReadLimit { records: chunk, bytes: 200 }, file_bytes: 900 };
    let topics = ["alpha", "beta"];
    let mut growth = records.clone().into_iter().cycle();
    for topic in topics {
        from.bus.append(topic, records.clone()).await.unwrap();
    }
    for Break { appends, notes, reads, kept, through_archive, grown } in breaks {
        let target = Faulty {
            appends: AtomicU64::new(appends),
            notes: AtomicU64::new(notes),
            kept,
            ..Faulty::new(&to.bus)
        };
        let source = Faulty { reads: AtomicU64::new(reads), ..Faulty::new(&from.bus) };
        let source = LogSource::new(&source);
        if through_archive {
            let _ = copy::into_archive(&source, folder.path(), &topics, &limits, &mut |_| {}).await;
            if let Ok(source) = ArchiveSource::open(folder.path(), &mut |_| {}).await {
                let _ = copy::into_log(&source, &target, &topics, &limits, &mut |_| {}).await;
            }
        } else {
            let _ = copy::into_log(&source, &target, &topics, &limits, &mut |_| {}).await;
        }
        if !records.is_empty() {
            from.bus.append("alpha", growth.by_ref().take(grown).collect()).await.unwrap();
        }
    }
    let source = LogSource::new(&*from.bus);
    copy::into_log(&source, &*to.bus, &topics, &limits, &mut |_| {}).await.unwrap();
    assert_copied(&*from.bus, &*to.bus).await;
    copy::into_archive(&source, folder.path(), &topics, &limits, &mut |_| {}).await.unwrap();
    let restored = log_with(&counts(to_count)).await;
    let source = ArchiveSource::open(folder.path(), &mut |_| {}).await.unwrap();
    copy::into_log(&source, &*restored.bus, &topics, &limits, &mut |_| {}).await.unwrap();
    assert_copied(&*from.bus, &*restored.bus).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whatever_interrupts_it_a_copy_ends_with_the_same_records(
        records in prop::collection::vec(any_record(), 0..80),
        partitions in (1..5_u32, 1..5_u32),
        chunk in 1..12_usize,
        breaks in prop::collection::vec(any_break(), 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(records, partitions, chunk, breaks));
    }
}
