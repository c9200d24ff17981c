//! Rows: what a column of each kind keeps, and what happens to rows whose key is there already, in small batches and in
//! large ones, which an engine may write in another way.

use std::net::IpAddr;

use annals_store::sql::{Row, sql};
use annals_store::{OnConflict, Pool, Rows, Table, Value, ViewStore};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::engine::{EVERYTHING, Here, THINGS};

on_both_engines!(
    every_kind_comes_back_from_a_small_batch,
    every_kind_comes_back_from_a_large_batch,
    every_kind_can_be_looked_for,
    the_first_of_a_key_is_kept_in_a_small_batch,
    the_first_of_a_key_is_kept_in_a_large_batch,
    the_last_of_a_key_updates_in_a_small_batch,
    the_last_of_a_key_updates_in_a_large_batch,
    new_rows_are_named_and_no_others,
    numbers_are_added_to_those_that_are_there,
    rows_with_long_texts_are_written_in_pieces,
    a_number_that_is_too_large_is_never_another_number,
);

const SMALL: usize = 7;
const LARGE: usize = 3_000;

/// What every engine makes of times beyond.
const EARLIEST: i64 = -210_866_716_800_000_000;
const LATEST: i64 = 8_210_266_876_799_999_999;

async fn write(store: &dyn ViewStore, table: &'static Table, rows: &Rows, on_conflict: OnConflict) {
    let mut tx = store.begin().await.unwrap();
    tx.write(table, rows, on_conflict).await.unwrap();
    tx.commit().await.unwrap();
}

/// What stands in one row of [`EVERYTHING`] beside its key.
#[derive(Clone, Debug, Default, PartialEq)]
struct Everything {
    flag: Option<i64>,
    name_id: Option<i64>,
    number: Option<i64>,
    uuid: Option<Uuid>,
    at: Option<DateTime<Utc>>,
    text: Option<String>,
    address: Option<IpAddr>,
    bytes: Option<Vec<u8>>,
}

impl Everything {
    fn values(&self, key: usize) -> [Value; 10] {
        [
            Value::from(-1_i64),
            Value::from(i64::try_from(key).unwrap()),
            self.flag.into(),
            self.name_id.into(),
            self.number.into(),
            self.uuid.into(),
            self.at.into(),
            self.text.clone().into(),
            self.address.into(),
            self.bytes.clone().into(),
        ]
    }

    fn read(row: &Row) -> Self {
        Self {
            flag: row.get("flag").unwrap(),
            name_id: row.get("name_id").unwrap(),
            number: row.get("number").unwrap(),
            uuid: row.get("uuid").unwrap(),
            at: row.get("at").unwrap(),
            text: row.get("text").unwrap(),
            address: row.get("address").unwrap(),
            bytes: row.get("bytes").unwrap(),
        }
    }
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// Rows that differ from an empty one in one field.
fn odd_ones() -> Vec<Everything> {
    let mut rows = vec![Everything::default()];
    for number in [0, -1, 1, i64::MIN, i64::MAX] {
        rows.push(Everything { number: Some(number), ..Everything::default() });
    }
    for number in [0, i64::from(i16::MIN), i64::from(i16::MAX)] {
        rows.push(Everything { flag: Some(number), ..Everything::default() });
    }
    for number in [0, 1, i64::from(i32::MIN), i64::from(i32::MAX)] {
        rows.push(Everything { name_id: Some(number), ..Everything::default() });
    }
    for id in [Uuid::nil(), Uuid::max(), Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)] {
        rows.push(Everything { uuid: Some(id), ..Everything::default() });
    }
    let year_9999 = 253_402_300_799_999_999;
    for micros in [0, -1, 1, -62_135_596_800_000_000, 946_684_799_999_999, year_9999, EARLIEST, LATEST] {
        rows.push(Everything { at: Some(time(micros)), ..Everything::default() });
    }
    let long = "a\u{e9}\u{1F600}'\\".repeat(64 * 1024 / 9);
    for text in [
        "",
        " ",
        "it's \"quoted\"",
        "\\N \\. \\\\ \\x00",
        "😀",
        "İıß",
        "tab\tline\r\n\u{1}\u{7f}",
        "{a,b}",
        "NULL",
        &long,
    ] {
        rows.push(Everything { text: Some(text.to_owned()), ..Everything::default() });
    }
    for address in
        ["0.0.0.0", "255.255.255.255", "10.1.2.3", "::", "::1", "2001:db8::ff", "fe80::1", "::10.1.2.3"]
    {
        rows.push(Everything { address: Some(address.parse().unwrap()), ..Everything::default() });
    }
    for bytes in
        [vec![], vec![0], vec![0, 0, 255, 0], b"\\x00 PGCOPY\n\xff\r\n\0".to_vec(), vec![0xFF; 70_000]]
    {
        rows.push(Everything { bytes: Some(bytes), ..Everything::default() });
    }
    rows
}

async fn every_kind_comes_back(here: Here, batch: usize) {
    let (store, readers) = (here.store().await, here.readers().await);
    let written: Vec<Everything> = odd_ones().into_iter().cycle().take(batch.max(odd_ones().len())).collect();
    for (number, batch) in written.chunks(batch).enumerate() {
        let mut rows = Rows::new(&EVERYTHING);
        for (at, row) in batch.iter().enumerate() {
            rows.push(row.values(number * batch.len().max(SMALL) + at));
        }
        write(&*store, &EVERYTHING, &rows, OnConflict::Keep).await;
    }
    let found = sql("SELECT * FROM everything ORDER BY key").fetch_all(&readers).await.unwrap();
    assert_eq!(found.len(), written.len());
    for (found, written) in found.iter().zip(&written) {
        assert_eq!(Everything::read(found), *written);
        assert_eq!(found.get::<i64>("small").unwrap(), -1);
    }
}

async fn every_kind_comes_back_from_a_small_batch(here: Here) {
    every_kind_comes_back(here, SMALL).await;
}

async fn every_kind_comes_back_from_a_large_batch(here: Here) {
    every_kind_comes_back(here, LARGE).await;
}

/// What is not kept as it is, is looked for as what it is kept as.
async fn every_kind_can_be_looked_for(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    let mapped: IpAddr = "::ffff:10.1.2.3".parse().unwrap();
    let plain: IpAddr = "10.1.2.3".parse().unwrap();
    let given: Vec<(&str, Value)> = vec![
        ("flag", Value::from(-7_i64)),
        ("name_id", Value::from(70_000_i64)),
        ("number", Value::from(i64::MAX)),
        ("uuid", Value::from(Uuid::max())),
        ("at", Value::Time(i64::MIN)),
        ("at", Value::Time(i64::MAX)),
        ("at", DateTime::<Utc>::MIN_UTC.into()),
        ("at", DateTime::<Utc>::MAX_UTC.into()),
        ("text", "a\0b".into()),
        ("address", mapped.into()),
        ("bytes", b"\0x".as_slice().into()),
    ];
    for copies in [1, LARGE] {
        let mut rows = Rows::new(&EVERYTHING);
        for (case, (column, value)) in given.iter().enumerate() {
            for copy in 0..copies {
                let mut row = Everything::default().values((copies + copy) * 100 + case);
                let at = EVERYTHING.written_columns().position(|c| c.name == *column).unwrap();
                row[at] = value.clone();
                rows.push(row);
            }
        }
        write(&*store, &EVERYTHING, &rows, OnConflict::Keep).await;
    }
    for (case, (column, value)) in given.into_iter().enumerate() {
        let text = format!("SELECT * FROM everything WHERE {column} = ? AND key % 100 = ?");
        let found = sql(text)
            .bind(value.clone())
            .bind(i64::try_from(case).unwrap())
            .fetch_all(&readers)
            .await
            .unwrap();
        assert_eq!(found.len(), LARGE + 1, "{column} {value:?}");
        let found = Everything::read(&found[0]);
        match column {
            "address" => assert_eq!(found.address, Some(plain)),
            "text" => assert_eq!(found.text.as_deref(), Some("a\u{FFFD}b")),
            "at" => assert!([time(EARLIEST), time(LATEST)].contains(&found.at.unwrap())),
            _ => {}
        }
    }
}

fn thing(n: usize, name: String, until: i64) -> [Value; 3] {
    [Uuid::from_u128(u128::try_from(n).unwrap()).into(), name.into(), Value::Time(until)]
}

async fn things(pool: &Pool) -> Vec<(String, i64)> {
    let rows = sql("SELECT name, until FROM things ORDER BY thing").fetch_all(pool).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0).unwrap(), row.get::<DateTime<Utc>>(1).unwrap().timestamp_micros()))
        .collect()
}

/// Half of the keys are there, each twice in the batch.
async fn batches_that_repeat_keys(here: &Here, size: usize, on_conflict: OnConflict) -> Vec<(String, i64)> {
    let store = here.store().await;
    let mut first = Rows::new(&THINGS);
    for n in 0..size / 2 {
        first.push(thing(n, format!("there {n}"), 1));
    }
    write(&*store, &THINGS, &first, OnConflict::Keep).await;
    let mut second = Rows::new(&THINGS);
    for round in 0..2_i64 {
        for n in 0..size {
            second.push(thing(n, format!("new {n} {round}"), 10 + round));
        }
    }
    write(&*store, &THINGS, &second, on_conflict).await;
    things(&here.readers().await).await
}

async fn the_first_of_a_key_is_kept(here: Here, size: usize) {
    let found = batches_that_repeat_keys(&here, size, OnConflict::Keep).await;
    let expected: Vec<(String, i64)> = (0..size)
        .map(|n| if n < size / 2 { (format!("there {n}"), 1) } else { (format!("new {n} 0"), 10) })
        .collect();
    assert_eq!(found, expected);
}

async fn the_first_of_a_key_is_kept_in_a_small_batch(here: Here) {
    the_first_of_a_key_is_kept(here, SMALL).await;
}

async fn the_first_of_a_key_is_kept_in_a_large_batch(here: Here) {
    the_first_of_a_key_is_kept(here, LARGE).await;
}

async fn the_last_of_a_key_updates(here: Here, size: usize) {
    let found = batches_that_repeat_keys(&here, size, OnConflict::Update(&["until"])).await;
    let expected: Vec<(String, i64)> = (0..size)
        .map(|n| (if n < size / 2 { format!("there {n}") } else { format!("new {n} 0") }, 11))
        .collect();
    assert_eq!(found, expected);
}

async fn the_last_of_a_key_updates_in_a_small_batch(here: Here) {
    the_last_of_a_key_updates(here, SMALL).await;
}

async fn the_last_of_a_key_updates_in_a_large_batch(here: Here) {
    the_last_of_a_key_updates(here, LARGE).await;
}

async fn new_rows_are_named_and_no_others(here: Here) {
    let store = here.store().await;
    let rows = |keys: std::ops::Range<i64>, number: i64| {
        let mut rows = Rows::new(&EVERYTHING);
        for key in keys {
            let row = Everything { number: Some(number), ..Everything::default() };
            rows.push(row.values(usize::try_from(key).unwrap()));
        }
        rows
    };
    let large = LARGE as i64 * 8;
    for (keys, number, new) in
        [(0..5, 1, 0..5), (5..5, 2, 5..5), (2..5, 3, 5..5), (3..9, 4, 5..9), (7..large, 5, 9..large)]
    {
        let mut tx = store.begin().await.unwrap();
        let mut written = tx.write_new(&EVERYTHING, &rows(keys, number), ["key", "number"]).await.unwrap();
        tx.commit().await.unwrap();
        written.sort_unstable();
        assert!(written.iter().copied().eq(new.map(|key| (key, number))), "{number}: {}", written.len());
    }
    // Of two of one key, the first.
    let mut twice = rows(large..large + 1, 6);
    twice.push(Everything { number: Some(7), ..Everything::default() }.values(large as usize));
    let mut tx = store.begin().await.unwrap();
    let written = tx.write_new(&EVERYTHING, &twice, ["key", "number"]).await.unwrap();
    assert_eq!(written, [(large, 6)]);
}

async fn numbers_are_added_to_those_that_are_there(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    for (from, number) in [(0, 1), (2, 10), (0, 100)] {
        let mut rows = Rows::new(&EVERYTHING);
        for key in from..SMALL {
            let row = Everything { number: Some(number), flag: Some(1), ..Everything::default() };
            rows.push(row.values(key));
        }
        write(&*store, &EVERYTHING, &rows, OnConflict::Add(&["number", "flag"])).await;
    }
    let select = sql("SELECT number * 10 + flag FROM everything ORDER BY key");
    let found: Vec<i64> = select.fetch_scalars(&readers).await.unwrap();
    assert_eq!(found, [1_012, 1_012, 1_113, 1_113, 1_113, 1_113, 1_113]);
}

async fn rows_with_long_texts_are_written_in_pieces(here: Here) {
    let store = here.store().await;
    for (from, count) in [(0, 400), (1_000, 40)] {
        let mut rows = Rows::new(&THINGS);
        for n in from..from + count {
            rows.push(thing(n, format!("{n} ").repeat(64 * 1024 / 5), 1));
        }
        write(&*store, &THINGS, &rows, OnConflict::Keep).await;
    }
    let found = things(&here.readers().await).await;
    assert_eq!(found.len(), 440);
    assert!(found.iter().all(|(name, _)| name.len() > 25_000));
}

/// SQLite's columns have no width: there it stays the number that it is.
async fn a_number_that_is_too_large_is_never_another_number(here: Here) {
    let (store, readers) = (here.store().await, here.readers().await);
    for copies in [1, LARGE] {
        for (flag, name_id) in [(Some(65_537), None), (None, Some(1_i64 << 32))] {
            let mut rows = Rows::new(&EVERYTHING);
            for key in 0..copies {
                rows.push(Everything { flag, name_id, ..Everything::default() }.values(key));
            }
            let mut tx = store.begin().await.unwrap();
            let written = tx.write(&EVERYTHING, &rows, OnConflict::Keep).await;
            assert_eq!(written.is_err(), here.database.is_shared());
        }
    }
    let none: i64 = sql("SELECT count(*) FROM everything").fetch_scalar(&readers).await.unwrap();
    assert_eq!(none, 0);
}
