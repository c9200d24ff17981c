//! Rebuilds: the same rows as the live projection, beside a projector at work, and readers that never fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annals_consumers::{Engine, Projector, StopSignal, for_each_view, rebuild};
use annals_producers::Publisher;
use annals_producers::fleet::Fleet;
use annals_store::{Followed, Role, StoreError};
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use chrono::Utc;

use crate::{Dump, active_path, caught_up, execute, installation, rows};

async fn publish(engine: &Engine, fleet: &mut Fleet, count: usize) {
    for _ in 0..count.div_ceil(100) {
        let events: Vec<_> = (0..100).map(|_| fleet.next(Utc::now())).collect();
        Publisher::new(Arc::clone(&engine.bus)).publish(&events).await.unwrap();
    }
}

async fn live<V: Dump>(engine: &Engine) -> Vec<String> {
    let (signal, stop) = StopSignal::new();
    let (_, task) = Projector::<V>::spawn(engine.clone(), stop);
    caught_up::<V>(engine).await;
    signal.stop();
    task.await.unwrap();
    rows::<V>(&active_path::<V>(engine).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_gives_the_rows_of_the_live_projection_also_after_damage() {
    let here = installation().await;
    publish(&here.engine, &mut Fleet::new(3, true), 3_000).await;
    macro_rules! check {
        ($view:ty) => {{
            let expected = live::<$view>(&here.engine).await;
            assert!(expected.len() > 100);
            let path = active_path::<$view>(&here.engine).await;
            let damaged = match <$view>::NAME {
                "audit_log" => {
                    execute(&path, "UPDATE events SET description = 'forged' WHERE id % 7 = 0").await
                }
                _ => execute(&path, "DELETE FROM logons WHERE id % 7 = 0").await,
            };
            assert!(damaged > 0);
            assert_ne!(rows::<$view>(&path).await, expected);
            let report = rebuild::rebuild::<$view>(&here.engine, None, &mut |_| {}).await.unwrap();
            assert_eq!(report.generation, 2);
            let new = active_path::<$view>(&here.engine).await;
            assert_ne!(new, path);
            assert_eq!(rows::<$view>(&new).await, expected);
            assert!(!path.exists(), "nobody else uses the old file, so it is removed");
        }};
    }
    for_each_view!(check);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_projector_and_its_readers_follow_without_a_failed_read() {
    let here = installation().await;
    let engine = here.engine.clone();
    let mut fleet = Fleet::new(4, true);
    publish(&engine, &mut fleet, 2_000).await;
    let _server = engine.directory.take_role(Role::Projector).unwrap();
    let (signal, stop) = StopSignal::new();
    let (_, task) = Projector::<AuditLog>::spawn(engine.clone(), stop);
    caught_up::<AuditLog>(&engine).await;
    let followed = Followed::start(
        &engine.control,
        &engine.directory,
        AuditLog::NAME,
        AuditLog::VERSION,
        AuditLog::tables(),
    )
    .await
    .unwrap();
    let (reading, reads) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (followed, reading, reads) = (followed.clone(), Arc::clone(&reading), Arc::clone(&reads));
        tokio::spawn(async move {
            let mut rows = 0;
            while reading.load(Ordering::SeqCst) {
                let current = followed.current();
                let now: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&current.pool).await.unwrap();
                assert!(now >= rows, "rows went back from {rows} to {now}");
                rows = now;
                reads.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    for generation in 2..5 {
        let mut silent = |_| {};
        let (report, ()) = tokio::join!(
            rebuild::rebuild::<AuditLog>(&engine, None, &mut silent),
            publish(&engine, &mut fleet, 1_000)
        );
        assert_eq!(report.unwrap().generation, generation);
        caught_up::<AuditLog>(&engine).await;
        while followed.current().generation.number != generation {
            tokio::task::yield_now().await;
        }
    }
    reading.store(false, Ordering::SeqCst);
    reader.await.unwrap();
    assert!(reads.load(Ordering::SeqCst) > 10);
    signal.stop();
    task.await.unwrap();
    let followed_rows = rows::<AuditLog>(&active_path::<AuditLog>(&engine).await).await;
    drop(_server);
    rebuild::rebuild::<AuditLog>(&engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(rows::<AuditLog>(&active_path::<AuditLog>(&engine).await).await, followed_rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_rebuild_at_a_time_and_a_left_one_is_begun_anew() {
    let here = installation().await;
    publish(&here.engine, &mut Fleet::new(5, true), 500).await;
    let role = here.engine.directory.take_role(Role::Rebuild).unwrap();
    let error = rebuild::rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(
        error,
        annals_consumers::ConsumerError::Store(StoreError::InUse { role: "rebuild", .. })
    ));
    drop(role);
    // As after a crash in the middle: a generation that is being built by nobody.
    annals_store::generations::begin_building(&here.engine.control, "logged_on_users", 1).await.unwrap();
    let report = rebuild::rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(
        rows::<LoggedOnUsers>(&active_path::<LoggedOnUsers>(&here.engine).await).await,
        live::<LoggedOnUsers>(&here.engine).await
    );
    assert!(report.records > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_that_cannot_be_read_is_replaced_by_a_rebuild() {
    let here = installation().await;
    publish(&here.engine, &mut Fleet::new(7, true), 500).await;
    let expected = live::<AuditLog>(&here.engine).await;
    let path = active_path::<AuditLog>(&here.engine).await;
    std::fs::write(&path, vec![7; 64 * 1024]).unwrap();
    rebuild::rebuild::<AuditLog>(&here.engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(rows::<AuditLog>(&active_path::<AuditLog>(&here.engine).await).await, expected);
}
