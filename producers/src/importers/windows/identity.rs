//! Who and which: the id of a record, and the account that it names.
//!
//! These ids never change: importing a file again, and joining the logons of an account, depend on them.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

use annals_schemas::ids::derived;
use annals_schemas::{Actor, ActorKind, HostIdentity};
use regex::Regex;
use serde_json::Value;
use uuid::Uuid;

use super::super::fields::{Record, text};
use super::table::ActorFields;
use super::time;

/// What collectors add to a record. It may differ when the same record is collected again.
const COLLECTOR_FIELDS: [&str; 8] = [
    "@timestamp",
    "@version",
    "tags",
    "host",
    "port",
    "EventReceivedTime",
    "SourceModuleName",
    "SourceModuleType",
];

/// The id of the record's event: of its number in its log, else of everything that it says. A number without the
/// host that counted says nothing, so such a record is taken whole too.
pub(super) fn event_id(record: &Record, customer: Uuid, number: u64) -> Uuid {
    let customer = customer.as_bytes().as_slice();
    match (text(record, "RecordNumber"), super::host(record)) {
        (Some(record_number), Some(host)) => {
            let channel = text(record, "Channel").unwrap_or_default().to_lowercase();
            let parts = [
                &host.to_lowercase(),
                &channel,
                &*record_number,
                &number.to_string(),
                &time::as_written(record),
            ];
            let [host, channel, record_number, number, time] = parts.map(str::as_bytes);
            derived("windows-record", &[customer, host, channel, record_number, number, time])
        }
        _ => derived("windows-record-json", &[customer, canonical_json(record).as_bytes()]),
    }
}

/// The record less the collector's fields: no blanks, keys sorted bytewise. The map sorts them already, but a feature
/// of the library that any other crate may turn on would end that silently.
fn canonical_json(record: &Record) -> String {
    let mut json = String::new();
    let own = record.iter().filter(|(name, _)| !COLLECTOR_FIELDS.contains(&name.as_str()));
    write_object(own, &mut json);
    json
}

fn write_object<'v>(fields: impl Iterator<Item = (&'v String, &'v Value)>, json: &mut String) {
    let mut fields: Vec<_> = fields.collect();
    fields.sort_unstable_by_key(|(name, _)| name.as_bytes());
    json.push('{');
    for (index, (name, value)) in fields.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(json, "{}:", Value::from(name.as_str()));
        write_value(value, json);
    }
    json.push('}');
}

fn write_value(value: &Value, json: &mut String) {
    match value {
        Value::Object(fields) => write_object(fields.iter(), json),
        Value::Array(elements) => {
            json.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_value(element, json);
            }
            json.push(']');
        }
        scalar => {
            let _ = write!(json, "{scalar}");
        }
    }
}

/// An account as a record names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// SID in upper case; the null SID is none.
    pub(super) sid: Option<String>,
    /// Name without domain and realm.
    pub(super) name: Option<String>,
    /// Domain as written.
    pub(super) domain: Option<String>,
}

impl Account {
    /// The account in the fields of `record` that name the actor.
    pub(super) fn of(record: &Record, fields: ActorFields) -> Self {
        let field = |name: &str| text(record, name).map(Cow::into_owned);
        match fields {
            ActorFields::Subject => {
                Self::new(field("SubjectUserSid"), field("SubjectUserName"), field("SubjectDomainName"))
            }
            ActorFields::Target => {
                Self::new(field("TargetUserSid"), field("TargetUserName"), field("TargetDomainName"))
            }
            ActorFields::TicketTarget => {
                Self::new(field("TargetSid"), field("TargetUserName"), field("TargetDomainName"))
            }
            ActorFields::TargetName => Self::new(None, field("TargetUserName"), field("TargetDomainName")),
            ActorFields::Session => Self::new(None, field("AccountName"), field("AccountDomain")),
            // `AccountName` is the user of `UserID` only where a domain stands beside it; elsewhere it is the account
            // that the service runs under.
            ActorFields::User => match (field("UserID"), field("Domain")) {
                (Some(sid), Some(domain)) => Self::new(Some(sid), field("AccountName"), Some(domain)),
                (sid, _) => Self::new(sid, None, None),
            },
            ActorFields::Message => match text(record, "Message").map(|message| Self::of_message(&message)) {
                Some(account) if account != Self::default() => account,
                _ => Self::of(record, ActorFields::Subject),
            },
        }
    }

    fn new(sid: Option<String>, name: Option<String>, domain: Option<String>) -> Self {
        let sid = sid.and_then(|sid| canonical_sid(&sid));
        let (name, domain) = match name {
            Some(name) => split_name(&name, domain),
            None => (None, domain),
        };
        Self { sid, name, domain }
    }

    /// The account of the lines `Security ID:`, `Account Name:` and `Domain Name:` or `Account Domain:`.
    fn of_message(message: &str) -> Self {
        static LINE: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"(?im)^[ \t]*(security id|account name|domain name|account domain):[ \t]*([^\r\n]*)")
                .expect("the pattern is a constant; a test uses it")
        });
        let mut values: [Option<String>; 3] = [const { None }; 3];
        for line in LINE.captures_iter(message) {
            let slot = match line[1].to_lowercase().as_str() {
                "security id" => 0,
                "account name" => 1,
                _ => 2,
            };
            let value = line[2].trim();
            // The subject comes first; later lines of the same name are about somebody else.
            if values[slot].is_none() && !value.is_empty() && value != "-" {
                values[slot] = Some(value.to_owned());
            }
        }
        let [sid, name, domain] = values;
        Self::new(sid, name, domain)
    }

    /// The account's identity. A SID of a domain or machine (S-1-5-21-…) is unique everywhere, any other is another
    /// account on every host, and without one the name must do.
    pub(super) fn actor(&self, customer: Uuid, host: &str) -> Actor {
        let customer = customer.as_bytes().as_slice();
        let host = host.to_lowercase();
        let id = match (&self.sid, &self.name) {
            (Some(sid), _) if sid.starts_with("S-1-5-21-") => {
                derived("windows-sid", &[customer, sid.as_bytes()])
            }
            (Some(sid), _) => derived("windows-host-sid", &[customer, host.as_bytes(), sid.as_bytes()]),
            (None, Some(name)) => {
                let full_name =
                    format!("{}\\{name}", self.domain.as_deref().unwrap_or_default()).to_uppercase();
                derived("windows-account", &[customer, full_name.as_bytes()])
            }
            (None, None) => {
                let id = derived("windows-unknown", &[customer, host.as_bytes()]);
                return Actor::new(ActorKind::Unknown, id);
            }
        };
        Actor::new(ActorKind::HostAccount, id)
    }

    /// `DOMAIN\name`, when both are known.
    pub(super) fn qualified_name(&self) -> Option<String> {
        Some(format!("{}\\{}", self.domain.as_ref()?, self.name.as_ref()?))
    }

    /// Whether it is a person, a machine or a service.
    pub(super) fn identity(&self) -> HostIdentity {
        const SERVICE_NAMES: [&str; 4] = ["SYSTEM", "ANONYMOUS LOGON", "LOCAL SERVICE", "NETWORK SERVICE"];
        const SERVICE_SIDS: [&str; 4] = ["S-1-5-18", "S-1-5-19", "S-1-5-20", "S-1-5-7"];
        let name = self.name.as_deref().unwrap_or_default().to_uppercase();
        let sid = self.sid.as_deref().unwrap_or_default();
        if name.ends_with('$') {
            HostIdentity::Machine
        } else if SERVICE_NAMES.contains(&name.as_str())
            || ["DWM-", "UMFD-"].iter().any(|start| name.starts_with(start))
            || SERVICE_SIDS.contains(&sid)
            || ["S-1-5-90-", "S-1-5-96-"].iter().any(|start| sid.starts_with(start))
        {
            HostIdentity::Service
        } else {
            HostIdentity::Person
        }
    }
}

/// A SID in upper case. `None` for the null SID, and for the names that some collectors write in its place.
fn canonical_sid(text: &str) -> Option<String> {
    let sid = text.trim_start_matches("%{").trim_end_matches('}').to_uppercase();
    let is_sid = sid
        .strip_prefix("S-1-")
        .is_some_and(|rest| !rest.is_empty() && rest.split('-').all(|part| part.parse::<u64>().is_ok()));
    (is_sid && sid != "S-1-0-0").then_some(sid)
}

/// Name and domain of `name@REALM` and `DOMAIN\name`. A domain field wins over the one in the name.
fn split_name(name: &str, domain: Option<String>) -> (Option<String>, Option<String>) {
    let (written_domain, name) = match name.split_once('\\') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, name),
    };
    let name = name.split('@').next().unwrap_or_default().trim();
    let written_domain = written_domain.map(str::trim).filter(|domain| !domain.is_empty() && *domain != ".");
    let domain = domain.or_else(|| written_domain.map(str::to_owned));
    ((!name.is_empty() && name != "-").then(|| name.to_owned()), domain)
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
