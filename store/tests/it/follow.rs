//! Readers that follow a view through its generations.

use std::time::Duration;

use annals_store::sql::sql;
use annals_store::{Followed, StoreError, generations};

use crate::engine::{Here, TABLES};

on_both_engines!(
    readers_follow_a_switch_and_requests_keep_their_generation,
    a_view_that_nobody_made_is_gone_for_a_reader,
    a_generation_of_another_version_is_not_read,
);

async fn readers_follow_a_switch_and_requests_keep_their_generation(here: Here) {
    let database = &here.database;
    let (control, other) = (database.control().await.unwrap(), database.control().await.unwrap());
    let followed = Followed::start(&control, database, "view", 1, Some(&TABLES)).await.unwrap();
    let request = followed.current();
    assert_eq!(request.generation.number, 1);
    let new = generations::begin_building(&other, "view", 1).await.unwrap();
    database.view_store("view", new.number, &TABLES).await.unwrap().close().await;
    assert_eq!(followed.current().generation.number, 1, "it is not active yet");
    let mut tx = other.begin().await.unwrap();
    generations::switch(tx.connection(), &other, "view", new.number).await.unwrap();
    tx.commit().await.unwrap();
    let switched = async {
        while followed.current().generation.number != new.number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(3), switched).await.unwrap();
    let count: u64 = sql("SELECT count(*) FROM things").fetch_scalar(&request.pool).await.unwrap();
    assert_eq!(count, 0, "the request that began before goes on");
    drop(request);
    assert_eq!(followed.current().positions().await.unwrap(), []);
    assert_eq!(followed.current().dead_letter_count().await.unwrap(), 0);
    database.remove_generation("view", 1).await.unwrap();
}

async fn a_view_that_nobody_made_is_gone_for_a_reader(here: Here) {
    let control = here.database.control().await.unwrap();
    let error = Followed::start(&control, &here.database, "view", 1, None).await.unwrap_err();
    assert!(matches!(error, StoreError::Gone(_)), "{error}");
    generations::active_or_first(&control, "view", 1).await.unwrap();
    let error = Followed::start(&control, &here.database, "view", 1, None).await.unwrap_err();
    assert!(matches!(error, StoreError::Gone(_)), "named, but not laid out: {error}");
    let _store = here.store().await;
    Followed::start(&control, &here.database, "view", 1, None).await.unwrap();
}

async fn a_generation_of_another_version_is_not_read(here: Here) {
    let control = here.database.control().await.unwrap();
    generations::active_or_first(&control, "view", 2).await.unwrap();
    let error = Followed::start(&control, &here.database, "view", 1, Some(&TABLES)).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion(_)), "{error}");
    let error = Followed::start(&control, &here.database, "view", 3, None).await.unwrap_err();
    assert!(matches!(error, StoreError::Gone(_)), "{error}");
}
