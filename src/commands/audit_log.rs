//! What `annals query` and `annals tail` share: the view, whose events an operator sees, and how events are printed.

use annals_access::Customer;
use annals_query_api::native::event::ShownEvent;
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{ActionRecorded, Actor, ActorKind, Event, Meta, Personal, PersonalData, Severity};
use annals_store::{Followed, StoreError};
use annals_views::View;
use annals_views::audit_log::{AuditLog, Scope};
use anyhow::bail;
use chrono::Utc;
use uuid::Uuid;

use crate::installation::Installation;
use crate::output;

/// The audit log of an installation, for its operator.
pub struct AuditView {
    /// The view.
    pub followed: Followed,
    /// Every customer.
    pub customers: Vec<Customer>,
}

impl AuditView {
    /// Opens the view, which a server must have made.
    pub async fn open(installation: &Installation) -> anyhow::Result<Self> {
        let Installation { control, database, access, .. } = installation;
        let followed = Followed::start(control, database, AuditLog::NAME, AuditLog::VERSION, None).await;
        let followed = match followed {
            Ok(followed) => followed,
            Err(StoreError::Gone(_)) => {
                bail!("no server of this version has made the view `{}` yet (annals serve)", AuditLog::NAME)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { followed, customers: access.customers().await? })
    }

    /// Whoever can read the store sees everything in it.
    pub fn scope(&self) -> Scope {
        Scope {
            all_of: self.customers.iter().map(|customer| customer.id).collect(),
            own_of: Vec::new(),
            caller: (ActorKind::System, Uuid::nil()),
        }
    }

    /// The read itself is an event. One that cannot be written keeps nobody from reading.
    pub async fn record_read(&self, installation: &Installation) {
        let Installation { control, access, .. } = installation;
        let written = async {
            let mut tx = control.begin().await?;
            access.tell_within(tx.connection(), &read_event()).await?;
            tx.commit().await?;
            anyhow::Ok(())
        };
        if let Err(error) = written.await {
            tracing::warn!(error = output::chain(&error), "this read could not be recorded");
        }
    }
}

fn read_event() -> Event {
    ActionRecorded {
        meta: Meta {
            event_id: Uuid::now_v7(),
            customer: OPERATOR_CUSTOMER,
            occurred_at: Utc::now(),
            source: "annals:cli".to_owned(),
            actor: Actor::system(),
        },
        action: "AUDIT_LOG_READ".to_owned(),
        category: "annals".to_owned(),
        severity: Severity::Info,
        entity_type: None,
        count: 1,
        personal: PersonalData::Personal(Personal {
            text: Some("The audit log was read from the command line.".to_owned()),
            ..Personal::default()
        }),
    }
    .into()
}

/// The head of a table of events.
pub fn columns() -> Vec<String> {
    ["TIME", "SEVERITY", "CUSTOMER", "ACCOUNT", "ADDRESS", "ACTION", "ENTITY", "DESCRIPTION"]
        .map(str::to_owned)
        .to_vec()
}

/// The row of an event.
pub fn row(event: &ShownEvent) -> Vec<String> {
    let text = |text: Option<&str>| text.map_or("-".to_owned(), printable);
    let actor = &event.actor;
    let customer = event.customer.name.as_deref().unwrap_or(&event.customer.id);
    vec![
        event.time.clone(),
        event.severity.to_owned(),
        printable(customer),
        text(actor.qualified_account.as_deref().or(actor.account.as_deref())),
        event.address.map_or("-".to_owned(), |address| address.to_string()),
        printable(&event.action),
        text(event.entity.id.as_deref()),
        printable(&event.description),
    ]
}

/// An event as one line of JSON. What a terminal would obey is escaped, which changes no meaning.
pub fn json(event: &ShownEvent) -> anyhow::Result<String> {
    Ok(escaped(&serde_json::to_string(event)?, json_escape))
}

fn json_escape(character: char) -> String {
    character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Prints a row of CSV, which brings its end along.
pub fn csv_line(row: &str) -> std::io::Result<()> {
    output::line(row.strip_suffix('\n').unwrap_or(row))
}

/// A text that no terminal obeys and no reader misreads: the names in events come from whoever tried to log on.
fn printable(text: &str) -> String {
    escaped(text, |character| character.escape_default().to_string())
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_format(character) {
            shown.push_str(&escape(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character is seen only by what it does to others: it turns text round, or hides in it (Unicode's category
/// Cf). Those that join letters, and the byte order mark, do neither.
fn is_format(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_given_orders() {
        assert_eq!(printable("a\u{1b}[31mb\u{9b}c\u{202e}d\re"), "a\\u{1b}[31mb\\u{9b}c\\u{202e}d\\re");
        assert_eq!(printable("é 🦀 \\"), "é 🦀 \\");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let hostile = "a\u{1b}\u{9b}\u{202e}\u{7f}\u{e0041}";
        let shown = escaped(&serde_json::to_string(hostile).unwrap(), json_escape);
        assert!(shown.is_ascii(), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hostile);
    }
}
