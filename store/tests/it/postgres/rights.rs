//! The role of query servers.

use annals_store::sql::sql;
use annals_store::{Database, Followed, OnConflict, PostgresDb, StoreError, generations};
use chrono::Utc;
use uuid::Uuid;

use super::FreshDatabase;
use crate::contract::{step, things};
use crate::engine::{TABLES, THINGS};

struct Granted {
    owner: Database,
    query: Database,
    _fresh: FreshDatabase,
}

async fn granted() -> Granted {
    let fresh = FreshDatabase::make().await;
    let role = fresh.make_role("right").await;
    let database = fresh.open();
    let owner = Database::Postgres(database.clone());
    owner.control().await.unwrap();
    owner.view_store("view", 1, &TABLES).await.unwrap();
    for _ in 0..2 {
        database.grant_query(&role).await.unwrap();
    }
    let query = Database::Postgres(PostgresDb::parse(&fresh.url_of(&role, "right")).unwrap());
    Granted { owner, query, _fresh: fresh }
}

#[tokio::test]
async fn a_query_server_reads_every_view_and_writes_none() {
    let here = granted().await;
    here.owner.view_store("later_view", 12, &TABLES).await.unwrap();
    for (view, generation) in [("view", 1), ("later_view", 12)] {
        let readers = here.query.readers(view, generation).await.unwrap();
        for table in ["things", "positions", "dead_letters", "marks"] {
            let text = format!("SELECT count(*) FROM {table}");
            assert_eq!(sql(text).fetch_scalar::<u64>(&readers).await.unwrap(), u64::from(table == "marks"));
        }
        // Opening one that is laid out needs no right to make tables.
        let store = here.query.view_store(view, generation, &TABLES).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let error = tx.advance(&[step(0, 0, 1)]).await.unwrap_err();
        assert!(matches!(error, StoreError::NoRight { .. }), "{error:?}");
        let mut tx = store.begin().await.unwrap();
        for size in [1, 1_000] {
            let error = tx.write(&THINGS, &things(0, size, "a"), OnConflict::Keep).await;
            assert!(error.is_err());
        }
        let error = here.query.remove_generation(view, generation).await.unwrap_err();
        assert!(matches!(error, StoreError::NoRight { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_query_server_gets_no_right_to_what_else_its_owner_makes() {
    let here = granted().await;
    let control = here.owner.control().await.unwrap();
    for statement in ["CREATE SCHEMA payroll", "CREATE TABLE payroll.salaries (euros int)"] {
        sql(statement).execute(control.pool()).await.unwrap();
    }
    let query = here.query.control().await.unwrap();
    let error = sql("SELECT count(*) FROM payroll.salaries").fetch_scalar::<u64>(query.pool()).await;
    assert!(matches!(StoreError::database("x", "read", error.unwrap_err()), StoreError::NoRight { .. }));
}

#[tokio::test]
async fn a_query_server_reads_and_writes_the_control_tables() {
    let here = granted().await;
    let control = here.query.control().await.unwrap();
    sql("INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES (?, 't', 'k', ?, ?)")
        .bind(Uuid::nil())
        .bind(vec![1_u8])
        .bind(Utc::now())
        .execute(control.pool())
        .await
        .unwrap();
    sql("INSERT INTO customers (id, name, name_key, created_at) VALUES (?, 'a', 'a', ?)")
        .bind(Uuid::nil())
        .bind(Utc::now())
        .execute(control.pool())
        .await
        .unwrap();
    let error = sql("DELETE FROM _sqlx_migrations").execute(control.pool()).await.unwrap_err();
    assert!(matches!(StoreError::database("x", "write", error), StoreError::NoRight { .. }));
    let error = sql("CREATE TABLE mine (a int)").execute(control.pool()).await.unwrap_err();
    assert!(matches!(StoreError::database("x", "write", error), StoreError::NoRight { .. }));
}

#[tokio::test]
async fn a_role_that_was_granted_before_a_migration_writes_its_tables() {
    let here = granted().await;
    let owner = here.owner.control().await.unwrap();
    for statement in [
        "DROP TABLE credentials",
        "DROP TABLE rate_windows",
        "DELETE FROM _sqlx_migrations WHERE version = 2",
    ] {
        sql(statement).execute(owner.pool()).await.unwrap();
    }
    let error = here.query.control().await.unwrap_err();
    assert!(matches!(error, StoreError::NoRight { .. }), "only the owner migrates: {error:?}");
    here.owner.control().await.unwrap();
    let control = here.query.control().await.unwrap();
    sql("INSERT INTO rate_windows (began, customer, endpoint, taken) VALUES (?, ?, 'e', 1)")
        .bind(Utc::now())
        .bind(Uuid::nil())
        .execute(control.pool())
        .await
        .unwrap();
    for statement in [
        "UPDATE credentials SET used_at = now()",
        "UPDATE rate_windows SET taken = 2",
        "DELETE FROM rate_windows",
    ] {
        sql(statement).execute(control.pool()).await.unwrap();
    }
}

#[tokio::test]
async fn a_query_server_follows_the_owner_s_generations() {
    let here = granted().await;
    let owner = here.owner.control().await.unwrap();
    generations::active_or_first(&owner, "view", 1).await.unwrap();
    let control = here.query.control().await.unwrap();
    let followed = Followed::start(&control, &here.query, "view", 1, Some(&TABLES)).await.unwrap();
    let new = generations::begin_building(&owner, "view", 1).await.unwrap();
    here.owner.view_store("view", new.number, &TABLES).await.unwrap();
    let mut tx = owner.begin().await.unwrap();
    generations::switch(tx.connection(), &owner, "view", new.number).await.unwrap();
    tx.commit().await.unwrap();
    let switched = async {
        while followed.current().generation.number != new.number {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(3), switched).await.unwrap();
}

#[tokio::test]
async fn a_role_that_is_not_there_is_named() {
    let fresh = FreshDatabase::make().await;
    let database = fresh.open();
    Database::Postgres(database.clone()).control().await.unwrap();
    let error = database.grant_query("no_such_role; DROP TABLE annals.customers").await.unwrap_err();
    assert!(super::chain(&error).contains("no_such_role"), "{}", super::chain(&error));
}
