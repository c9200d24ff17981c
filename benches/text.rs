//! The text index of the audit view: what it costs to feed it, and what it saves a search.
//!
//! `cargo bench --bench text [-- EVENTS]` prints, on SQLite and, with `ANNALS_POSTGRES=postgres://…` of an empty database, on
//! PostgreSQL:
//! - rows per second that are written without the index, that the index takes, and that both do together;
//! - bytes of the index per row (SQLite);
//! - p50, p99 and maximum of a page of 50 with its exact total, by the number of events that contain the word.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use annals_producers::fleet::Fleet;
use annals_schemas::{ActorKind, TOPICS};
use annals_store::{DataDir, Database, Followed, GenerationReader, Partition, PostgresDb, ViewStore};
use annals_views::audit_log::{AuditField, AuditLog, AuditQuery, Memory, Scope, counted_page};
use annals_views::filter::{Case, Filter, Pattern, Test};
use annals_views::{LogEvent, View};
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

const SEED: u64 = 20_261_122;
/// Rows of one transaction, as the projector has it.
const TRANSACTION: usize = 20_000;
/// Rows of one chunk, as the projector has it before a batch.
const CHUNK: usize = 65_536;
const PAGE: u32 = 50;
/// Words that a class of them is measured with.
const WORDS: usize = 120;

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` runs benchmarks too, to see that they still work: then a few events are enough.
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let events = std::env::args().find_map(|argument| argument.parse().ok());
    let count: usize = events.unwrap_or(if measuring { 1_000_000 } else { 2_000 });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    println!("{count} events, seed {SEED}");
    runtime.block_on(async {
        let directory = DataDir::create(folder.path()).unwrap();
        let file = directory.view_db(AuditLog::NAME, 1);
        measure("SQLite", Database::Embedded(directory), count).await;
        println!(
            "  {:.0} bytes per event in the view's file",
            file.metadata().unwrap().len() as f64 / count as f64
        );
        if let Ok(url) = std::env::var("ANNALS_POSTGRES") {
            measure("PostgreSQL", Database::Postgres(PostgresDb::parse(&url).unwrap()), count).await;
        }
    });
}

async fn measure(name: &str, database: Database, count: usize) {
    println!("\n{name}");
    let control = database.control().await.unwrap();
    let tables = Some(AuditLog::tables());
    let followed =
        Followed::start(&control, &database, AuditLog::NAME, AuditLog::VERSION, tables).await.unwrap();
    let generation = followed.current().generation.number;
    let store = database.view_store(AuditLog::NAME, generation, AuditLog::tables()).await.unwrap();
    let mut fleet = Fleet::new(SEED, false);
    let customers = fleet.customers().to_vec();
    let rows = write(&*store, &mut fleet, count).await;
    let index = feed(&*store).await;
    let rate = |elapsed: Duration| count as f64 / elapsed.as_secs_f64();
    println!("  rows alone   {:>8.0} rows/s ({:.1} s)", rate(rows), rows.as_secs_f64());
    println!("  index alone  {:>8.0} rows/s ({:.1} s)", rate(index), index.as_secs_f64());
    println!(
        "  both         {:>8.0} rows/s, the index costs {:.0} %",
        rate(rows + index),
        100.0 * index.as_secs_f64() / (rows + index).as_secs_f64()
    );
    search(&followed.current(), &customers).await;
    store.close().await;
}

/// Folds and writes rows in the projector's batches; events are made outside the clock.
async fn write(store: &dyn ViewStore, fleet: &mut Fleet, count: usize) -> Duration {
    let start = Utc::now() - TimeDelta::days(30);
    let step = TimeDelta::days(30).num_microseconds().unwrap() / i64::try_from(count).unwrap();
    let mut elapsed = Duration::ZERO;
    let partition = Partition::new(TOPICS[0].name, 0);
    for first in (0..count).step_by(TRANSACTION) {
        let end = count.min(first + TRANSACTION);
        let batch: Vec<LogEvent> = (first..end)
            .map(|offset| LogEvent {
                partition: partition.clone(),
                offset: offset as u64,
                recorded_at: Utc::now(),
                misplaced: false,
                event: fleet.next(start + TimeDelta::microseconds(step * i64::try_from(offset).unwrap())),
            })
            .collect();
        let started = Instant::now();
        let prepared = AuditLog::prepare(store, AuditLog::fold(batch)).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.advance(&[annals_store::Advance {
            partition: partition.clone(),
            from: first as u64,
            to: end as u64,
            last_event_id: None,
        }])
        .await
        .unwrap();
        AuditLog::apply(&mut *tx, prepared).await.unwrap();
        tx.commit().await.unwrap();
        elapsed += started.elapsed();
    }
    elapsed
}

async fn feed(store: &dyn ViewStore) -> Duration {
    let started = Instant::now();
    while AuditLog::index(store, 1, CHUNK).await.unwrap().rows > 0 {}
    started.elapsed()
}

/// Texts of the fleet that are in few events and in many.
fn words() -> Vec<String> {
    let mut words = Vec::new();
    words.extend((0..5_000).step_by(37).map(|n| format!("DEV-{n:05}")));
    words.extend((0..50).map(|n| format!("dev-{n:03}")));
    words.extend((1..49).map(|n| format!("of port {n} to")));
    words.extend((100..400).map(|n| format!("ticket {n}")));
    words.extend((1..20).map(|n| format!("vlan {n} by")));
    for first in ["ada", "chen", "dalia", "hanna", "kaori", "nadia", "søren", "tomás"] {
        words.extend(["bauer", "ito", "petrov", "weber"].map(|last| format!("{first}.{last}")));
    }
    for change in ["Create", "update", "delete", "enable"] {
        words.extend((1..4).map(|n| format!("{change} of port {n}")));
    }
    words
}

async fn search(reader: &GenerationReader, customers: &[Uuid]) {
    let scope = Scope {
        all_of: customers.to_vec(),
        own_of: Vec::new(),
        caller: (ActorKind::PortalAccount, Uuid::nil()),
    };
    let classes = [(50, 200), (2_500, 7_500), (12_000, 20_000)];
    let mut times: [Vec<Duration>; 3] = Default::default();
    for warm in [true, false] {
        for word in words() {
            let test = Test::Like(Case::Folded, Pattern::containing(&word));
            let filter = Filter::Is(AuditField::Anything, test);
            let query = AuditQuery::newest(scope.clone(), filter, PAGE);
            let started = Instant::now();
            // Nothing is remembered: each total is counted.
            let page = counted_page(reader, &Memory::default(), &query).await.unwrap();
            let elapsed = started.elapsed();
            let class = classes.iter().position(|(least, most)| (*least..=*most).contains(&page.total));
            if let Some(class) = class
                && !warm
                && times[class].len() < WORDS
            {
                times[class].push(elapsed);
            }
        }
    }
    for ((least, most), mut times) in classes.into_iter().zip(times) {
        times.sort();
        let at = |part: f64| {
            times
                .get((times.len() as f64 * part) as usize)
                .or(times.last())
                .map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        println!(
            "  {least:>6} to {most:>6} matches: p50 {:.1} ms, p99 {:.1} ms, maximum {:.1} ms of {} words",
            at(0.5),
            at(0.99),
            at(1.0),
            times.len()
        );
    }
}
