//! Access keys under master keys: made when needed, replaced, and missing.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use annals_access::{
    Access, AccessError, Author, CredentialKind, IssuedCredential, ResealSummary, SignInError, Vault,
    VaultError,
};
use annals_schemas::Event;
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_store::sql::sql;

use crate::support::{Engine, Home, client, issued, personal, show, suite, told, told_one};

suite!(
    a_master_key_is_made_when_the_first_pair_is,
    keys_are_sealed_anew_in_one_transaction_and_tell_it,
    what_cannot_all_be_sealed_anew_stays_as_it_was,
    a_running_process_follows_a_replaced_key,
    a_missing_master_key_is_a_failure_that_names_it_and_no_refusal,
    a_lost_master_key_is_not_replaced_while_something_is_sealed_under_it,
    a_key_of_one_credential_is_not_opened_for_another,
);

const ADA: &str = "ada@example.com";
const LMV1: CredentialKind = CredentialKind::Lmv1;

fn vault_of(file: &Path) -> Vault {
    let vault = Vault::in_file(file.to_owned());
    vault.load().unwrap();
    vault
}

fn id_of(file: &Path) -> String {
    vault_of(file).key_id().unwrap()
}

/// Puts the master key aside, so that another one is made.
fn put_aside(home: &Home) -> PathBuf {
    let old = home.keys.path().join(format!("old-{}.key", id_of(&home.master_key())));
    std::fs::rename(home.master_key(), &old).unwrap();
    old
}

async fn sealed_under(access: &Access) -> Vec<Option<String>> {
    let ids = sql("SELECT key_id FROM credentials ORDER BY id").fetch_scalars(access.control().pool());
    ids.await.unwrap()
}

async fn is_let_in(access: &Access, credential: &IssuedCredential) -> bool {
    show(access, LMV1, credential).await.is_ok()
}

fn missing(error: SignInError) -> String {
    match error {
        SignInError::Access(AccessError::Vault(VaultError::MissingKey(id))) => id,
        other => panic!("{other:?}"),
    }
}

async fn a_master_key_is_made_when_the_first_pair_is(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let server = home.process().await;
    issued(&access, CredentialKind::Bearer, "token").await;
    assert!(!home.master_key().exists());
    let pair = issued(&access, LMV1, "pair").await;
    assert_eq!(sealed_under(&access).await, [None, Some(id_of(&home.master_key()))]);
    // A process that was there before the key finds it.
    assert!(is_let_in(&server, &pair).await);
    issued(&home.process().await, LMV1, "other").await;
    let id = Some(id_of(&home.master_key()));
    assert_eq!(sealed_under(&access).await, [None, id.clone(), id]);
}

#[tokio::test]
async fn without_a_directory_or_a_setting_there_are_tokens_and_no_pairs() {
    let (home, _access) = Home::with_ada(Engine::Postgres).await;
    let database = home.database();
    let control = database.control().await.unwrap();
    let access = Access::open_with_clock(control, &database, home.clock.clone()).await.unwrap().access;
    let token = issued(&access, CredentialKind::Bearer, "token").await;
    show(&access, CredentialKind::Bearer, &token).await.unwrap();
    let error = access.add_credential(ADA, LMV1, "pair", None, &Author::command_line()).await.unwrap_err();
    assert!(matches!(error, AccessError::Vault(VaultError::NoKey)), "{error}");
    assert!(error.to_string().contains("--master-key-file"), "{error}");
    assert!(matches!(
        access.reseal(&Author::command_line()).await,
        Err(AccessError::Vault(VaultError::NoKey))
    ));
}

async fn keys_are_sealed_anew_in_one_transaction_and_tell_it(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let pairs = [issued(&access, LMV1, "a").await, issued(&access, LMV1, "b").await];
    issued(&access, LMV1, "revoked").await;
    access.revoke_credential(ADA, "revoked", &by).await.unwrap();
    issued(&access, CredentialKind::Bearer, "token").await;
    told(&access).await;
    assert_eq!(access.reseal(&by).await.unwrap(), ResealSummary { resealed: 0, unchanged: 2 });
    assert_eq!(told(&access).await, []);

    let old = put_aside(&home);
    let command_line = home.process().await;
    let vault = Vault::made_in(home.master_key()).with_old_files([old.clone()]);
    let summary = command_line.with_vault(vault).reseal(&by).await.unwrap();
    assert_eq!(summary, ResealSummary { resealed: 2, unchanged: 0 });
    let new = id_of(&home.master_key());
    assert_ne!(new, id_of(&old));
    assert_eq!(sealed_under(&access).await, [Some(new.clone()), Some(new.clone()), None, None]);
    let event = told_one(&access).await;
    let Event::ConfigurationChanged(change) = &event else { panic!("{event:?}") };
    assert_eq!((change.action.as_str(), change.meta.customer), ("CREDENTIALS_RESEALED", OPERATOR_CUSTOMER));
    let text = format!("2 keys were sealed anew, under the master key {new}.");
    assert_eq!(personal(&event).text.as_deref(), Some(text.as_str()));

    // Nobody needs the old one any more.
    std::fs::remove_file(old).unwrap();
    for pair in &pairs {
        assert!(is_let_in(&home.process().await, pair).await);
    }
}

async fn what_cannot_all_be_sealed_anew_stays_as_it_was(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    issued(&access, LMV1, "a").await;
    let first = put_aside(&home);
    let both = Vault::made_in(home.master_key()).with_old_files([first.clone()]);
    let access = access.with_vault(both);
    issued(&access, LMV1, "b").await;
    let second = put_aside(&home);
    let before = sealed_under(&access).await;
    assert_eq!(before, [Some(id_of(&first)), Some(id_of(&second))]);
    told(&access).await;

    std::fs::write(home.master_key(), "ab".repeat(32)).unwrap();
    std::fs::set_permissions(home.master_key(), Permissions::from_mode(0o600)).unwrap();
    let only_first = Vault::in_file(home.master_key()).with_old_files([first.clone()]);
    let error = home.process().await.with_vault(only_first).reseal(&by).await.unwrap_err();
    let id = id_of(&second);
    assert!(matches!(&error, AccessError::Vault(VaultError::MissingKey(named)) if *named == id), "{error}");
    assert_eq!((sealed_under(&access).await, told(&access).await), (before, Vec::new()));

    let all = Vault::in_file(home.master_key()).with_old_files([first, second]);
    let summary = home.process().await.with_vault(all).reseal(&by).await.unwrap();
    assert_eq!(summary, ResealSummary { resealed: 2, unchanged: 0 });
}

async fn a_running_process_follows_a_replaced_key(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let server = home.process().await;
    let pair = issued(&access, LMV1, "pair").await;
    assert!(is_let_in(&server, &pair).await);
    let old = put_aside(&home);
    assert!(is_let_in(&server, &pair).await, "what it knows it goes on knowing");
    let vault = Vault::made_in(home.master_key()).with_old_files([old]);
    home.process().await.with_vault(vault).reseal(&by).await.unwrap();
    assert!(is_let_in(&server, &pair).await);
}

async fn a_missing_master_key_is_a_failure_that_names_it_and_no_refusal(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let pair = issued(&access, LMV1, "pair").await;
    let token = issued(&access, CredentialKind::ApiKey, "token").await;
    let old = put_aside(&home);
    told(&access).await;

    let server = home.process().await;
    let error = show(&server, LMV1, &pair).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(missing(error), id_of(&old));
    assert!(text.contains(&id_of(&old)) && text.contains("ANNALS_OLD_MASTER_KEYS"), "{text}");
    assert_eq!(told(&server).await, [], "nobody tried a wrong key");
    // Whoever has nothing is refused as ever, and tokens need no master key.
    let unknown = server.authenticate_signed("nobody", &client("10.0.0.7"), "santaba", |_| true).await;
    assert!(matches!(unknown, Err(SignInError::Refused)));
    show(&server, CredentialKind::ApiKey, &token).await.unwrap();

    // It is found as soon as it is there again.
    std::fs::rename(&old, home.master_key()).unwrap();
    assert!(is_let_in(&server, &pair).await);
}

async fn a_lost_master_key_is_not_replaced_while_something_is_sealed_under_it(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    issued(&access, LMV1, "pair").await;
    let lost = id_of(&put_aside(&home));
    let access = home.process().await;
    for result in [
        access.add_credential(ADA, LMV1, "new", None, &by).await,
        access.rotate_credential(ADA, "pair", &by).await,
    ] {
        let error = result.unwrap_err();
        let is_named = matches!(&error, AccessError::Vault(VaultError::MissingKey(id)) if *id == lost);
        assert!(is_named, "{error}");
    }
    assert!(!home.master_key().exists());
    access.revoke_credential(ADA, "pair", &by).await.unwrap();
    let new = issued(&access, LMV1, "pair").await;
    assert!(is_let_in(&access, &new).await && id_of(&home.master_key()) != lost);
}

async fn a_key_of_one_credential_is_not_opened_for_another(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let (one, other) = (issued(&access, LMV1, "one").await, issued(&access, LMV1, "other").await);
    told(&access).await;
    // Somebody who can write the database gives one the key of the other.
    sql("UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE id = ?) WHERE id = ?")
        .bind(one.id)
        .bind(other.id)
        .execute(access.control().pool())
        .await
        .unwrap();
    assert!(is_let_in(&access, &one).await);
    let key = one.secret.expose().to_owned();
    let access_id = other.access_id.as_deref().unwrap();
    let result =
        access.authenticate_signed(access_id, &client("10.0.0.7"), "santaba", move |it| it == key).await;
    assert!(
        matches!(result, Err(SignInError::Access(AccessError::Vault(VaultError::Damaged)))),
        "{result:?}"
    );
}
