//! Rebuilds: the same rows as the live projection, beside a projector at work, and readers that never fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals_bus::{Partition, StoredRecord};
use annals_consumers::rebuild::{bring_to_version, rebuild};
use annals_consumers::{ConsumerError, Engine, for_each_view};
use annals_producers::fleet::Fleet;
use annals_store::sql::sql;
use annals_store::{Followed, Role, StoreError, generations};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use async_trait::async_trait;
use tokio::task::JoinHandle;

use crate::dump::Dump;
use crate::engines::{Engines, Installation, Store, on, on_every_engine};
use crate::hooked::{Hook, Hooked};
use crate::{AtWork, active, caught_up, keep, publish, rows, until};

on_every_engine!(
    a_rebuild_gives_the_rows_of_the_live_projection_also_after_damage,
    a_running_projector_and_its_readers_follow_without_a_failed_read,
    only_one_rebuild_at_a_time_and_a_left_one_is_begun_anew,
    a_generation_that_cannot_be_read_is_replaced_by_a_rebuild,
    two_processes_bring_a_view_to_their_version_once,
);

on!(fence: EMBEDDED_POSTGRES; a_rebuild_whose_fence_is_gone_does_not_switch);

async fn live<V: Dump>(engine: &Engine) -> Vec<String> {
    keep::<V>(engine).await;
    rows::<V>(engine).await
}

async fn a_rebuild_gives_the_rows_of_the_live_projection_also_after_damage(engines: Engines) {
    let here = Installation::new(engines).await;
    let engine = &here.engine;
    publish(engine, &mut Fleet::new(3, true), 3_000).await;
    macro_rules! check {
        ($view:ty) => {{
            let expected = live::<$view>(engine).await;
            assert!(expected.len() > 100);
            let damaged = match <$view>::NAME {
                "audit_log" => {
                    here.change_view::<$view>(
                        "UPDATE events SET description = 'forged' WHERE \"offset\" % 7 = 0",
                    )
                    .await
                }
                _ => here.change_view::<$view>("DELETE FROM logons WHERE account >= 'm'").await,
            };
            assert!(damaged > 0);
            assert_ne!(rows::<$view>(engine).await, expected);
            let old = active::<$view>(engine).await;
            let report = rebuild::<$view>(engine, None, &mut |_| {}).await.unwrap();
            assert_eq!((old, report.generation), (1, 2));
            assert_eq!(active::<$view>(engine).await, 2);
            assert_eq!(rows::<$view>(engine).await, expected);
            let store = engine.database.view_store(<$view>::NAME, 2, <$view>::tables()).await.unwrap();
            assert!(!store.are_indexes_aside().await.unwrap());
            store.close().await;
            let left = here.engine.database.readers(<$view>::NAME, old).await;
            match engines.store {
                // Nobody else uses the old file, so it is removed.
                Store::Embedded => assert!(matches!(left, Err(StoreError::Gone(_)))),
                // Other machines may still read it; a server removes it after a while.
                Store::Postgres => left.unwrap().close().await,
            }
        }};
    }
    for_each_view!(check);
}

/// Reads a view again and again. No read fails, and no row goes away again.
pub struct Reader {
    pub followed: Followed,
    reading: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Reader {
    pub async fn start(engine: &Engine) -> Self {
        let tables = Some(AuditLog::tables());
        let (name, version) = (AuditLog::NAME, AuditLog::VERSION);
        let followed =
            Followed::start(&engine.control, &engine.database, name, version, tables).await.unwrap();
        let (reading, reads) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (goes_on, counter, views) = (Arc::clone(&reading), Arc::clone(&reads), followed.clone());
        let task = tokio::spawn(async move {
            let mut rows = 0;
            while goes_on.load(Ordering::SeqCst) {
                let current = views.current();
                let now: i64 = sql("SELECT count(*) FROM events").fetch_scalar(&current.pool).await.unwrap();
                assert!(now >= rows, "rows went back from {rows} to {now}");
                rows = now;
                counter.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { followed, reading, reads, task }
    }

    /// Waits until it reads this generation.
    pub async fn reads(&self, generation: i64) {
        until("the readers follow", async || self.followed.current().generation.number == generation).await;
    }

    pub async fn end(self) {
        self.reading.store(false, Ordering::SeqCst);
        self.task.await.unwrap();
        assert!(self.reads.load(Ordering::SeqCst) > 10);
    }
}

async fn a_running_projector_and_its_readers_follow_without_a_failed_read(engines: Engines) {
    let here = Installation::new(engines).await;
    let engine = here.engine.clone();
    let mut fleet = Fleet::new(4, true);
    publish(&engine, &mut fleet, 2_000).await;
    let server = engine.database.take_role(Role::Projector).await.unwrap();
    let projector = AtWork::start::<AuditLog>(&engine);
    caught_up::<AuditLog>(&engine).await;
    let reader = Reader::start(&engine).await;
    for generation in 2..5 {
        let mut silent = |_| {};
        let (report, _) = tokio::join!(
            rebuild::<AuditLog>(&engine, None, &mut silent),
            publish(&engine, &mut fleet, 1_000)
        );
        assert_eq!(report.unwrap().generation, generation);
        caught_up::<AuditLog>(&engine).await;
        reader.reads(generation).await;
    }
    reader.end().await;
    projector.end().await;
    let followed_rows = rows::<AuditLog>(&engine).await;
    drop(server);
    rebuild::<AuditLog>(&engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(rows::<AuditLog>(&engine).await, followed_rows);
}

async fn only_one_rebuild_at_a_time_and_a_left_one_is_begun_anew(engines: Engines) {
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(5, true), 500).await;
    let role = here.engine.database.take_role(Role::Rebuild).await.unwrap();
    let error = rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, ConsumerError::Store(StoreError::InUse { role: "rebuild", .. })));
    drop(role);
    // As after a crash in the middle: a generation that is being built by nobody.
    generations::begin_building(&here.engine.control, LoggedOnUsers::NAME, 1).await.unwrap();
    let report = until_free(&here.engine).await;
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, live::<LoggedOnUsers>(&here.engine).await);
    assert!(report.records > 0);
}

/// Rebuilds as soon as the role is free: a server hears of a connection's end a moment after it.
async fn until_free(engine: &Engine) -> annals_consumers::rebuild::Report {
    let mut report = None;
    until("the role is free", async || match rebuild::<LoggedOnUsers>(engine, None, &mut |_| {}).await {
        Ok(done) => {
            report = Some(done);
            true
        }
        Err(ConsumerError::Store(StoreError::InUse { .. })) => false,
        Err(error) => panic!("{error}"),
    })
    .await;
    report.unwrap()
}

async fn a_generation_that_cannot_be_read_is_replaced_by_a_rebuild(engines: Engines) {
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(7, true), 500).await;
    let expected = live::<AuditLog>(&here.engine).await;
    match engines.store {
        Store::Embedded => {
            let generation = active::<AuditLog>(&here.engine).await;
            let path = here.databases.directory().view_db(AuditLog::NAME, generation);
            std::fs::write(&path, vec![7; 64 * 1024]).unwrap();
        }
        Store::Postgres => {
            here.change_view::<AuditLog>("DROP TABLE positions, events").await;
            here.change_view::<AuditLog>("DELETE FROM marks WHERE key = 'layout'").await;
        }
    }
    rebuild::<AuditLog>(&here.engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(rows::<AuditLog>(&here.engine).await, expected);
}

async fn two_processes_bring_a_view_to_their_version_once(engines: Engines) {
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(8, true), 3_000).await;
    let expected = live::<AuditLog>(&here.engine).await;
    here.databases.change_control("UPDATE generations SET version = version - 1").await;
    let another = here.process().await;
    let (one, two) =
        tokio::join!(bring_to_version::<AuditLog>(&here.engine), bring_to_version::<AuditLog>(&another));
    one.unwrap();
    two.unwrap();
    assert_eq!(rows::<AuditLog>(&another).await, expected);
    let all = generations::all(&here.engine.control, AuditLog::NAME).await.unwrap();
    let active: Vec<_> =
        all.iter().filter(|(_, state)| *state == generations::State::Active).map(|(made, _)| *made).collect();
    assert_eq!(
        active,
        [generations::Generation { number: 2, version: AuditLog::VERSION }],
        "folded once: {all:?}"
    );
}

/// Records that come after the rebuild has looked where the log ends. When it folds them, behind the fence, the fence's
/// connection is ended.
struct FenceGoes {
    here: Installation,
    ended: AtomicU64,
}

/// How many records of each partition come late.
const LATE: u64 = 5;

#[async_trait]
impl Hook for FenceGoes {
    async fn read(&self, partition: &Partition, from: u64, records: Vec<StoredRecord>) -> Vec<StoredRecord> {
        let ends = self.here.engine.bus.end_positions(&[&partition.topic]).await.unwrap();
        let end = ends.iter().find(|(known, _)| known == partition).unwrap().1.saturating_sub(LATE);
        if from < end {
            return records.into_iter().filter(|record| record.offset < end).collect();
        }
        if self.ended.load(Ordering::SeqCst) > 0 {
            // While it ends, it may still be listed.
            return records;
        }
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND state = 'idle in transaction'";
        self.ended.fetch_add(self.here.databases.change_control(ended).await, Ordering::SeqCst);
        records
    }

    fn ends(&self, ends: Vec<(Partition, u64)>) -> Vec<(Partition, u64)> {
        ends.into_iter().map(|(partition, end)| (partition, end.saturating_sub(LATE))).collect()
    }
}

async fn a_rebuild_whose_fence_is_gone_does_not_switch(engines: Engines) {
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(9, true), 500).await;
    let expected = live::<LoggedOnUsers>(&here.engine).await;
    let before = active::<LoggedOnUsers>(&here.engine).await;
    let hook = Arc::new(FenceGoes { here, ended: AtomicU64::new(0) });
    let engine = &hook.here.engine;
    let bus = Arc::new(Hooked { log: Arc::clone(&engine.bus), hook: Arc::clone(&hook) });
    let watched = Engine { bus, ..engine.clone() };
    let error = rebuild::<LoggedOnUsers>(&watched, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, ConsumerError::Store(StoreError::Unavailable { .. })), "{error:?}");
    assert_eq!(hook.ended.load(Ordering::SeqCst), 1);
    assert_eq!(active::<LoggedOnUsers>(engine).await, before);
    assert_eq!(rows::<LoggedOnUsers>(engine).await, expected);
    let report = until_free(engine).await;
    assert_eq!(active::<LoggedOnUsers>(engine).await, report.generation);
    assert_eq!(rows::<LoggedOnUsers>(engine).await, expected);
}
