//! The same walk past one machine's files: events in Apache Kafka, folded into PostgreSQL.
//!
//! `cargo bench --bench shared -- COMMAND`, with `ANNALS_KAFKA` and `ANNALS_POSTGRES` as `deploy/dev/servers start` prints
//! them:
//! - `produce N`: makes topics and publishes N audit events; prints the rate and the bytes per event in the log;
//! - `project`: folds them into `audit_log` in a fresh database; prints the rate, and the tables with their indexes;
//! - `ceiling`: `psql \copy` of the same rows, in the order of the log, into the same tables with the same indexes over as
//!   many connections; `ceiling sorted`: in the order in which `project` wrote them, each batch sorted by customer;
//! - `visible SECONDS`: publishes 2,000 events/s and asks papi when each of a sample is there;
//! - `all N` (without a command: all 1,000,000): produce, then project and ceiling alternately five times, then visible.
//!
//! `benches/peers/debezium/run` calls `project` and `ceiling` in turns with another product.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

#[path = "support/client.rs"]
mod client;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_access::{Access, Author, Permission, Secret};
use annals_bus::{Bus, KafkaBus, KafkaSettings};
use annals_consumers::{Engine, Projector, StopSignal};
use annals_producers::Publisher;
use annals_producers::fleet::{CUSTOMERS, Fleet};
use annals_schemas::{Encoder, Event, TOPICS};
use annals_store::{Database, Partition, PostgresDb, generations};
use annals_views::View;
use annals_views::audit_log::{AuditLog, EVENTS};
use chrono::{TimeDelta, Utc};
use client::Client;

const SEED: u64 = 20_261_122;
/// Events of one append.
const APPEND: usize = 5_000;
/// Rows of one transaction of the ceiling: what one of the projector's two transactions has.
const TRANSACTION: usize = 10_000;
/// Connections of the ceiling: as many as the projector writes with.
const CONNECTIONS: usize = 2;
/// The order of the log, as its partitions are read side by side.
const LOG_ORDER: &str = r#""offset", partition"#;
const PREFIX: &str = "bench.";
const PASSWORD: &str = "bench-password";
/// Databases: the one that is folded into, and the one that has what `visible` needs.
const VIEW_DATABASE: &str = "annals_bench";

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo test --benches` only sees that it builds: the servers are not its business.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if !std::env::args().any(|argument| argument == "--bench") && arguments.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let number =
        |at: usize, default: usize| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(default);
    match arguments.first().map(String::as_str) {
        Some("produce") => runtime.block_on(produce(number(1, 1_000_000))),
        Some("project") => drop(runtime.block_on(project())),
        Some("ceiling") => {
            let sorted = arguments.get(1).is_some_and(|order| order == "sorted");
            ceiling(if sorted { "ctid" } else { LOG_ORDER });
        }
        Some("visible") => runtime.block_on(visible(number(1, 20))),
        first => {
            let count = first.map_or(1_000_000, |_| number(usize::from(first == Some("all")), 1_000_000));
            runtime.block_on(produce(count));
            let mut ratios = Vec::new();
            for round in 1..=5 {
                println!("\nround {round}");
                let ours = runtime.block_on(project());
                let bare = ceiling(LOG_ORDER);
                ratios.push(ours / bare);
                println!("ratio    {:>9.2}", ours / bare);
            }
            ratios.sort_by(f64::total_cmp);
            println!(
                "\nratio to psql \\copy over {CONNECTIONS} connections: median {:.2} of {ratios:.2?}",
                ratios[2]
            );
            runtime.block_on(visible(20));
        }
    }
}

fn settings() -> KafkaSettings {
    let address =
        std::env::var("ANNALS_KAFKA").expect("ANNALS_KAFKA says where Kafka is (deploy/dev/servers start)");
    KafkaSettings::parse(&format!("kafka://{address}?topic_prefix={PREFIX}")).unwrap()
}

/// The address of a database on the server.
fn database(name: &str) -> String {
    let address = std::env::var("ANNALS_POSTGRES").expect("ANNALS_POSTGRES says where PostgreSQL is");
    let (server, _) = address.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

fn psql(database: &str, sql: &str) -> String {
    let done =
        Command::new("psql").args([database, "-XAtqv", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn fresh_database(name: &str) -> String {
    psql(&database("annals"), &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    psql(&database("annals"), &format!("CREATE DATABASE {name}"));
    database(name)
}

fn topics() -> [(&'static str, u32); 2] {
    TOPICS.map(|topic| (topic.name, topic.partitions))
}

/// The same events for the same seed, spread over thirty days.
fn events(count: usize) -> Vec<Event> {
    let mut fleet = Fleet::new(SEED, false);
    let start = Utc::now() - TimeDelta::days(30);
    let step = TimeDelta::days(30).num_microseconds().unwrap() / i64::try_from(count).unwrap();
    (0..i64::try_from(count).unwrap())
        .map(|n| fleet.next(start + TimeDelta::microseconds(step * n)))
        .collect()
}

async fn produce(count: usize) {
    println!("{count} events, seed {SEED}, {CUSTOMERS} customers");
    KafkaBus::ensure_topics(&settings(), &topics(), None).await.unwrap();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::open(&settings(), &topics()).await.unwrap());
    let there: u64 = bus.end_positions(&["annals.audit"]).await.unwrap().iter().map(|(_, end)| end).sum();
    if there > 0 {
        println!("the log has {there} events already; they are what is folded");
        return;
    }
    let publisher = Publisher::with_encoder(Arc::clone(&bus), Encoder::default().with_headers(true));
    let all = events(count);
    let started = Instant::now();
    for chunk in all.chunks(APPEND) {
        publisher.publish(chunk).await.unwrap();
    }
    println!("published {:>9.0} events/s", count as f64 / started.elapsed().as_secs_f64());
    if let Some(directory) = std::env::var_os("ANNALS_SERVERS_DIR") {
        let bytes = log_bytes(Path::new(&directory));
        println!("log       {:>9.0} bytes per event", bytes as f64 / count as f64);
    }
    bus.close().await;
}

/// Bytes of the segments of the bench's topic.
fn log_bytes(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".log") && folder.to_string_lossy().contains("bench.annals.audit-") {
                bytes += entry.metadata().map_or(0, |data| data.len());
            }
        }
    }
    bytes
}

/// Folds the log into a fresh database. Gives rows per second.
async fn project() -> f64 {
    let address = fresh_database(VIEW_DATABASE);
    let database = Database::Postgres(PostgresDb::parse(&address).unwrap());
    let control = database.control().await.unwrap();
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::open(&settings(), &topics()).await.unwrap());
    let ends = bus.end_positions(&["annals.audit"]).await.unwrap();
    let count: u64 = ends.iter().map(|(_, end)| end).sum();
    let engine = Engine { database, control, bus, registry: None };
    let (signal, stop) = StopSignal::new();
    let started = Instant::now();
    let (_status, task) = Projector::<AuditLog>::spawn(engine.clone(), stop);
    wait_for_view(&engine, &ends).await;
    let elapsed = started.elapsed();
    signal.stop();
    task.await.unwrap();
    engine.bus.close().await;
    engine.control.close().await;
    // The fleet repeats one event in a hundred, as senders do, and the view has each once.
    let rows: f64 = psql(&address, "SELECT count(*) FROM annals_audit_log_1.events").parse().unwrap();
    assert!(rows <= count as f64 && rows > 0.98 * count as f64, "{rows} rows of {count} events");
    let rate = rows / elapsed.as_secs_f64();
    println!("project  {rate:>9.0} rows/s ({:.1} s)", elapsed.as_secs_f64());
    let sizes = psql(
        &address,
        "SELECT pg_table_size('annals_audit_log_1.events'), pg_total_relation_size('annals_audit_log_1.events')",
    );
    let sizes: Vec<f64> = sizes.split('|').map(|size| size.parse().unwrap()).collect();
    let indexes = psql(
        &address,
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'annals_audit_log_1' AND tablename = 'events' ORDER BY 1",
    );
    assert_eq!(indexes.lines().count(), 1 + EVENTS.indexes.len(), "{indexes}");
    println!("table    {:>9.0} bytes per row, {:.0} with indexes", sizes[0] / rows, sizes[1] / rows);
    rate
}

async fn wait_for_view(engine: &Engine, ends: &[(Partition, u64)]) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok(Some(active)) =
            generations::find(&engine.control, AuditLog::NAME, generations::State::Active).await
        else {
            continue;
        };
        let Ok((positions, _)) = engine.database.progress(AuditLog::NAME, active.number).await else {
            continue;
        };
        let folded = |(partition, end): &(Partition, u64)| {
            *end == 0 || positions.iter().any(|p| p.partition == *partition && p.next_offset >= *end)
        };
        if !ends.iter().all(folded) {
            continue;
        }
        // Where many records waited, indexes are made after them. That counts.
        let store =
            engine.database.view_store(AuditLog::NAME, active.number, AuditLog::tables()).await.unwrap();
        let aside = store.are_indexes_aside().await.unwrap();
        store.close().await;
        if !aside {
            return;
        }
    }
}

/// `psql \copy` of the rows that `project` made, in this order, into the same table. Gives rows per second.
fn ceiling(order: &str) -> f64 {
    let address = database(VIEW_DATABASE);
    let folder = tempfile::tempdir().unwrap();
    let columns: Vec<&str> = EVENTS.written_columns().map(|column| column.name).collect();
    let columns = columns.join(", ");
    let file = folder.path().join("rows");
    let copy = format!(
        "\\copy (SELECT {columns} FROM annals_audit_log_1.events ORDER BY {order}) TO '{}'",
        file.display()
    );
    psql_script(&address, &copy);
    let scripts = shares(&file, &columns, folder.path());
    psql(&address, "DROP SCHEMA IF EXISTS ceiling CASCADE");
    psql(&address, "CREATE SCHEMA ceiling");
    let ddl = EVENTS.postgres_ddl();
    psql(&address, &format!("SET search_path = ceiling; {}", ddl.join("; ")));
    println!("{}", ddl[1..].join(";\n"));
    psql(&address, "CHECKPOINT");
    let started = Instant::now();
    let copying: Vec<Child> = scripts
        .iter()
        .map(|script| {
            Command::new("psql")
                .args([&address, "-Xqv", "ON_ERROR_STOP=1", "-f"])
                .arg(script)
                .env("PGOPTIONS", "-c search_path=ceiling -c synchronous_commit=off")
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in copying {
        assert!(child.wait().unwrap().success());
    }
    let elapsed = started.elapsed();
    let rows: f64 = psql(&address, "SELECT count(*) FROM ceiling.events").parse().unwrap();
    psql(&address, "DROP SCHEMA ceiling CASCADE");
    let rate = rows / elapsed.as_secs_f64();
    println!("ceiling  {rate:>9.0} rows/s ({:.1} s)", elapsed.as_secs_f64());
    rate
}

fn psql_script(database: &str, line: &str) {
    let done = Command::new("psql").args([database, "-Xqv", "ON_ERROR_STOP=1", "-c", line]).status().unwrap();
    assert!(done.success());
}

/// Cuts the rows into transactions, and gives each connection a script with every n-th of them.
fn shares(file: &Path, columns: &str, folder: &Path) -> Vec<PathBuf> {
    use std::io::Write;
    let mut scripts: Vec<std::fs::File> = Vec::new();
    let paths: Vec<PathBuf> = (0..CONNECTIONS).map(|n| folder.join(format!("script-{n}"))).collect();
    for path in &paths {
        scripts.push(std::fs::File::create(path).unwrap());
    }
    let mut lines = BufReader::new(std::fs::File::open(file).unwrap()).lines();
    for piece in 0.. {
        let chunk: Vec<String> = lines.by_ref().take(TRANSACTION).map(Result::unwrap).collect();
        if chunk.is_empty() {
            break;
        }
        let path = folder.join(format!("piece-{piece}"));
        std::fs::write(&path, chunk.join("\n") + "\n").unwrap();
        writeln!(scripts[piece % CONNECTIONS], "\\copy events ({columns}) FROM '{}'", path.display())
            .unwrap();
    }
    std::fs::remove_file(file).unwrap();
    paths
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// From the acknowledgement of an event to its appearance in papi, at 2,000 events/s.
async fn visible(seconds: usize) {
    let address = fresh_database("annals_bench_visible");
    let bus = format!(
        "kafka://{}?topic_prefix=visible{}.",
        std::env::var("ANNALS_KAFKA").unwrap(),
        std::process::id()
    );
    let settings = KafkaSettings::parse(&bus).unwrap();
    KafkaBus::ensure_topics(&settings, &topics(), None).await.unwrap();
    let database = Database::Postgres(PostgresDb::parse(&address).unwrap());
    let control = database.control().await.unwrap();
    let access = Access::open(control, &database).await.unwrap().access;
    let author = Author::command_line();
    let customer = access.add_customer("bench.example", "UTC", &author).await.unwrap().id;
    let permissions = [Permission::ManageUsers];
    access
        .add_account("ada@bench.example", "bench.example", &permissions, Secret::new(PASSWORD), &author)
        .await
        .unwrap();
    let (_server, mut client) = serve(&bus, &address);
    let bus: Arc<dyn Bus> = Arc::new(KafkaBus::open(&settings, &topics()).await.unwrap());
    let publisher = Publisher::with_encoder(bus, Encoder::default().with_headers(true));
    let mut fleet = Fleet::of_customers(SEED, vec![customer], false);
    let mut waits = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let (sample, mut sampled) = tokio::sync::mpsc::unbounded_channel::<(uuid::Uuid, Instant)>();
    let publishing = tokio::spawn(async move {
        for tick in 0..seconds * 100 {
            ticks.tick().await;
            let events: Vec<Event> = (0..20).map(|_| fleet.next(Utc::now())).collect();
            publisher.publish(&events).await.unwrap();
            if tick % 5 == 0 {
                let last = events.last().unwrap().meta().event_id;
                sample.send((last, Instant::now())).unwrap();
            }
        }
    });
    while let Some((id, acknowledged)) = sampled.recv().await {
        let target = format!("/papi/auditlog/get_events.json?audit_event_id={}", id.simple());
        while !String::from_utf8_lossy(&client.get(&target).1).contains(&id.simple().to_string()) {
            // Asking without a pause would take one of two processors from those who are asked.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        waits.push(acknowledged.elapsed());
    }
    publishing.await.unwrap();
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "\nacknowledged to visible at 2,000 events/s: p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms of {}",
        at(0.5),
        at(0.99),
        at(1.0),
        waits.len()
    );
}

fn serve(bus: &str, store: &str) -> (Server, Client) {
    let child = Command::new(env!("CARGO_BIN_EXE_annals"))
        .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--bus", bus, "--store", store])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let mut client = Client::connect(line.trim().rsplit('/').next().unwrap());
    while client.get("/readyz").0 != 200 {}
    client.login(&format!("/papi/login.json?username=ada@bench.example&password={PASSWORD}"));
    assert_eq!(client.json("/papi/ping.json")["success"], 1);
    (server, client)
}
