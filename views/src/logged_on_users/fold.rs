//! The fold: which events count, and which logoff ends which logon. Pure and total.

use std::collections::HashMap;
use std::net::IpAddr;

use annals_schemas::{Event, HostIdentity};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::address;
use crate::view::{LogEvent, clean_name};

/// What makes a logon and its logoff belong together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogonKey {
    /// The customer.
    pub customer: Uuid,
    /// The host, in lower case.
    pub host: String,
    /// The host's id of the logon; unique between reboots of the host only.
    pub logon_id: String,
}

/// A logon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logon {
    /// The customer.
    pub customer: Uuid,
    /// The logon's event.
    pub event_id: Uuid,
    /// The host, in lower case.
    pub host: String,
    /// The host's id of the logon.
    pub logon_id: Option<String>,
    /// Where the user logged on from.
    pub address: IpAddr,
    /// The user's name without domain.
    pub account: String,
    /// The user.
    pub user_uuid: Uuid,
    /// When.
    pub logged_on_at: DateTime<Utc>,
    /// Until when, where a logoff is known.
    pub logged_off_at: Option<DateTime<Utc>>,
}

/// A logoff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logoff {
    /// What it ends.
    pub key: LogonKey,
    /// The logoff's event.
    pub event_id: Uuid,
    /// When.
    pub logged_off_at: DateTime<Utc>,
}

/// What one event changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new logon.
    LoggedOn(Logon),
    /// A new logoff.
    LoggedOff(Logoff),
}

impl Change {
    /// The key whose logons may end differently now.
    #[must_use]
    pub fn key(&self) -> Option<LogonKey> {
        match self {
            Self::LoggedOn(logon) => logon.key(),
            Self::LoggedOff(logoff) => Some(logoff.key.clone()),
        }
    }
}

impl Logon {
    /// What its logoff will name.
    #[must_use]
    pub fn key(&self) -> Option<LogonKey> {
        let logon_id = self.logon_id.clone()?;
        Some(LogonKey { customer: self.customer, host: self.host.clone(), logon_id })
    }
}

/// What an event changes; most change nothing.
#[must_use]
pub fn change(logged: &LogEvent) -> Option<Change> {
    match &logged.event {
        Event::HostLoggedOn(event) if event.identity == HostIdentity::Person => {
            let personal = logged.event.personal()?;
            let address = personal.address.as_deref().and_then(address::parse)?;
            if address.is_loopback() || address.is_unspecified() {
                return None;
            }
            Some(Change::LoggedOn(Logon {
                customer: event.meta.customer,
                event_id: event.meta.event_id,
                host: clean_name(&event.host.to_lowercase()),
                logon_id: event.logon_id.as_deref().map(|id| clean_name(&id.to_lowercase())),
                address,
                account: clean_name(personal.account.as_deref().unwrap_or_default()),
                user_uuid: event.meta.actor.id,
                logged_on_at: logged.time(),
                logged_off_at: None,
            }))
        }
        Event::HostLoggedOff(event) if event.identity == HostIdentity::Person => {
            Some(Change::LoggedOff(Logoff {
                key: LogonKey {
                    customer: event.meta.customer,
                    host: clean_name(&event.host.to_lowercase()),
                    logon_id: clean_name(&event.logon_id.as_deref()?.to_lowercase()),
                },
                event_id: event.meta.event_id,
                logged_off_at: logged.time(),
            }))
        }
        _ => None,
    }
}

/// Computes the end of each logon from all logons and logoffs of its key, and gives those whose end changed.
///
/// A logoff ends the latest logon that is not after it (of two at the same time, the one with the larger event id);
/// of several logoffs of one logon the first counts.
#[must_use]
pub fn end_logons(logons: Vec<Logon>, logoffs: &[Logoff]) -> Vec<Logon> {
    let mut by_key: HashMap<LogonKey, Vec<Logon>> = HashMap::new();
    for logon in logons {
        if let Some(key) = logon.key() {
            by_key.entry(key).or_default().push(logon);
        }
    }
    let mut changed = Vec::new();
    for (key, mut logons) in by_key {
        logons.sort_by_key(|logon| (logon.logged_on_at, logon.event_id));
        let mut ends: Vec<Option<DateTime<Utc>>> = vec![None; logons.len()];
        for logoff in logoffs.iter().filter(|logoff| logoff.key == key) {
            let after = logons.partition_point(|logon| logon.logged_on_at <= logoff.logged_off_at);
            let Some(latest) = after.checked_sub(1) else { continue };
            let end = &mut ends[latest];
            *end = Some(end.map_or(logoff.logged_off_at, |known| known.min(logoff.logged_off_at)));
        }
        for (mut logon, end) in logons.into_iter().zip(ends) {
            if logon.logged_off_at != end {
                logon.logged_off_at = end;
                changed.push(logon);
            }
        }
    }
    changed
}
