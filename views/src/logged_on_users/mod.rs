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
use annals_store::sql::{Row, sql};
use annals_store::{
    Column, ColumnKind, Connection, Dialect, Index, OnConflict, Place, Rows, Table, ViewStore,
    ViewTransaction,
};

use crate::Result;
use crate::view::{Dedup, LogEvent, View};
use fold::{Change, Logoff, Logon, LogonKey};

pub use query::{UserOnAddress, UsersQuery};

/// Users logged on.
pub enum LoggedOnUsers {}

/// Each logon.
pub const LOGONS: Table = Table {
    name: "logons",
    columns: &[
        Column::new("id", ColumnKind::RowNumber),
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
    is_changed: false,
    indexes: &[
        Index { name: "logons_by_address", columns: &["customer", "address", "logged_on_at"] },
        Index { name: "logons_by_logon_id", columns: &["customer", "host", "logon_id"] },
    ],
};

/// Each logoff that names its logon.
pub const LOGOFFS: Table = Table {
    name: "logoffs",
    columns: &[
        Column::new("id", ColumnKind::RowNumber),
        Column::new("customer", ColumnKind::Uuid),
        Column::new("event_id", ColumnKind::Uuid),
        Column::new("host", ColumnKind::Text),
        Column::new("logon_id", ColumnKind::Text),
        Column::new("logged_off_at", ColumnKind::Timestamp),
    ],
    unique: &["customer", "event_id"],
    is_changed: false,
    indexes: &[Index { name: "logoffs_by_logon_id", columns: &["customer", "host", "logon_id"] }],
};

/// What a batch changes.
pub struct Changes {
    all: Vec<Change>,
    /// Whether some stand in another partition than their key says, so that another transaction may be writing the other
    /// half of a logon at this moment.
    misplaced: bool,
}

/// Keys that one statement asks for.
const KEYS_PER_QUERY: usize = 500;

impl View for LoggedOnUsers {
    type Folded = Changes;
    type Prepared = Changes;

    const NAME: &'static str = "logged_on_users";
    const VERSION: i64 = 2;
    const DEDUP: Dedup = Dedup::RowKeyAndDerived;

    fn topics() -> &'static [Topic] {
        &[HOST_LOGONS]
    }

    fn tables() -> &'static [&'static Table] {
        &[&LOGONS, &LOGOFFS]
    }

    fn fold(batch: Vec<LogEvent>) -> Changes {
        let misplaced = batch.iter().any(|event| event.misplaced);
        Changes { all: batch.iter().filter_map(fold::change).collect(), misplaced }
    }

    async fn prepare(_store: &dyn ViewStore, folded: Changes) -> Result<Changes> {
        Ok(folded)
    }

    async fn apply(tx: &mut dyn ViewTransaction, changes: Changes) -> Result<()> {
        let Changes { all: changes, misplaced } = changes;
        if changes.is_empty() {
            return Ok(());
        }
        take_turn(tx.connection(), misplaced).await?;
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

/// Where several transactions write at once, a logon and its logoff are in one of them, because they are in one
/// partition. What is misplaced is not: then whoever writes it waits until the others are done, and they wait for it, so
/// that the later one sees both halves.
async fn take_turn(connection: Connection<'_>, misplaced: bool) -> Result<()> {
    if connection.dialect() == Dialect::Postgres {
        let mode = if misplaced { "SHARE ROW EXCLUSIVE" } else { "ROW EXCLUSIVE" };
        let place = Place::new(LoggedOnUsers::NAME);
        let locked = sql(format!("LOCK TABLE logons IN {mode} MODE")).execute(connection).await;
        locked.during(&place, "wait for other writers")?;
    }
    Ok(())
}

fn push_logon(rows: &mut Rows, logon: &Logon) {
    rows.push([
        logon.customer.into(),
        logon.event_id.into(),
        logon.host.as_str().into(),
        logon.logon_id.clone().into(),
        logon.address.into(),
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

async fn load(mut connection: Connection<'_>, keys: &[LogonKey]) -> Result<(Vec<Logon>, Vec<Logoff>)> {
    const DOING: &str = "load logons and logoffs";
    let place = Place::new(LoggedOnUsers::NAME);
    let places = vec!["(?,?,?)"; keys.len()].join(",");
    let of_keys = |select: &str| {
        let statement = sql(format!("{select} WHERE (customer, host, logon_id) IN (VALUES {places})"));
        let statement = if keys.len() == KEYS_PER_QUERY { statement } else { statement.once() };
        keys.iter().fold(statement, |statement, key| {
            statement.bind(key.customer).bind(&key.host).bind(&key.logon_id)
        })
    };
    let logons = of_keys(
        "SELECT customer, event_id, host, logon_id, address, account, user_uuid, logged_on_at, logged_off_at
         FROM logons",
    );
    let logoffs = of_keys("SELECT customer, event_id, host, logon_id, logged_off_at FROM logoffs");
    let logons = logons.fetch_all(&mut connection).await.during(&place, DOING)?;
    let logoffs = logoffs.fetch_all(&mut connection).await.during(&place, DOING)?;
    let logons = logons.iter().map(read_logon).collect::<Result<_, _>>().during(&place, DOING)?;
    let logoffs = logoffs.iter().map(read_logoff).collect::<Result<_, _>>().during(&place, DOING)?;
    Ok((logons, logoffs))
}

fn read_logon(row: &Row) -> Result<Logon, sqlx::Error> {
    Ok(Logon {
        customer: row.get(0)?,
        event_id: row.get(1)?,
        host: row.get(2)?,
        logon_id: row.get(3)?,
        address: row.get(4)?,
        account: row.get(5)?,
        user_uuid: row.get(6)?,
        logged_on_at: row.get(7)?,
        logged_off_at: row.get(8)?,
    })
}

fn read_logoff(row: &Row) -> Result<Logoff, sqlx::Error> {
    Ok(Logoff {
        key: LogonKey { customer: row.get(0)?, host: row.get(2)?, logon_id: row.get(3)? },
        event_id: row.get(1)?,
        logged_off_at: row.get(4)?,
    })
}
