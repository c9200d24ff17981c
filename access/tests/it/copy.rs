//! The control tables copied between engines.

use std::path::Path;

use annals_access::{
    Access, AccessError, Author, Client, CopySummary, CredentialKind, Permission, Secret, SignInError, Vault,
    copy_control,
};
use annals_schemas::Event;
use annals_store::sql::sql;
use annals_store::{ControlDb, Database};
use uuid::Uuid;

use crate::support::{Engine, Home, PASSWORD, issued, personal, show, told, told_one};

/// Tests with a source and a target, each on every pair of engines.
macro_rules! pairs {
    ($($pair:ident: $from:ident => $to:ident),+ $(,)?; $cases:tt) => {
        $(mod $pair { pairs!(@cases $from $to $cases); })+
    };
    (@cases $from:ident $to:ident ($($case:ident),+ $(,)?)) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            use crate::support::Engine;
            super::$case(Engine::$from, Engine::$to).await;
        })+
    };
}
pairs!(
    within_embedded: Embedded => Embedded,
    to_postgres: Embedded => Postgres,
    to_embedded: Postgres => Embedded,
    within_postgres: Postgres => Postgres;
    (
        a_copy_is_the_same_installation,
        nothing_is_copied_over_an_installation_or_from_none,
        events_that_wait_are_copied_and_a_copy_can_be_copied,
        credentials_go_on_working_in_a_copy_with_its_master_key,
    )
);

/// An installation with all sorts of rows, and an empty outbox.
async fn source(engine: Engine) -> (Home, Access) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    access.add_customer("Ünïcode-名前", "Asia/Tokyo", &by).await.unwrap();
    for name in ["bob", "Eve@Example.com"] {
        access.add_account(name, "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    }
    access
        .grant("ada@example.com", "operator", &[Permission::Operate, Permission::Publish], &by)
        .await
        .unwrap();
    access.disable_account("bob", &by).await.unwrap();
    access.set_password("eve@example.com", Secret::new("another password"), &by).await.unwrap();
    issued(&access, CredentialKind::Bearer, "poller").await;
    access.remember_ids(Uuid::nil(), &[Uuid::max()]).await.unwrap();
    access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    told(&access).await;
    (home, access)
}

/// The installation's key.
async fn key_of(control: &ControlDb) -> Vec<u8> {
    sql("SELECT secret FROM installation").fetch_scalar(control.pool()).await.unwrap()
}

async fn open(home: &Home, database: &Database, control: ControlDb) -> Access {
    Access::open_with_clock(control, database, home.clock.clone()).await.unwrap().access
}

async fn a_copy_is_the_same_installation(from: Engine, to: Engine) {
    let (_home, access) = source(from).await;
    let home = Home::new(to).await;
    let database = home.database();
    let control = database.control().await.unwrap();
    let summary = copy_control(access.control(), &control).await.unwrap();
    assert_eq!(summary, CopySummary { customers: 3, accounts: 4, grants: 4, credentials: 1 });

    let copy = open(&home, &database, control).await;
    let event = told_one(&copy).await;
    let Event::ConfigurationChanged(told) = &event else { panic!("{event:?}") };
    assert_eq!((told.action.as_str(), told.entity_type.as_deref()), ("CONTROL_COPIED", Some("installation")));
    let expected = format!(
        "3 customers, 4 accounts, 4 permissions and 1 credentials were copied from {} to {}.",
        access.control().place(),
        copy.control().place()
    );
    assert_eq!(personal(&event).text.as_deref(), Some(expected.as_str()));
    assert_eq!(copy.accounts().await.unwrap(), access.accounts().await.unwrap());
    assert_eq!(copy.customers().await.unwrap(), access.customers().await.unwrap());
    assert_eq!(copy.credentials(None).await.unwrap(), access.credentials(None).await.unwrap());
    assert_eq!(key_of(copy.control()).await, key_of(access.control()).await);
    assert!(copy.known_ids(Uuid::nil(), &[Uuid::max()]).await.unwrap().is_empty());
    let sign_ins: i64 =
        sql("SELECT count(*) FROM sign_ins").fetch_scalar(copy.control().pool()).await.unwrap();
    assert_eq!(sign_ins, 0);

    copy.sign_in("eve@example.com", "another password", &Client::local(), "papi").await.unwrap();
    assert!(copy.sign_in("bob", PASSWORD, &Client::local(), "papi").await.is_err());
    let by = Author::command_line();
    let last = access.accounts().await.unwrap().iter().map(|account| account.number).max().unwrap();
    let new = copy.add_account("new", "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    assert_eq!(new.number, last + 1);
}

async fn nothing_is_copied_over_an_installation_or_from_none(from: Engine, to: Engine) {
    let (_home, access) = source(from).await;
    let home = Home::new(to).await;
    let control = home.database().control().await.unwrap();
    let error = copy_control(&control, access.control()).await.unwrap_err();
    assert!(matches!(error, AccessError::NoInstallation(place) if place == *control.place()));

    let there = home.process().await;
    told(&there).await;
    let before = (there.accounts().await.unwrap(), key_of(&control).await);
    let error = copy_control(access.control(), &control).await.unwrap_err();
    assert!(matches!(error, AccessError::InstallationExists(place) if place == *control.place()));
    assert_eq!((there.accounts().await.unwrap(), key_of(&control).await), before);
    assert_eq!(told(&there).await, []);
}

async fn events_that_wait_are_copied_and_a_copy_can_be_copied(from: Engine, to: Engine) {
    let (_home, access) = source(from).await;
    access.add_customer("one", "UTC", &Author::command_line()).await.unwrap();
    let waiting = access.outbox(10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    let home = Home::new(to).await;
    let control = home.database().control().await.unwrap();
    copy_control(access.control(), &control).await.unwrap();
    let copied = home.process().await.outbox(10).await.unwrap();
    let ids: Vec<_> = copied.iter().map(|entry| entry.event_id).collect();
    assert_eq!((ids.len(), ids[0]), (2, waiting[0].event_id), "what waited, and what tells of the copy");
    // The backup is copied back, although nobody brought its event into a log.
    let again = Home::new(from).await;
    let third = again.database().control().await.unwrap();
    copy_control(&control, &third).await.unwrap();
    assert_eq!(again.process().await.outbox(10).await.unwrap().len(), 3);
    // A second time there is an installation.
    assert!(copy_control(access.control(), &control).await.is_err());
}

async fn credentials_go_on_working_in_a_copy_with_its_master_key(from: Engine, to: Engine) {
    let (there, access) = source(from).await;
    let mut all = Vec::new();
    for kind in CredentialKind::ALL {
        all.push((kind, issued(&access, kind, kind.name()).await));
    }
    let by = Author::command_line();
    issued(&access, CredentialKind::Lmv1, "revoked").await;
    access.revoke_credential("ada@example.com", "revoked", &by).await.unwrap();

    let home = Home::new(to).await;
    let database = home.database();
    let control = database.control().await.unwrap();
    let summary = copy_control(access.control(), &control).await.unwrap();
    assert_eq!(summary.credentials, 5);
    let copy = open(&home, &database, control).await;
    assert_eq!(copy.credentials(None).await.unwrap(), access.credentials(None).await.unwrap());

    // Without the master key tokens are good, and pairs are a failure that names the key.
    for (kind, credential) in &all {
        match (kind, show(&copy, *kind, credential).await) {
            (CredentialKind::Lmv1, Err(SignInError::Access(AccessError::Vault(error)))) => {
                let id = key_id(&there.master_key());
                assert!(error.to_string().contains(&format!("`{id}`")), "{error}");
            }
            (CredentialKind::Bearer | CredentialKind::ApiKey, Ok(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    let brought = home.keys.path().join("brought.key");
    std::fs::copy(there.master_key(), &brought).unwrap();
    let copy = copy.with_vault(Vault::in_file(brought));
    for (kind, credential) in &all {
        show(&copy, *kind, credential).await.unwrap();
    }
}

/// Id of the master key in a file.
fn key_id(file: &Path) -> String {
    let vault = Vault::in_file(file.to_owned());
    vault.load().unwrap();
    vault.key_id().unwrap()
}

#[tokio::test]
async fn of_two_copies_at_once_one_succeeds() {
    let (_home, access) = source(Engine::Embedded).await;
    let home = Home::new(Engine::Postgres).await;
    let control = home.database().control().await.unwrap();
    let other = home.database().control().await.unwrap();
    let (one, other) =
        tokio::join!(copy_control(access.control(), &control), copy_control(access.control(), &other));
    assert_ne!(one.is_ok(), other.is_ok(), "{one:?} {other:?}");
}
