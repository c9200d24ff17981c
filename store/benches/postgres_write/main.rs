//! How fast rows of a view reach PostgreSQL, by each way to write them: `ANNALS_POSTGRES=… cargo bench -p annals-store`.
//!
//! The ways take turns, round after round, so that what else the machine does meets them all alike: read the ratios, on a
//! busy machine those of the CPU time. Over TCP and with a driver that leaves Nagle's algorithm on (sqlx 0.9.0), each
//! `COPY` waits 40 ms for nothing; that costs time and no CPU.
#![expect(clippy::print_stdout, reason = "the result")]

mod copy;

use std::sync::Arc;
use std::time::Instant;

use annals_store::sql::sql;
use annals_store::{
    Column, ColumnKind, Connection, Database, Index, OnConflict, PostgresDb, Rows, Table, Value, ViewStore,
};
use uuid::Uuid;

/// The widest table of the views: `views/src/audit_log`.
const EVENTS: Table = Table {
    name: "events",
    columns: &[
        Column::new("id", ColumnKind::RowNumber),
        Column::new("customer", ColumnKind::DictionaryId),
        Column::new("event_id", ColumnKind::Uuid),
        Column::new("at", ColumnKind::Timestamp),
        Column::nullable("claimed_at", ColumnKind::Timestamp),
        Column::new("recorded_at", ColumnKind::Timestamp),
        Column::new("actor", ColumnKind::DictionaryId),
        Column::new("action", ColumnKind::DictionaryId),
        Column::nullable("address", ColumnKind::DictionaryId),
        Column::nullable("entity", ColumnKind::DictionaryId),
        Column::new("description", ColumnKind::Text),
        Column::nullable("sign_in", ColumnKind::Text),
        Column::new("misplaced", ColumnKind::SmallInteger),
        Column::new("partition", ColumnKind::DictionaryId),
        Column::new("\"offset\"", ColumnKind::Integer),
    ],
    unique: &["customer", "event_id"],
    is_changed: false,
    indexes: &[
        Index { name: "events_by_time", columns: &["customer", "at"] },
        Index { name: "events_by_actor", columns: &["customer", "actor", "at", "action"] },
        Index { name: "events_by_action", columns: &["customer", "action", "at"] },
        Index { name: "events_by_address", columns: &["customer", "address", "at"] },
    ],
};

const ROWS: usize = 300_000;
const ROUNDS: usize = 3;
/// A way to write rows of which one may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    LookThenCopy,
    /// What the store does: arrays with `ON CONFLICT DO NOTHING`.
    Insert,
    /// Wrong as soon as a key is there.
    Copy,
}

const WAYS: [Way; 3] = [Way::LookThenCopy, Way::Insert, Way::Copy];

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows as the store takes them, and once more for the ways that it does not know.
struct Batch {
    rows: Rows,
    values: Vec<Value>,
}

/// Events as they come: times go up, everything else is mixed.
fn events(count: usize, seed: u64) -> Batch {
    let mut state = seed;
    let mut random = move |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state % limit).unwrap_or(0)
    };
    let mut batch = Batch { rows: Rows::new(&EVENTS), values: Vec::new() };
    for n in 0..i64::try_from(count).unwrap_or(0) {
        let at = 1_750_000_000_000_000 + n * 1_000;
        let row = [
            Value::Integer(1 + random(50)),
            Value::Uuid(Uuid::new_v4()),
            Value::Time(at),
            Value::Null,
            Value::Time(at + 250_000),
            Value::Integer(1 + random(5_000)),
            Value::Integer(1 + random(40)),
            Value::Integer(1 + random(8_000)),
            Value::Integer(1 + random(20_000)),
            Value::from(format!(
                "signed in to the portal from workstation {} of the department",
                random(90_000)
            )),
            Value::Null,
            Value::Integer(0),
            Value::Integer(1 + random(8)),
            Value::Integer(n),
        ];
        batch.values.extend(row.clone());
        batch.rows.push(row);
    }
    batch
}

async fn fresh(database: &Database) -> Result<Arc<dyn ViewStore>, Failure> {
    database.remove_generation("bench", 1).await?;
    Ok(database.view_store("bench", 1, &[&EVENTS]).await?)
}

/// One batch, in a transaction of its own.
async fn write(store: &dyn ViewStore, way: Way, batch: &Batch) -> Result<(), Failure> {
    let mut tx = store.begin().await?;
    match (way, tx.connection()) {
        (Way::LookThenCopy, Connection::Postgres(connection)) => {
            copy::look_then_copy(connection, &EVENTS, &batch.values).await?;
        }
        (Way::Copy, Connection::Postgres(connection)) => {
            copy::copy(connection, &EVENTS, &batch.values).await?
        }
        _ => tx.write(&EVENTS, &batch.rows, OnConflict::Keep).await.map(drop)?,
    }
    Ok(tx.commit().await?)
}

/// What it took to write rows, in seconds.
#[derive(Clone, Copy, Default)]
struct Cost {
    passed: f64,
    /// Of the server's processes for this store and of this one; 0 where they cannot be seen.
    cpu: f64,
}

/// Seconds of CPU time that a process has had, where the server is on this machine and this is Linux.
fn cpu_seconds(process: &str) -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks =
        after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    ticks / TICKS_PER_SECOND
}

async fn cpu(store: &dyn ViewStore) -> Result<f64, Failure> {
    let mut tx = store.begin().await?;
    let text = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'annals bench.1 projector%'";
    let servers: Vec<i64> = sql(text).fetch_scalars(tx.connection()).await?;
    tx.commit().await?;
    Ok(cpu_seconds("self") + servers.iter().map(|process| cpu_seconds(&process.to_string())).sum::<f64>())
}

async fn bulk(database: &Database, way: Way, size: usize, connections: usize) -> Result<Cost, Failure> {
    let store = fresh(database).await?;
    let batches: Vec<Vec<Batch>> = (1..=connections)
        .map(|part| {
            let count = ROWS / connections / size;
            let seed = u64::try_from(part).unwrap_or(1) << 32;
            (0..count).map(|n| events(size, seed + u64::try_from(n).unwrap_or(0) + 1)).collect()
        })
        .collect();
    let (before, began) = (cpu(&*store).await?, Instant::now());
    let mut writers = tokio::task::JoinSet::new();
    for batches in batches {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for batch in &batches {
                write(&*store, way, batch).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    for written in writers.join_all().await {
        written?;
    }
    let passed = began.elapsed().as_secs_f64();
    let cost = Cost { passed, cpu: cpu(&*store).await? - before };
    store.close().await;
    Ok(cost)
}

/// Small batches, into a table that has rows already: what one of them took.
async fn small(store: &dyn ViewStore, way: Way, size: usize) -> Result<Cost, Failure> {
    let count = (4_000 / size).clamp(10, 200);
    let batches: Vec<Batch> = (0..count).map(|n| events(size, 77 + u64::try_from(n).unwrap_or(0))).collect();
    let (before, began) = (cpu(store).await?, Instant::now());
    for batch in &batches {
        write(store, way, batch).await?;
    }
    let passed = began.elapsed().as_secs_f64();
    let cpu = cpu(store).await? - before;
    Ok(Cost { passed: passed / count as f64, cpu: cpu / count as f64 })
}

/// The median of the time that passed, and the mean of the CPU time, which is measured coarsely.
fn middle(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by(|a, b| a.passed.total_cmp(&b.passed));
    let cpu = costs.iter().map(|cost| cost.cpu).sum::<f64>() / costs.len() as f64;
    Cost { passed: costs[costs.len() / 2].passed, cpu }
}

/// One line: each way's cost of `rows` rows, and as a part of what [`Way::Insert`] costs.
fn show(rows: usize, costs: [Vec<Cost>; WAYS.len()]) {
    let costs = costs.map(middle);
    for (way, cost) in WAYS.iter().zip(costs) {
        let per_row = 1e6 / rows as f64;
        print!(
            "  {way:?} {:.1} us, cpu {:.1} us ({:.2}, {:.2})",
            cost.passed * per_row,
            cost.cpu * per_row,
            cost.passed / costs[1].passed,
            cost.cpu / costs[1].cpu
        );
    }
    println!();
}

async fn measure_bulk(database: &Database) -> Result<(), Failure> {
    println!("{ROWS} rows, each: median of {ROUNDS} rounds (and as a part of Insert)");
    for (connections, size) in [(1, 5_000), (2, 5_000), (1, 20_000), (2, 20_000)] {
        let mut costs = [const { Vec::new() }; WAYS.len()];
        for _ in 0..ROUNDS {
            for (way, costs) in WAYS.iter().zip(&mut costs) {
                costs.push(bulk(database, *way, size, connections).await?);
            }
        }
        print!("  {connections} connection(s), batches of {size:>6}:");
        show(ROWS, costs);
    }
    Ok(())
}

async fn measure_small(database: &Database) -> Result<(), Failure> {
    println!("small batches, each row: median of {} rounds (and as a part of Insert)", 3 * ROUNDS);
    let store = fresh(database).await?;
    for n in 0..10 {
        write(&*store, Way::Copy, &events(10_000, 1 + n)).await?;
    }
    for size in [1, 10, 50, 100, 200, 500, 1_000] {
        let mut costs = [const { Vec::new() }; WAYS.len()];
        for _ in 0..3 * ROUNDS {
            for (way, costs) in WAYS.iter().zip(&mut costs) {
                costs.push(small(&*store, *way, size).await?);
            }
        }
        print!("  batches of {size:>5}:");
        show(size, costs);
    }
    store.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return Ok(());
    }
    let url =
        std::env::var("ANNALS_POSTGRES").map_err(|_| "set ANNALS_POSTGRES to the address of a server")?;
    let database = Database::Postgres(PostgresDb::parse(&url)?);
    measure_bulk(&database).await?;
    measure_small(&database).await?;
    database.remove_generation("bench", 1).await?;
    Ok(())
}
