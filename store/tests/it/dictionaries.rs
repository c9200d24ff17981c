//! Dictionaries: a key has one id, whoever asks.

use std::sync::Arc;

use annals_store::dictionary::Key;
use annals_store::sql::sql;
use annals_store::{Value, ViewStore};
use uuid::Uuid;

use crate::engine::{Here, NAMES, PAIRS};

on_both_engines!(
    a_key_has_one_id_however_often_it_is_asked_for,
    two_writers_at_once_get_the_same_ids,
    keys_may_be_long,
    a_mapped_address_is_the_plain_one,
);

fn key(name: &str, kind: i64) -> Key {
    vec![Value::from(name), Value::from(kind)]
}

async fn a_key_has_one_id_however_often_it_is_asked_for(here: Here) {
    let store = here.store().await;
    let keys: Vec<_> = (0..3_000).map(|n| key(&format!("name {}", n % 1_500), n % 2)).collect();
    let ids = store.resolve(&NAMES, &keys).await.unwrap();
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(*id, ids[index % 1_500], "the same key, the same id");
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 1_500);
    store.settle().await.unwrap();
    assert_eq!(store.resolve(&NAMES, &keys).await.unwrap(), ids, "also when nothing is remembered");
    let odd =
        [key("", 0), key("a'b\"%_", 0), key("A'B\"%_", 0), key("İstanbul 😀", 0), key("a\0", 0), key("a", 0)];
    let mut odd = store.resolve(&NAMES, &odd).await.unwrap();
    odd.sort_unstable();
    odd.dedup();
    assert_eq!(odd.len(), 6);
    assert!(store.resolve(&NAMES, &[]).await.unwrap().is_empty());
}

async fn two_writers_at_once_get_the_same_ids(here: Here) {
    let stores = [here.store().await, here.store().await];
    let mut writers = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().cycle().take(4).enumerate() {
        let store: Arc<dyn ViewStore> = Arc::clone(store);
        // Each from another end, in pieces, so that they meet in the middle.
        writers.spawn(async move {
            let mut keys: Vec<Key> = (0..2_000).map(|n| key(&format!("name {n}"), 1)).collect();
            if number % 2 == 1 {
                keys.reverse();
            }
            let mut ids = Vec::new();
            for keys in keys.chunks(137) {
                ids.extend(store.resolve(&NAMES, keys).await.unwrap());
            }
            if number % 2 == 1 {
                ids.reverse();
            }
            ids
        });
    }
    let ids = writers.join_all().await;
    assert!(ids.iter().all(|other| *other == ids[0]));
    let count: i64 = sql("SELECT count(*) FROM names").fetch_scalar(&here.readers().await).await.unwrap();
    assert_eq!(count, 2_000);
}

/// A text that no engine can make shorter.
fn random_text(bytes: usize, seed: u64) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

async fn keys_may_be_long(here: Here) {
    let store = here.store().await;
    let keys: Vec<Key> = (0..50)
        .map(|n| {
            vec![
                Uuid::from_u128(7).into(),
                random_text(1_024, 2 * n).into(),
                random_text(1_024, 2 * n + 1).into(),
                std::net::IpAddr::from([255; 16]).into(),
            ]
        })
        .collect();
    let ids = store.resolve(&PAIRS, &keys).await.unwrap();
    assert_eq!(here.store().await.resolve(&PAIRS, &keys).await.unwrap(), ids);
}

async fn a_mapped_address_is_the_plain_one(here: Here) {
    let store = here.store().await;
    let key = |address: &str| {
        let address: std::net::IpAddr = address.parse().unwrap();
        vec![Uuid::nil().into(), "".into(), "".into(), address.into()]
    };
    let ids = store.resolve(&PAIRS, &[key("10.1.2.3"), key("::ffff:10.1.2.3"), key("::1")]).await.unwrap();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}
