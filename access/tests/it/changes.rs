//! Which changes wait for each other on PostgreSQL. (The embedded engine has one writer at a time.)

use std::time::Duration;

use annals_access::{Access, Author, Client, CredentialKind, Member, Permission, Secret};
use annals_store::Transaction;
use annals_store::sql::sql;
use annals_testing::SOON;
use chrono::TimeDelta;
use uuid::Uuid;

use crate::support::{Engine, Home, PASSWORD, issued, show, told};

const CHANGES_LOCK: i64 = 0x616e_6e61_6c73_0101;

/// The lock of the changes that decide by what they read, as another process would hold it.
async fn another_change(home: &Home) -> (Access, Transaction) {
    let other = home.process().await;
    let mut tx = other.control().begin().await.unwrap();
    sql("SELECT pg_advisory_xact_lock(?)").bind(CHANGES_LOCK).execute(&mut tx).await.unwrap();
    (other, tx)
}

async fn waits(what: &str, change: impl Future) {
    let waited = tokio::time::timeout(Duration::from_millis(300), change).await.is_err();
    assert!(waited, "{what} did not wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_decide_by_what_they_read_wait_for_each_other() {
    let (home, access) = Home::with_ada(Engine::Postgres).await;
    issued(&access, CredentialKind::Bearer, "poller").await;
    issued(&access, CredentialKind::Lmv1, "pair").await;
    let (_other, tx) = another_change(&home).await;
    let (by, ada) = (Author::command_line(), "ada@example.com");
    let password = || Secret::new("another password");
    waits("add_customer", access.add_customer("other", "UTC", &by)).await;
    waits("add_account", access.add_account("bob", "acme", &[], password(), &by)).await;
    waits("disable_account", access.disable_account(ada, &by)).await;
    waits("set_password", access.set_password(ada, password(), &by)).await;
    waits("grant", access.grant(ada, "acme", &[Permission::Operate], &by)).await;
    waits("revoke", access.revoke(ada, "acme", &[Permission::ViewAuditLog], &by)).await;
    let kind = CredentialKind::Bearer;
    waits("add_credential", access.add_credential(ada, kind, "new", None, &by)).await;
    waits("revoke_credential", access.revoke_credential(ada, "poller", &by)).await;
    waits("rotate_credential", access.rotate_credential(ada, "poller", &by)).await;
    waits("reseal", access.reseal(&by)).await;
    waits("bind_log", access.bind_log(&[("audit", Uuid::max())])).await;
    drop(tx);
    // What waited and was given up left nothing; the next one need not wait.
    access.sign_in(ada, PASSWORD, &Client::local(), "papi").await.unwrap();
    tokio::time::timeout(SOON, access.disable_account(ada, &by)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_all_the_time_waits_for_nobody() {
    let (home, access) = Home::with_ada(Engine::Postgres).await;
    access.bind_log(&[("audit", Uuid::max())]).await.unwrap();
    let pair = issued(&access, CredentialKind::Lmv1, "pair").await;
    told(&access).await;
    let (_other, _tx) = another_change(&home).await;
    let client = Client::local();
    let everything = async {
        let sign_in = access.sign_in("ada@example.com", PASSWORD, &client, "papi").await.unwrap();
        assert!(access.sign_in("nobody", PASSWORD, &client, "papi").await.is_err());
        home.clock.advance(Duration::from_secs(90));
        let principal = access.resume(&sign_in.cookie).await.unwrap();
        access.record_read(&principal, "papi", &client).await.unwrap();
        access.flush(true).await.unwrap();
        access.sign_out(&principal, &client, "papi").await.unwrap();
        show(&access, CredentialKind::Lmv1, &pair).await.unwrap();
        access.authenticate_password("ada@example.com", PASSWORD, &client, "papi").await.unwrap();
        assert!(access.take_rate(principal.customer.id, "endpoint", 1).await.allowed);
        let entries = access.outbox(10).await.unwrap();
        assert_eq!(entries.len(), 4);
        access.outbox_done(&entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>()).await.unwrap();
        access.bind_log(&[("audit", Uuid::max())]).await.unwrap();
        access.remember_ids(Uuid::nil(), &[Uuid::max()]).await.unwrap();
        assert!(access.take_lease("relay", Uuid::max(), TimeDelta::minutes(1)).await.unwrap());
        let member = Member::this_process("query", "host", "1.0.0");
        access.register_member(&member).await.unwrap();
        assert!(access.heartbeat(member.id, "{}").await.unwrap());
    };
    tokio::time::timeout(Duration::from_secs(10), everything).await.unwrap();
}
