//! One million audit events on one machine: into the log and the audit view, and out again over HTTP.
//!
//! `cargo bench --bench million [-- EVENTS]` prints, in one run:
//! - events per second end to end (encoded, durable in the log, decoded, folded with all indexes), beside a program
//!   that only inserts the same rows into the same tables with the same settings, and the ratio;
//! - time until a server on that directory is ready, and its resident memory when idle after it;
//! - p50, p99 and maximum of `get_events` pages over HTTP.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "support/client.rs"]
mod client;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_access::{Access, Author, Permission, Secret};
use annals_bus::{Bus, EmbeddedBus};
use annals_consumers::{Engine, Projector, StopSignal};
use annals_producers::Publisher;
use annals_producers::fleet::{CUSTOMERS, Fleet};
use annals_schemas::{Event, TOPICS};
use annals_store::generations;
use annals_store::sqlite::SqliteViewStore;
use annals_store::{ControlDb, DataDir, Database, Partition, ViewStore};
use annals_views::audit_log::AuditLog;
use annals_views::{LogEvent, View};
use chrono::{DateTime, TimeDelta, Utc};
use client::Client;

const SEED: u64 = 20_261_122;
/// Events of one append, as the importers have it.
const APPEND: usize = 1_000;
/// Rows of one transaction, as the projector has it.
const TRANSACTION: usize = 20_000;
const PASSWORD: &str = "bench-password";

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
    println!("{count} events, seed {SEED}, {CUSTOMERS} customers\n");
    for statement in AuditLog::tables().iter().flat_map(|table| table.sqlite_ddl()) {
        println!("{statement};");
    }
    let customers = runtime.block_on(set_up(folder.path()));
    let mut processor = Processor::now();
    let bare = runtime.block_on(bare_inserts(&customers, count));
    let bare_processor = processor.lap();
    let ours = runtime.block_on(end_to_end(folder.path(), &customers, count));
    let ours_processor = processor.lap();
    let rate = |elapsed: Duration| count as f64 / elapsed.as_secs_f64();
    println!("\nbare inserts  {:>9.0} rows/s  ({:.1} s)", rate(bare), bare.as_secs_f64());
    println!("end to end    {:>9.0} events/s ({:.1} s)", rate(ours), ours.as_secs_f64());
    println!(
        "processor     {bare_processor:.1} s bare with generating and folding, {ours_processor:.1} s end to end with generating"
    );
    println!("ratio         {:>9.2}", rate(ours) / rate(bare));
    for entry in ["log.db", "views/audit_log.1.db"] {
        let size = std::fs::metadata(folder.path().join(entry)).map_or(0, |data| data.len());
        println!("{entry:<24} {:>6.0} bytes per event", size as f64 / count as f64);
    }
    drop(runtime);
    if std::env::args().any(|argument| argument == "ingest") {
        return;
    }
    serve(folder.path(), if measuring { 300 } else { 3 });
}

/// Makes the customers, and an account that may see one of them and one that may see all.
async fn set_up(path: &Path) -> Vec<uuid::Uuid> {
    let directory = DataDir::create(path).unwrap();
    let control = ControlDb::open(&directory).await.unwrap();
    let database = Database::Embedded(directory);
    let access = Access::open(control.clone(), &database).await.unwrap().access;
    let author = Author::command_line();
    let mut customers = Vec::new();
    for n in 0..CUSTOMERS {
        let name = format!("customer-{n:02}.example");
        customers.push(access.add_customer(&name, "UTC", &author).await.unwrap().id);
        if n == 0 {
            for email in ["one@bench.example", "all@bench.example"] {
                let permissions = [Permission::ManageUsers, Permission::ViewAppliances];
                access.add_account(email, &name, &permissions, Secret::new(PASSWORD), &author).await.unwrap();
            }
        } else {
            access.grant("all@bench.example", &name, &[Permission::ManageUsers], &author).await.unwrap();
        }
    }
    control.close().await;
    customers
}

/// The same events for the same seed, spread over thirty days.
fn events(customers: &[uuid::Uuid], count: usize) -> impl Iterator<Item = Event> {
    let mut fleet = Fleet::of_customers(SEED, customers.to_vec(), false);
    let start = Utc::now() - TimeDelta::days(30);
    let step = TimeDelta::days(30).num_microseconds().unwrap() / i64::try_from(count).unwrap();
    (0..i64::try_from(count).unwrap()).map(move |n| fleet.next(start + TimeDelta::microseconds(step * n)))
}

/// Only the inserts: rows are made outside the clock, in the projector's batches.
async fn bare_inserts(customers: &[uuid::Uuid], count: usize) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteViewStore::open(&folder.path().join("bare.db"), AuditLog::tables()).await.unwrap();
    let mut elapsed = Duration::ZERO;
    let mut batch = Vec::with_capacity(TRANSACTION);
    let partition = Partition::new(TOPICS[0].name, 0);
    for (offset, event) in events(customers, count).enumerate() {
        let recorded_at: DateTime<Utc> = Utc::now();
        let partition = partition.clone();
        batch.push(LogEvent { partition, offset: offset as u64, recorded_at, misplaced: false, event });
        if batch.len() == TRANSACTION || offset + 1 == count {
            let prepared =
                AuditLog::prepare(&store, AuditLog::fold(std::mem::take(&mut batch))).await.unwrap();
            let started = Instant::now();
            let mut tx = store.begin().await.unwrap();
            AuditLog::apply(&mut *tx, prepared).await.unwrap();
            tx.commit().await.unwrap();
            elapsed += started.elapsed();
        }
    }
    store.close().await;
    elapsed
}

/// Publisher and projector side by side, until the view has the last event.
async fn end_to_end(path: &Path, customers: &[uuid::Uuid], count: usize) -> Duration {
    let directory = DataDir::open(path).unwrap();
    let control = ControlDb::open(&directory).await.unwrap();
    let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open(&directory, &topics).await.unwrap());
    let database = Database::Embedded(directory);
    let engine = Engine { database, control, bus: Arc::clone(&bus), registry: None };
    // Generated outside the clock: what is measured begins with an event in memory.
    let chunks: Vec<Vec<Event>> = {
        let all: Vec<Event> = events(customers, count).collect();
        all.chunks(APPEND).map(<[Event]>::to_vec).collect()
    };
    let publisher = Publisher::new(Arc::clone(&bus));
    let (signal, stop) = StopSignal::new();
    let started = Instant::now();
    let (_status, task) = Projector::<AuditLog>::spawn(engine.clone(), stop);
    for chunk in chunks {
        publisher.publish(&chunk).await.unwrap();
    }
    let published = started.elapsed();
    wait_for_view(&engine).await;
    let elapsed = started.elapsed();
    println!(
        "\npublished after {:.1} s, folded after {:.1} s",
        published.as_secs_f64(),
        elapsed.as_secs_f64()
    );
    signal.stop();
    task.await.unwrap();
    bus.close().await;
    engine.control.close().await;
    elapsed
}

async fn wait_for_view(engine: &Engine) {
    let topics: Vec<&str> = AuditLog::topics().iter().map(|topic| topic.name).collect();
    let ends = engine.bus.end_positions(&topics).await.unwrap();
    let active =
        generations::active_or_first(&engine.control, AuditLog::NAME, AuditLog::VERSION).await.unwrap();
    let store = engine.database.view_store(AuditLog::NAME, active.number, AuditLog::tables()).await.unwrap();
    loop {
        let positions = store.positions().await.unwrap();
        let folded = |(partition, end): &(Partition, u64)| {
            *end == 0 || positions.iter().any(|p| p.partition == *partition && p.next_offset >= *end)
        };
        if ends.iter().all(folded) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close().await;
}

/// Processor time of this process: what a noisy machine does not change.
struct Processor(f64);

impl Processor {
    fn seconds() -> f64 {
        let text = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<f64> = text
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // utime and stime, the 14th and 15th field of the file, in hundredths of a second.
        (fields[10] + fields[11]) / 100.0
    }

    fn now() -> Self {
        Self(Self::seconds())
    }

    fn lap(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.0, Self::seconds());
        self.0 - before
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server in a process of its own on the directory: readiness, memory, and pages over HTTP.
fn serve(path: &Path, rounds: usize) {
    // The first start folds what the set-up left in the outbox; the second is the one that is measured.
    for measured in [false, true] {
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_annals"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"])
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Server(child);
        let mut line = String::new();
        BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        let mut client = Client::connect(&address);
        while client.get("/readyz").0 != 200 {}
        if measured {
            println!("\nready after {} ms", started.elapsed().as_millis());
            // Idle: nothing asked, nothing to fold.
            std::thread::sleep(Duration::from_secs(5));
            let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
            println!("idle: {}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
            pages(&mut client, rounds);
        }
    }
}

fn pages(client: &mut Client, rounds: usize) {
    let day = |days: i64| (Utc::now() - TimeDelta::days(days)).format("%Y-%m-%d").to_string();
    for email in ["one@bench.example", "all@bench.example"] {
        let login = format!("/papi/login.json?username={email}&password={PASSWORD}");
        client.login(&login);
        let sample = client.json("/papi/auditlog/get_events.json?max_results=1000&orderby=ts");
        let pick = |field: &str, n: usize| -> String {
            let list = sample["data"].as_array().unwrap();
            let values: Vec<&str> = list.iter().filter_map(|event| event[field].as_str()).collect();
            values[n * 7919 % values.len()].to_owned()
        };
        println!("\npages as {email}");
        for (name, filter) in [
            ("newest", Box::new(|_| String::new()) as Box<dyn Fn(usize) -> String>),
            (
                "time range",
                Box::new(|n| {
                    format!("&start_time={}&end_time={}", day(2 + n as i64 % 27), day(n as i64 % 27))
                }),
            ),
            ("account", Box::new(|n| format!("&accounts={}", pick("account", n)))),
            ("address", Box::new(|n| format!("&source_ips={}", pick("source_ip", n)))),
            ("type", Box::new(|n| format!("&action_types={}", pick("event_name", n)))),
        ] {
            for size in [50, 1_000] {
                let mut times: Vec<Duration> = (0..rounds)
                    .map(|n| {
                        let target =
                            format!("/papi/auditlog/get_events.json?max_results={size}{}", filter(n));
                        let started = Instant::now();
                        let (status, body) = client.get(&target);
                        let elapsed = started.elapsed();
                        assert_eq!(status, 200);
                        assert!(body.starts_with(b"{\"success\": 1"), "{}", String::from_utf8_lossy(&body));
                        elapsed
                    })
                    .collect();
                times.sort();
                let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
                println!(
                    "  {name:<11} {size:>5} results: p50 {:>6.2} ms  p99 {:>6.2} ms  max {:>6.2} ms",
                    at(0.5),
                    at(0.99),
                    at(1.0)
                );
            }
        }
    }
}
