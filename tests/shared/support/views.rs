//! Reading the views' tables from outside, by other means than the program's.

use annals_bus::Bus;
use annals_schemas::TOPICS;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Home, block_on, until};

/// Views and the topics that they read.
const VIEWS: [(&str, &[&str]); 2] =
    [("audit_log", &["annals.audit", "annals.host-logons"]), ("logged_on_users", &["annals.host-logons"])];

/// Every row of `audit_log` in one text each, dictionary ids resolved.
const AUDIT_LOG_ROWS: &str = "SELECT concat_ws('|', customers.customer, event_id, at, claimed_at, actors.kind,
     actors.actor, actors.account, actors.qualified, actors.account_key, actions.name, actions.category,
     actions.severity, actions.entity_type, addresses.address, entities.entity, description, sign_in, misplaced,
     partitions.topic, partitions.number, \"offset\", recorded_at)
   FROM {schema}.events JOIN {schema}.customers ON customers.id = events.customer
     JOIN {schema}.actors ON actors.id = events.actor JOIN {schema}.actions ON actions.id = events.action
     JOIN {schema}.partitions ON partitions.id = events.partition
     LEFT JOIN {schema}.addresses ON addresses.id = events.address
     LEFT JOIN {schema}.entities ON entities.id = events.entity
   ORDER BY 1";

/// The first column of what a query gives, as texts.
#[track_caller]
pub fn query(home: &Home, sql: &str) -> Vec<String> {
    try_query(home, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn try_query(home: &Home, sql: &str) -> Result<Vec<String>, sqlx::Error> {
    let rows = block_on(sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(home.pool()))?;
    rows.iter().map(|row: &PgRow| row.try_get(0)).collect()
}

/// One number.
#[track_caller]
pub fn count(home: &Home, what: &str) -> usize {
    query(home, &format!("SELECT count(*)::text FROM {what}"))[0].parse().unwrap()
}

/// The schema of a view's active generation.
pub fn active(home: &Home, view: &str) -> Option<String> {
    let sql = format!(
        "SELECT 'annals_' || view || '_' || generation FROM annals.generations
         WHERE view = '{view}' AND state = 'active'"
    );
    try_query(home, &sql).ok()?.pop()
}

/// Waits until the relay has brought all that annals tells of itself into the log.
#[track_caller]
pub fn outbox_empty(home: &Home) {
    until("the outbox is empty", || {
        query(home, "SELECT event_id::text FROM annals.outbox").is_empty().then_some(())
    });
}

/// Waits until both views stand at the end of the log as it is now.
#[track_caller]
pub fn caught_up(home: &Home) {
    let ends = block_on(async {
        let bus = home.bus().await;
        let ends = bus.end_positions(&TOPICS.map(|topic| topic.name)).await.unwrap();
        bus.close().await;
        ends
    });
    for (view, topics) in VIEWS {
        let mine = ends.iter().filter(|(partition, end)| *end > 0 && topics.contains(&&*partition.topic));
        let wanted: Vec<(String, u64)> = mine.map(|(partition, end)| (partition.to_string(), *end)).collect();
        until(&format!("{view} reaches {wanted:?}"), || {
            let reached = positions(home, view)?;
            let arrived = |(partition, end): &(String, u64)| {
                reached.iter().any(|(other, next)| other == partition && next >= end)
            };
            wanted.iter().all(arrived).then_some(())
        });
    }
}

/// TOPIC/PARTITION and the next offset of a view's active generation; none when it has no tables yet.
pub fn positions(home: &Home, view: &str) -> Option<Vec<(String, u64)>> {
    let schema = active(home, view)?;
    let sql = format!("SELECT topic || '/' || partition || '/' || next_offset FROM {schema}.positions");
    let rows = try_query(home, &sql).ok()?;
    let read = |row: String| {
        let (partition, next) = row.rsplit_once('/').unwrap();
        (partition.to_owned(), next.parse().unwrap())
    };
    Some(rows.into_iter().map(read).collect())
}

/// Every row of the audit log in a generation's schema, in one text each.
pub fn audit_log_rows(home: &Home, schema: &str) -> Vec<String> {
    query(home, &AUDIT_LOG_ROWS.replace("{schema}", schema))
}

/// CUSTOMER/EVENT of every row of the audit log.
pub fn audit_log_ids(home: &Home) -> Vec<String> {
    let schema = active(home, "audit_log").unwrap();
    let rows = count(home, &format!("{schema}.events"));
    let sql = format!(
        "SELECT replace(customers.customer || '/' || event_id, '-', '') FROM {schema}.events
         JOIN {schema}.customers ON customers.id = events.customer ORDER BY 1"
    );
    let ids = query(home, &sql);
    assert_eq!(ids.len(), rows, "every row belongs to a customer that is there");
    assert_eq!(audit_log_rows(home, &schema).len(), rows, "every row's texts are there");
    ids
}

/// CUSTOMER/EVENT of every logon and logoff.
pub fn logon_ids(home: &Home) -> Vec<String> {
    let schema = active(home, "logged_on_users").unwrap();
    let sql = format!(
        "SELECT replace(customer || '/' || event_id, '-', '') FROM {schema}.logons
         UNION ALL SELECT replace(customer || '/' || event_id, '-', '') FROM {schema}.logoffs ORDER BY 1"
    );
    query(home, &sql)
}

/// Records that are dead letters of any view.
pub fn dead_letters(home: &Home) -> Vec<String> {
    let letters = |(view, _): &(&str, _)| {
        let schema = active(home, view).unwrap();
        query(
            home,
            &format!(
                "SELECT '{view} ' || topic || '/' || partition || '/' || \"offset\" FROM {schema}.dead_letters"
            ),
        )
    };
    VIEWS.iter().flat_map(letters).collect()
}
