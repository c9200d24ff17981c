//! Users logged on to hosts: each logon of a person from an address, with its end where a logoff is known.
//!
//! Logons of machine and service accounts, and those without an address or from loopback, are left out. A logoff
//! carries no address: it ends the latest logon of its host and logon id that is not after it. Logoffs are kept,
//! because half of them are read before their logon; ends are computed again from what is there, so that neither
//! order, nor repetition, nor the cut of a batch changes them.

pub mod fold;
pub mod query;

use std::collections::BTreeSet;

use annals_schemas::Topic;
use annals_schemas::topics::HOST_LOGONS;
use annals_store::error::Context;
use annals_store::{
    Column, ColumnKind, Connection, Index, OnConflict, Rows, Table, ViewStore, ViewTransaction,
};
use chrono::DateTime;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::view::{Dedup, LogEvent, View};
use crate::{Result, address};
use fold::{Change, Logoff, Logon, LogonKey};

pub use query::{UserOnAddress, UsersQuery};

/// Users logged on.
pub enum LoggedOnUsers {}

/// Each logon.
pub const LOGONS: Table = Table {
    name: "logons",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("customer", ColumnKind::Uuid),
        Column::new("event_id", ColumnKind::Uuid),
        Column::new("host", ColumnKind::Text),
        Column::nullable("logon_id", ColumnKind::Text),
        Column::new("address", ColumnKind::Address),
        Column::new("account", ColumnKind::Text),
        Column::new("user_uuid", ColumnKind::Uuid),
        Column::new("logged_on_at", ColumnKind::Timestamp),
        Column::nullable("logged_off_at", ColumnKind::Timestamp),
    ],
    unique: &["customer", "event_id"],
    indexes: &[
        Index { name: "logons_by_address", columns: &["customer", "address", "logged_on_at"] },
        Index { name: "logons_by_logon_id", columns: &["customer", "host", "logon_id"] },
    ],
};

/// Each logoff that names its logon.
pub const LOGOFFS: Table = Table {
    name: "logoffs",
    columns: &[
        Column::new("id", ColumnKind::RowId),
        Column::new("customer", ColumnKind::Uuid),
        Column::new("event_id", ColumnKind::Uuid),
        Column::new("host", ColumnKind::Text),
        Column::new("logon_id", ColumnKind::Text),
        Column::new("logged_off_at", ColumnKind::Timestamp),
    ],
    unique: &["customer", "event_id"],
    indexes: &[Index { name: "logoffs_by_logon_id", columns: &["customer", "host", "logon_id"] }],
};

/// Keys that one statement asks for.
const KEYS_PER_QUERY: usize = 500;

impl View for LoggedOnUsers {
    type Folded = Vec<Change>;
    type Prepared = Vec<Change>;

    const NAME: &'static str = "logged_on_users";
    const VERSION: i64 = 1;
    const DEDUP: Dedup = Dedup::RowKeyAndDerived;

    fn topics() -> &'static [Topic] {
        &[HOST_LOGONS]
    }

    fn tables() -> &'static [&'static Table] {
        &[&LOGONS, &LOGOFFS]
    }

    fn fold(batch: Vec<LogEvent>) -> Vec<Change> {
        batch.iter().filter_map(fold::change).collect()
    }

    async fn prepare(_store: &dyn ViewStore, folded: Vec<Change>) -> Result<Vec<Change>> {
        Ok(folded)
    }

    async fn apply(tx: &mut dyn ViewTransaction, changes: Vec<Change>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        // First the rows as they are: the unique key keeps the first of a repeated event.
        let (mut logons, mut logoffs) = (Rows::new(&LOGONS), Rows::new(&LOGOFFS));
        for change in &changes {
            match change {
                Change::LoggedOn(logon) => push_logon(&mut logons, logon),
                Change::LoggedOff(logoff) => push_logoff(&mut logoffs, logoff),
            }
        }
        tx.write(&LOGONS, &logons, OnConflict::Keep).await?;
        tx.write(&LOGOFFS, &logoffs, OnConflict::Keep).await?;
        // Then the ends of every logon that shares a logon id with a change, from all that is known now.
        let keys: BTreeSet<LogonKey> = changes.iter().filter_map(Change::key).collect();
        let keys: Vec<LogonKey> = keys.into_iter().collect();
        for keys in keys.chunks(KEYS_PER_QUERY) {
            let (known_logons, known_logoffs) = load(tx.connection(), keys).await?;
            let mut ended = Rows::new(&LOGONS);
            for logon in fold::end_logons(known_logons, &known_logoffs) {
                push_logon(&mut ended, &logon);
            }
            tx.write(&LOGONS, &ended, OnConflict::Update(&["logged_off_at"])).await?;
        }
        Ok(())
    }
}

fn push_logon(rows: &mut Rows, logon: &Logon) {
    rows.push([
        logon.customer.into(),
        logon.event_id.into(),
        logon.host.as_str().into(),
        logon.logon_id.clone().into(),
        annals_store::Value::Bytes(address::to_bytes(logon.address).to_vec()),
        logon.account.as_str().into(),
        logon.user_uuid.into(),
        logon.logged_on_at.into(),
        logon.logged_off_at.into(),
    ]);
}

fn push_logoff(rows: &mut Rows, logoff: &Logoff) {
    rows.push([
        logoff.key.customer.into(),
        logoff.event_id.into(),
        logoff.key.host.as_str().into(),
        logoff.key.logon_id.as_str().into(),
        logoff.logged_off_at.into(),
    ]);
}

async fn load(connection: Connection<'_>, keys: &[LogonKey]) -> Result<(Vec<Logon>, Vec<Logoff>)> {
    let Connection::Sqlite(connection) = connection;
    let places = vec!["(?,?,?)"; keys.len()].join(",");
    let logons = format!(
        "SELECT customer, event_id, host, logon_id, address, account, user_uuid, logged_on_at, logged_off_at
         FROM logons WHERE (customer, host, logon_id) IN (VALUES {places})"
    );
    let logoffs = format!(
        "SELECT customer, event_id, host, logon_id, logged_off_at
         FROM logoffs WHERE (customer, host, logon_id) IN (VALUES {places})"
    );
    let mut rows = Vec::new();
    for sql in [logons, logoffs] {
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(keys.len() == KEYS_PER_QUERY);
        for key in keys {
            query = query.bind(key.customer).bind(&key.host).bind(&key.logon_id);
        }
        rows.push(query.fetch_all(&mut *connection).await);
    }
    let path = std::path::Path::new(LoggedOnUsers::NAME);
    let logoffs = rows.pop().unwrap_or_else(|| Ok(Vec::new())).during(path, "load logoffs")?;
    let logons = rows.pop().unwrap_or_else(|| Ok(Vec::new())).during(path, "load logons")?;
    let logons = logons.iter().map(read_logon).collect::<Result<_, _>>().during(path, "load logons")?;
    let logoffs = logoffs.iter().map(read_logoff).collect::<Result<_, _>>().during(path, "load logoffs")?;
    Ok((logons, logoffs))
}

fn read_logon(row: &SqliteRow) -> Result<Logon, sqlx::Error> {
    let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    Ok(Logon {
        customer: row.try_get(0)?,
        event_id: row.try_get(1)?,
        host: row.try_get(2)?,
        logon_id: row.try_get(3)?,
        address: address::from_bytes(row.try_get(4)?)
            .ok_or_else(|| sqlx::Error::Decode("an address has 16 bytes".into()))?,
        account: row.try_get(5)?,
        user_uuid: row.try_get(6)?,
        logged_on_at: time(row.try_get(7)?),
        logged_off_at: row.try_get::<Option<i64>, _>(8)?.map(time),
    })
}

fn read_logoff(row: &SqliteRow) -> Result<Logoff, sqlx::Error> {
    Ok(Logoff {
        key: LogonKey { customer: row.try_get(0)?, host: row.try_get(2)?, logon_id: row.try_get(3)? },
        event_id: row.try_get(1)?,
        logged_off_at: DateTime::from_timestamp_micros(row.try_get(4)?).unwrap_or_default(),
    })
}
