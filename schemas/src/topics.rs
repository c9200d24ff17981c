//! The topic table: where each event type goes, how it is keyed, and how many partitions a topic has.

use crate::events::{Event, EventType};

/// A topic of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Name of the topic.
    pub name: &'static str,
    /// Number of partitions that a new log gets.
    pub partitions: u32,
    /// What the key is made of, for people.
    pub key: &'static str,
}

/// Logins, configuration changes and actions. Key: `customer/actor`.
pub const AUDIT: Topic = Topic { name: "annals.audit", partitions: 4, key: "customer/actor" };

/// Logons to hosts. Key: `customer/host`, so that a logon and its logoff stand in one partition.
pub const HOST_LOGONS: Topic = Topic { name: "annals.host-logons", partitions: 4, key: "customer/host" };

/// Every topic.
pub const TOPICS: [Topic; 2] = [AUDIT, HOST_LOGONS];

impl EventType {
    /// The topic of this event type.
    #[must_use]
    pub fn topic(self) -> Topic {
        match self {
            Self::LoginSucceeded
            | Self::LoginFailed
            | Self::LoggedOut
            | Self::ConfigurationChanged
            | Self::ActionRecorded => AUDIT,
            Self::HostLoggedOn | Self::HostLoggedOff | Self::HostLogonFailed => HOST_LOGONS,
        }
    }
}

impl Event {
    /// The record key: everything whose order matters has the same one.
    #[must_use]
    pub fn key(&self) -> String {
        let meta = self.meta();
        match self.host() {
            // Windows host names compare without case, and their order matters per host.
            Some(host) => format!("{}/{}", meta.customer, host.to_lowercase()),
            None => format!("{}/{}", meta.customer, meta.actor.id),
        }
    }
}

/// Looks a topic up by name.
#[must_use]
pub fn find(name: &str) -> Option<Topic> {
    TOPICS.into_iter().find(|topic| topic.name == name)
}
