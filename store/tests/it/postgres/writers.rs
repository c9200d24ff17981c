//! Writers at the same time, and writers that stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_store::sql::sql;
use annals_store::{Database, OnConflict, Pool, StoreError, ViewStore};
use sqlx::Executor;

use super::{FreshDatabase, until};
use crate::contract::{count, step, things};
use crate::engine::{TABLES, THINGS};

struct Here {
    fresh: FreshDatabase,
    database: Database,
    store: Arc<dyn ViewStore>,
    readers: Pool,
}

async fn here_with(limit: Option<Duration>) -> Here {
    let fresh = FreshDatabase::make().await;
    let database = fresh.open();
    let database = Database::Postgres(match limit {
        Some(limit) => database.with_idle_in_transaction(limit),
        None => database,
    });
    let store = database.view_store("view", 1, &TABLES).await.unwrap();
    let readers = database.readers("view", 1).await.unwrap();
    Here { fresh, database, store, readers }
}

/// Two partitions are written at the same time, and an event stands in both.
async fn an_event_in_two_partitions_is_one(size: u128) {
    let here = here_with(None).await;
    let mut first = here.store.begin().await.unwrap();
    first.advance(&[step(0, 0, 1)]).await.unwrap();
    first.write(&THINGS, &things(0, size, "first"), OnConflict::Keep).await.unwrap();
    let mut second = here.store.begin().await.unwrap();
    second.advance(&[step(1, 0, 1)]).await.unwrap();
    let writing = tokio::spawn(async move {
        second.write(&THINGS, &things(size - 10, 2 * size - 10, "second"), OnConflict::Keep).await.unwrap();
        assert_eq!(second.positions().await.unwrap().len(), 2, "its transaction goes on");
        second.commit().await
    });
    let waiting = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active')";
    until(&mut here.fresh.connect().await, waiting).await;
    first.commit().await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(count(&here.readers).await, i64::try_from(2 * size).unwrap() - 10);
    let first: u64 =
        sql("SELECT count(*) FROM things WHERE name = 'first'").fetch_scalar(&here.readers).await.unwrap();
    assert_eq!(u128::from(first), size, "the first one stays");
}

#[tokio::test]
async fn an_event_in_two_partitions_is_one_in_a_small_batch() {
    an_event_in_two_partitions_is_one(20).await;
}

#[tokio::test]
async fn an_event_in_two_partitions_is_one_in_a_large_batch() {
    an_event_in_two_partitions_is_one(2_000).await;
}

/// Each holds what the other waits for: one of them is sent back to try again.
#[tokio::test]
async fn two_batches_that_wait_for_each_other_are_told_apart() {
    let here = here_with(None).await;
    let mut first = here.store.begin().await.unwrap();
    let mut second = here.store.begin().await.unwrap();
    first.write(&THINGS, &things(0, 1, "first"), OnConflict::Keep).await.unwrap();
    second.write(&THINGS, &things(1, 2, "second"), OnConflict::Keep).await.unwrap();
    let (a, b) = (things(1, 2, "first"), things(0, 1, "second"));
    let (a, b) = tokio::join!(first.write(&THINGS, &a, OnConflict::Keep), async {
        let written = second.write(&THINGS, &b, OnConflict::Keep).await;
        drop(second);
        written
    });
    let errors: Vec<StoreError> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].is_transient() && matches!(errors[0], StoreError::Busy(_)), "{:?}", errors[0]);
}

#[tokio::test]
async fn a_writer_that_stopped_is_sent_away() {
    let here = here_with(Some(Duration::from_secs(1))).await;
    let mut stopped = here.store.begin().await.unwrap();
    stopped.advance(&[step(0, 0, 9)]).await.unwrap();
    stopped.write(&THINGS, &things(0, 1_000, "stopped"), OnConflict::Keep).await.unwrap();
    let other = here.database.view_store("view", 1, &TABLES).await.unwrap();
    let began = Instant::now();
    let mut tx = other.begin().await.unwrap();
    tx.advance(&[step(0, 0, 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let error = stopped.commit().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(count(&here.readers).await, 0, "nothing of it is left");
    assert_eq!(here.store.positions().await.unwrap()[0].next_offset, 1);
    let mut tx = here.store.begin().await.unwrap();
    tx.advance(&[step(0, 1, 2)]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_fence_may_stand_for_longer_than_a_batch() {
    let here = here_with(Some(Duration::from_secs(1))).await;
    let mut fence = here.store.fence().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    fence.retire().await.unwrap();
    fence.commit().await.unwrap();
}

/// A statement that is left half way must not leave its answers to the next user of the connection.
#[tokio::test]
async fn a_batch_that_is_dropped_anywhere_leaves_no_trace() {
    let here = here_with(None).await;
    let rows = things(0, 5_000, "dropped");
    let mut cut = 0;
    for round in 0..60_u32 {
        let batch = async {
            let mut tx = here.store.begin().await.unwrap();
            tx.advance(&[step(0, 0, 1)]).await.unwrap();
            tx.write(&THINGS, &rows, OnConflict::Keep).await.unwrap();
            std::future::pending::<()>().await;
        };
        let limit = Duration::from_micros(500) * round;
        cut += u32::from(tokio::time::timeout(limit, batch).await.is_err());
        assert_eq!(here.store.positions().await.unwrap(), [], "round {round}");
        assert_eq!(here.store.dead_letter_count().await.unwrap(), 0);
    }
    assert_eq!(cut, 60);
    let mut tx = here.store.begin().await.unwrap();
    tx.advance(&[step(0, 0, 1)]).await.unwrap();
    tx.write(&THINGS, &rows, OnConflict::Keep).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&here.readers).await, 5_000);
}

#[tokio::test]
async fn a_statement_that_fails_leaves_the_store_usable() {
    let here = here_with(None).await;
    here.fresh
        .connect()
        .await
        .execute("ALTER TABLE annals_view_1.things ADD CHECK (name <> 'bad')")
        .await
        .unwrap();
    for size in [1, 2_000] {
        let mut tx = here.store.begin().await.unwrap();
        tx.advance(&[step(0, 0, 1)]).await.unwrap();
        let error = tx.write(&THINGS, &things(0, size, "bad"), OnConflict::Keep).await.unwrap_err();
        assert!(matches!(error, StoreError::Database { operation: "write rows", .. }), "{error:?}");
        drop(tx);
        assert_eq!(here.store.positions().await.unwrap(), []);
        assert_eq!(count(&here.readers).await, 0);
    }
}

/// More batches than connections, all at once.
#[tokio::test]
async fn many_batches_at_once_share_the_connections() {
    let here = here_with(None).await;
    let mut batches = tokio::task::JoinSet::new();
    for number in 0..12_u32 {
        let store = Arc::clone(&here.store);
        batches.spawn(async move {
            let from = u128::from(number) * 500;
            let mut tx = store.begin().await.unwrap();
            tx.advance(&[step(number, 0, 1)]).await.unwrap();
            tx.write(&THINGS, &things(from, from + 500, "a"), OnConflict::Keep).await.unwrap();
            tx.commit().await.unwrap();
        });
    }
    batches.join_all().await;
    assert_eq!(count(&here.readers).await, 6_000);
}

/// Queries go on while a generation is removed under them: they have an answer, or the generation is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_removed_under_its_readers_and_its_writer() {
    let here = here_with(None).await;
    for generation in 2..8 {
        let store = here.database.view_store("view", generation, &TABLES).await.unwrap();
        let readers = here.database.readers("view", generation).await.unwrap();
        let mut users = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let readers = readers.clone();
            users.spawn(async move {
                loop {
                    let mut snapshot = readers.snapshot().await.unwrap();
                    for table in ["positions", "things", "names"] {
                        let found =
                            sql(format!("SELECT count(*) FROM {table}")).fetch_all(&mut snapshot).await;
                        if let Err(error) = found {
                            return StoreError::database("x", "read", error);
                        }
                    }
                }
            });
        }
        let writer = Arc::clone(&store);
        users.spawn(async move {
            for round in 0.. {
                let batch = async {
                    let mut tx = writer.begin().await?;
                    tx.advance(&[step(0, round, round + 1)]).await?;
                    let from = u128::from(round) * 300;
                    tx.write(&THINGS, &things(from, from + 300, "a"), OnConflict::Keep).await?;
                    tx.commit().await
                };
                if let Err(error) = batch.await {
                    return error;
                }
            }
            unreachable!()
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Err(error) = here.database.remove_generation("view", generation).await {
            assert!(error.is_transient(), "{error:?}");
        }
        for error in users.join_all().await {
            // Whoever held a lock that the removal wanted, and the other way round, is told to try again.
            assert!(matches!(error, StoreError::Gone(_) | StoreError::Busy(_)), "{error:?}");
        }
    }
}
