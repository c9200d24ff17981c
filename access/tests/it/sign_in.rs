//! Signing in.

use std::collections::HashSet;
use std::time::Duration;

use annals_access::{Access, Author, Client, MAX_HASHING, Permission, Secret, SignInError};
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{ActorKind, Event, LoginFailed, LoginSucceeded};
use annals_store::sql::sql;
use annals_testing::SOON;
use chrono::Timelike;

use crate::support::{Engine, Home, PASSWORD, client, hang_up, personal, suite, told, told_one, until};

suite!(
    a_sign_in_tells_who_it_is_and_leaves_an_event,
    each_sign_in_has_its_own_cookie_and_public_id,
    the_event_of_a_failure_says_what_the_client_is_not_told,
    a_failure_of_nobody_goes_to_the_operator,
    an_unknown_account_costs_a_hash_too,
    a_verified_credential_is_remembered_for_five_minutes,
    a_password_changed_by_another_process_counts_at_once,
    an_account_disabled_by_another_process_is_out_at_once,
    fifty_sign_ins_at_once_finish_with_two_hashes_at_once,
    beyond_the_queue_a_sign_in_is_busy_and_counted,
    a_sign_in_whose_caller_hangs_up_leaves_its_event,
    a_password_that_is_being_changed_is_waited_for,
);

async fn succeeded(access: &Access) -> LoginSucceeded {
    match told_one(access).await {
        Event::LoginSucceeded(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn failed(access: &Access) -> LoginFailed {
    match told_one(access).await {
        Event::LoginFailed(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn refused(access: &Access, email: &str, password: &str) -> LoginFailed {
    let result = access.sign_in(email, password, &client("::ffff:10.0.0.7"), "papi").await;
    assert!(matches!(result, Err(SignInError::Refused)), "{result:?}");
    failed(access).await
}

async fn a_sign_in_tells_who_it_is_and_leaves_an_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let sign_in =
        access.sign_in("ADA@example.com", PASSWORD, &client("::ffff:10.0.0.7"), "papi").await.unwrap();
    let principal = &sign_in.principal;
    let acme = access.find_customer("acme").await.unwrap();
    assert_eq!((principal.email.as_str(), principal.number), ("ada@example.com", 2));
    assert_eq!(principal.customer, acme);
    assert!(principal.may(Permission::ViewAuditLog, acme.id));
    assert!(!principal.may(Permission::ViewAuditLog, OPERATOR_CUSTOMER));
    assert!(sign_in.cookie.len() >= 32 && sign_in.cookie.bytes().all(|byte| byte.is_ascii_alphanumeric()));

    let event = succeeded(&access).await;
    assert_eq!(event.meta.source, "annals:papi");
    assert_eq!(event.meta.customer, acme.id);
    assert_eq!(event.meta.occurred_at, home.clock.now());
    assert_eq!(event.meta.occurred_at.nanosecond() % 1_000, 0);
    assert_eq!((event.meta.actor.kind, event.meta.actor.id), (ActorKind::PortalAccount, principal.account));
    assert_eq!(event.account_number, Some(2));
    let event = Event::from(event);
    assert_eq!(personal(&event).account.as_deref(), Some("ada@example.com"));
    assert_eq!(personal(&event).address.as_deref(), Some("10.0.0.7"));
    assert_eq!(personal(&event).user_agent.as_deref(), Some("curl/8.0"));
    assert_eq!(personal(&event).sign_in_id, principal.sign_in_id);
    assert!(principal.sign_in_id.as_ref().is_some_and(|id| !id.is_empty() && *id != sign_in.cookie));
}

async fn each_sign_in_has_its_own_cookie_and_public_id(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut seen = HashSet::new();
    for _ in 0..10 {
        let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
        assert!(seen.insert(sign_in.cookie));
        assert!(seen.insert(sign_in.principal.sign_in_id.unwrap()));
    }
    assert_eq!(told(&access).await.len(), 10);
}

async fn the_event_of_a_failure_says_what_the_client_is_not_told(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let acme = access.find_customer("acme").await.unwrap().id;
    let ada = access.accounts().await.unwrap()[0].id;

    for wrong in
        ["wrong password", "", &"x".repeat(5_000), "correct horse battery\0", "CORRECT HORSE BATTERY"]
    {
        let event = refused(&access, "Ada@Example.com", wrong).await;
        assert_eq!((event.reason.as_str(), event.attempts), ("wrong password", 1));
        assert_eq!(event.meta.customer, acme);
        assert_eq!((event.meta.actor.kind, event.meta.actor.id), (ActorKind::PortalAccount, ada));
        let event = Event::from(event);
        assert_eq!(personal(&event).account.as_deref(), Some("ada@example.com"));
        assert_eq!(personal(&event).address.as_deref(), Some("10.0.0.7"));
    }

    access.disable_account("ada@example.com", &Author::command_line()).await.unwrap();
    told(&access).await;
    for password in [PASSWORD, "wrong password"] {
        let event = refused(&access, "ada@example.com", password).await;
        assert_eq!(event.reason, "account is disabled");
        assert_eq!((event.meta.customer, event.meta.actor.id), (acme, ada));
    }
}

async fn a_failure_of_nobody_goes_to_the_operator(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut ids = HashSet::new();
    for name in ["Nobody", "nobody", "", "a\0b", "two words", "\u{202e}gnp.exe", &"é".repeat(40_000)] {
        let event = refused(&access, name, PASSWORD).await;
        assert_eq!((event.reason.as_str(), event.attempts), ("unknown account", 1));
        assert_eq!(event.meta.customer, OPERATOR_CUSTOMER);
        assert_eq!(event.meta.actor.kind, ActorKind::Unknown);
        assert_eq!(event.meta.actor.id.get_version_num(), 5);
        ids.insert(event.meta.actor.id);
        let event = Event::from(event);
        let shown = personal(&event).account.as_deref().unwrap();
        assert!(shown == name || (shown.len() <= 1_024 && shown.ends_with('…')), "{shown}");
    }
    // `Nobody` and `nobody` are the same one.
    assert_eq!(ids.len(), 6);
}

async fn an_unknown_account_costs_a_hash_too(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    for (email, password) in [("nobody", PASSWORD), ("ada@example.com", "wrong"), ("nobody", ""), ("", "")] {
        let before = access.hashing_load().made;
        refused(&access, email, password).await;
        assert_eq!(access.hashing_load().made, before + 1);
    }
}

async fn a_verified_credential_is_remembered_for_five_minutes(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let mut hashes = Vec::new();
    for wait in [0, 1, 298, 1, 299] {
        home.clock.advance(Duration::from_secs(wait));
        let before = access.hashing_load().made;
        access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
        hashes.push(access.hashing_load().made - before);
    }
    assert_eq!(hashes, [1, 0, 0, 1, 0]);
    // A wrong one is not helped by it.
    told(&access).await;
    refused(&access, "ada@example.com", "wrong password").await;
}

async fn a_password_changed_by_another_process_counts_at_once(engine: Engine) {
    let (home, server) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    server.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    command_line
        .set_password("ada@example.com", Secret::new("another password"), &Author::command_line())
        .await
        .unwrap();
    told(&server).await;
    assert_eq!(refused(&server, "ada@example.com", PASSWORD).await.reason, "wrong password");
    server.sign_in("ada@example.com", "another password", &Client::local(), "papi").await.unwrap();
    // Back to the first one: another version of the account, so that the old memory does not count.
    command_line
        .set_password("ada@example.com", Secret::new(PASSWORD), &Author::command_line())
        .await
        .unwrap();
    let before = server.hashing_load().made;
    server.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    assert_eq!(server.hashing_load().made, before + 1);
}

async fn an_account_disabled_by_another_process_is_out_at_once(engine: Engine) {
    let (home, server) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    server.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    command_line.disable_account("ada@example.com", &Author::command_line()).await.unwrap();
    told(&server).await;
    assert_eq!(refused(&server, "ada@example.com", PASSWORD).await.reason, "account is disabled");
}

async fn fifty_sign_ins_at_once_finish_with_two_hashes_at_once(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let access = access.clone();
            tokio::spawn(async move {
                let email = if number % 2 == 0 { "ada@example.com" } else { "nobody" };
                access.sign_in(email, PASSWORD, &client(&format!("10.0.0.{number}")), "papi").await.is_ok()
            })
        })
        .collect();
    let mut signed_in = 0;
    for task in tasks {
        signed_in += usize::from(task.await.unwrap());
    }
    assert_eq!(signed_in, 25);
    assert_eq!(told(&access).await.len(), 50);
    let load = access.hashing_load();
    assert_eq!((load.running, load.admitted), (0, 0));
    assert!((1..=MAX_HASHING).contains(&load.running_max), "{load:?}");
}

async fn beyond_the_queue_a_sign_in_is_busy_and_counted(engine: Engine) {
    const ATTEMPTS: i64 = 300;
    let (_home, access) = Home::with_ada(engine).await;
    let tasks: Vec<_> = (0..ATTEMPTS)
        .map(|number| {
            let access = access.clone();
            tokio::spawn(async move {
                access
                    .sign_in(&format!("nobody{number}"), PASSWORD, &client("10.0.0.7"), "papi")
                    .await
                    .unwrap_err()
            })
        })
        .collect();
    let mut busy = 0;
    for task in tasks {
        match task.await.unwrap() {
            SignInError::Busy => busy += 1,
            SignInError::Refused => {}
            other => panic!("{other}"),
        }
    }
    assert!(busy > 20, "{busy}");
    access.flush(true).await.unwrap();
    let events: Vec<_> = told(&access)
        .await
        .into_iter()
        .map(|event| match event {
            Event::LoginFailed(event) => event,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(events.iter().map(|event| event.attempts).sum::<i64>(), ATTEMPTS);
    let refusals: Vec<_> =
        events.iter().filter(|event| event.reason == "too many sign-ins at once").collect();
    assert_eq!(refusals.len(), 21);
    let crowd = refusals.iter().find(|event| event.attempts == busy - 20).unwrap();
    let crowd = Event::from((*crowd).clone());
    assert_eq!((personal(&crowd).account.as_deref(), personal(&crowd).address.as_deref()), (None, None));
}

async fn a_sign_in_whose_caller_hangs_up_leaves_its_event(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut changes = access.outbox_changed();
    let caller = client("10.0.0.7");
    hang_up(access.sign_in("ada@example.com", "wrong password", &caller, "papi")).await;
    tokio::time::timeout(SOON, changes.changed()).await.unwrap().unwrap();
    assert_eq!(failed(&access).await.reason, "wrong password");
}

async fn a_password_that_is_being_changed_is_waited_for(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut change = access.control().begin().await.unwrap();
    sql("UPDATE accounts SET version = version + 1").execute(&mut change).await.unwrap();
    let before = access.hashing_load().made;
    let sign_in = {
        let access = access.clone();
        tokio::spawn(
            async move { access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await },
        )
    };
    // The old password is checked, which is right.
    until(before + 1, async || access.hashing_load().made).await;
    change.commit().await.unwrap();
    assert!(matches!(sign_in.await.unwrap(), Err(SignInError::Refused)));
    assert_eq!(failed(&access).await.reason, "wrong password");
}
