//! The outbox as the relay sees it.

use annals_access::{Author, Client};

use crate::support::{Engine, Home, PASSWORD, suite, told};

suite!(
    entries_come_in_the_order_of_writing_and_go_when_they_are_done,
    a_sequence_is_never_given_twice,
    each_write_of_this_process_is_noticed_and_nothing_else,
    an_event_of_another_room_is_written_with_its_change_or_not_at_all,
);

async fn entries_come_in_the_order_of_writing_and_go_when_they_are_done(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let by = Author::command_line();
    for (number, process) in [&access, &other, &access, &other].into_iter().enumerate() {
        process.add_customer(&format!("customer{number}"), "UTC", &by).await.unwrap();
    }
    let entries = access.outbox(3).await.unwrap();
    assert_eq!(entries.len(), 3);
    assert!(entries.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    assert_eq!(access.outbox_len().await.unwrap(), 4);

    access.outbox_done(&[]).await.unwrap();
    access.outbox_done(&[entries[0].sequence, entries[2].sequence, -1, i64::MAX]).await.unwrap();
    let rest = other.outbox(10).await.unwrap();
    assert_eq!(rest.len(), 2);
    assert_eq!(rest[0], entries[1]);
    access.outbox_done(&[entries[1].sequence]).await.unwrap();
    access.outbox_done(&[entries[1].sequence]).await.unwrap();
    assert_eq!(access.outbox_len().await.unwrap(), 1);
    assert!(access.outbox(0).await.unwrap().is_empty());
}

async fn a_sequence_is_never_given_twice(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    access.add_customer("one", "UTC", &Author::command_line()).await.unwrap();
    let first = access.outbox(1).await.unwrap()[0].sequence;
    told(&access).await;
    access.add_customer("two", "UTC", &Author::command_line()).await.unwrap();
    assert!(access.outbox(1).await.unwrap()[0].sequence > first);
}

async fn each_write_of_this_process_is_noticed_and_nothing_else(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let mut changes = access.outbox_changed();
    assert!(!changes.has_changed().unwrap());
    let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();

    access.resume(&sign_in.cookie).await.unwrap();
    told(&access).await;
    access.remember_ids(sign_in.principal.customer.id, &[sign_in.principal.account]).await.unwrap();
    assert!(access.add_customer("acme", "UTC", &Author::command_line()).await.is_err());
    assert!(!changes.has_changed().unwrap());

    access.sign_out(&sign_in.principal, &Client::local(), "papi").await.unwrap();
    assert!(changes.has_changed().unwrap());
}

async fn an_event_of_another_room_is_written_with_its_change_or_not_at_all(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    access.add_customer("one", "UTC", &Author::command_line()).await.unwrap();
    let event = told(&access).await.remove(0);

    let mut left = access.control().begin().await.unwrap();
    access.tell_within(left.connection(), &event).await.unwrap();
    drop(left);
    assert_eq!(told(&access).await, []);

    let mut tx = access.control().begin().await.unwrap();
    access.tell_within(tx.connection(), &event).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = access.control().begin().await.unwrap();
    assert!(access.tell_within(tx.connection(), &event).await.is_err());
    drop(tx);
    assert_eq!(told(&access).await, [event]);
}
