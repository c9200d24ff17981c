//! Credentials: added, listed, revoked, rotated, and what each change tells.

use std::time::Duration;

use annals_access::{
    Access, AccessError, Author, CredentialKind, CredentialState, CredentialSummary, IssuedCredential,
    Permission, Secret, SignInError,
};
use annals_schemas::{Actor, Event};
use annals_store::sql::sql;
use chrono::TimeDelta;

use crate::support::{Engine, Home, PASSWORD, at_once, issued, personal, show, suite, told, told_one};

suite!(
    each_change_leaves_exactly_one_event,
    a_refused_change_leaves_nothing,
    credentials_are_listed_by_account_and_name,
    a_revoked_credential_is_known_for_ninety_days_and_its_name_is_free_at_once,
    a_rotated_credential_keeps_kind_name_and_end,
    of_processes_that_add_the_same_name_one_succeeds,
    of_processes_that_rotate_at_once_the_last_one_is_in_use,
    the_event_belongs_to_the_account_s_customer,
);

const ADA: &str = "ada@example.com";
const DAY: Duration = Duration::from_secs(86_400);

/// (action, entity type, entity id, text) of the one event in the outbox.
async fn changed(access: &Access) -> (String, String, String, String) {
    let event = told_one(access).await;
    let Event::ConfigurationChanged(change) = &event else { panic!("{event:?}") };
    assert_eq!((change.category.as_deref(), change.meta.source.as_str()), (Some("annals"), "annals:cli"));
    assert_eq!(change.meta.actor, Actor::system());
    let told = personal(&event);
    (
        change.action.clone(),
        change.entity_type.clone().unwrap(),
        told.entity_id.clone().unwrap(),
        told.text.clone().unwrap(),
    )
}

fn event(action: &str, name: &str, text: &str) -> (String, String, String, String) {
    (action.to_owned(), "credential".to_owned(), name.to_owned(), text.to_owned())
}

async fn list(access: &Access) -> Vec<CredentialSummary> {
    access.credentials(None).await.unwrap()
}

async fn is_let_in(access: &Access, kind: CredentialKind, credential: &IssuedCredential) -> bool {
    match show(access, kind, credential).await {
        Ok(_) => true,
        Err(SignInError::Refused) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn each_change_leaves_exactly_one_event(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    issued(&access, CredentialKind::Lmv1, "Poller").await;
    let text = "The lmv1 credential `Poller` of ada@example.com was added.";
    assert_eq!(changed(&access).await, event("CREDENTIAL_ADDED", "Poller", text));

    let end = home.clock.now() + TimeDelta::days(1);
    access.add_credential(ADA, CredentialKind::Bearer, "siem", Some(end), &by).await.unwrap();
    let text =
        "The bearer credential `siem` of ada@example.com was added. It expires at 2026-03-02T12:00:00Z.";
    assert_eq!(changed(&access).await, event("CREDENTIAL_ADDED", "siem", text));

    access.rotate_credential("ADA@example.com", "poller", &by).await.unwrap();
    let text = "The lmv1 credential `Poller` of ada@example.com was rotated.";
    assert_eq!(changed(&access).await, event("CREDENTIAL_ROTATED", "Poller", text));

    issued(&access, CredentialKind::ApiKey, "nightly export").await;
    let text = "The api-key credential `nightly export` of ada@example.com was added.";
    assert_eq!(changed(&access).await, event("CREDENTIAL_ADDED", "nightly export", text));

    access.revoke_credential(ADA, "SIEM", &by).await.unwrap();
    let text = "The bearer credential `siem` of ada@example.com was revoked.";
    assert_eq!(changed(&access).await, event("CREDENTIAL_REVOKED", "siem", text));
}

async fn a_refused_change_leaves_nothing(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    access.add_account("bob", "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    access.add_credential("bob", CredentialKind::ApiKey, "his", None, &by).await.unwrap();
    access.disable_account("bob", &by).await.unwrap();
    issued(&access, CredentialKind::Bearer, "poller").await;
    let end = home.clock.now() + TimeDelta::hours(1);
    access.add_credential(ADA, CredentialKind::Lmv1, "short", Some(end), &by).await.unwrap();
    home.clock.advance(Duration::from_secs(3_600));
    told(&access).await;
    let before = list(&access).await;

    let now = Some(home.clock.now());
    let add = async |account: &str, name: &str, end| {
        access.add_credential(account, CredentialKind::Bearer, name, end, &by).await.unwrap_err()
    };
    let messages = [
        add("nobody", "new", None).await,
        add("bob", "new", None).await,
        add(ADA, "blank at its end ", None).await,
        add(ADA, "POLLER", None).await,
        add(ADA, "new", now).await,
        access.credentials(Some("nobody")).await.unwrap_err(),
        access.revoke_credential("nobody", "poller", &by).await.unwrap_err(),
        access.revoke_credential(ADA, "his", &by).await.unwrap_err(),
        access.revoke_credential(ADA, "a\0b", &by).await.unwrap_err(),
        access.rotate_credential(ADA, "his", &by).await.unwrap_err(),
        access.rotate_credential("bob", "his", &by).await.unwrap_err(),
        access.rotate_credential(ADA, "short", &by).await.unwrap_err(),
    ]
    .map(|error| error.to_string());
    assert_eq!(
        messages,
        [
            "there is no account `nobody`",
            "the account `bob` is already disabled",
            "`blank at its end ` cannot be a name: it begins or ends with a blank",
            "`ada@example.com` already has a credential `POLLER`",
            "the credential `new` would have expired already",
            "there is no account `nobody`",
            "there is no account `nobody`",
            "`ada@example.com` has no credential `his`",
            "`ada@example.com` has no credential `a\\0b`",
            "`ada@example.com` has no credential `his`",
            "the account `bob` is already disabled",
            "the credential `short` would have expired already",
        ]
    );
    assert_eq!(told(&access).await, []);
    assert_eq!(list(&access).await, before);
    // What is of a disabled account can be revoked.
    access.revoke_credential("bob", "his", &by).await.unwrap();
}

async fn credentials_are_listed_by_account_and_name(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    access.add_account("bob", "operator", &[], Secret::new(PASSWORD), &by).await.unwrap();
    let (made, end) = (home.clock.now(), home.clock.now() + TimeDelta::days(90));
    let his = access.add_credential("bob", CredentialKind::ApiKey, "a", Some(end), &by).await.unwrap();
    let hers = issued(&access, CredentialKind::Lmv1, "Zebra").await;
    issued(&access, CredentialKind::Bearer, "bear").await;

    let all = list(&access).await;
    let names: Vec<_> = all.iter().map(|c| (c.account.as_str(), c.name.as_str(), c.kind.name())).collect();
    assert_eq!(names, [(ADA, "bear", "bearer"), (ADA, "Zebra", "lmv1"), ("bob", "a", "api-key")]);
    assert!(all.iter().all(|c| c.state == CredentialState::InUse && c.used_at.is_none()));
    assert_eq!((all[1].id, &all[1].access_id), (hers.id, &hers.access_id));
    assert_eq!((all[2].id, &all[2].access_id), (his.id, &None));
    assert_eq!((all[2].created_at, all[2].expires_at), (made, Some(end)));
    assert_eq!(access.credentials(Some("BOB")).await.unwrap(), all[2..]);

    access.disable_account("bob", &by).await.unwrap();
    access.revoke_credential(ADA, "bear", &by).await.unwrap();
    home.clock.advance(90 * DAY);
    let states: Vec<_> = list(&access).await.into_iter().map(|c| c.state).collect();
    assert_eq!(states, [CredentialState::Revoked, CredentialState::InUse, CredentialState::Disabled]);
}

async fn a_revoked_credential_is_known_for_ninety_days_and_its_name_is_free_at_once(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let old = issued(&access, CredentialKind::Lmv1, "poller").await;
    access.revoke_credential(ADA, "poller", &by).await.unwrap();
    let sealed: Option<Vec<u8>> =
        sql("SELECT sealed FROM credentials").fetch_scalar(access.control().pool()).await.unwrap();
    assert_eq!(sealed, None, "nobody needs the key any more");

    let new = issued(&access, CredentialKind::Bearer, "Poller").await;
    assert!(!is_let_in(&access, CredentialKind::Lmv1, &old).await);
    assert!(is_let_in(&access, CredentialKind::Bearer, &new).await);
    home.clock.advance(90 * DAY - Duration::from_secs(1));
    access.rotate_credential(ADA, "poller", &by).await.unwrap();
    assert_eq!(list(&access).await.len(), 3);
    home.clock.advance(Duration::from_secs(1));
    access.rotate_credential(ADA, "poller", &by).await.unwrap();
    assert!(list(&access).await.iter().all(|credential| credential.id != old.id));
}

async fn a_rotated_credential_keeps_kind_name_and_end(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let end = Some(home.clock.now() + TimeDelta::days(9));
    for kind in CredentialKind::ALL {
        let old = access.add_credential(ADA, kind, "Poller", end, &by).await.unwrap();
        assert!(is_let_in(&access, kind, &old).await);
        home.clock.advance(Duration::from_secs(1));
        let new = access.rotate_credential(ADA, "poller", &by).await.unwrap();
        assert_ne!(new.id, old.id);
        assert_ne!(new.secret.expose(), old.secret.expose());
        assert!(old.access_id.is_none() || new.access_id != old.access_id);
        assert_eq!(new.access_id.is_some(), kind == CredentialKind::Lmv1);
        assert!(!is_let_in(&access, kind, &old).await);
        assert!(is_let_in(&access, kind, &new).await);
        let now = list(&access).await.into_iter().find(|credential| credential.id == new.id).unwrap();
        assert_eq!((now.name.as_str(), now.kind, now.expires_at), ("Poller", kind, end));
        access.revoke_credential(ADA, "poller", &by).await.unwrap();
    }
}

async fn of_processes_that_add_the_same_name_one_succeeds(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let results = at_once(&home, 4, |access, number| async move {
        let name = ["poller", "Poller", "POLLER", "pOLLER"][number];
        access.add_credential(ADA, CredentialKind::Lmv1, name, None, &Author::command_line()).await
    });
    let failed: Vec<_> = results.await.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|error| matches!(error, AccessError::CredentialExists { .. })), "{failed:?}");
    assert_eq!(told(&access).await.len(), 1);
}

async fn of_processes_that_rotate_at_once_the_last_one_is_in_use(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    issued(&access, CredentialKind::Lmv1, "poller").await;
    told(&access).await;
    let rotated = at_once(&home, 4, |access, _| async move {
        access.rotate_credential(ADA, "poller", &Author::command_line()).await.unwrap()
    });
    let mut let_in = 0;
    for credential in rotated.await {
        let_in += usize::from(is_let_in(&access, CredentialKind::Lmv1, &credential).await);
    }
    assert_eq!(let_in, 1);
    let changes = told(&access).await;
    let changes = changes.iter().filter(|event| matches!(event, Event::ConfigurationChanged(_)));
    assert_eq!(changes.count(), 4);
}

async fn the_event_belongs_to_the_account_s_customer(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let acme = access.find_customer("acme").await.unwrap().id;
    access.grant(ADA, "operator", &[Permission::Operate], &Author::command_line()).await.unwrap();
    told(&access).await;
    issued(&access, CredentialKind::Bearer, "poller").await;
    assert_eq!(told_one(&access).await.meta().customer, acme);
}
