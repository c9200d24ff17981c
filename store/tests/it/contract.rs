//! The contract of [`ViewStore`] and [`ViewTransaction`], written against the traits. Each engine calls the cases with a
//! fresh generation whose tables are [`TABLES`].

use annals_store::{
    Advance, Column, ColumnKind, DeadLetter, OnConflict, Partition, Rows, StoreError, Table, Value, ViewStore,
};
use chrono::DateTime;
use uuid::Uuid;

pub(crate) const THINGS: Table = Table {
    name: "things",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("thing", ColumnKind::Uuid),
        Column::new("name", ColumnKind::Text),
        Column::nullable("until", ColumnKind::Timestamp),
    ],
    unique: &["thing"],
    indexes: &[],
};

pub(crate) const NAMES: Table = Table {
    name: "names",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("name", ColumnKind::Text),
        Column::new("kind", ColumnKind::SmallInteger),
    ],
    unique: &["name", "kind"],
    indexes: &[],
};

pub(crate) const TABLES: [&Table; 2] = [&THINGS, &NAMES];

fn step(number: u32, from: u64, to: u64) -> Advance {
    let last_event_id = Some(Uuid::from_u128(u128::from(to)));
    Advance { partition: Partition::new("topic", number), from, to, last_event_id }
}

fn things(count: u128, name: &str) -> Rows {
    let mut rows = Rows::new(&THINGS);
    for n in 0..count {
        rows.push([Uuid::from_u128(n).into(), name.into(), Value::Null]);
    }
    rows
}

/// Positions and rows come together or not at all.
pub(crate) async fn positions_and_rows_are_one_transaction(store: &dyn ViewStore, count: impl AsyncCount) {
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(1, 0, 5), step(0, 0, 3)]).await.unwrap();
    tx.write(&THINGS, &things(2_500, "a"), OnConflict::Keep).await.unwrap();
    drop(tx);
    assert!(store.positions().await.unwrap().is_empty());
    assert_eq!(count.count().await, 0, "a dropped transaction leaves no trace");
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(1, 0, 5), step(0, 0, 3)]).await.unwrap();
    tx.write(&THINGS, &things(2_500, "a"), OnConflict::Keep).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count.count().await, 2_500);
    let positions = store.positions().await.unwrap();
    assert_eq!(
        positions.iter().map(|p| (p.partition.number, p.next_offset)).collect::<Vec<_>>(),
        [(0, 3), (1, 5)]
    );
    assert_eq!(positions[0].last_event_id, Some(Uuid::from_u128(3)));
}

/// Every position must stand where it was read, or nothing moves.
pub(crate) async fn a_stale_position_is_fenced(store: &dyn ViewStore) {
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 0, 3)]).await.unwrap();
    tx.commit().await.unwrap();
    for stale in
        [vec![step(0, 0, 4)], vec![step(0, 2, 4)], vec![step(1, 0, 1), step(0, 4, 5)], vec![step(2, 1, 2)]]
    {
        let mut tx = store.begin().await.unwrap();
        assert!(matches!(tx.advance(&stale).await, Err(StoreError::Fenced(_))), "{stale:?}");
        drop(tx);
    }
    let mut tx = store.begin().await.unwrap();
    tx.advance(&[step(0, 3, 4)]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.positions().await.unwrap().len(), 1);
}

/// The first row of a key stays, unless columns are named to be taken from the new one.
pub(crate) async fn a_conflict_keeps_or_updates(store: &dyn ViewStore, count: impl AsyncCount) {
    for (name, until, on_conflict, expected) in [
        ("first", None, OnConflict::Keep, "first|"),
        ("second", Some(7), OnConflict::Keep, "first|"),
        ("third", Some(9), OnConflict::Update(&["until"]), "first|9"),
    ] {
        let mut rows = Rows::new(&THINGS);
        rows.push([Uuid::nil().into(), name.into(), until.into()]);
        let mut tx = store.begin().await.unwrap();
        tx.write(&THINGS, &rows, on_conflict).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count.first().await, expected);
    }
}

/// A key has one id, whoever asks, and however often.
pub(crate) async fn dictionaries_give_each_key_one_id(store: &dyn ViewStore) {
    let key = |name: &str, kind: i64| vec![Value::from(name), Value::from(kind)];
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
    let odd = [key("", 0), key("a'b\"%_", 0), key("A'B\"%_", 0), key("İstanbul 😀", 0)];
    assert_eq!(store.resolve(&NAMES, &odd).await.unwrap().len(), 4);
    assert!(store.resolve(&NAMES, &[]).await.unwrap().is_empty());
}

/// Dead letters are part of the transaction, and the same one twice is one.
pub(crate) async fn dead_letters_are_kept_once(store: &dyn ViewStore) {
    let letter = DeadLetter {
        partition: Partition::new("topic", 1),
        offset: 7,
        recorded_at: DateTime::from_timestamp_micros(1_234_567).unwrap(),
        reason: "unknown framing".into(),
        bytes: vec![0, 255, 7],
    };
    for _ in 0..2 {
        let mut tx = store.begin().await.unwrap();
        tx.write_dead_letters(std::slice::from_ref(&letter)).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(store.dead_letters(10).await.unwrap(), [letter]);
    assert_eq!(store.dead_letter_count().await.unwrap(), 1);
}

/// A retired generation takes nothing more.
pub(crate) async fn a_retired_generation_is_fenced(store: &dyn ViewStore) {
    let mut tx = store.begin().await.unwrap();
    tx.retire().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    assert!(matches!(tx.advance(&[step(0, 0, 1)]).await, Err(StoreError::Fenced(_))));
}

/// The first log that a generation is bound to stays.
pub(crate) async fn the_incarnation_is_bound_once(store: &dyn ViewStore) {
    assert_eq!(store.incarnation().await.unwrap(), None);
    store.bind_incarnation(Uuid::from_u128(1)).await.unwrap();
    store.bind_incarnation(Uuid::from_u128(2)).await.unwrap();
    assert_eq!(store.incarnation().await.unwrap(), Some(Uuid::from_u128(1)));
}

/// What a case must see of the table `things`, past the trait.
pub(crate) trait AsyncCount {
    async fn count(&self) -> i64;
    /// `name|until` of the first row.
    async fn first(&self) -> String;
}
