//! Reading the views' files from outside, by other means than the program's.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::{Home, block_on, until};

/// Views and the topics that they read.
const VIEWS: [(&str, &str); 2] =
    [("audit_log", "'annals.audit', 'annals.host-logons'"), ("logged_on_users", "'annals.host-logons'")];

/// Every row of `audit_log` in one text each, dictionary ids resolved.
const AUDIT_LOG_ROWS: &str = "SELECT concat_ws('|', hex(customers.customer), hex(event_id), at, claimed_at,
     actors.kind, hex(actors.actor), actors.account, actors.qualified, actors.account_key, actions.name,
     actions.category, actions.severity, actions.entity_type, hex(addresses.address), entities.entity,
     description, sign_in, misplaced, partitions.topic, partitions.number, \"offset\", recorded_at)
   FROM events JOIN customers ON customers.id = events.customer JOIN actors ON actors.id = events.actor
     JOIN actions ON actions.id = events.action JOIN partitions ON partitions.id = events.partition
     LEFT JOIN addresses ON addresses.id = events.address LEFT JOIN entities ON entities.id = events.entity
   ORDER BY 1";

/// The first column of what a query gives, as texts. The file is opened for reading only.
pub fn query(path: &Path, sql: &str) -> Vec<String> {
    block_on(async {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut connection =
            options.connect().await.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    })
}

/// Changes a file behind the program's back.
pub fn execute(path: &Path, statements: &[&str]) {
    block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        for sql in statements {
            sqlx::query(AssertSqlSafe((*sql).to_owned())).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

/// The file of a view's active generation.
pub fn active(home: &Home, view: &str) -> Option<PathBuf> {
    let sql = format!(
        "SELECT CAST(generation AS TEXT) FROM generations WHERE view = '{view}' AND state = 'active'"
    );
    let generation = query(&home.data.join("control.db"), &sql).pop()?;
    Some(home.data.join("views").join(format!("{view}.{generation}.db")))
}

/// Waits until the relay has brought all that annals tells of itself into the log.
#[track_caller]
pub fn outbox_empty(home: &Home) {
    let control = home.data.join("control.db");
    until("the outbox is empty", || query(&control, "SELECT '' FROM outbox").is_empty().then_some(()));
}

/// Waits until both views stand at the end of the log as it is now.
#[track_caller]
pub fn caught_up(home: &Home) {
    for (view, topics) in VIEWS {
        let ends = format!(
            "SELECT topic || '/' || number || '/' || next_offset FROM partitions
             WHERE next_offset > 0 AND topic IN ({topics})"
        );
        let ends = query(&home.data.join("log.db"), &ends);
        until(&format!("{view} reaches {ends:?}"), || {
            // A generation that was just made has no tables yet.
            let path = active(home, view).filter(|path| path.is_file())?;
            if query(&path, "SELECT name FROM sqlite_schema WHERE name = 'positions'").is_empty() {
                return None;
            }
            let reached = |end: &String| {
                let (partition, end) = end.rsplit_once('/').unwrap();
                let sql = format!(
                    "SELECT '' FROM positions WHERE topic || '/' || partition = '{partition}' AND next_offset >= {end}"
                );
                !query(&path, &sql).is_empty()
            };
            ends.iter().all(reached).then_some(())
        });
    }
}

/// Every row of the audit log, in one text each.
pub fn audit_log_rows(home: &Home) -> Vec<String> {
    query(&active(home, "audit_log").unwrap(), AUDIT_LOG_ROWS)
}

/// CUSTOMER/EVENT of every row of the audit log.
pub fn audit_log_ids(home: &Home) -> Vec<String> {
    let sql = "SELECT lower(hex(customers.customer) || '/' || hex(event_id)) FROM events
               JOIN customers ON customers.id = events.customer ORDER BY 1";
    query(&active(home, "audit_log").unwrap(), sql)
}

/// CUSTOMER/EVENT of every logon and logoff.
pub fn logon_ids(home: &Home) -> Vec<String> {
    let sql = "SELECT lower(hex(customer) || '/' || hex(event_id)) FROM logons
               UNION ALL SELECT lower(hex(customer) || '/' || hex(event_id)) FROM logoffs ORDER BY 1";
    query(&active(home, "logged_on_users").unwrap(), sql)
}
