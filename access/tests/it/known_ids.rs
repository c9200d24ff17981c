//! Known ids, and the log that they speak of.

use std::collections::HashSet;

use annals_access::Access;
use uuid::Uuid;

use crate::support::{Engine, Home, at_once, suite};

suite!(
    known_ids_are_those_remembered_for_the_customer,
    known_ids_are_forgotten_with_their_log,
    a_new_topic_forgets_nothing,
    ids_of_a_log_that_was_replaced_meanwhile_are_not_remembered,
    the_same_ids_can_be_remembered_by_many_at_once,
    a_log_that_is_replaced_while_ids_are_remembered_leaves_none,
);

const CUSTOMER: Uuid = Uuid::from_u128(1);

fn ids(range: std::ops::Range<u128>) -> Vec<Uuid> {
    range.map(|number| Uuid::from_u128(number << 64 | number)).collect()
}

async fn known(access: &Access, ids: &[Uuid]) -> usize {
    access.known_ids(CUSTOMER, ids).await.unwrap().len()
}

async fn known_ids_are_those_remembered_for_the_customer(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let (one, other) = (CUSTOMER, Uuid::from_u128(2));
    let ids = ids(0..12_000);
    assert!(access.known_ids(one, &ids).await.unwrap().is_empty());

    access.remember_ids(one, &ids[..11_000]).await.unwrap();
    access.remember_ids(one, &ids[10_000..11_500]).await.unwrap();
    access.remember_ids(one, &[]).await.unwrap();
    access.remember_ids(one, &[ids[0], ids[0]]).await.unwrap();
    let known = home.process().await.known_ids(one, &ids).await.unwrap();
    assert_eq!(known, ids[..11_500].iter().copied().collect::<HashSet<_>>());
    assert_eq!(access.known_ids(one, &[ids[5], ids[5], ids[11_999]]).await.unwrap(), HashSet::from([ids[5]]));
    assert!(access.known_ids(one, &[]).await.unwrap().is_empty());
    assert!(access.known_ids(other, &ids).await.unwrap().is_empty());
}

async fn known_ids_are_forgotten_with_their_log(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let ids = ids(0..10);
    let log = [("audit", Uuid::from_u128(7)), ("logons", Uuid::from_u128(8))];
    access.bind_log(&log).await.unwrap();
    access.remember_ids(CUSTOMER, &ids).await.unwrap();
    let other = home.process().await;
    other.bind_log(&log.map(|(topic, incarnation)| (topic.to_owned(), incarnation))).await.unwrap();
    assert_eq!(known(&other, &ids).await, 10);

    // Looking is not deciding.
    assert_eq!(other.other_log(&log).await.unwrap(), None);
    let wrong = [("audit", Uuid::from_u128(7)), ("logons", Uuid::from_u128(9)), ("new", Uuid::from_u128(1))];
    assert_eq!(other.other_log(&wrong).await.unwrap().as_deref(), Some("logons"));
    assert_eq!(known(&other, &ids).await, 10);

    // One of its topics is another one: which ids were its own is not known.
    other.bind_log(&[log[0], ("logons", Uuid::from_u128(9))]).await.unwrap();
    assert_eq!(known(&access, &ids).await, 0);
    other.remember_ids(CUSTOMER, &ids[..3]).await.unwrap();
    other.bind_log(&[log[0], ("logons", Uuid::from_u128(9))]).await.unwrap();
    assert_eq!(known(&access, &ids).await, 3);
    access.bind_log(&log).await.unwrap();
    assert_eq!(known(&access, &ids).await, 0);
}

async fn a_new_topic_forgets_nothing(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let ids = ids(0..10);
    access.bind_log(&[("audit", Uuid::from_u128(7))]).await.unwrap();
    access.remember_ids(CUSTOMER, &ids).await.unwrap();
    access.bind_log(&[("audit", Uuid::from_u128(7)), ("logons", Uuid::from_u128(8))]).await.unwrap();
    access.bind_log(&[("logons", Uuid::from_u128(8))]).await.unwrap();
    assert_eq!(known(&access, &ids).await, 10);
}

async fn ids_of_a_log_that_was_replaced_meanwhile_are_not_remembered(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let ids = ids(0..10);
    access.bind_log(&[("audit", Uuid::from_u128(7)), ("logons", Uuid::from_u128(8))]).await.unwrap();
    other.bind_log(&[("audit", Uuid::from_u128(70)), ("logons", Uuid::from_u128(8))]).await.unwrap();
    access.remember_ids(CUSTOMER, &ids).await.unwrap();
    assert_eq!(known(&access, &ids).await, 0);
    other.remember_ids(CUSTOMER, &ids).await.unwrap();
    assert_eq!(known(&access, &ids).await, 10);
}

async fn the_same_ids_can_be_remembered_by_many_at_once(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let ids = ids(0..20_000);
    let results = at_once(&home, 4, |access, number| {
        let mut ids = ids.clone();
        if number % 2 == 0 {
            ids.reverse();
        }
        async move { access.remember_ids(CUSTOMER, &ids).await }
    });
    for result in results.await {
        result.unwrap();
    }
    assert_eq!(known(&access, &ids).await, ids.len());
}

async fn a_log_that_is_replaced_while_ids_are_remembered_leaves_none(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let all = ids(0..40_000);
    for round in 0..5 {
        let (old, new) = (Uuid::from_u128(2 * round), Uuid::from_u128(2 * round + 1));
        access.bind_log(&[("audit", old)]).await.unwrap();
        let remembering = {
            let (access, all) = (access.clone(), all.clone());
            tokio::spawn(async move {
                for part in all.chunks(4_000) {
                    access.remember_ids(CUSTOMER, part).await.unwrap();
                }
            })
        };
        tokio::time::sleep(std::time::Duration::from_millis(10 * round as u64)).await;
        other.bind_log(&[("audit", new)]).await.unwrap();
        remembering.await.unwrap();
        assert_eq!(known(&other, &all).await, 0, "round {round}");
    }
}
