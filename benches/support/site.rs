//! What is asked: a directory with a log of invented events and with customers and a caller, and the views that were
//! folded from it into each store.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_access::{Access, Author, CredentialKind, Permission, Secret, copy_control};
use annals_bus::{Bus, EmbeddedBus};
use annals_consumers::{Engine, Projector, StopSignal, feed_index};
use annals_producers::Publisher;
use annals_producers::fleet::{CUSTOMERS, Fleet};
use annals_schemas::{Event, TOPICS};
use annals_store::generations::{self, State};
use annals_store::sql::{Pool, sql};
use annals_store::{
    ControlDb, DataDir, Database, Followed, GenerationReader, Partition, PostgresDb, StoredPosition,
};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub const SEED: u64 = 20_261_122;
/// The first event, in seconds since 1970, and how long they go on. Fixed, so that every run has the same.
pub const FIRST_SECOND: i64 = 1_790_812_800;
pub const DAYS: i64 = 30;

/// Events of one append, as the importers have it.
const APPEND: usize = 1_000;
const AUDITOR: &str = "auditor@bench.example";
/// Where the auditor is at home. None of the events is of this customer, so that reads do not change the answers.
const HOME: &str = "bench.example";
/// Written last: a directory with it is whole.
const NOTE: &str = "bench.json";

/// A store of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Embedded,
    Postgres,
}

impl Store {
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Postgres];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
        }
    }
}

/// A log with its customers. The embedded store's view lies beside it, PostgreSQL's in a database named by the number of
/// events.
pub struct Site {
    directory: DataDir,
    pub note: Note,
}

#[derive(Serialize, Deserialize)]
pub struct Note {
    /// Events in the log, repetitions included.
    pub events: usize,
    /// The customers, the largest first.
    pub customers: Vec<Uuid>,
    /// The auditor's bearer token.
    token: String,
}

/// A view that was folded.
pub struct Folded {
    pub rows: u64,
    pub elapsed: Duration,
    /// With indexes and counters.
    pub bytes: u64,
}

impl Site {
    /// Opens the directory, or makes it with so many events.
    pub async fn open(path: &Path, events: usize) -> Self {
        let file = path.join(NOTE);
        if !file.is_file() {
            let is_empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
            assert!(is_empty, "`{}` is not empty and has no {NOTE}; remove it", path.display());
            make(path, events).await;
        }
        let note: Note = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(note.events, events, "`{}` has another number of events", path.display());
        Self { directory: DataDir::open(path).unwrap(), note }
    }

    /// Folds the log into an empty view.
    pub async fn fold(&self, store: Store) -> Folded {
        let own_control = ControlDb::open(&self.directory).await.unwrap();
        if store == Store::Postgres {
            let name = self.database_name();
            psql(&server("annals"), &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
            psql(&server("annals"), &format!("CREATE DATABASE {name}"));
        }
        let database = self.database(store);
        let control = database.control().await.unwrap();
        if store == Store::Postgres {
            copy_control(&own_control, &control).await.unwrap();
        } else if let Some(active) = generations::find(&control, AuditLog::NAME, State::Active).await.unwrap()
        {
            database.remove_generation(AuditLog::NAME, active.number).await.unwrap();
        }
        own_control.close().await;
        // A server wants every view to be there; nothing of this log is in this one.
        let tables = Some(LoggedOnUsers::tables());
        Followed::start(&control, &database, LoggedOnUsers::NAME, LoggedOnUsers::VERSION, tables)
            .await
            .unwrap();
        let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open(&self.directory, &topics()).await.unwrap());
        let engine = Engine { database, control, bus, registry: None };
        let names: Vec<&str> = AuditLog::topics().iter().map(|topic| topic.name).collect();
        let ends = engine.bus.end_positions(&names).await.unwrap();
        let (signal, stop) = StopSignal::new();
        let started = Instant::now();
        let (_status, task) = Projector::<AuditLog>::spawn(engine.clone(), stop);
        wait_for_view(&engine, &ends).await;
        let elapsed = started.elapsed();
        signal.stop();
        task.await.unwrap();
        // As it would be soon after.
        let number =
            generations::find(&engine.control, AuditLog::NAME, State::Active).await.unwrap().unwrap().number;
        let fed = engine.database.view_store(AuditLog::NAME, number, AuditLog::tables()).await.unwrap();
        feed_index::<AuditLog>(&fed).await.unwrap();
        fed.close().await;
        engine.bus.close().await;
        engine.control.close().await;
        self.folded(store, elapsed).await
    }

    async fn folded(&self, store: Store, elapsed: Duration) -> Folded {
        let view = self.view(store).await;
        let rows = sql("SELECT count(*) FROM events").fetch_scalar(&view.by_hand).await.unwrap();
        let number = view.reader.generation.number;
        view.close().await;
        let bytes = match store {
            Store::Embedded => {
                std::fs::metadata(self.directory.view_db(AuditLog::NAME, number)).unwrap().len()
            }
            Store::Postgres => {
                let address = server(&self.database_name());
                // What autovacuum does within minutes.
                psql(&address, "VACUUM ANALYZE");
                let schema = format!("annals_{}_{number}", AuditLog::NAME);
                bytes_of(&address, &schema)
            }
        };
        Folded { rows, elapsed, bytes }
    }

    pub fn database_name(&self) -> String {
        format!("annals_questions_{}", self.note.events)
    }

    fn database(&self, store: Store) -> Database {
        match store {
            Store::Embedded => Database::Embedded(self.directory.clone()),
            Store::Postgres => Database::Postgres(PostgresDb::parse(&server(&self.database_name())).unwrap()),
        }
    }

    /// The view that was folded, to be read.
    pub async fn view(&self, store: Store) -> OpenView {
        let database = self.database(store);
        let control = database.existing_control().await.unwrap();
        let followed =
            Followed::start(&control, &database, AuditLog::NAME, AuditLog::VERSION, None).await.unwrap();
        let reader = followed.current();
        let by_hand = database.readers(AuditLog::NAME, reader.generation.number).await.unwrap();
        OpenView { reader, by_hand, _followed: followed, control }
    }

    /// The flat table of the same rows, if there is one.
    pub async fn flat(&self) -> Option<Pool> {
        std::env::var_os("ANNALS_POSTGRES")?;
        let name = self.database_name();
        let found = psql(&server("annals"), &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"));
        let address = server(&name);
        if found.is_empty() || psql(&address, "SELECT to_regclass('peer.events')").is_empty() {
            return None;
        }
        let view = self.view(Store::Postgres).await;
        let pool = view.by_hand.clone();
        // The pool stays open; what found it is not needed.
        view.reader.pool.close().await;
        view.control.close().await;
        Some(pool)
    }

    /// A server that answers from the view, in a process of its own. It folds nothing and appends nothing.
    pub fn serve(&self, store: Store) -> Server {
        let settings = tempfile::NamedTempFile::new().unwrap();
        let limits =
            "rate_limit = 1000000000\naudit_page_limit = 1000000000\nrequest_timeout_seconds = 600\n";
        settings.as_file().write_all(limits.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--roles", "query", "--data"]);
        command.arg(self.directory.path()).arg("--config").arg(settings.path());
        if store == Store::Postgres {
            command.args(["--store", &server(&self.database_name())]);
        }
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit('/').next().unwrap().to_owned();
        Server { process, address, authorization: format!("Authorization: Bearer {}", self.note.token) }
    }
}

/// A view to be read, with connections of their own for SQL by hand.
pub struct OpenView {
    pub reader: Arc<GenerationReader>,
    pub by_hand: Pool,
    _followed: Followed,
    control: ControlDb,
}

impl OpenView {
    pub async fn close(self) {
        self.reader.pool.close().await;
        self.by_hand.close().await;
        self.control.close().await;
    }
}

pub struct Server {
    process: Child,
    pub address: String,
    /// The header of the auditor.
    pub authorization: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn topics() -> [(&'static str, u32); 2] {
    TOPICS.map(|topic| (topic.name, topic.partitions))
}

async fn make(path: &Path, events: usize) {
    let directory = DataDir::create(path).unwrap();
    let control = ControlDb::open(&directory).await.unwrap();
    let access = Access::open(control.clone(), &Database::Embedded(directory.clone())).await.unwrap().access;
    let author = Author::command_line();
    access.add_customer(HOME, "UTC", &author).await.unwrap();
    access.add_account(AUDITOR, HOME, &[], Secret::new("bench-password"), &author).await.unwrap();
    let mut customers = Vec::new();
    for n in 0..CUSTOMERS {
        let name = format!("customer-{n:02}.example");
        customers.push(access.add_customer(&name, "UTC", &author).await.unwrap().id);
        access.grant(AUDITOR, &name, &[Permission::ViewAuditLog], &author).await.unwrap();
    }
    let issued =
        access.add_credential(AUDITOR, CredentialKind::Bearer, "bench", None, &author).await.unwrap();
    control.close().await;
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open(&directory, &topics()).await.unwrap());
    let publisher = Publisher::new(Arc::clone(&bus));
    let mut fleet = Fleet::of_customers(SEED, customers.clone(), false);
    let start: DateTime<Utc> = DateTime::from_timestamp(FIRST_SECOND, 0).unwrap();
    let count = i64::try_from(events).unwrap();
    let step = TimeDelta::days(DAYS).num_microseconds().unwrap() / count;
    let mut chunk: Vec<Event> = Vec::with_capacity(APPEND);
    for n in 0..count {
        chunk.push(fleet.next(start + TimeDelta::microseconds(step * n)));
        if chunk.len() == APPEND || n + 1 == count {
            publisher.publish(&chunk).await.unwrap();
            chunk.clear();
        }
    }
    bus.close().await;
    let note = Note { events, customers, token: issued.secret.expose().to_owned() };
    std::fs::write(path.join(NOTE), serde_json::to_vec_pretty(&note).unwrap()).unwrap();
}

async fn wait_for_view(engine: &Engine, ends: &[(Partition, u64)]) {
    let is_folded = |positions: &[StoredPosition]| {
        ends.iter().all(|(partition, end)| {
            *end == 0 || positions.iter().any(|p| p.partition == *partition && p.next_offset >= *end)
        })
    };
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let active = generations::find(&engine.control, AuditLog::NAME, State::Active).await.unwrap();
        let Some(active) = active else { continue };
        let progress = engine.database.progress(AuditLog::NAME, active.number).await;
        if progress.is_ok_and(|(positions, _)| is_folded(&positions)) {
            return;
        }
    }
}

/// The address of a database on the server.
pub fn server(database: &str) -> String {
    let address = std::env::var("ANNALS_POSTGRES")
        .expect("ANNALS_POSTGRES says where PostgreSQL is (deploy/dev/servers start)");
    let (server, _) = address.rsplit_once('/').unwrap();
    format!("{server}/{database}")
}

pub fn psql(database: &str, sql: &str) -> String {
    let done =
        Command::new("psql").args([database, "-XAtqv", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Bytes of the tables of a schema, with their indexes.
pub fn bytes_of(database: &str, schema: &str) -> u64 {
    let sum = format!(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
         WHERE relnamespace = '{schema}'::regnamespace AND relkind = 'r'"
    );
    psql(database, &sql_line(&sum)).parse().unwrap()
}

fn sql_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The flat table: a statement after the other in `psql`, and the rows by COPY from the view.
pub struct Peer {
    pub rows: u64,
    pub copied: Duration,
    pub indexed: Duration,
    pub bytes: u64,
}

/// Makes the flat table of the rows of PostgreSQL's view.
pub fn load_peer(site: &Site) -> Peer {
    let address = server(&site.database_name());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/peers/postgres");
    let file = |name: &str| {
        let done = Command::new("psql")
            .args([&address, "-Xqv", "ON_ERROR_STOP=1", "-f"])
            .arg(folder.join(name))
            .status()
            .unwrap();
        assert!(done.success(), "{name}");
    };
    file("table.sql");
    let query = sql_line(&std::fs::read_to_string(folder.join("rows.sql")).unwrap());
    let schema = format!("annals_{}_1", AuditLog::NAME);
    let started = Instant::now();
    let mut from = Command::new("psql")
        .args([&address, "-Xqv", "ON_ERROR_STOP=1", "-c", &format!("COPY ({query}) TO STDOUT")])
        .env("PGOPTIONS", format!("-c search_path={schema}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let into = Command::new("psql")
        .args([&address, "-Xqv", "ON_ERROR_STOP=1", "-c", "COPY peer.events FROM STDIN"])
        .stdin(from.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(from.wait().unwrap().success() && into.success());
    let copied = started.elapsed();
    file("indexes.sql");
    let indexed = started.elapsed() - copied;
    let rows = psql(&address, "SELECT count(*) FROM peer.events").parse().unwrap();
    Peer { rows, copied, indexed, bytes: bytes_of(&address, "peer") }
}
