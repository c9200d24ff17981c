//! A question, and how each side is asked it: the library, the view's own tables by hand, a flat table by hand, santaba.

use std::net::IpAddr;

use annals_schemas::ActorKind;
use annals_store::Value;
use annals_store::sql::{Sql, sql_for};
use annals_views::audit_log::{AuditField, AuditQuery, Direction, Fields, Scope, SortKey};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value as Json, json};
use uuid::Uuid;

/// Rows of a page.
pub const LIMIT: u32 = 50;

/// A page with its total.
#[derive(Clone, Debug)]
pub struct Question {
    /// One customer, or every customer of the site.
    pub customer: Option<Uuid>,
    /// Seconds since 1970 from the first to the last, both included.
    pub seconds: Option<(i64, i64)>,
    pub conditions: Vec<Condition>,
    pub order: (SortKey, Direction),
    pub offset: u64,
}

#[derive(Clone, Debug)]
pub enum Condition {
    Action(String),
    Account(String),
    NotAccount(String),
    Address(IpAddr),
    Entity(String),
    /// Anywhere in description, account or address, without case. In small letters here.
    Word(String),
}

/// The tables that SQL is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// Those of the view.
    View,
    /// `benches/peers/postgres/table.sql`.
    Flat,
}

impl Default for Question {
    fn default() -> Self {
        let order = (SortKey::Time, Direction::Descending);
        Self { customer: None, seconds: None, conditions: Vec::new(), order, offset: 0 }
    }
}

impl Question {
    /// For the library.
    pub fn audit_query(&self, customers: &[Uuid]) -> AuditQuery {
        let scope = Scope {
            all_of: self.customer.map_or_else(|| customers.to_vec(), |customer| vec![customer]),
            own_of: Vec::new(),
            caller: (ActorKind::PortalAccount, Uuid::nil()),
        };
        let times = self.times().map(|(start, end)| {
            Filter::Is(AuditField::At, Test::Time(TimeRange { start: Some(start), end: Some(end) }))
        });
        let filter = Filter::all(times.into_iter().chain(self.conditions.iter().map(Condition::filter)));
        AuditQuery {
            fields: Fields::All,
            order: vec![self.order],
            offset: self.offset,
            ..AuditQuery::newest(scope, filter, LIMIT)
        }
    }

    /// `count(*)` and the page, as somebody would write them who knows the tables.
    pub fn by_hand(&self, tables: Tables) -> (Sql, Sql) {
        let (events, customer, account) = match tables {
            Tables::View => (
                "events",
                "events.customer = (SELECT id FROM customers WHERE customer = ?)",
                "actors.account",
            ),
            Tables::Flat => ("peer.events", "customer = ?", "account"),
        };
        let mut conditions: Vec<(&str, &str)> = Vec::new();
        let mut values: Vec<Value> = Vec::new();
        if let Some(id) = self.customer {
            conditions.push((customer, customer));
            values.push(id.into());
        }
        if let Some((start, end)) = self.times() {
            conditions.extend([("events.at >= ?", "events.at >= ?"), ("events.at <= ?", "events.at <= ?")]);
            values.extend([start.into(), end.into()]);
        }
        for condition in &self.conditions {
            let (sqlite, postgres, value) = condition.by_hand(tables);
            conditions.push((sqlite, postgres));
            values.push(value);
        }
        let wanted = |texts: Vec<&str>| {
            if texts.is_empty() { String::new() } else { format!(" WHERE {}", texts.join(" AND ")) }
        };
        let [sqlite, postgres] = [
            wanted(conditions.iter().map(|(sqlite, _)| *sqlite).collect()),
            wanted(conditions.iter().map(|(_, postgres)| *postgres).collect()),
        ];
        let key = match self.order.0 {
            SortKey::Time => "events.at",
            SortKey::Account => account,
            other => unreachable!("no question is sorted by {other:?}"),
        };
        let way = if self.order.1 == Direction::Descending { " DESC" } else { "" };
        let columns = match tables {
            Tables::View => VIEW_COLUMNS,
            Tables::Flat => FLAT_COLUMNS,
        };
        let count = |wanted: &str| format!("SELECT count(*) FROM {events}{wanted}");
        let page =
            |wanted: &str| format!("{columns}{wanted} ORDER BY {key}{way}, events.event_id LIMIT ? OFFSET ?");
        (
            sql_for(count(&sqlite), count(&postgres)).bind_all(values.clone()).once(),
            sql_for(page(&sqlite), page(&postgres))
                .bind_all(values)
                .bind(i64::from(LIMIT))
                .bind(self.offset.cast_signed())
                .once(),
        )
    }

    /// For santaba, which can be asked neither for one of several customers nor for actions and entities.
    pub fn santaba(&self) -> Option<String> {
        if self.customer.is_some() {
            return None;
        }
        let times = self.seconds.into_iter().flat_map(|(start, end)| {
            [format!("happenedOn>:{start}"), format!("happenedOn<:{end}")].into_iter()
        });
        let conditions: Option<Vec<String>> = self.conditions.iter().map(Condition::santaba).collect();
        let filters: Vec<String> = times.chain(conditions?).collect();
        let sort = format!(
            "{}{}",
            if self.order.1 == Direction::Descending { "-" } else { "+" },
            if self.order.0 == SortKey::Account { "username" } else { "happenedOn" }
        );
        let mut target = format!(
            "/santaba/rest/setting/accesslogs?v=3&size={LIMIT}&offset={}&sort={}",
            self.offset,
            encoded(&sort)
        );
        for filter in filters {
            target.push_str(&format!("&filter={}", encoded(&filter)));
        }
        Some(target)
    }

    /// For OpenSearch, as the parameter `source` of a search.
    pub fn opensearch(&self) -> String {
        let customer = self.customer.map(|id| json!({ "term": { "customer": id } }));
        let times = self.times().map(|(start, end)| {
            let [start, end] = [start, end].map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
            json!({ "range": { "at": { "gte": start, "lte": end } } })
        });
        let conditions = self.conditions.iter().map(Condition::opensearch);
        let filter: Vec<Json> = customer.into_iter().chain(times).chain(conditions).collect();
        let key = if self.order.0 == SortKey::Account { "account" } else { "at" };
        let way = if self.order.1 == Direction::Descending { "desc" } else { "asc" };
        let search = json!({
            "query": { "bool": { "filter": filter } },
            "sort": [{ key: way }, { "event_id": "asc" }],
            "from": self.offset,
            "size": LIMIT,
            "track_total_hits": true,
        });
        format!(
            "/events/_search?source_content_type=application/json&source={}",
            encoded(&search.to_string())
        )
    }

    /// First and last moment: the last second counts whole, as santaba has it.
    fn times(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let (start, end) = self.seconds?;
        Some((
            DateTime::from_timestamp(start, 0).unwrap(),
            DateTime::from_timestamp(end, 999_999_999).unwrap(),
        ))
    }
}

const VIEW_COLUMNS: &str =
    "SELECT events.event_id, customers.customer, events.at, actors.account, actions.name,
     addresses.address, actions.entity_type, entities.entity, events.description
     FROM events JOIN customers ON customers.id = events.customer JOIN actors ON actors.id = events.actor
     JOIN actions ON actions.id = events.action LEFT JOIN addresses ON addresses.id = events.address
     LEFT JOIN entities ON entities.id = events.entity";

const FLAT_COLUMNS: &str = "SELECT event_id, customer, at, account, action, address, entity_type, entity, description FROM peer.events";

impl Condition {
    fn filter(&self) -> Filter<AuditField> {
        use AuditField as F;
        let text = |text: &String| Test::Texts(Case::Folded, vec![text.clone()]);
        match self {
            Self::Action(name) => Filter::Is(F::Action, Test::Texts(Case::Exact, vec![name.clone()])),
            Self::Account(account) => Filter::Is(F::Account, text(account)),
            Self::NotAccount(account) => Filter::not(Filter::Is(F::Account, text(account))),
            Self::Address(address) => Filter::Is(F::Address, Test::Addresses(vec![*address])),
            Self::Entity(entity) => Filter::Is(F::Entity, Test::Texts(Case::Exact, vec![entity.clone()])),
            Self::Word(word) => Filter::Is(F::Anything, Test::Like(Case::Folded, Pattern::containing(word))),
        }
    }

    /// For SQLite and PostgreSQL, with the value. A flat table is in PostgreSQL only.
    fn by_hand(&self, tables: Tables) -> (&'static str, &'static str, Value) {
        use Tables::{Flat, View};
        let same = |sql: &'static str, value: Value| (sql, sql, value);
        let part_of = "events.search LIKE '%' || ? || '%'";
        match (self, tables) {
            (Self::Action(name), View) => {
                same("events.action IN (SELECT id FROM actions WHERE name = ?)", name.into())
            }
            (Self::Account(account), View) => {
                same("events.actor IN (SELECT id FROM actors WHERE account_key = ?)", account.into())
            }
            (Self::NotAccount(account), View) => {
                same("events.actor NOT IN (SELECT id FROM actors WHERE account_key = ?)", account.into())
            }
            (Self::Address(address), View) => {
                same("events.address = (SELECT id FROM addresses WHERE address = ?)", (*address).into())
            }
            (Self::Entity(entity), View) => {
                same("events.entity = (SELECT id FROM entities WHERE entity = ?)", entity.into())
            }
            (Self::Word(word), View) => ("instr(events.search, ?) > 0", part_of, word.into()),
            (Self::Action(name), Flat) => same("action = ?", name.into()),
            (Self::Account(account), Flat) => same("account = ?", account.into()),
            (Self::NotAccount(account), Flat) => same("account <> ?", account.into()),
            (Self::Address(address), Flat) => same("address = ?", (*address).into()),
            (Self::Entity(entity), Flat) => same("entity = ?", entity.into()),
            (Self::Word(word), Flat) => same("text LIKE '%' || ? || '%'", word.into()),
        }
    }

    fn opensearch(&self) -> Json {
        match self {
            Self::Action(name) => json!({ "term": { "action": name } }),
            Self::Account(account) => json!({ "term": { "account": account } }),
            Self::NotAccount(account) => {
                json!({ "bool": { "must_not": { "term": { "account": account } } } })
            }
            Self::Address(address) => json!({ "term": { "address": address } }),
            Self::Entity(entity) => json!({ "term": { "entity": entity } }),
            Self::Word(word) => json!({ "wildcard": { "text": format!("*{word}*") } }),
        }
    }

    fn santaba(&self) -> Option<String> {
        match self {
            Self::Action(_) | Self::Entity(_) => None,
            Self::Account(account) => Some(format!("username:{account}")),
            Self::NotAccount(account) => Some(format!("username!:{account}")),
            Self::Address(address) => Some(format!("ip:{address}")),
            Self::Word(word) => Some(format!("_all~{word}")),
        }
    }
}

/// A text as a part of a target.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
