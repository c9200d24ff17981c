//! Programs that show a credential, or a password, with each request.

use std::time::Duration;

use annals_access::{
    Access, Author, Client, CredentialKind, IssuedCredential, Permission, Principal, Secret, SignInError,
};
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{ActorKind, Event, LoginFailed};
use annals_store::sql::sql;
use annals_testing::SOON;
use chrono::{DateTime, TimeDelta, Utc};

use crate::support::{
    Engine, Home, PASSWORD, client, hang_up, issued, personal, show, suite, told, told_one, until,
};

suite!(
    each_kind_lets_in_who_its_account_is_and_leaves_no_event,
    the_last_use_is_written_once_a_minute,
    a_use_that_cannot_be_written_fails_no_request,
    granting_and_revoking_count_at_once,
    what_ended_is_refused_with_one_event_that_says_why,
    an_account_disabled_by_another_process_is_out_at_once,
    what_nobody_has_is_refused_and_goes_to_the_operator,
    no_credential_is_taken_for_one_of_another_kind,
    a_signature_is_verified_once_whatever_the_access_id,
    guesses_are_counted_per_account_and_address_and_those_of_tokens_together,
    a_request_whose_caller_hangs_up_leaves_its_event,
    a_password_is_good_for_one_request_and_leaves_no_event,
    a_wrong_password_is_recorded_as_that_of_a_sign_in,
);

const ADA: &str = "ada@example.com";

async fn failed(access: &Access) -> LoginFailed {
    match told_one(access).await {
        Event::LoginFailed(event) => event,
        other => panic!("{other:?}"),
    }
}

fn assert_refused(result: &Result<Principal, SignInError>) {
    let error = result.as_ref().unwrap_err();
    assert!(matches!(error, SignInError::Refused), "{error}");
    assert_eq!(error.to_string(), "wrong or missing credentials");
}

/// A pair whose request is signed with another key.
async fn show_wrongly(access: &Access, access_id: &str) -> Result<Principal, SignInError> {
    access.authenticate_signed(access_id, &client("10.0.0.7"), "santaba", |_| false).await
}

async fn token(access: &Access, kind: CredentialKind, token: &str) -> Result<Principal, SignInError> {
    access.authenticate_token(kind, token, &client("10.0.0.7"), "santaba").await
}

async fn used_at(access: &Access, name: &str) -> Option<DateTime<Utc>> {
    let all = access.credentials(None).await.unwrap();
    all.into_iter().find(|credential| credential.name == name).unwrap().used_at
}

async fn each_kind_lets_in_who_its_account_is_and_leaves_no_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let signed_in = access.sign_in(ADA, PASSWORD, &Client::local(), "papi").await.unwrap().principal;
    let expected = Principal { sign_in_id: None, ..signed_in };
    for (kind, begins) in
        [(CredentialKind::Lmv1, ""), (CredentialKind::Bearer, "lmb_"), (CredentialKind::ApiKey, "ak_")]
    {
        let credential = issued(&access, kind, kind.name()).await;
        let secret = credential.secret.expose();
        assert!(secret.starts_with(begins) && secret.len() >= 64, "{begins}");
        assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
        told(&access).await;
        for process in [&access, &other] {
            assert_eq!(show(process, kind, &credential).await.unwrap(), expected);
        }
        assert_eq!(told(&access).await, []);
    }
}

async fn the_last_use_is_written_once_a_minute(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let start = home.clock.now();
    for kind in CredentialKind::ALL {
        issued(&access, kind, kind.name()).await;
    }
    let credential = issued(&access, CredentialKind::Bearer, "poller").await;
    assert_eq!(used_at(&access, "poller").await, None);
    for expected in [0, 0, 60, 60, 120] {
        for _ in 0..3 {
            show(&access, CredentialKind::Bearer, &credential).await.unwrap();
        }
        // A use that comes while the one before is being written is not written itself.
        let seconds = async || {
            show(&access, CredentialKind::Bearer, &credential).await.unwrap();
            used_at(&access, "poller").await.map(|at| (at - start).num_seconds())
        };
        until(Some(expected), seconds).await;
        home.clock.advance(Duration::from_secs(30));
    }
    // One that was refused was not used.
    access.revoke_credential(ADA, "poller", &Author::command_line()).await.unwrap();
    assert!(show(&access, CredentialKind::Bearer, &credential).await.is_err());
    for name in CredentialKind::ALL.map(CredentialKind::name) {
        assert_eq!(used_at(&access, name).await, None);
    }
}

async fn a_use_that_cannot_be_written_fails_no_request(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let credential = issued(&access, CredentialKind::Bearer, "poller").await;
    // Somebody holds the row, or with the embedded engine everything, for as long as it likes.
    let mut held = home.process().await.control().begin().await.unwrap();
    sql("UPDATE credentials SET name = name").execute(&mut held).await.unwrap();
    for _ in 0..20 {
        let shown = show(&access, CredentialKind::Bearer, &credential);
        tokio::time::timeout(Duration::from_secs(5), shown).await.unwrap().unwrap();
    }
    drop(held);
    until(Some(home.clock.now()), async || used_at(&access, "poller").await).await;
}

async fn granting_and_revoking_count_at_once(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    let by = Author::command_line();
    let acme = access.find_customer("acme").await.unwrap().id;
    for kind in CredentialKind::ALL {
        let credential = issued(&access, kind, kind.name()).await;
        command_line.revoke(ADA, "acme", &[Permission::ViewAuditLog], &by).await.unwrap();
        let principal = show(&access, kind, &credential).await.unwrap();
        assert!(!principal.may(Permission::ViewAuditLog, acme));
        command_line.grant(ADA, "acme", &[Permission::ViewAuditLog], &by).await.unwrap();
        let principal = show(&access, kind, &credential).await.unwrap();
        assert!(principal.may(Permission::ViewAuditLog, acme));
    }
    command_line.revoke(ADA, "acme", &[Permission::ViewAuditLog], &by).await.unwrap();
    let principal = access.authenticate_password(ADA, PASSWORD, &Client::local(), "santaba").await.unwrap();
    assert!(!principal.may(Permission::ViewAuditLog, acme));
}

async fn what_ended_is_refused_with_one_event_that_says_why(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let acme = access.find_customer("acme").await.unwrap().id;
    let ada = access.accounts().await.unwrap()[0].id;
    let refused = async |kind, credential: &IssuedCredential, reason: &str| {
        told(&access).await;
        assert_refused(&show(&access, kind, credential).await);
        let event = failed(&access).await;
        assert_eq!((event.reason.as_str(), event.attempts), (reason, 1));
        assert_eq!((event.meta.customer, event.meta.source.as_str()), (acme, "annals:santaba"));
        assert_eq!((event.meta.actor.kind, event.meta.actor.id), (ActorKind::PortalAccount, ada));
        let event = Event::from(event);
        assert_eq!(personal(&event).account.as_deref(), Some(ADA));
        assert_eq!(personal(&event).address.as_deref(), Some("10.0.0.7"));
    };
    let end = home.clock.now() + TimeDelta::seconds(1);
    let mut all = Vec::new();
    for kind in CredentialKind::ALL {
        let short = access.add_credential(ADA, kind, &format!("{kind}-short"), Some(end), &by).await.unwrap();
        let revoked = issued(&access, kind, &format!("{kind}-revoked")).await;
        let rotated = issued(&access, kind, &format!("{kind}-rotated")).await;
        let kept = issued(&access, kind, &format!("{kind}-kept")).await;
        for credential in [&short, &revoked, &rotated, &kept] {
            show(&access, kind, credential).await.unwrap();
        }
        access.revoke_credential(ADA, &format!("{kind}-revoked"), &by).await.unwrap();
        access.rotate_credential(ADA, &format!("{kind}-rotated"), &by).await.unwrap();
        refused(kind, &revoked, "credential was revoked").await;
        refused(kind, &rotated, "credential was revoked").await;
        if let Some(access_id) = &kept.access_id {
            told(&access).await;
            assert_refused(&show_wrongly(&access, access_id).await);
            assert_eq!(failed(&access).await.reason, "wrong signature");
        }
        all.push((kind, short, kept));
    }
    home.clock.advance(Duration::from_secs(1));
    for (kind, short, kept) in &all {
        refused(*kind, short, "credential has expired").await;
        show(&access, *kind, kept).await.unwrap();
    }
    // A changed password changes nothing of them.
    access.set_password(ADA, Secret::new("another password"), &by).await.unwrap();
    for (kind, _, kept) in &all {
        show(&access, *kind, kept).await.unwrap();
    }
    access.disable_account(ADA, &by).await.unwrap();
    home.clock.advance(Duration::from_secs(120));
    access.flush(true).await.unwrap();
    for (kind, _, kept) in &all {
        refused(*kind, kept, "account is disabled").await;
    }
}

async fn an_account_disabled_by_another_process_is_out_at_once(engine: Engine) {
    let (home, server) = Home::with_ada(engine).await;
    let command_line = home.process().await;
    let credential = issued(&server, CredentialKind::Lmv1, "poller").await;
    show(&server, CredentialKind::Lmv1, &credential).await.unwrap();
    command_line.disable_account(ADA, &Author::command_line()).await.unwrap();
    assert_refused(&show(&server, CredentialKind::Lmv1, &credential).await);
}

async fn what_nobody_has_is_refused_and_goes_to_the_operator(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    issued(&access, CredentialKind::Bearer, "poller").await;
    told(&access).await;
    let long = "é".repeat(40_000);
    let guesses = ["nobody", "", "a\0b", "lmb_", &format!("lmb_{}", "0".repeat(64)), &long];
    for guess in guesses {
        for kind in [CredentialKind::Bearer, CredentialKind::ApiKey, CredentialKind::Lmv1] {
            assert_refused(&token(&access, kind, guess).await);
            let event = failed(&access).await;
            assert_eq!((event.reason.as_str(), event.attempts), ("unknown credential", 1));
            assert_eq!((event.meta.customer, event.meta.actor.kind), (OPERATOR_CUSTOMER, ActorKind::Unknown));
            let event = Event::from(event);
            assert_eq!(personal(&event).account, None, "a token that nobody knows may be a typing error");
        }
        assert_refused(&show_wrongly(&access, guess).await);
        let event = failed(&access).await;
        assert_eq!(event.reason, "unknown credential");
        assert_eq!((event.meta.customer, event.meta.actor.kind), (OPERATOR_CUSTOMER, ActorKind::Unknown));
        let event = Event::from(event);
        let shown = personal(&event).account.as_deref().unwrap();
        assert!(shown == guess || (shown.len() <= 1_024 && shown.ends_with('…')), "{shown}");
    }
}

async fn no_credential_is_taken_for_one_of_another_kind(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    for kind in CredentialKind::ALL {
        let credential = issued(&access, kind, kind.name()).await;
        let secret = credential.secret.expose();
        for other in CredentialKind::ALL {
            let is_own = other == kind && kind != CredentialKind::Lmv1;
            assert_eq!(token(&access, other, secret).await.is_ok(), is_own, "{kind} as {other}");
        }
        for changed in [&secret[1..], &format!("{secret}0"), &secret.to_uppercase()] {
            assert_refused(&token(&access, kind, changed).await);
            assert_refused(&show_wrongly(&access, changed).await);
        }
    }
}

async fn a_signature_is_verified_once_whatever_the_access_id(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let (good, revoked) =
        (issued(&access, CredentialKind::Lmv1, "a").await, issued(&access, CredentialKind::Lmv1, "b").await);
    access.revoke_credential(ADA, "b", &by).await.unwrap();
    let ids = [good.access_id.clone().unwrap(), revoked.access_id.unwrap(), "nobody".into(), String::new()];
    for access_id in ids {
        let (tell, told) = std::sync::mpsc::channel();
        let result = access
            .authenticate_signed(&access_id, &Client::local(), "santaba", move |key| {
                tell.send(key.to_owned()).unwrap();
                true
            })
            .await;
        let keys: Vec<String> = told.into_iter().collect();
        assert_eq!((keys.len(), keys[0].len()), (1, good.secret.expose().len()));
        assert_eq!(result.is_ok(), keys[0] == good.secret.expose(), "{access_id}");
    }
}

async fn guesses_are_counted_per_account_and_address_and_those_of_tokens_together(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let pair = issued(&access, CredentialKind::Lmv1, "poller").await;
    told(&access).await;
    for number in 0..25 {
        assert_refused(&token(&access, CredentialKind::Bearer, &format!("lmb_{number}")).await);
        assert_refused(&show_wrongly(&access, pair.access_id.as_ref().unwrap()).await);
    }
    assert_eq!(told(&access).await.len(), 40);
    // The right one is let in whatever failed before.
    show(&access, CredentialKind::Lmv1, &pair).await.unwrap();
    access.flush(true).await.unwrap();
    let mut attempts: Vec<_> = told(&access)
        .await
        .into_iter()
        .map(|event| match event {
            Event::LoginFailed(event) => (event.reason, event.attempts),
            other => panic!("{other:?}"),
        })
        .collect();
    attempts.sort();
    assert_eq!(attempts, [("unknown credential".to_owned(), 5), ("wrong signature".to_owned(), 5)]);
}

async fn a_request_whose_caller_hangs_up_leaves_its_event(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut changes = access.outbox_changed();
    hang_up(show_wrongly(&access, "nobody")).await;
    tokio::time::timeout(SOON, changes.changed()).await.unwrap().unwrap();
    assert_eq!(failed(&access).await.reason, "unknown credential");
}

async fn a_password_is_good_for_one_request_and_leaves_no_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let signed_in = access.sign_in(ADA, PASSWORD, &Client::local(), "papi").await.unwrap().principal;
    let other = home.process().await;
    told(&access).await;
    let mut hashes = Vec::new();
    for _ in 0..3 {
        let before = other.hashing_load().made;
        let principal =
            other.authenticate_password("ADA@example.com", PASSWORD, &Client::local(), "santaba").await;
        assert_eq!(principal.unwrap(), Principal { sign_in_id: None, ..signed_in.clone() });
        hashes.push(other.hashing_load().made - before);
    }
    assert_eq!(hashes, [1, 0, 0], "it is remembered");
    assert_eq!(told(&access).await, []);
    let sign_ins: i64 =
        sql("SELECT count(*) FROM sign_ins").fetch_scalar(access.control().pool()).await.unwrap();
    assert_eq!(sign_ins, 1);

    let by = Author::command_line();
    access.set_password(ADA, Secret::new("another password"), &by).await.unwrap();
    let basic = async |password: &str| {
        other.authenticate_password(ADA, password, &Client::local(), "santaba").await.is_ok()
    };
    assert!(!basic(PASSWORD).await && basic("another password").await);
    access.disable_account(ADA, &by).await.unwrap();
    assert!(!basic("another password").await);
}

async fn a_wrong_password_is_recorded_as_that_of_a_sign_in(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let from = client("10.0.0.7");
    for (email, password, reason) in [
        (ADA, "wrong password", "wrong password"),
        (ADA, "", "wrong password"),
        ("nobody", PASSWORD, "unknown account"),
        ("", "", "unknown account"),
    ] {
        let before = access.hashing_load().made;
        assert_refused(&access.authenticate_password(email, password, &from, "santaba").await);
        assert_eq!(access.hashing_load().made, before + 1, "an unknown account costs a hash too");
        let by_request = failed(&access).await;
        assert!(access.sign_in(email, password, &from, "santaba").await.is_err());
        let by_sign_in = failed(&access).await;
        assert_eq!(by_request.reason, reason);
        assert_eq!(
            (by_request.meta.actor, by_request.meta.customer),
            (by_sign_in.meta.actor, by_sign_in.meta.customer)
        );
        assert_eq!(by_request.personal, by_sign_in.personal);
    }
}
