//! The same log on every pair of engines makes the same rows, dead letters and positions.

use annals_bus::Record;
use annals_consumers::for_each_view;
use annals_producers::fleet::Fleet;
use annals_schemas::{Event, TOPICS, codec};
use annals_store::{DeadLetter, StoredPosition};
use chrono::TimeDelta;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use crate::dump::Dump;
use crate::engines::{EVERY, Installation};
use crate::events::{base, events};
use crate::{active, keep, rows};

/// What a view has made of a log.
#[derive(Debug, PartialEq, Eq)]
struct Folded {
    rows: Vec<String>,
    positions: Vec<StoredPosition>,
    dead_letters: Vec<DeadLetter>,
}

/// Events that collide in every way, a fleet's, and what nobody can read.
fn log() -> Vec<(&'static str, Record)> {
    let mut runner = TestRunner::deterministic();
    let mut sample: Vec<Event> = events(400..401).new_tree(&mut runner).unwrap().current();
    let mut fleet = Fleet::new(9, true);
    sample.extend((0..1_500).map(|_| fleet.next(base())));
    let mut records: Vec<_> = sample
        .iter()
        .enumerate()
        .map(|(index, event)| {
            // Some events are from the future of their append. Kafka counts in milliseconds.
            let after = TimeDelta::milliseconds(if index % 5 == 0 { -400_000 } else { index as i64 });
            let record = Record {
                key: Some(event.key().into()),
                value: codec::encode(event).unwrap().into(),
                headers: Vec::new(),
                recorded_at: Some(base() + after),
            };
            (event.event_type().topic().name, record)
        })
        .collect();
    for (index, bytes) in
        [&b""[..], b"\xC3\x01garbage!", b"\0\0\0\0\x07x", b"{\"json\": true}"].into_iter().enumerate()
    {
        let (topic, before) = records[index * 100].clone();
        records.insert(index * 100, (topic, Record { value: bytes.to_vec().into(), ..before }));
    }
    records
}

async fn folded<V: Dump>(here: &Installation) -> Folded {
    keep::<V>(&here.engine).await;
    let generation = active::<V>(&here.engine).await;
    let store = here.engine.database.view_store(V::NAME, generation, V::tables()).await.unwrap();
    let folded = Folded {
        rows: rows::<V>(&here.engine).await,
        positions: store.positions().await.unwrap(),
        dead_letters: store.dead_letters(100).await.unwrap(),
    };
    store.close().await;
    folded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pair_of_engines_makes_the_same_of_a_log() {
    let log = log();
    let mut all: Vec<Vec<Folded>> = Vec::new();
    for engines in EVERY {
        let here = Installation::new(engines).await;
        for topic in TOPICS {
            let of_topic = log.iter().filter(|(name, _)| *name == topic.name);
            let records = of_topic.map(|(_, record)| record.clone()).collect();
            here.engine.bus.append(topic.name, records).await.unwrap();
        }
        let mut views = Vec::new();
        macro_rules! fold {
            ($view:ty) => {
                views.push(folded::<$view>(&here).await);
            };
        }
        for_each_view!(fold);
        all.push(views);
    }
    let (first, others) = all.split_first().unwrap();
    assert!(first[0].rows.len() > 1_400 && first[1].rows.len() > 200, "it is worth comparing");
    assert_eq!(first[0].dead_letters.len(), 4);
    for (engines, views) in EVERY[1..].iter().zip(others) {
        for (expected, found) in first.iter().zip(views) {
            for (expected, found) in expected.rows.iter().zip(&found.rows) {
                assert_eq!(expected, found, "{engines:?}");
            }
            assert_eq!(expected, found, "{engines:?}");
        }
    }
}
