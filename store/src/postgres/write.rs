//! Bulk writes: one statement brings many rows, as an array per column.
//!
//! Not `COPY`, which knows no conflict: looking for the keys first and copying the rest saves the server nothing worth
//! having (`benches/postgres_write`), and a process that is stopped in the middle of a `COPY` keeps its locks for ever,
//! since its session counts as busy and not as idle in a transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::postgres::{PgArguments, PgExecutor, PgPool};
use sqlx::{Arguments, AssertSqlSafe, PgConnection, Row};

use super::values::{add_arrays, unnest};
use crate::dictionary::{Ids, Key, Wanted};
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
    for piece in pieces(rows) {
        written += write_piece(connection, table, &piece, on_conflict).await?;
    }
    Ok(written)
}

/// Writes those that are not there yet, and gives two numbers of each of these.
pub(super) async fn new_rows(
    connection: &mut PgConnection,
    table: &'static Table,
    rows: &Rows,
    [one, other]: [&'static str; 2],
) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let mut written = Vec::new();
    for piece in pieces(rows) {
        let mut arguments = PgArguments::default();
        let insertion = insertion(&mut arguments, table, &piece, OnConflict::Keep)?;
        // As arrays: a row for each would take as long as writing some of them.
        let sql = format!(
            "WITH written AS ({insertion} RETURNING {one}, {other})
             SELECT array_agg(CAST({one} AS bigint)), array_agg(CAST({other} AS bigint)) FROM written"
        );
        let row = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_one(&mut *connection).await?;
        let numbers = |at: usize| row.try_get::<Option<Vec<i64>>, _>(at).map(Option::unwrap_or_default);
        written.extend(numbers(0)?.into_iter().zip(numbers(1)?));
    }
    Ok(written)
}

/// Rows in pieces for one statement each.
fn pieces(rows: &Rows) -> impl Iterator<Item = Vec<&[Value]>> {
    let mut rows = rows.chunks(1);
    std::iter::from_fn(move || {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while piece.len() < ROWS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(row) = rows.next() else { break };
            bytes += row.iter().map(size).sum::<usize>();
            piece.push(row);
        }
        (!piece.is_empty()).then_some(piece)
    })
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
    let mut arguments = PgArguments::default();
    let sql = insertion(&mut arguments, table, rows, on_conflict)?;
    let done = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(connection).await?;
    Ok(done.rows_affected())
}

/// The statement that inserts rows. Their arrays become the next arguments.
fn insertion<R: AsRef<[Value]>>(
    arguments: &mut PgArguments,
    table: &Table,
    rows: &[R],
    on_conflict: OnConflict,
) -> Result<String, sqlx::Error> {
    let columns: Vec<&Column> = table.written_columns().collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let before = arguments.len();
    add_arrays(arguments, &columns, rows.len(), |row, column| &rows[row].as_ref()[column])?;
    Ok(format!(
        "INSERT INTO {} ({}) SELECT {} ON CONFLICT ({}) {}",
        table.name,
        names.join(", "),
        unnest(&columns, before),
        table.unique.join(", "),
        table.conflict(on_conflict),
    ))
}

/// Ids of dictionary keys, adding those that are new. They are durable at once, unlike a batch, because whoever knows an id
/// goes on using it.
pub(super) async fn dictionary_ids(pool: &PgPool, wanted: &mut [Wanted<'_>]) -> Result<(), sqlx::Error> {
    look_up_all(pool, wanted).await?;
    let longest = wanted.iter().map(|wanted| wanted.unknown.len()).max().unwrap_or_default();
    for piece in 0..longest.div_ceil(ROWS_AT_ONCE) {
        let pieces = wanted.iter().filter_map(|wanted| {
            wanted.unknown.chunks(ROWS_AT_ONCE).nth(piece).map(|keys| (wanted.dictionary, keys))
        });
        insert_keys(pool, pieces).await?;
    }
    // Another statement, so that it sees those that another writer added meanwhile.
    look_up_all(pool, wanted).await
}

/// Inserts keys into several dictionaries: one statement, and so one wait for the disk. Not a transaction of several: a
/// process that is stopped within one keeps others waiting.
async fn insert_keys<'k>(
    pool: &PgPool,
    pieces: impl Iterator<Item = (&'static Table, &'k [&'k Key])>,
) -> Result<(), sqlx::Error> {
    let mut arguments = PgArguments::default();
    let statements: Vec<String> = pieces
        .map(|(dictionary, keys)| {
            let insertion = insertion(&mut arguments, dictionary, keys, OnConflict::Keep)?;
            Ok(format!("new_{} AS ({insertion})", dictionary.name))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    let sql = format!("WITH {} SELECT 1", statements.join(", "));
    sqlx::query_with(AssertSqlSafe(sql), arguments).execute(pool).await?;
    Ok(())
}

/// Moves the keys that are there from the unknown to the found ones.
async fn look_up_all(pool: &PgPool, wanted: &mut [Wanted<'_>]) -> Result<(), sqlx::Error> {
    for Wanted { dictionary, unknown, found, .. } in wanted {
        for keys in unknown.chunks(ROWS_AT_ONCE) {
            look_up(pool, dictionary, keys, found).await?;
        }
        unknown.retain(|key| !found.contains_key(*key));
    }
    Ok(())
}

async fn look_up(
    on: impl PgExecutor<'_>,
    dictionary: &Table,
    keys: &[&Key],
    found: &mut Ids,
) -> Result<(), sqlx::Error> {
    let columns: Vec<&Column> = dictionary.written_columns().collect();
    let unique = key_places(dictionary, &columns);
    let columns: Vec<&Column> = unique.iter().map(|&at| columns[at]).collect();
    let pairs: Vec<String> = columns.iter().map(|c| format!("t.{name} = k.{name}", name = c.name)).collect();
    let sql = format!(
        "SELECT k.place, t.id FROM (SELECT {}, generate_subscripts($1, 1) AS place) k JOIN {} t ON {}",
        unnest(&columns, 0),
        dictionary.name,
        pairs.join(" AND ")
    );
    let mut arguments = PgArguments::default();
    add_arrays(&mut arguments, &columns, keys.len(), |row, column| &keys[row][unique[column]])?;
    for row in sqlx::query_with(AssertSqlSafe(sql), arguments).fetch_all(on).await? {
        // Subscripts begin at 1.
        let place = usize::try_from(row.try_get::<i32, _>(0)? - 1).unwrap_or(usize::MAX);
        let key = keys.get(place).ok_or_else(|| sqlx::Error::Decode("a key that nobody asked for".into()))?;
        found.insert((*key).clone(), row.try_get::<i32, _>(1)?.into());
    }
    Ok(())
}
