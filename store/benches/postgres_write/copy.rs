//! The ways that the store does not take: `COPY`, with and without a look at which keys are there.
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format")

use std::collections::HashSet;

use annals_store::{ColumnKind, Table, Value};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use uuid::Uuid;

use crate::Failure;

/// Signature, flags and the length of the header's extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Microseconds between 1970 and 2000, where PostgreSQL's times begin.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Copies rows, behind a savepoint as one must who wants to go on when a key is there.
pub(crate) async fn copy(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[Value],
) -> Result<(), Failure> {
    let names: Vec<&str> = table.written_columns().map(|column| column.name).collect();
    let statement = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.name, names.join(", "));
    connection.execute("SAVEPOINT copied").await?;
    let mut copying = connection.copy_in_raw(&statement).await?;
    copying.send(binary(table, rows)).await?;
    copying.finish().await?;
    connection.execute("RELEASE SAVEPOINT copied").await?;
    Ok(())
}

/// Looks which keys are there, and copies the other rows. (Here there is never one, which is how it mostly is.)
pub(crate) async fn look_then_copy(
    connection: &mut PgConnection,
    table: &Table,
    rows: &[Value],
) -> Result<(), Failure> {
    let width = table.written_columns().count();
    let (mut customers, mut events) = (Vec::new(), Vec::new());
    let mut seen: HashSet<(i64, Uuid)> = HashSet::new();
    for row in rows.chunks(width) {
        if let [Value::Integer(customer), Value::Uuid(event), ..] = row
            && seen.insert((*customer, *event))
        {
            customers.push(i32::try_from(*customer)?);
            events.push(*event);
        }
    }
    let text = format!(
        "SELECT k.place FROM (SELECT unnest($1) AS customer, unnest($2) AS event_id, generate_subscripts($1, 1) AS place) k
         JOIN {} t ON t.customer = k.customer AND t.event_id = k.event_id",
        table.name
    );
    let known: Vec<i32> = sqlx::query_scalar(AssertSqlSafe(text))
        .bind(customers)
        .bind(events)
        .fetch_all(&mut *connection)
        .await?;
    if known.is_empty() { copy(connection, table, rows).await } else { Err("a random id came twice".into()) }
}

fn binary(table: &Table, rows: &[Value]) -> Vec<u8> {
    let kinds: Vec<ColumnKind> = table.written_columns().map(|column| column.kind).collect();
    let width = i16::try_from(kinds.len()).unwrap_or(0);
    let mut out = Vec::with_capacity(rows.len() * 12);
    out.extend_from_slice(HEADER);
    for row in rows.chunks(kinds.len()) {
        out.extend_from_slice(&width.to_be_bytes());
        for (kind, value) in kinds.iter().zip(row) {
            put(&mut out, *kind, value);
        }
    }
    out.extend_from_slice(&(-1_i16).to_be_bytes());
    out
}

#[expect(clippy::cast_possible_truncation, reason = "the numbers of this benchmark are small")]
fn put(out: &mut Vec<u8>, kind: ColumnKind, value: &Value) {
    let at = out.len();
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    match (kind, value) {
        (ColumnKind::SmallInteger, Value::Integer(number)) => {
            out.extend_from_slice(&(*number as i16).to_be_bytes())
        }
        (ColumnKind::DictionaryId, Value::Integer(number)) => {
            out.extend_from_slice(&(*number as i32).to_be_bytes())
        }
        (_, Value::Integer(number)) => out.extend_from_slice(&number.to_be_bytes()),
        (_, Value::Time(micros)) => out.extend_from_slice(&(micros - POSTGRES_EPOCH_MICROS).to_be_bytes()),
        (_, Value::Text(text)) => out.extend_from_slice(text.as_bytes()),
        (_, Value::Uuid(id)) => out.extend_from_slice(id.as_bytes()),
        // A length of -1 and nothing behind it.
        _ => return,
    }
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}
