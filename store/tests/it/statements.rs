//! Hand-written SQL means the same on both engines.

use annals_store::sql::{sql, sql_for};
use annals_store::{OnConflict, Rows, StoreError, Value};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::engine::{Here, THINGS};

on_both_engines!(
    a_list_is_one_value,
    a_place_that_was_null_takes_a_number_later,
    numbers_are_read_whichever_width_they_have,
    a_snapshot_sees_one_state,
    readers_cannot_write,
    a_dropped_transaction_of_the_control_tables_leaves_no_trace,
    a_unique_key_can_be_told_from_other_errors,
);

async fn a_list_is_one_value(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    let mut rows = Rows::new(&THINGS);
    for n in 0..10_u128 {
        rows.push([Uuid::from_u128(n).into(), format!("n'\"\\{n}").into(), Value::Null]);
    }
    let mut tx = store.begin().await.unwrap();
    tx.write(&THINGS, &rows, OnConflict::Keep).await.unwrap();
    tx.commit().await.unwrap();
    let ids: Vec<Uuid> = [3_u128, 5, 99].map(Uuid::from_u128).to_vec();
    let names = ["n'\"\\3", "n'\"\\7", ""].map(str::to_owned).to_vec();
    for (text, list, expected) in [
        ("SELECT count(*) FROM things WHERE name <> ? AND thing = ANY(?)", Value::from(ids), 2),
        ("SELECT count(*) FROM things WHERE name <> ? AND name = ANY(?)", Value::from(names), 2),
        (
            "SELECT count(*) FROM things WHERE name <> ? AND id = ANY(?)",
            Value::from(vec![1_i64, 2, 3, 77]),
            3,
        ),
        (
            "SELECT count(*) FROM things WHERE name <> ? AND thing = ANY(?)",
            Value::from(Vec::<Uuid>::new()),
            0,
        ),
    ] {
        let count: u64 = sql(text).bind("x").bind(list).fetch_scalar(&readers).await.unwrap();
        assert_eq!(count, expected, "{text}");
    }
}

/// Statements are prepared once per connection, with types that come from the first values.
async fn a_place_that_was_null_takes_a_number_later(here: Here) {
    let store = here.store().await;
    let mut tx = store.begin().await.unwrap();
    for round in 0..3_i64 {
        for (flag, number) in [(None, None), (Some(7), None), (Some(-1), Some(i64::MAX)), (None, Some(1))] {
            let mut connection = tx.connection();
            sql("DELETE FROM everything").execute(&mut connection).await.unwrap();
            sql("INSERT INTO everything (small, key, flag, number) VALUES (?, ?, ?, ?)")
                .bind(round)
                .bind(1)
                .bind(flag)
                .bind(number)
                .execute(&mut connection)
                .await
                .unwrap();
            let row = sql("SELECT flag, number FROM everything").fetch_one(&mut connection).await.unwrap();
            assert_eq!(
                (row.get::<Option<i64>>(0).unwrap(), row.get::<Option<i64>>(1).unwrap()),
                (flag, number)
            );
        }
    }
}

async fn numbers_are_read_whichever_width_they_have(here: Here) {
    let store = here.store().await;
    let mut tx = store.begin().await.unwrap();
    let mut connection = tx.connection();
    sql("INSERT INTO everything (small, key, flag, name_id, number) VALUES (?, ?, ?, ?, ?)")
        .bind_all([1_i64, 2, 3, 4, 5].map(Value::from))
        .execute(&mut connection)
        .await
        .unwrap();
    let row =
        sql("SELECT small, flag, name_id, number, count(*), 1, small = 1, EXISTS (SELECT 1 FROM things)
         FROM everything GROUP BY 1, 2, 3, 4")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let numbers: Vec<i64> = (0..6).map(|at| row.get(at).unwrap()).collect();
    assert_eq!(numbers, [1, 3, 4, 5, 1, 1]);
    assert_eq!((row.get::<bool>(6).unwrap(), row.get::<bool>(7).unwrap()), (true, false));
    assert!(row.get::<u32>("number").is_ok());
    let negative = sql("SELECT -1").fetch_scalar::<u64>(&mut connection).await;
    assert!(negative.is_err(), "a number that is out of range is no other number");
    let time: DateTime<Utc> = sql_for("SELECT 1000000", "SELECT '1970-01-01 00:00:01+00'::timestamptz")
        .fetch_scalar(&mut connection)
        .await
        .unwrap();
    assert_eq!(time.timestamp(), 1);
}

async fn a_snapshot_sees_one_state(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    let mut snapshot = readers.snapshot().await.unwrap();
    let text = "SELECT count(*) FROM things";
    assert_eq!(sql(text).fetch_scalar::<u64>(&mut snapshot).await.unwrap(), 0);
    let mut rows = Rows::new(&THINGS);
    rows.push([Uuid::nil().into(), "".into(), Value::Null]);
    let mut tx = store.begin().await.unwrap();
    tx.write(&THINGS, &rows, OnConflict::Keep).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(sql(text).fetch_scalar::<u64>(&mut snapshot).await.unwrap(), 0);
    drop(snapshot);
    assert_eq!(sql(text).fetch_scalar::<u64>(&readers).await.unwrap(), 1);
}

async fn readers_cannot_write(here: Here) {
    let _store = here.store().await;
    let readers = here.readers().await;
    let written = sql("DELETE FROM things").execute(&readers).await;
    assert!(written.is_err());
}

async fn a_dropped_transaction_of_the_control_tables_leaves_no_trace(here: Here) {
    let control = here.database.control().await.unwrap();
    let insert = || {
        sql("INSERT INTO leases (name, holder, until) VALUES (?, ?, ?)")
            .bind("a")
            .bind(Uuid::nil())
            .bind(Utc::now())
    };
    let count = || sql("SELECT count(*) FROM leases");
    let mut tx = control.begin().await.unwrap();
    insert().execute(&mut tx).await.unwrap();
    drop(tx);
    assert_eq!(count().fetch_scalar::<u64>(control.pool()).await.unwrap(), 0);
    let mut tx = control.begin().await.unwrap();
    insert().execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count().fetch_scalar::<u64>(control.pool()).await.unwrap(), 1);
}

async fn a_unique_key_can_be_told_from_other_errors(here: Here) {
    let control = here.database.control().await.unwrap();
    let insert = |holder: Value| {
        sql("INSERT INTO leases (name, holder, until) VALUES ('a', ?, ?)").bind(holder).bind(Utc::now())
    };
    insert(Uuid::nil().into()).execute(control.pool()).await.unwrap();
    let error = insert(Uuid::nil().into()).execute(control.pool()).await.unwrap_err();
    assert!(error.as_database_error().unwrap().is_unique_violation());
    let error = insert(Value::Null).execute(control.pool()).await.unwrap_err();
    assert!(!error.as_database_error().unwrap().is_unique_violation());
    assert!(matches!(StoreError::database("x", "write", error), StoreError::Database { .. }));
}
