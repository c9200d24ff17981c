//! Tests of the consumers on the embedded engines: real files, real log, no server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod events;
mod fold;
mod projector;
mod rebuild;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_bus::{Bus, EmbeddedBus};
use annals_consumers::Engine;
use annals_schemas::TOPICS;
use annals_store::generations::{self, State};
use annals_store::sqlite::SqliteViewStore;
use annals_store::{ControlDb, DataDir, ViewStore};
use annals_views::View;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

/// An engine in a directory that goes away.
pub struct Installation {
    /// What consumers work on.
    pub engine: Engine,
    _folder: tempfile::TempDir,
}

/// A new, empty installation.
pub async fn installation() -> Installation {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDir::create(folder.path()).unwrap();
    let control = ControlDb::open(&directory).await.unwrap();
    let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open(&directory, &topics).await.unwrap());
    Installation { engine: Engine { directory, control, bus }, _folder: folder }
}

/// A view whose rows can be compared: every column that a query shows, dictionary ids resolved.
pub trait Dump: View {
    /// Selects one text per row.
    const ROWS: &'static str;
}

impl Dump for annals_views::audit_log::AuditLog {
    const ROWS: &'static str = "SELECT concat_ws('|', hex(customers.customer), hex(event_id), at, claimed_at,
         actors.kind, hex(actors.actor), actors.account, actors.qualified, actors.account_key, actions.name,
         actions.category, actions.severity, actions.entity_type, hex(addresses.address), entities.entity,
         description, sign_in, misplaced, /*place*/ partitions.topic, partitions.number, \"offset\", recorded_at)
       FROM events JOIN customers ON customers.id = events.customer JOIN actors ON actors.id = events.actor
         JOIN actions ON actions.id = events.action JOIN partitions ON partitions.id = events.partition
         LEFT JOIN addresses ON addresses.id = events.address LEFT JOIN entities ON entities.id = events.entity
       ORDER BY events.customer, event_id";
}

impl Dump for annals_views::logged_on_users::LoggedOnUsers {
    const ROWS: &'static str = "SELECT concat_ws('|', hex(customer), hex(event_id), host, logon_id, hex(address), account,
         hex(user_uuid), logged_on_at, logged_off_at /*place*/) FROM logons
       UNION ALL SELECT concat_ws('|', 'off', hex(customer), hex(event_id), host, logon_id, logged_off_at) FROM logoffs
       ORDER BY 1";
}

/// Every row of a view's file, in an order of their own.
pub async fn rows<V: Dump>(path: &Path) -> Vec<String> {
    query(path, V::ROWS.to_owned()).await
}

/// As `rows`, without where and when a record stands in the log: what a repetition may not change.
pub async fn shown<V: Dump>(path: &Path) -> Vec<String> {
    let sql = V::ROWS.replace("/*place*/ partitions.topic, partitions.number, \"offset\", recorded_at", "''");
    query(path, sql).await
}

async fn query(path: &Path, sql: String) -> Vec<String> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let mut rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    rows.sort();
    rows
}

/// Changes a file by hand.
pub async fn execute(path: &Path, sql: &'static str) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    let changed = sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected();
    connection.close().await.unwrap();
    changed
}

/// The file of a view's active generation.
pub async fn active_path<V: View>(engine: &Engine) -> std::path::PathBuf {
    let active = generations::find(&engine.control, V::NAME, State::Active).await.unwrap().unwrap();
    engine.directory.view_db(V::NAME, active.number)
}

/// Waits until the active generation has folded all that is in the log now.
pub async fn caught_up<V: View>(engine: &Engine) {
    let topics: Vec<&str> = V::topics().iter().map(|topic| topic.name).collect();
    let ends = engine.bus.end_positions(&topics).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if generations::find(&engine.control, V::NAME, State::Active).await.unwrap().is_some() {
            let store = SqliteViewStore::open(&active_path::<V>(engine).await, V::tables()).await.unwrap();
            let positions = store.positions().await.unwrap();
            store.close().await;
            let reached = |(partition, end): &(annals_bus::Partition, u64)| {
                *end == 0 || positions.iter().any(|p| p.partition == *partition && p.next_offset >= *end)
            };
            if ends.iter().all(reached) {
                return;
            }
        }
        assert!(Instant::now() < deadline, "the view does not catch up with {ends:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
