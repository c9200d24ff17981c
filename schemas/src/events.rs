//! The event types. Facts are past tense; a wish that may be refused would end in `Requested`.

use serde::{Deserialize, Serialize};

use crate::envelope::{Meta, Personal, PersonalData};

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Worth a look.
    Warning,
    /// Somebody must look.
    Error,
}

impl Severity {
    /// `INFO`, `WARNING` or `ERROR`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// What kind of account a host identity is. Only persons are shown as users logged on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostIdentity {
    /// Anybody else.
    Person,
    /// A computer's own account; its name ends in `$`.
    Machine,
    /// SYSTEM, LOCAL SERVICE, window manager accounts and the like.
    Service,
}

/// Somebody signed in to annals, or to a cloud console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSucceeded {
    /// The envelope.
    pub meta: Meta,
    /// The account's number, where it has one.
    #[serde(default)]
    pub account_number: Option<i64>,
    /// Names and addresses.
    pub personal: PersonalData,
}

/// A sign-in was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginFailed {
    /// The envelope.
    pub meta: Meta,
    /// Why, in words that show no secret.
    pub reason: String,
    /// How many refused sign-ins this event stands for.
    pub attempts: i64,
    /// Names and addresses.
    pub personal: PersonalData,
}

/// Somebody signed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedOut {
    /// The envelope.
    pub meta: Meta,
    /// The account's number, where it has one.
    #[serde(default)]
    pub account_number: Option<i64>,
    /// Names and addresses.
    pub personal: PersonalData,
}

/// Somebody changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationChanged {
    /// The envelope.
    pub meta: Meta,
    /// Name of the change, for example `ACCOUNT_ADDED`.
    pub action: String,
    /// Category; `configuration` when absent.
    #[serde(default)]
    pub category: Option<String>,
    /// Severity; INFO when absent.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Type of the changed object.
    #[serde(default)]
    pub entity_type: Option<String>,
    /// Names, addresses, the object's id and a text.
    pub personal: PersonalData,
}

/// Somebody did something that changed no configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRecorded {
    /// The envelope.
    pub meta: Meta,
    /// Name of the action.
    pub action: String,
    /// Category of the action.
    pub category: String,
    /// Severity.
    pub severity: Severity,
    /// Type of the affected object.
    #[serde(default)]
    pub entity_type: Option<String>,
    /// How many such actions this event stands for.
    pub count: i64,
    /// Names, addresses, the object's id and a text.
    pub personal: PersonalData,
}

/// An account logged on to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoggedOn {
    /// The envelope.
    pub meta: Meta,
    /// Host name as the host wrote it.
    pub host: String,
    /// The host's id of the logon, lower-case hexadecimal.
    #[serde(default)]
    pub logon_id: Option<String>,
    /// The kind of logon, as Windows numbers it.
    #[serde(default)]
    pub logon_type: Option<i32>,
    /// What kind of account it is.
    pub identity: HostIdentity,
    /// Names and addresses.
    pub personal: PersonalData,
}

/// An account logged off from a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLoggedOff {
    /// The envelope.
    pub meta: Meta,
    /// Host name as the host wrote it.
    pub host: String,
    /// The host's id of the logon, lower-case hexadecimal.
    #[serde(default)]
    pub logon_id: Option<String>,
    /// What kind of account it is.
    pub identity: HostIdentity,
    /// Names and addresses.
    pub personal: PersonalData,
}

/// A logon to a host was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLogonFailed {
    /// The envelope.
    pub meta: Meta,
    /// Host name as the host wrote it.
    pub host: String,
    /// The kind of logon, as Windows numbers it.
    #[serde(default)]
    pub logon_type: Option<i32>,
    /// The host's status code.
    #[serde(default)]
    pub status: Option<String>,
    /// Names and addresses.
    pub personal: PersonalData,
}

macro_rules! events {
    ($($name:ident),+ $(,)?) => {
        /// Any event.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        #[expect(missing_docs, reason = "each variant is the event type of the same name")]
        pub enum Event { $($name($name)),+ }

        /// The type of an event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each variant is the event type of the same name")]
        pub enum EventType { $($name),+ }

        impl EventType {
            /// Every event type.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name, as in the schema files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }

        impl Event {
            /// The envelope.
            #[must_use]
            pub fn meta(&self) -> &Meta {
                match self { $(Self::$name(event) => &event.meta),+ }
            }

            /// The type.
            #[must_use]
            pub fn event_type(&self) -> EventType {
                match self { $(Self::$name(_) => EventType::$name),+ }
            }

            fn personal_data(&self) -> &PersonalData {
                match self { $(Self::$name(event) => &event.personal),+ }
            }
        }

        $(impl From<$name> for Event {
            fn from(event: $name) -> Self { Self::$name(event) }
        })+
    };
}

events!(
    LoginSucceeded,
    LoginFailed,
    LoggedOut,
    ConfigurationChanged,
    ActionRecorded,
    HostLoggedOn,
    HostLoggedOff,
    HostLogonFailed,
);

impl EventType {
    /// The name with its namespace, as schemas and `ce_type` have it.
    #[must_use]
    pub fn full_name(self) -> String {
        format!("annals.{}", self.name())
    }
}

impl Event {
    /// The personal data; `None` when it is sealed and no key opens it.
    #[must_use]
    pub fn personal(&self) -> Option<&Personal> {
        match self.personal_data() {
            PersonalData::Personal(personal) => Some(personal),
            PersonalData::Sealed(_) => None,
        }
    }

    /// The host of a host event.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::HostLoggedOn(event) => Some(&event.host),
            Self::HostLoggedOff(event) => Some(&event.host),
            Self::HostLogonFailed(event) => Some(&event.host),
            _ => None,
        }
    }
}
