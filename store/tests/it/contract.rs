//! The contract of [`ViewStore`] and [`ViewTransaction`](annals_store::ViewTransaction): positions, rows and fences.

use std::sync::Arc;
use std::time::Duration;

use annals_store::sql::{sql, sql_for};
use annals_store::{
    Advance, DeadLetter, OnConflict, Partition, Pool, Rows, StoreError, Value, ViewStore, ViewTransaction,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::engine::{Here, NAMES, THINGS};

on_both_engines!(
    positions_and_rows_are_one_transaction,
    a_stale_position_is_fenced,
    of_many_writers_of_one_position_one_wins,
    a_conflict_keeps_or_updates,
    dead_letters_are_kept_once,
    a_retired_generation_is_fenced,
    a_fence_keeps_writers_waiting_and_they_see_what_was_done_behind_it,
    a_fence_waits_for_the_writers_under_way,
    nobody_waits_in_a_circle,
    the_incarnation_of_a_topic_is_bound_once,
    a_generation_that_is_removed_is_gone,
    indexes_are_put_aside_and_made_once,
);

pub(crate) fn step(number: u32, from: u64, to: u64) -> Advance {
    let last_event_id = Some(Uuid::from_u128(u128::from(to)));
    Advance { partition: Partition::new("topic", number), from, to, last_event_id }
}

pub(crate) fn things(from: u128, to: u128, name: &str) -> Rows {
    let mut rows = Rows::new(&THINGS);
    for n in from..to {
        rows.push([Uuid::from_u128(n).into(), name.into(), Value::Null]);
    }
    rows
}

pub(crate) async fn count(pool: &Pool) -> i64 {
    sql("SELECT count(*) FROM things").fetch_scalar(pool).await.unwrap()
}

/// Positions and rows come together or not at all.
async fn positions_and_rows_are_one_transaction(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(1, 0, 5), step(0, 0, 3)]).await.unwrap();
    tx.write(&THINGS, &things(0, 2_500, "a"), OnConflict::Keep).await.unwrap();
    drop(tx);
    assert!(store.positions().await.unwrap().is_empty());
    assert_eq!(count(&readers).await, 0, "a dropped transaction leaves no trace");
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(1, 0, 5), step(0, 0, 3)]).await.unwrap();
    tx.write(&THINGS, &things(0, 2_500, "a"), OnConflict::Keep).await.unwrap();
    assert_eq!(tx.positions().await.unwrap().len(), 2, "it sees itself");
    tx.commit().await.unwrap();
    assert_eq!(count(&readers).await, 2_500);
    let positions = store.positions().await.unwrap();
    assert_eq!(
        positions.iter().map(|p| (p.partition.number, p.next_offset)).collect::<Vec<_>>(),
        [(0, 3), (1, 5)]
    );
    assert_eq!(positions[0].last_event_id, Some(Uuid::from_u128(3)));
}

/// Every position must stand where it was read, or nothing moves.
async fn a_stale_position_is_fenced(here: Here) {
    let store = here.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 0, 3)]).await.unwrap();
    tx.commit().await.unwrap();
    for stale in
        [vec![step(0, 0, 4)], vec![step(0, 2, 4)], vec![step(1, 0, 1), step(0, 4, 5)], vec![step(2, 1, 2)]]
    {
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.advance(&stale).await, Err(StoreError::Fenced(_))), "{stale:?}");
        drop(tx);
    }
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[Advance { last_event_id: None, ..step(0, 3, 4) }]).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 4, u64::from(u32::MAX) * 2)]).await.unwrap();
    tx.commit().await.unwrap();
    let positions = store.positions().await.unwrap();
    assert_eq!(positions.len(), 1);
    assert_eq!(positions[0].next_offset, u64::from(u32::MAX) * 2);
}

/// Compare-and-set among writers that come at the same time, for a new position and for one that is there.
async fn of_many_writers_of_one_position_one_wins(here: Here) {
    let stores = [here.store().await, here.store().await, here.store().await];
    for round in 0..4 {
        let mut writers = tokio::task::JoinSet::new();
        for store in stores.iter().cycle().take(6) {
            let store = Arc::clone(store);
            writers.spawn(async move {
                let mut tx = store.begin().await?;
                tx.advance(&[step(0, round, round + 1)]).await?;
                tx.commit().await
            });
        }
        let outcomes = writers.join_all().await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");
        }
    }
}

/// The first row of a key stays, unless columns are named to be taken from the new one.
async fn a_conflict_keeps_or_updates(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    let time = |micros| DateTime::from_timestamp_micros(micros).unwrap();
    for (name, until, on_conflict, expected) in [
        ("first", None, OnConflict::Keep, None),
        ("second", Some(time(7)), OnConflict::Keep, None),
        ("third", Some(time(9)), OnConflict::Update(&["until"]), Some(time(9))),
    ] {
        let mut rows = Rows::new(&THINGS);
        rows.push([Uuid::nil().into(), name.into(), until.into()]);
        let mut tx = store.begin().await.unwrap();
        tx.write(&THINGS, &rows, on_conflict).await.unwrap();
        tx.commit().await.unwrap();
        let row = sql("SELECT name, until FROM things").fetch_one(&readers).await.unwrap();
        assert_eq!(row.get::<String>(0).unwrap(), "first");
        assert_eq!(row.get::<Option<DateTime<Utc>>>("until").unwrap(), expected);
    }
}

/// Dead letters are part of the transaction, and the same one twice is one.
async fn dead_letters_are_kept_once(here: Here) {
    let store = here.store().await;
    let letter = DeadLetter {
        partition: Partition::new("topic", 1),
        offset: 7,
        recorded_at: DateTime::from_timestamp_micros(1_234_567).unwrap(),
        reason: "unknown framing".into(),
        bytes: vec![0, 255, 7],
    };
    for _ in 0..2 {
        let mut tx = store.begin().await.unwrap();
        tx.write_dead_letters(std::slice::from_ref(&letter)).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(store.dead_letters(10).await.unwrap(), [letter]);
    assert_eq!(store.dead_letter_count().await.unwrap(), 1);
}

/// A retired generation takes nothing more.
async fn a_retired_generation_is_fenced(here: Here) {
    let store = here.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.retire().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.advance(&[step(0, 0, 1)]).await, Err(StoreError::Fenced(_))));
}

/// A writer of another process, which begins and moves a position of its own.
fn other_writer(
    store: Arc<dyn ViewStore>,
    number: u32,
) -> tokio::task::JoinHandle<annals_store::Result<Box<dyn ViewTransaction>>> {
    tokio::spawn(async move {
        let mut tx = store.begin().await?;
        tx.advance(&[step(number, 0, 1)]).await?;
        Ok(tx)
    })
}

/// Long enough for anything that does not wait.
const A_WHILE: Duration = Duration::from_millis(300);

async fn a_fence_keeps_writers_waiting_and_they_see_what_was_done_behind_it(here: Here) {
    let (store, other) = (here.store().await, here.store().await);
    // A connection whose statements are prepared already: they must not answer from what they knew.
    let mut tx = other.begin().await.unwrap();
    tx.advance(&[step(7, 0, 1)]).await.unwrap();
    tx.commit().await.unwrap();
    let mut fence = store.fence().await.unwrap();
    fence.advance(&[step(0, 0, 4)]).await.unwrap();
    let writer = other_writer(other, 1);
    tokio::time::sleep(A_WHILE).await;
    assert!(!writer.is_finished(), "the fence keeps it out");
    fence.retire().await.unwrap();
    fence.commit().await.unwrap();
    let error = writer.await.unwrap().err().unwrap();
    assert!(matches!(error, StoreError::Fenced(_)), "{error:?}");
    assert_eq!(store.positions().await.unwrap().len(), 2, "nothing of the late writer");
}

async fn a_fence_waits_for_the_writers_under_way(here: Here) {
    let (store, other) = (here.store().await, here.store().await);
    let tx = other_writer(other, 1).await.unwrap().unwrap();
    let fencing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.fence().await?.positions().await })
    };
    tokio::time::sleep(A_WHILE).await;
    assert!(!fencing.is_finished(), "a writer is under way");
    tx.commit().await.unwrap();
    assert_eq!(fencing.await.unwrap().unwrap().len(), 1, "and its work is seen");
}

/// Every lane has its transaction, a fence waits for them, and a batch beside them fills a dictionary.
async fn nobody_waits_in_a_circle(here: Here) {
    let store = here.store().await;
    if store.lanes() == 1 {
        return;
    }
    let mut lanes = Vec::new();
    for number in 0..u32::try_from(store.lanes()).unwrap() {
        lanes.push(other_writer(Arc::clone(&store), number).await.unwrap().unwrap());
    }
    let fencing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.fence().await.map(drop) })
    };
    tokio::time::sleep(A_WHILE).await;
    let keys = [vec![Value::from("beside"), Value::from(1_i64)]];
    let ids = tokio::time::timeout(Duration::from_secs(5), store.resolve(&NAMES, &keys)).await;
    assert_eq!(ids.unwrap().unwrap().len(), 1);
    for lane in lanes {
        lane.commit().await.unwrap();
    }
    fencing.await.unwrap().unwrap();
}

/// The first log that a generation is bound to stays.
async fn the_incarnation_of_a_topic_is_bound_once(here: Here) {
    let store = here.store().await;
    assert_eq!(store.incarnations().await.unwrap(), []);
    for (topic, incarnation) in [("annals.audit", 1), ("annals.audit", 2), ("annals.host-logons", 3)] {
        store.bind_incarnation(topic, Uuid::from_u128(incarnation)).await.unwrap();
    }
    let again = here.store().await;
    let mut bound = again.incarnations().await.unwrap();
    bound.sort();
    assert_eq!(
        bound,
        [
            ("annals.audit".to_owned(), Uuid::from_u128(1)),
            ("annals.host-logons".to_owned(), Uuid::from_u128(3))
        ]
    );
}

/// Names of the indexes that are not keys.
async fn indexes(pool: &Pool) -> Vec<String> {
    sql_for(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1",
        "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'things_by%' ORDER BY 1",
    )
    .fetch_scalars(pool)
    .await
    .unwrap()
}

async fn indexes_are_put_aside_and_made_once(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    assert_eq!(indexes(&readers).await, ["things_by_name"]);
    assert!(!store.are_indexes_aside().await.unwrap());
    for _ in 0..2 {
        assert!(store.put_indexes_aside().await.unwrap());
        assert_eq!(indexes(&readers).await, [""; 0]);
    }
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 0, 2)]).await.unwrap();
    for _ in 0..2 {
        tx.write(&THINGS, &things(0, 2, "same"), OnConflict::Keep).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(count(&readers).await, 2, "keys stay");
    // Another process finds them as they are, and of two that make them one does.
    let again = here.store().await;
    assert!(again.are_indexes_aside().await.unwrap() && again.put_indexes_aside().await.unwrap());
    let (one, other) = tokio::join!(store.make_indexes(), again.make_indexes());
    one.unwrap();
    other.unwrap();
    assert_eq!(indexes(&readers).await, ["things_by_name"]);
    assert!(!again.are_indexes_aside().await.unwrap());
    assert!(!store.put_indexes_aside().await.unwrap(), "it has rows");
    store.make_indexes().await.unwrap();
    assert_eq!(indexes(&readers).await, ["things_by_name"]);
}

async fn a_generation_that_is_removed_is_gone(here: Here) {
    assert!(matches!(here.database.readers("view", 1).await, Err(StoreError::Gone(_))), "not made yet");
    let (store, readers) = (here.store().await, here.readers().await);
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 0, 1)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&readers).await, 0);
    let (positions, dead_letters) = here.database.progress("view", 1).await.unwrap();
    assert_eq!((positions.len(), dead_letters), (1, 0));
    for _ in 0..2 {
        here.database.remove_generation("view", 1).await.unwrap();
    }
    assert!(matches!(here.database.readers("view", 1).await, Err(StoreError::Gone(_))));
    if here.database.is_shared() {
        let mut tx = store.begin().await.unwrap();
        let error = tx.advance(&[step(0, 1, 2)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Gone(_)) && error.is_transient(), "{error:?}");
        drop(tx);
        assert!(matches!(store.positions().await, Err(StoreError::Gone(_))));
        let error = sql("SELECT count(*) FROM things").fetch_all(&readers).await.err().unwrap();
        let error = StoreError::database("x", "read", error);
        assert!(matches!(error, StoreError::Gone(_)), "{error:?}");
    }
    let again = here.store().await;
    assert!(again.positions().await.unwrap().is_empty(), "and may be made again");
}
