//! Events that are counted when there are too many.

use std::time::Duration;

use annals_access::{Access, Client, Principal};
use annals_schemas::{ActionRecorded, Event, Severity};
use annals_store::sql::sql;

use crate::support::{Engine, Home, PASSWORD, client, personal, suite, told};

suite!(
    twenty_failures_a_minute_are_told_and_the_rest_is_counted,
    failures_are_counted_per_account_and_address,
    the_right_password_is_let_in_whatever_failed_before,
    a_read_of_the_audit_log_is_told_at_once_and_the_next_ones_once_a_minute,
    reads_are_counted_per_principal_and_dialect_and_told_before_the_process_ends,
    what_could_not_be_written_is_counted_later,
);

const MINUTE: Duration = Duration::from_secs(60);

async fn fail(access: &Access, email: &str, address: &str, times: usize) {
    for _ in 0..times {
        assert!(access.sign_in(email, "wrong password", &client(address), "papi").await.is_err());
    }
}

/// The attempts of each failed sign-in that was told.
async fn attempts(access: &Access) -> Vec<i64> {
    told(access)
        .await
        .into_iter()
        .map(|event| match event {
            Event::LoginFailed(event) => event.attempts,
            other => panic!("{other:?}"),
        })
        .collect()
}

async fn ada(access: &Access) -> Principal {
    let principal =
        access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap().principal;
    told(access).await;
    principal
}

async fn reads(access: &Access) -> Vec<ActionRecorded> {
    told(access)
        .await
        .into_iter()
        .map(|event| match event {
            Event::ActionRecorded(event) => event,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn counts(reads: &[ActionRecorded]) -> Vec<i64> {
    reads.iter().map(|read| read.count).collect()
}

async fn twenty_failures_a_minute_are_told_and_the_rest_is_counted(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    for name in ["ada@example.com", "nobody"] {
        fail(&access, name, "10.0.0.7", 25).await;
        assert_eq!(attempts(&access).await, [1; 20]);
        access.flush(false).await.unwrap();
        assert!(attempts(&access).await.is_empty());
        home.clock.advance(MINUTE);
        access.flush(false).await.unwrap();
        assert_eq!(attempts(&access).await, [5]);
        fail(&access, name, "10.0.0.7", 1).await;
        assert_eq!(attempts(&access).await, [1]);
    }
}

async fn failures_are_counted_per_account_and_address(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    fail(&access, "ada@example.com", "10.0.0.7", 21).await;
    fail(&access, "ADA@example.com", "::ffff:10.0.0.7", 1).await;
    fail(&access, "ada@example.com", "10.0.0.8", 1).await;
    fail(&access, "nobody", "10.0.0.7", 1).await;
    assert_eq!(attempts(&access).await, [1; 22]);
    access.flush(true).await.unwrap();
    let events = told(&access).await;
    let [Event::LoginFailed(counted)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((counted.attempts, counted.reason.as_str()), (2, "wrong password"));
    assert_eq!(personal(&events[0]).account.as_deref(), Some("ada@example.com"));
    assert_eq!(personal(&events[0]).address.as_deref(), Some("10.0.0.7"));
}

async fn the_right_password_is_let_in_whatever_failed_before(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    fail(&access, "ada@example.com", "10.0.0.7", 25).await;
    access.sign_in("ada@example.com", PASSWORD, &client("10.0.0.7"), "papi").await.unwrap();
}

async fn a_read_of_the_audit_log_is_told_at_once_and_the_next_ones_once_a_minute(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let principal = ada(&access).await;
    let from = client("10.0.0.7");
    access.record_read(&principal, "papi", &from).await.unwrap();
    let first = reads(&access).await;
    assert_eq!(counts(&first), [1]);
    let read = &first[0];
    assert_eq!((read.action.as_str(), read.category.as_str()), ("AUDIT_LOG_READ", "annals"));
    assert_eq!((read.severity, read.meta.source.as_str()), (Severity::Info, "annals:papi"));
    assert_eq!((read.meta.customer, read.meta.actor.id), (principal.customer.id, principal.account));
    let read = Event::from(read.clone());
    assert_eq!(personal(&read).text.as_deref(), Some("ada@example.com read the audit log."));
    assert_eq!(personal(&read).address.as_deref(), Some("10.0.0.7"));
    assert_eq!(personal(&read).sign_in_id, principal.sign_in_id);

    let mut last_read = home.clock.now();
    for _ in 0..10 {
        home.clock.advance(Duration::from_secs(4));
        last_read = home.clock.now();
        access.record_read(&principal, "papi", &from).await.unwrap();
        access.flush(false).await.unwrap();
    }
    assert!(reads(&access).await.is_empty());
    home.clock.advance(MINUTE / 2);
    access.flush(false).await.unwrap();
    let counted = reads(&access).await;
    assert_eq!(counts(&counted), [10]);
    assert_eq!(counted[0].meta.occurred_at, last_read);
    let counted = Event::from(counted[0].clone());
    assert_eq!(personal(&counted).text.as_deref(), Some("ada@example.com read the audit log 10 times."));

    access.flush(true).await.unwrap();
    assert!(reads(&access).await.is_empty());
}

async fn reads_are_counted_per_principal_and_dialect_and_told_before_the_process_ends(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let principal = ada(&access).await;
    for dialect in ["papi", "santaba", "papi", "papi", "santaba"] {
        access.record_read(&principal, dialect, &Client::local()).await.unwrap();
    }
    assert_eq!(counts(&reads(&access).await), [1, 1]);
    access.flush(true).await.unwrap();
    let mut rest: Vec<_> =
        reads(&access).await.into_iter().map(|read| (read.meta.source, read.count)).collect();
    rest.sort();
    assert_eq!(rest, [("annals:papi".to_owned(), 2), ("annals:santaba".to_owned(), 1)]);
}

async fn what_could_not_be_written_is_counted_later(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let principal = ada(&access).await;
    let pool = access.control().pool();
    sql("ALTER TABLE outbox RENAME TO gone").execute(pool).await.unwrap();
    assert!(access.record_read(&principal, "papi", &Client::local()).await.is_err());
    assert!(access.sign_in("ada@example.com", "wrong password", &Client::local(), "papi").await.is_err());
    home.clock.advance(MINUTE);
    assert!(access.flush(false).await.is_err());
    sql("ALTER TABLE gone RENAME TO outbox").execute(pool).await.unwrap();
    assert!(told(&access).await.is_empty());
    access.flush(true).await.unwrap();
    assert_eq!(told(&access).await.len(), 2);
}
