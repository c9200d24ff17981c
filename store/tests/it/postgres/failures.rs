//! What is said when a server cannot be used, and what goes on when it can be used again.

use std::time::{Duration, Instant};

use annals_store::sql::sql;
use annals_store::{Database, PostgresDb, StoreError, generations};
use sqlx::Executor;

use super::{FreshDatabase, chain, run};
use crate::engine::TABLES;

const SECRET: &str = "hunter2-geheim";

async fn refusal(url: &str) -> StoreError {
    PostgresDb::parse(url).unwrap().check().await.unwrap_err()
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let fresh = FreshDatabase::make().await;
    let role = fresh.make_role("right").await;
    let error = refusal(&fresh.url_of(&role, SECRET)).await;
    assert!(matches!(error, StoreError::Refused { .. }) && !error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("--store"), "{error}");
    assert!(!chain(&error).contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error:?}");
    let nobody = refusal(&fresh.url_of("nobody_at_all", SECRET)).await;
    assert!(matches!(nobody, StoreError::Refused { .. }), "{nobody:?}");
    let database = Database::Postgres(PostgresDb::parse(&fresh.url_of(&role, SECRET)).unwrap());
    assert!(!format!("{database:?}").contains(SECRET), "{database:?}");
    // Where pools connect, and not `check`.
    let error = database.readers("view", 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let fresh = FreshDatabase::make().await;
    let error = refusal(&format!("{}_missing", fresh.url)).await;
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(chain(&error).contains("_missing") && error.to_string().contains("--store"), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let began = Instant::now();
    let error = refusal(&format!("postgres://ada:{SECRET}@127.0.0.1:{port}/annals")).await;
    assert!(matches!(error, StoreError::Unavailable { operation: "connect", .. }), "{error:?}");
    assert!(error.is_transient() && began.elapsed() < Duration::from_secs(6));
    let text = chain(&error);
    assert!(text.contains(&port.to_string()) && text.contains("connect") && !text.contains(SECRET), "{text}");
}

/// It takes connections and says nothing.
#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let began = Instant::now();
    let error = refusal(&format!("postgres://ada:{SECRET}@127.0.0.1:{port}/annals")).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(8));
}

/// The servers of a test run may have TLS: what one without it says to the first question of a connection is one letter.
#[tokio::test]
async fn encryption_that_the_server_does_not_have_is_told() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let without_tls = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 8];
            if stream.read_exact(&mut question).await.is_ok() {
                stream.write_all(b"N").await.unwrap();
            }
        }
    });
    let error = refusal(&format!("postgres://annals@{address}/annals?sslmode=require")).await;
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("--store"));
    without_tls.abort();
}

#[tokio::test]
async fn a_user_without_rights_is_told_what_it_may_not_do() {
    let fresh = FreshDatabase::make().await;
    let role = fresh.make_role(SECRET).await;
    let database = Database::Postgres(PostgresDb::parse(&fresh.url_of(&role, SECRET)).unwrap());
    for error in [
        database.control().await.unwrap_err(),
        database.view_store("view", 1, &TABLES).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::NoRight { .. }) && !error.is_transient(), "{error:?}");
        let text = chain(&error);
        assert!(text.contains("--store") && text.contains("create its") && !text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let fresh = FreshDatabase::make().await;
    let name = format!("{}_latin", fresh.name);
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    run(&fresh.url, [create]).await;
    let error = refusal(&format!("{}_latin", fresh.url)).await;
    run(&fresh.url, [format!("DROP DATABASE {name}")]).await;
    assert!(matches!(error, StoreError::Setting(_)), "{error:?}");
    assert!(error.to_string().contains("LATIN1"), "{error}");
}

const CUT_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// As after a restart of the server.
#[tokio::test]
async fn cut_connections_are_replaced_and_changes_are_seen_again() {
    let fresh = FreshDatabase::make().await;
    let database = Database::Postgres(fresh.open());
    let (control, other) = (database.control().await.unwrap(), database.control().await.unwrap());
    let store = database.view_store("view", 1, &TABLES).await.unwrap();
    let readers = database.readers("view", 1).await.unwrap();
    let mut changes = control.watch().await.unwrap();
    for round in 0..3 {
        store.positions().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        fresh.connect().await.execute(CUT_ALL).await.unwrap();
        let error = tx.advance(&[crate::contract::step(0, 0, 1)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        drop(tx);
        // Connections that were idle for a moment are tried before they are used.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(store.positions().await.unwrap(), [], "round {round}");
        sql("SELECT count(*) FROM things").fetch_one(&readers).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        changes.mark_unchanged();
        let began = Instant::now();
        generations::begin_building(&other, "view", 1).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

/// Nothing waits without end for a statement that the server does not finish.
#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_by_the_server() {
    let fresh = FreshDatabase::make().await;
    let database = Database::Postgres(fresh.open());
    let _store = database.view_store("view", 1, &TABLES).await.unwrap();
    let readers = database.readers("view", 1).await.unwrap();
    let mut snapshot = readers.snapshot().await.unwrap();
    sql("SET LOCAL statement_timeout = 100").execute(&mut snapshot).await.unwrap();
    let error = sql("SELECT pg_sleep(20)").execute(&mut snapshot).await.unwrap_err();
    let error = StoreError::database("x", "answer", error);
    assert!(matches!(error, StoreError::TooSlow { operation: "answer", .. }), "{error:?}");
}

/// More requests were given up than there are connections.
#[tokio::test]
async fn queries_that_nobody_waits_for_any_more_leave_nothing_behind() {
    let fresh = FreshDatabase::make().await;
    let database = Database::Postgres(fresh.open());
    let _store = database.view_store("view", 1, &TABLES).await.unwrap();
    let readers = database.readers("view", 1).await.unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..12_u64 {
        let readers = readers.clone();
        requests.spawn(async move {
            // Beside a set in the same list, pg_sleep would sleep for each of its rows.
            let text = "WITH slept AS MATERIALIZED (SELECT pg_sleep(0.5)) SELECT n FROM slept, generate_series(1, 1000) n";
            let limit = Duration::from_millis(20 + 15 * n);
            let _ = tokio::time::timeout(limit, sql(text).fetch_all(&readers)).await;
        });
    }
    requests.join_all().await;
    let began = Instant::now();
    for n in 0..20_i64 {
        let found: Vec<i64> = sql("SELECT ?::bigint").bind(n).fetch_scalars(&readers).await.unwrap();
        assert_eq!(found, [n], "an answer to another question");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}
