//! Sign-ins that go on.

use std::time::Duration;

use annals_access::{Access, Author, Client, Permission, Principal, Secret, SignInError};
use annals_schemas::Event;
use annals_store::sql::sql;
use chrono::{DateTime, Utc};
use proptest::prelude::*;

use crate::support::{Engine, Home, PASSWORD, client, personal, suite, told, told_one};

suite!(
    a_cookie_resumes_its_sign_in_in_every_process_and_leaves_no_event,
    a_sign_in_ends_after_half_an_hour_without_use,
    a_sign_in_ends_after_twelve_hours_however_much_it_is_used,
    the_last_use_is_written_once_a_minute,
    ended_sign_ins_are_removed,
    signing_out_ends_one_sign_in_and_leaves_an_event,
    nobody_ends_the_sign_in_of_another_account,
    a_password_change_and_a_disabling_end_every_sign_in_at_once,
    granting_and_revoking_count_at_once,
    a_permission_of_another_version_allows_nothing,
);

const MINUTE: Duration = Duration::from_secs(60);

async fn cookie(access: &Access) -> String {
    access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap().cookie
}

async fn resume(access: &Access, cookie: &str) -> Option<Principal> {
    match access.resume(cookie).await {
        Ok(principal) => Some(principal),
        Err(SignInError::Refused) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn a_cookie_resumes_its_sign_in_in_every_process_and_leaves_no_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    told(&access).await;
    assert_eq!(resume(&access, &sign_in.cookie).await.unwrap(), sign_in.principal);
    assert_eq!(resume(&other, &sign_in.cookie).await.unwrap(), sign_in.principal);
    assert_eq!(told(&access).await, []);
}

async fn a_sign_in_ends_after_half_an_hour_without_use(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let used = cookie(&access).await;
    let unused = cookie(&access).await;
    for _ in 0..3 {
        home.clock.advance(29 * MINUTE);
        assert!(resume(&access, &used).await.is_some());
    }
    assert!(resume(&access, &unused).await.is_none());
    home.clock.advance(30 * MINUTE);
    assert!(resume(&access, &used).await.is_none());
}

async fn a_sign_in_ends_after_twelve_hours_however_much_it_is_used(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let cookie = cookie(&access).await;
    for _ in 0..36 {
        assert!(resume(&access, &cookie).await.is_some());
        home.clock.advance(20 * MINUTE);
    }
    assert!(resume(&access, &cookie).await.is_none());
}

async fn the_last_use_is_written_once_a_minute(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let cookie = cookie(&access).await;
    let start = home.clock.now();
    let mut written = Vec::new();
    for _ in 0..5 {
        resume(&access, &cookie).await.unwrap();
        let used_at: DateTime<Utc> =
            sql("SELECT used_at FROM sign_ins").fetch_scalar(access.control().pool()).await.unwrap();
        written.push((used_at - start).num_seconds());
        home.clock.advance(Duration::from_secs(30));
    }
    assert_eq!(written, [0, 0, 60, 60, 120]);
}

async fn ended_sign_ins_are_removed(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    for _ in 0..5 {
        cookie(&access).await;
    }
    home.clock.advance(30 * MINUTE);
    let last = cookie(&access).await;
    let rows: i64 = sql("SELECT count(*) FROM sign_ins").fetch_scalar(access.control().pool()).await.unwrap();
    assert_eq!(rows, 1);
    assert!(resume(&access, &last).await.is_some());
}

async fn signing_out_ends_one_sign_in_and_leaves_an_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let (ended, kept) = (cookie(&access).await, cookie(&access).await);
    let principal = resume(&access, &ended).await.unwrap();
    told(&access).await;
    other.sign_out(&principal, &client("10.0.0.7"), "papi").await.unwrap();
    assert!(resume(&access, &ended).await.is_none());
    assert!(resume(&access, &kept).await.is_some());
    let Event::LoggedOut(event) = told_one(&access).await else { panic!("another event") };
    assert_eq!((event.meta.source.as_str(), event.account_number), ("annals:papi", Some(2)));
    assert_eq!((event.meta.customer, event.meta.actor.id), (principal.customer.id, principal.account));
    let event = Event::from(event);
    assert_eq!(personal(&event).sign_in_id, principal.sign_in_id);
    assert_eq!(personal(&event).address.as_deref(), Some("10.0.0.7"));
}

async fn nobody_ends_the_sign_in_of_another_account(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    access.add_account("bob", "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    let ada = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    let mut bob = access.sign_in("bob", PASSWORD, &Client::local(), "papi").await.unwrap().principal;
    bob.sign_in_id.clone_from(&ada.principal.sign_in_id);
    access.sign_out(&bob, &Client::local(), "papi").await.unwrap();
    assert!(resume(&access, &ada.cookie).await.is_some());
}

async fn a_password_change_and_a_disabling_end_every_sign_in_at_once(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    let by = Author::command_line();
    let cookie = cookie(&access).await;
    command_line.set_password("ada@example.com", Secret::new(PASSWORD), &by).await.unwrap();
    assert!(resume(&access, &cookie).await.is_none());

    let cookie = self::cookie(&access).await;
    assert!(resume(&access, &cookie).await.is_some());
    command_line.disable_account("ada@example.com", &by).await.unwrap();
    assert!(resume(&access, &cookie).await.is_none());
}

async fn granting_and_revoking_count_at_once(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    let by = Author::command_line();
    let other = command_line.add_customer("other", "UTC", &by).await.unwrap().id;
    let cookie = cookie(&access).await;
    let acme = resume(&access, &cookie).await.unwrap().customer.id;

    command_line.grant("ada@example.com", "other", &[Permission::ManageUsers], &by).await.unwrap();
    let principal = resume(&access, &cookie).await.unwrap();
    assert!(principal.may(Permission::ManageUsers, other) && !principal.may(Permission::ManageUsers, acme));
    assert_eq!(principal.grants.customers_with(Permission::ManageUsers).collect::<Vec<_>>(), [other]);

    command_line.revoke("ada@example.com", "acme", &[Permission::ViewAuditLog], &by).await.unwrap();
    command_line.revoke("ada@example.com", "other", &[Permission::ManageUsers], &by).await.unwrap();
    let principal = resume(&access, &cookie).await.unwrap();
    assert!(!principal.may(Permission::ViewAuditLog, acme));
    assert_eq!(principal.grants.customers().collect::<Vec<_>>(), [acme]);
}

async fn a_permission_of_another_version_allows_nothing(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    sql("UPDATE grants SET permission = 'can_do_anything'").execute(access.control().pool()).await.unwrap();
    let cookie = cookie(&access).await;
    let principal = resume(&access, &cookie).await.unwrap();
    assert!(Permission::ALL.into_iter().all(|permission| !principal.may(permission, principal.customer.id)));
    assert!(access.accounts().await.unwrap().iter().all(|account| account.grants.is_empty()));
}

#[test]
fn no_text_at_all_is_a_cookie() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for engine in [Engine::Embedded, Engine::Postgres] {
        let (_home, access) = runtime.block_on(Home::with_ada(engine));
        let real = runtime.block_on(cookie(&access));
        let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(text in any::<String>(), at in 0..real.len(), digit in "[0-9a-fA-Z ]")| {
            prop_assert!(runtime.block_on(resume(&access, &text)).is_none());
            let mut changed = real.clone();
            changed.replace_range(at..=at, &digit);
            prop_assert_eq!(runtime.block_on(resume(&access, &changed)).is_some(), changed == real);
        });
        assert!(runtime.block_on(resume(&access, &"0".repeat(1 << 20))).is_none());
    }
}
