//! Windows event log records, in the shapes of several collectors.
//!
//! Every record that has an `EventID` and a time becomes an event. What [`table`] does not know becomes
//! `WINDOWS_EVENT_<id>`. Ids and names are taken before [`super::redact`] changes the record.

mod identity;
mod table;
mod time;

use std::borrow::Cow;

use annals_schemas::catalogue::UNKNOWN;
use annals_schemas::{
    ActionRecorded, ConfigurationChanged, Event, HostLoggedOff, HostLoggedOn, HostLogonFailed, Meta,
    Personal, PersonalData, Severity,
};

use super::fields::{self, Record, canonical_address, hexadecimal, number, text, within_limits};
use super::redact::{record_text, redact_text};
use super::{ImportContext, RecordError};
use identity::Account;
use table::{Entity, Grade, Row, Shape};

/// Maps one record.
pub(super) fn to_event(record: Record, context: &ImportContext) -> Result<Event, RecordError> {
    let number = event_number(&record)?;
    let host = host(&record);
    let host_name = fields::name(host.as_deref().unwrap_or(UNKNOWN));
    let channel = text(&record, "Channel").unwrap_or_default().to_lowercase();
    let row = table::find(&channel, number).unwrap_or(&table::UNKNOWN_EVENT);
    let account = Account::of(&record, row.actor);
    let meta = Meta {
        event_id: identity::event_id(&record, context.customer, number),
        customer: context.customer,
        occurred_at: time::occurred_at(&record, context.time_zone)?,
        source: format!("urn:windows:{host_name}"),
        actor: account.actor(context.customer, &host_name),
    };
    let personal = Personal {
        account: account.name.clone(),
        qualified_account: account.qualified_name(),
        address: address(&record),
        ..Personal::default()
    };
    Ok(match row.shape {
        Shape::Logon => HostLoggedOn {
            meta,
            host: host_name,
            logon_id: logon_id(&record),
            logon_type: logon_type(&record),
            identity: account.identity(),
            personal: finish(personal, record),
        }
        .into(),
        Shape::LogonFailed => HostLogonFailed {
            meta,
            host: host_name,
            logon_type: logon_type(&record),
            status: text(&record, "Status").map(|status| fields::name(&status)),
            personal: finish(personal, record),
        }
        .into(),
        Shape::Logoff => HostLoggedOff {
            meta,
            host: host_name,
            logon_id: logon_id(&record),
            identity: account.identity(),
            personal: finish(personal, record),
        }
        .into(),
        Shape::Action | Shape::Change => other(row, number, meta, personal, &host_name, record),
    })
}

/// An action or a change, which brings its own name, category, severity and entity.
fn other(row: &Row, number: u64, meta: Meta, personal: Personal, host_name: &str, record: Record) -> Event {
    let action = if row.name.is_empty() { format!("WINDOWS_EVENT_{number}") } else { row.name.to_owned() };
    let severity = severity(row.grade, &record);
    let (entity_type, entity_id) = match row.entity {
        Entity::Host => ("host", Some(host_name.to_owned())),
        Entity::Field(entity_type, names) => {
            (entity_type, names.iter().find_map(|name| text(&record, name)).map(Cow::into_owned))
        }
    };
    let text = first_line(&record).unwrap_or_else(|| in_words(&action));
    let personal = finish(Personal { entity_id, text: Some(text), ..personal }, record);
    let category = row.category.to_owned();
    let entity_type = Some(entity_type.to_owned());
    if row.shape == Shape::Change {
        let (category, severity) = (Some(category), Some(severity));
        ConfigurationChanged { meta, action, category, severity, entity_type, personal }.into()
    } else {
        ActionRecorded { meta, action, category, severity, entity_type, count: 1, personal }.into()
    }
}

fn finish(personal: Personal, record: Record) -> PersonalData {
    PersonalData::Personal(within_limits(Personal { record: record_text(record), ..personal }))
}

fn event_number(record: &Record) -> Result<u64, RecordError> {
    let value =
        record.get("EventID").filter(|value| !value.is_null()).ok_or(RecordError::Missing("EventID"))?;
    number(value).ok_or_else(|| RecordError::unreadable("EventID", "a number", value))
}

/// The host that wrote the record. `host` is the collector's own field.
fn host(record: &Record) -> Option<String> {
    ["Hostname", "Computer", "ComputerName"].iter().find_map(|name| text(record, name)).map(Cow::into_owned)
}

fn address(record: &Record) -> Option<String> {
    ["IpAddress", "ClientAddress"].iter().find_map(|name| canonical_address(&text(record, name)?))
}

/// The logon's id as lower-case hexadecimal without leading zeros: a logon and its logoff may come from collectors
/// that pad it differently.
fn logon_id(record: &Record) -> Option<String> {
    let id = match hexadecimal(record.get("TargetLogonId")?) {
        Some(id) => format!("{id:#x}"),
        None => text(record, "TargetLogonId")?.to_lowercase(),
    };
    Some(fields::name(&id))
}

fn logon_type(record: &Record) -> Option<i32> {
    number(record.get("LogonType")?)?.try_into().ok()
}

fn severity(grade: Grade, record: &Record) -> Severity {
    match grade {
        Grade::Fixed(severity) => severity,
        Grade::ByStatus => match text(record, "Status") {
            Some(_) if record.get("Status").and_then(hexadecimal) != Some(0) => Severity::Warning,
            _ => Severity::Info,
        },
    }
}

/// The first line of the message, which says what happened; what follows repeats the record's fields.
fn first_line(record: &Record) -> Option<String> {
    let message = text(record, "Message")?;
    let line = message.lines().next()?.trim();
    Some(redact_text(line).into_owned())
}

/// `SPECIAL_PRIVILEGES_ASSIGNED` as `Special privileges assigned`.
fn in_words(name: &str) -> String {
    let mut words = name.to_lowercase().replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::{ActorKind, HostIdentity, present};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn event(mut record: Value) -> Event {
        let defaults = json!({
            "EventID": 4624, "Channel": "Security", "Hostname": "WS1.example.org",
            "TimeCreated": "2024-05-06T07:08:09.123Z"
        });
        for (name, value) in defaults.as_object().unwrap() {
            record.as_object_mut().unwrap().entry(name.clone()).or_insert(value.clone());
        }
        let context = ImportContext { customer: Uuid::from_u128(7), time_zone: None };
        to_event(record.as_object().unwrap().clone(), &context).unwrap()
    }

    fn personal(event: &Event) -> &Personal {
        event.personal().unwrap()
    }

    #[test]
    fn a_logon_shows_the_target_and_keeps_its_ids() {
        let event = event(json!({
            "SubjectUserName": "WS1$", "SubjectUserSid": "S-1-5-18",
            "TargetUserName": "ada", "TargetDomainName": "EXAMPLE", "TargetUserSid": "S-1-5-21-1-2-3-1104",
            "TargetLogonId": "0x00051DDA6", "LogonType": "3", "IpAddress": "::ffff:192.0.2.5"
        }));
        let Event::HostLoggedOn(logon) = &event else { panic!("{event:?}") };
        assert_eq!(logon.host, "WS1.example.org");
        assert_eq!(logon.logon_id.as_deref(), Some("0x51dda6"));
        assert_eq!(logon.logon_type, Some(3));
        assert_eq!(logon.identity, HostIdentity::Person);
        assert_eq!(logon.meta.source, "urn:windows:WS1.example.org");
        assert_eq!(logon.meta.actor.kind, ActorKind::HostAccount);
        assert_eq!(personal(&event).qualified_account.as_deref(), Some("EXAMPLE\\ada"));
        assert_eq!(personal(&event).text, None);
        assert_eq!(present(&event).description, "ada logged on to WS1.example.org from 192.0.2.5.");
    }

    #[test]
    fn a_failed_logon_and_a_logoff_have_their_own_types() {
        let failed = event(json!({"EventID": "4625", "Status": "0xc000006d", "TargetUserName": "bob",
            "TargetUserSid": "S-1-0-0", "IpAddress": "::1"}));
        let Event::HostLogonFailed(failure) = &failed else { panic!("{failed:?}") };
        assert_eq!(failure.status.as_deref(), Some("0xc000006d"));
        assert_eq!(personal(&failed).address.as_deref(), Some("::1"));
        for number in [4634, 4647] {
            let logoff =
                event(json!({"EventID": number, "TargetLogonId": "0xABC", "TargetUserName": "WS1$"}));
            let Event::HostLoggedOff(logoff) = logoff else { panic!("{logoff:?}") };
            assert_eq!(logoff.logon_id.as_deref(), Some("0xabc"));
            assert_eq!(logoff.identity, HostIdentity::Machine);
        }
    }

    #[test]
    fn an_unknown_id_and_an_unknown_channel_are_kept() {
        for record in [
            json!({"EventID": 4624, "Channel": "Application"}),
            json!({"EventID": 4624, "Channel": null}),
            json!({"EventID": 7045}),
        ] {
            let number = record["EventID"].clone();
            let event = event(record);
            let shown = present(&event);
            assert_eq!(shown.name, format!("WINDOWS_EVENT_{number}"));
            assert_eq!((shown.category.as_str(), shown.severity), ("windows", Severity::Info));
            assert_eq!(shown.description, format!("Windows event {number}"));
            assert_eq!((shown.entity_type.as_str(), shown.entity_id.as_str()), ("host", "WS1.example.org"));
            assert_eq!(event.meta().actor.kind, ActorKind::Unknown);
        }
    }

    #[test]
    fn the_severity_of_a_ticket_follows_its_status() {
        for (status, severity) in [
            (json!("0x0"), Severity::Info),
            (json!("0x00000000"), Severity::Info),
            (json!(0), Severity::Info),
            (json!(null), Severity::Info),
            (json!("0x18"), Severity::Warning),
            (json!(24), Severity::Warning),
            (json!("odd"), Severity::Warning),
        ] {
            let event = event(json!({"EventID": 4771, "Status": status, "TargetUserName": "ada"}));
            assert_eq!(present(&event).severity, severity, "{status}");
        }
    }

    #[test]
    fn the_text_is_the_first_line_of_the_message_without_secrets() {
        let message = "\r\n A task ran: app --password=hunter2 \r\n\r\nSubject:\r\n";
        let shown = present(&event(json!({"EventID": 4672, "Message": message})));
        assert_eq!(shown.description, "A task ran: app --password=(redacted)");
        let shown = present(&event(json!({"EventID": 4672, "Message": " \r\n"})));
        assert_eq!(shown.description, "Special privileges assigned");
    }

    #[test]
    fn a_session_takes_its_address_from_the_client() {
        let event = event(json!({"EventID": 4778, "Channel": "security", "AccountName": "ada",
            "AccountDomain": "EXAMPLE", "ClientAddress": "192.0.2.9", "IpAddress": "-"}));
        assert_eq!(personal(&event).address.as_deref(), Some("192.0.2.9"));
        assert_eq!(personal(&event).qualified_account.as_deref(), Some("EXAMPLE\\ada"));
        assert_eq!(present(&event).name, "REMOTE_SESSION_RECONNECTED");
    }

    #[test]
    fn a_record_without_id_or_time_says_what_is_missing() {
        let context = ImportContext { customer: Uuid::nil(), time_zone: None };
        let error =
            |record: Value| to_event(record.as_object().unwrap().clone(), &context).unwrap_err().to_string();
        assert_eq!(error(json!({})), "`EventID` is missing");
        assert_eq!(error(json!({"EventID": "x"})), "`EventID` is not a number: `x`");
        assert_eq!(error(json!({"EventID": 1})), "`TimeCreated` is missing");
    }

    #[test]
    fn a_record_without_host_is_kept() {
        let event = event(json!({"Hostname": null, "TargetUserName": "ada"}));
        assert_eq!(event.host(), Some("(unknown)"));
    }
}
