//! The control database and the generations in it.

use std::time::{Duration, Instant};

use annals_store::generations::{self, State};
use annals_store::sql::sql;
use annals_store::{ControlDb, Role, RoleGuard, StoreError};
use chrono::Utc;
use uuid::Uuid;

use crate::engine::{Here, TABLES};

on_both_engines!(
    several_processes_may_open_a_new_database_at_once,
    a_database_of_a_newer_version_is_refused,
    a_view_has_one_active_generation_through_every_switch,
    a_generation_that_was_given_up_is_never_made_active,
    a_first_generation_is_made_once,
    a_change_of_another_process_is_seen_at_once,
    one_process_at_a_time_rebuilds,
    whoever_sets_up_may_make_tables_meanwhile,
);

async fn several_processes_may_open_a_new_database_at_once(here: Here) {
    let database = &here.database;
    let (a, b, c) = tokio::join!(database.control(), database.control(), database.control());
    for opened in [a, b, c] {
        let control = opened.unwrap();
        let count: u64 = sql("SELECT count(*) FROM customers").fetch_scalar(control.pool()).await.unwrap();
        assert_eq!(count, 0);
    }
    let tables = || database.view_store("view", 1, &TABLES);
    let (a, b, c) = tokio::join!(tables(), tables(), tables());
    for opened in [a, b, c] {
        assert!(opened.unwrap().positions().await.unwrap().is_empty());
    }
}

async fn a_database_of_a_newer_version_is_refused(here: Here) {
    let control = here.database.control().await.unwrap();
    sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 99, 'later', success, checksum, 1 FROM _sqlx_migrations LIMIT 1")
    .execute(control.pool())
    .await
    .unwrap();
    control.close().await;
    let error = here.database.control().await.unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion(_)), "{error}");
}

async fn switch(control: &ControlDb, generation: i64) {
    let mut tx = control.begin().await.unwrap();
    generations::switch(tx.connection(), control, "view", generation).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_view_has_one_active_generation_through_every_switch(here: Here) {
    let control = here.database.control().await.unwrap();
    let first = generations::active_or_first(&control, "view", 1).await.unwrap();
    assert_eq!((first.number, first.version), (1, 1));
    assert_eq!(
        generations::active_or_first(&control, "view", 2).await.unwrap(),
        first,
        "it is there already"
    );
    let left = generations::begin_building(&control, "view", 2).await.unwrap();
    let new = generations::begin_building(&control, "view", 2).await.unwrap();
    assert_eq!((left.number, new.number), (2, 3), "one that was left is not taken up again");
    let mut tx = control.begin().await.unwrap();
    generations::switch(tx.connection(), &control, "view", new.number).await.unwrap();
    drop(tx);
    assert_eq!(
        generations::find(&control, "view", State::Active).await.unwrap(),
        Some(first),
        "not committed"
    );
    switch(&control, new.number).await;
    assert_eq!(generations::find(&control, "view", State::Active).await.unwrap(), Some(new));
    assert_eq!(generations::retired(&control, "view").await.unwrap(), [1, 2]);
    generations::forget(&control, "view", 1).await.unwrap();
    generations::forget(&control, "view", 3).await.unwrap();
    assert_eq!(generations::retired(&control, "view").await.unwrap(), [2]);
    assert_eq!(
        generations::find(&control, "view", State::Active).await.unwrap(),
        Some(new),
        "only retired ones go"
    );
    assert_eq!(
        generations::all(&control, "view").await.unwrap(),
        [(left, State::Retired), (new, State::Active)]
    );
}

async fn a_generation_that_was_given_up_is_never_made_active(here: Here) {
    let control = here.database.control().await.unwrap();
    let first = generations::active_or_first(&control, "view", 1).await.unwrap();
    let given_up = generations::begin_building(&control, "view", 1).await.unwrap();
    let new = generations::begin_building(&control, "view", 1).await.unwrap();
    for number in [given_up.number, first.number, 99] {
        let mut tx = control.begin().await.unwrap();
        let error = generations::switch(tx.connection(), &control, "view", number).await.unwrap_err();
        assert!(matches!(error, StoreError::GivenUp { generation, .. } if generation == number), "{error}");
        drop(tx);
        assert_eq!(generations::find(&control, "view", State::Active).await.unwrap(), Some(first));
    }
    switch(&control, new.number).await;
    assert_eq!(generations::find(&control, "view", State::Active).await.unwrap(), Some(new));
}

async fn a_first_generation_is_made_once(here: Here) {
    let controls = [here.database.control().await.unwrap(), here.database.control().await.unwrap()];
    for view in ["a", "b", "c", "d"] {
        let make = |at: usize| generations::active_or_first(&controls[at % 2], view, 1);
        let (a, b, c) = tokio::join!(make(0), make(1), make(2));
        let generations = [a.unwrap(), b.unwrap(), c.unwrap()];
        assert!(generations.iter().all(|generation| generation.number == 1), "{generations:?}");
    }
}

/// Judged by the fastest of some: the machine may be busy.
async fn a_change_of_another_process_is_seen_at_once(here: Here) {
    let (control, other) = (here.database.control().await.unwrap(), here.database.control().await.unwrap());
    let mut changes = control.watch().await.unwrap();
    let mut fastest = Duration::MAX;
    for n in 0..8_u128 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        changes.mark_unchanged();
        if n % 2 == 0 {
            generations::begin_building(&other, "view", 1).await.unwrap();
        } else {
            sql("INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES (?, 't', 'k', ?, ?)")
                .bind(Uuid::from_u128(n))
                .bind(vec![1_u8])
                .bind(Utc::now())
                .execute(other.pool())
                .await
                .unwrap();
        }
        let began = Instant::now();
        tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
        fastest = fastest.min(began.elapsed());
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    let mut late = control.watch().await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(1), late.changed()).await;
    assert!(seen.is_ok(), "a new receiver looks at once: it does not know what it missed");
    let closed = tokio::time::timeout(Duration::from_secs(5), control.close()).await;
    assert!(closed.is_ok(), "whoever watches holds nobody up");
}

async fn one_process_at_a_time_rebuilds(here: Here) {
    let held = here.database.take_role(Role::Rebuild).await.unwrap();
    let error = here.database.take_role(Role::Rebuild).await.unwrap_err();
    assert!(matches!(error, StoreError::InUse { role: "rebuild", .. }), "{error}");
    assert!(here.database.take_role(Role::Relay).await.is_ok());
    drop(held);
    // A server hears of it a moment later.
    let mut again = here.database.take_role(Role::Rebuild).await;
    for _ in 0..50 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        again = here.database.take_role(Role::Rebuild).await;
    }
    let again = again.unwrap();
    assert_eq!(matches!(again, RoleGuard::File(_)), !here.database.is_shared());
}

async fn whoever_sets_up_may_make_tables_meanwhile(here: Here) {
    let control = here.database.control().await.unwrap();
    let held = here.database.setup_lock().await.unwrap();
    let store = tokio::time::timeout(Duration::from_secs(5), here.store()).await;
    assert!(store.is_ok());
    let mut waiting = std::pin::pin!(here.database.setup_lock());
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err(), "one at a time");
    drop(held);
    assert!(tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().is_ok());
    control.close().await;
}
