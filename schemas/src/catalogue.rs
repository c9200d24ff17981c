//! The catalogue: what each event type shows to people, and the only place that says so.
//!
//! Lastline's papi shows `name`, `category`, `severity` and the entity; LogicMonitor shows the description. Only
//! SUCCESSFUL_LOGIN, `authentication` and the three severities are public at Lastline; every other name is ours and
//! is listed in `docs/events.md`, which a test compares with [`CATALOGUE`].

use crate::envelope::Personal;
use crate::events::{ActionRecorded, ConfigurationChanged, Event, EventType, Severity};

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The event type.
    pub event_type: EventType,
    /// Fixed name, or `None` when the event brings its own.
    pub name: Option<&'static str>,
    /// Fixed or default category; `None` when the event always brings its own.
    pub category: Option<&'static str>,
    /// Fixed or default severity; `None` when the event always brings its own.
    pub severity: Option<Severity>,
    /// Fixed entity type; `None` when there is none or the event brings its own.
    pub entity_type: Option<&'static str>,
}

const fn entry(
    event_type: EventType,
    name: Option<&'static str>,
    category: Option<&'static str>,
    severity: Option<Severity>,
    entity_type: Option<&'static str>,
) -> Entry {
    Entry { event_type, name, category, severity, entity_type }
}

const AUTHENTICATION: Option<&str> = Some("authentication");

/// Every event type, in the order of the documentation.
pub const CATALOGUE: &[Entry] = &[
    entry(EventType::LoginSucceeded, Some("SUCCESSFUL_LOGIN"), AUTHENTICATION, Some(Severity::Info), None),
    entry(EventType::LoginFailed, Some("FAILED_LOGIN"), AUTHENTICATION, Some(Severity::Warning), None),
    entry(EventType::LoggedOut, Some("LOGOUT"), AUTHENTICATION, Some(Severity::Info), None),
    entry(EventType::HostLoggedOn, Some("HOST_LOGON"), AUTHENTICATION, Some(Severity::Info), Some("host")),
    entry(
        EventType::HostLogonFailed,
        Some("FAILED_HOST_LOGON"),
        AUTHENTICATION,
        Some(Severity::Warning),
        Some("host"),
    ),
    entry(EventType::HostLoggedOff, Some("HOST_LOGOFF"), AUTHENTICATION, Some(Severity::Info), Some("host")),
    entry(EventType::ConfigurationChanged, None, Some("configuration"), Some(Severity::Info), None),
    entry(EventType::ActionRecorded, None, None, None, None),
];

impl EventType {
    /// The row of this event type.
    #[must_use]
    pub fn entry(self) -> &'static Entry {
        // A match, not a search, so that a new type cannot be forgotten.
        let index = match self {
            Self::LoginSucceeded => 0,
            Self::LoginFailed => 1,
            Self::LoggedOut => 2,
            Self::HostLoggedOn => 3,
            Self::HostLogonFailed => 4,
            Self::HostLoggedOff => 5,
            Self::ConfigurationChanged => 6,
            Self::ActionRecorded => 7,
        };
        &CATALOGUE[index]
    }
}

/// What the dialects show of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presentation {
    /// Name of the event (papi `event_name`, `audit_action_type`).
    pub name: String,
    /// Category (papi `category`, `event_category`).
    pub category: String,
    /// Severity.
    pub severity: Severity,
    /// Type of the affected object; empty when there is none.
    pub entity_type: String,
    /// Id of the affected object; empty when there is none.
    pub entity_id: String,
    /// One sentence.
    pub description: String,
}

/// What stands in place of a name that was erased.
pub const ERASED: &str = "(erased)";

/// What stands in place of a name that was never known.
pub const UNKNOWN: &str = "(unknown)";

/// Makes the presentation of an event. Total: an erased or incomplete event is presented too.
#[must_use]
pub fn present(event: &Event) -> Presentation {
    let row = event.event_type().entry();
    let personal = event.personal();
    let entity_id = match (event.host(), personal) {
        (Some(host), _) => host.to_owned(),
        (None, Some(personal)) => personal.entity_id.clone().unwrap_or_default(),
        (None, None) => ERASED.to_owned(),
    };
    let name = match event {
        Event::ConfigurationChanged(event) => event.action.clone(),
        Event::ActionRecorded(event) => event.action.clone(),
        _ => row.name.unwrap_or_default().to_owned(),
    };
    let category = match event {
        Event::ConfigurationChanged(ConfigurationChanged { category: Some(category), .. })
        | Event::ActionRecorded(ActionRecorded { category, .. }) => category.clone(),
        _ => row.category.unwrap_or_default().to_owned(),
    };
    let severity = match event {
        Event::ConfigurationChanged(event) => event.severity.or(row.severity).unwrap_or(Severity::Info),
        Event::ActionRecorded(event) => event.severity,
        _ => row.severity.unwrap_or(Severity::Info),
    };
    let entity_type = match event {
        Event::ConfigurationChanged(event) => event.entity_type.clone().unwrap_or_default(),
        Event::ActionRecorded(event) => event.entity_type.clone().unwrap_or_default(),
        _ => row.entity_type.unwrap_or_default().to_owned(),
    };
    // A login has empty entity fields, also when its personal data is erased.
    let entity_id = if entity_type.is_empty() { String::new() } else { entity_id };
    let description = describe(event, &entity_type, &entity_id);
    Presentation { name, category, severity, entity_type, entity_id, description }
}

fn account(personal: Option<&Personal>) -> &str {
    personal.map_or(ERASED, |p| p.account.as_deref().unwrap_or(UNKNOWN))
}

fn describe(event: &Event, entity_type: &str, entity_id: &str) -> String {
    let personal = event.personal();
    let who = account(personal);
    let from = personal.and_then(|p| p.address.as_deref()).map(|a| format!(" from {a}")).unwrap_or_default();
    let number = |n: Option<i64>| n.map(|n| format!(" (adminId={n})")).unwrap_or_default();
    let text = || personal.map_or(ERASED, |p| p.text.as_deref().unwrap_or_default());
    match event {
        Event::LoginSucceeded(e) => format!("{who} signs in{}.", number(e.account_number)),
        Event::LoggedOut(e) => format!("{who} signs out{}.", number(e.account_number)),
        Event::LoginFailed(e) if e.attempts > 1 => {
            format!("{who} failed to sign in: {} ({} attempts).", e.reason, e.attempts)
        }
        Event::LoginFailed(e) => format!("{who} failed to sign in: {}.", e.reason),
        Event::HostLoggedOn(e) => format!("{who} logged on to {}{from}.", e.host),
        Event::HostLogonFailed(e) => format!("{who} failed to log on to {}{from}.", e.host),
        Event::HostLoggedOff(e) => format!("{who} logged off from {}.", e.host),
        Event::ConfigurationChanged(e) => format!(
            "\"Action={}\"; \"Type={entity_type}\"; \"{entity_type}={entity_id}\"; \"Description={}\"",
            e.action,
            text()
        ),
        Event::ActionRecorded(_) => text().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::samples;

    #[test]
    fn every_event_type_has_its_own_row() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.entry().event_type, *event_type);
        }
        assert_eq!(CATALOGUE.len(), EventType::ALL.len());
    }

    #[test]
    fn every_event_type_stands_in_the_user_documentation() {
        let documentation = include_str!("../../docs/events.md");
        for entry in CATALOGUE {
            assert!(
                documentation.contains(entry.event_type.name()),
                "{:?} is not documented",
                entry.event_type
            );
            if let Some(name) = entry.name {
                assert!(documentation.contains(name), "{name} is not documented");
            }
        }
    }

    #[test]
    fn descriptions_read_as_the_catalogue_says() {
        let texts: Vec<String> = samples().iter().map(|event| present(event).description).collect();
        assert_eq!(texts[0], "ada@example.com signs in (adminId=7).");
        assert_eq!(texts[1], "ada@example.com failed to sign in: wrong password.");
        assert_eq!(texts[2], "ada@example.com signs out (adminId=7).");
        assert_eq!(
            texts[3],
            "\"Action=SERVICE_INSTALLED\"; \"Type=service\"; \"service=PSEXESVC\"; \"Description=A service was installed\""
        );
        assert_eq!(texts[4], "Special privileges assigned");
        assert_eq!(texts[5], "ada logged on to WS5 from 172.18.39.5.");
        assert_eq!(texts[6], "ada logged off from WS5.");
        assert_eq!(texts[7], "ada failed to log on to WS5 from 172.18.39.5.");
    }

    #[test]
    fn a_login_has_empty_entity_fields() {
        let login = present(&samples()[0]);
        assert_eq!((login.entity_type.as_str(), login.entity_id.as_str()), ("", ""));
        let logon = present(&samples()[5]);
        assert_eq!((logon.entity_type.as_str(), logon.entity_id.as_str()), ("host", "WS5"));
    }
}
