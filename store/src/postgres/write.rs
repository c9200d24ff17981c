//! Bulk writes: one statement brings many rows, as an array per column.
//!
//! Not `COPY`, which knows no conflict: looking for the keys first and copying the rest saves the server nothing worth
//! having (`benches/postgres_write`), and a process that is stopped in the middle of a `COPY` keeps its locks for ever,
//! since its session counts as busy and not as idle in a transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::quality::RandomState;
use sqlx::postgres::{PgExecutor, PgPool};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::values::{arrays, unnest};
use crate::dictionary::{Key, Wanted};
use crate::table::{Column, OnConflict, Rows, Table, Value};

/// Rows of one statement.
const ROWS_AT_ONCE: usize = 20_000;

/// Bytes of texts in one statement, about: they stand in memory, here and in the server.
const BYTES_AT_ONCE: usize = 8 * 1024 * 1024;

/// Writes rows.
pub(super) async fn rows(
    connection: &mut PgConnection,
    table: &'static Table,
    rows: &Rows,
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    let mut written = 0;
    let mut piece: Vec<&[Value]> = Vec::new();
    let mut bytes = 0;
    for row in rows.chunks(1) {
        piece.push(row);
        bytes += row.iter().map(size).sum::<usize>();
        if piece.len() == ROWS_AT_ONCE || bytes >= BYTES_AT_ONCE {
            written += write_piece(connection, table, &piece, on_conflict).await?;
            piece.clear();
            bytes = 0;
        }
    }
    if !piece.is_empty() {
        written += write_piece(connection, table, &piece, on_conflict).await?;
    }
    Ok(written)
}

/// What may be long.
fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    }
}

async fn write_piece(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[&[Value]],
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    match on_conflict {
        OnConflict::Keep | OnConflict::Add(_) => insert(connection, table, rows, on_conflict).await,
        OnConflict::Update(columns) => {
            insert(connection, table, &merge(table, rows, columns), on_conflict).await
        }
    }
}

/// Where the columns of the unique key stand in a row.
fn key_places(table: &Table, columns: &[&Column]) -> Vec<usize> {
    let place = |name: &&str| columns.iter().position(|column| column.name == *name);
    table.unique.iter().filter_map(place).collect()
}

/// Rows of one key become one: the first, with these columns of the last. One statement may not update a row twice.
fn merge(table: &Table, rows: &[&[Value]], updated: &[&str]) -> Vec<Vec<Value>> {
    let columns: Vec<&Column> = table.written_columns().collect();
    let key = key_places(table, &columns);
    let updated: Vec<usize> = (0..columns.len()).filter(|&at| updated.contains(&columns[at].name)).collect();
    let mut places: HashMap<Vec<&Value>, usize> = HashMap::new();
    let mut merged: Vec<Vec<Value>> = Vec::new();
    for row in rows {
        match places.entry(key.iter().map(|&at| &row[at]).collect()) {
            Entry::Occupied(place) => {
                for &at in &updated {
                    merged[*place.get()][at] = row[at].clone();
                }
            }
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(row.to_vec());
            }
        }
    }
    merged
}

async fn insert<R: AsRef<[Value]>>(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[R],
    on_conflict: OnConflict,
) -> Result<u64, sqlx::Error> {
    let columns: Vec<&Column> = table.written_columns().collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let sql = format!(
        "INSERT INTO {} ({}) SELECT {} ON CONFLICT ({}) {}",
        table.name,
        names.join(", "),
        unnest(&columns),
        table.unique.join(", "),
        table.conflict(on_conflict),
    );
    let arguments = arrays(&columns, rows.len(), |row, column| &rows[row].as_ref()[column])?;
    let done = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await?;
    Ok(done.rows_affected())
}

/// Ids of dictionary keys, adding those that are new, in one transaction: it is durable at once, unlike a batch, because
/// whoever knows an id goes on using it.
pub(super) async fn dictionary_ids(pool: &PgPool, wanted: &mut [Wanted<'_>]) -> Result<(), sqlx::Error> {
    for Wanted { dictionary, unknown, found, .. } in &mut *wanted {
        for keys in unknown.chunks(ROWS_AT_ONCE) {
            look_up(pool, dictionary, keys, found).await?;
        }
        unknown.retain(|key| !found.contains_key(*key));
    }
    if wanted.iter().all(|wanted| wanted.unknown.is_empty()) {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    for Wanted { dictionary, unknown, found, .. } in wanted {
        for keys in unknown.chunks(ROWS_AT_ONCE) {
            insert(&mut tx, dictionary, keys, OnConflict::Keep).await?;
            // Another statement, so that it sees those that another writer added meanwhile.
            look_up(&mut *tx, dictionary, keys, found).await?;
        }
    }
    tx.commit().await
}

async fn look_up(
    on: impl PgExecutor<'_>,
    dictionary: &Table,
    keys: &[&Key],
    found: &mut HashMap<Key, i64, RandomState>,
) -> Result<(), sqlx::Error> {
    let columns: Vec<&Column> = dictionary.written_columns().collect();
    let unique = key_places(dictionary, &columns);
    let columns: Vec<&Column> = unique.iter().map(|&at| columns[at]).collect();
    let pairs: Vec<String> = columns.iter().map(|c| format!("t.{name} = k.{name}", name = c.name)).collect();
    let sql = format!(
        "SELECT k.place, t.id FROM (SELECT {}, generate_subscripts($1, 1) AS place) k JOIN {} t ON {}",
        unnest(&columns),
        dictionary.name,
        pairs.join(" AND ")
    );
    let arguments = arrays(&columns, keys.len(), |row, column| &keys[row][unique[column]])?;
    for row in sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(on).await? {
        // Subscripts begin at 1.
        let place = usize::try_from(row.try_get::<i32, _>(0)? - 1).unwrap_or(usize::MAX);
        let key = keys.get(place).ok_or_else(|| sqlx::Error::Decode("a key that nobody asked for".into()))?;
        found.insert((*key).clone(), row.try_get::<i32, _>(1)?.into());
    }
    Ok(())
}
