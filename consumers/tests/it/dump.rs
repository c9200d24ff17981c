//! The rows of a view as texts that are the same whatever the engine is.

use annals_store::sql::sql_for;
use annals_store::{Database, Dialect, Pool};
use annals_views::View;

/// How a value is written in a dialect, so that the texts are the same.
pub struct Spelling(Dialect);

impl Spelling {
    fn choose(&self, sqlite: String, postgres: String) -> String {
        match self.0 {
            Dialect::Sqlite => sqlite,
            Dialect::Postgres => postgres,
        }
    }

    /// 32 hexadecimal digits.
    fn uuid(&self, column: &str) -> String {
        self.choose(
            format!("hex({column})"),
            format!("coalesce(upper(encode(uuid_send({column}), 'hex')), '')"),
        )
    }

    /// 16 bytes in hexadecimal digits, an IPv4 address as mapped into IPv6.
    fn address(&self, column: &str) -> String {
        let bytes = format!("upper(encode(substr(inet_send({column}), 5), 'hex'))");
        self.choose(
            format!("hex({column})"),
            format!(
                "coalesce(CASE family({column}) WHEN 4 THEN '00000000000000000000FFFF' ELSE '' END || {bytes}, '')"
            ),
        )
    }

    /// Microseconds since 1970.
    fn time(&self, column: &str) -> String {
        self.choose(format!("({column})"), format!("(extract(epoch FROM {column}) * 1000000)::bigint"))
    }
}

/// What of a row is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All that a query may show, dictionary ids resolved, and where and when the record stands in the log.
    Whole,
    /// Without the place: what a repetition in the log may not change.
    Shown,
}

/// A view whose rows can be compared.
pub trait Dump: View {
    /// The statement that selects one text per row.
    fn rows(part: Part, write: &Spelling) -> String;
}

impl Dump for annals_views::audit_log::AuditLog {
    fn rows(part: Part, write: &Spelling) -> String {
        let place = match part {
            Part::Whole => {
                format!("partitions.topic, partitions.number, \"offset\", {}", write.time("recorded_at"))
            }
            Part::Shown => "''".to_owned(),
        };
        format!(
            "SELECT concat_ws('|', {customer}, {event_id}, {at}, coalesce({claimed_at}, 0), actors.kind, {actor},
               actors.account, actors.qualified, actors.account_key, actors.qualified_key, actions.name,
               actions.category, actions.severity, actions.entity_type, {address}, coalesce(entities.entity, '-'),
               description, coalesce(sign_in, '-'), misplaced, {place})
             FROM events JOIN customers ON customers.id = events.customer JOIN actors ON actors.id = events.actor
               JOIN actions ON actions.id = events.action JOIN partitions ON partitions.id = events.partition
               LEFT JOIN addresses ON addresses.id = events.address LEFT JOIN entities ON entities.id = events.entity",
            customer = write.uuid("customers.customer"),
            event_id = write.uuid("event_id"),
            at = write.time("at"),
            claimed_at = write.time("claimed_at"),
            actor = write.uuid("actors.actor"),
            address = write.address("addresses.address"),
        )
    }
}

impl Dump for annals_views::logged_on_users::LoggedOnUsers {
    fn rows(_: Part, write: &Spelling) -> String {
        format!(
            "SELECT concat_ws('|', {customer}, {event_id}, host, coalesce(logon_id, '-'), {address}, account, {user},
               {on}, coalesce({off}, 0)) FROM logons
             UNION ALL SELECT concat_ws('|', 'off', {customer}, {event_id}, host, logon_id, {off}) FROM logoffs",
            customer = write.uuid("customer"),
            event_id = write.uuid("event_id"),
            address = write.address("address"),
            user = write.uuid("user_uuid"),
            on = write.time("logged_on_at"),
            off = write.time("logged_off_at"),
        )
    }
}

/// Every row of a generation, sorted.
pub async fn rows<V: Dump>(database: &Database, generation: i64) -> Vec<String> {
    part::<V>(database, generation, Part::Whole).await
}

/// As [`rows`], without where and when the records stand in the log.
pub async fn shown<V: Dump>(database: &Database, generation: i64) -> Vec<String> {
    part::<V>(database, generation, Part::Shown).await
}

async fn part<V: Dump>(database: &Database, generation: i64, part: Part) -> Vec<String> {
    let readers = database.readers(V::NAME, generation).await.unwrap();
    let rows = select::<V>(&readers, part).await;
    readers.close().await;
    rows
}

/// The rows that a pool reads, sorted.
pub async fn select<V: Dump>(readers: &Pool, part: Part) -> Vec<String> {
    let [sqlite, postgres] = [Dialect::Sqlite, Dialect::Postgres].map(|it| V::rows(part, &Spelling(it)));
    let mut rows: Vec<String> = sql_for(sqlite, postgres).fetch_scalars(readers).await.unwrap();
    rows.sort();
    rows
}
