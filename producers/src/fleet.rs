//! An invented fleet: the same events for the same seed, for the demo and for every benchmark.
//!
//! Fifty customers of skewed size; people with names, accounts and addresses of their own; hundreds of thousands of
//! distinct descriptions; one event in a hundred is a repetition of an earlier one, one in a hundred is late by up to
//! a day.

use annals_schemas::ids::derived;
use annals_schemas::{
    ActionRecorded, Actor, ActorKind, ConfigurationChanged, Event, HostIdentity, HostLoggedOff, HostLoggedOn,
    LoggedOut, LoginFailed, LoginSucceeded, Meta, Personal, PersonalData, Severity,
};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

/// Customers of a fleet.
pub const CUSTOMERS: usize = 50;

/// People of each customer.
const PEOPLE: u32 = 400;

/// One event in so many is a repetition.
const REPEATED_ONE_IN: u32 = 100;

/// One event in so many is late.
const LATE_ONE_IN: u32 = 100;

/// Events that a repetition is taken from.
const REMEMBERED: usize = 5_000;

const FIRST_NAMES: [&str; 24] = [
    "ada", "amir", "beatriz", "chen", "dalia", "emeka", "fatima", "goran", "hanna", "ines", "jonas", "kaori",
    "lena", "mateo", "nadia", "oskar", "priya", "quentin", "rosa", "søren", "tomás", "ute", "viktor", "yara",
];
const LAST_NAMES: [&str; 20] = [
    "adeyemi",
    "bauer",
    "castillo",
    "dubois",
    "eriksen",
    "ferrari",
    "gupta",
    "haddad",
    "ito",
    "jansen",
    "kowalski",
    "lindqvist",
    "moreau",
    "nakamura",
    "okafor",
    "petrov",
    "rossi",
    "schmidt",
    "tanaka",
    "weber",
];
const OBJECTS: [(&str, &str); 8] = [
    ("device", "sw"),
    ("device", "fw"),
    ("alertRule", "rule"),
    ("dashboard", "dash"),
    ("user", "user"),
    ("collector", "coll"),
    ("report", "rep"),
    ("role", "role"),
];
const CHANGES: [&str; 6] = ["Create", "Update", "Delete", "Enable", "Disable", "Assign"];
const ACTIONS: [(&str, &str, Severity); 6] = [
    ("REPORT_DOWNLOADED", "report", Severity::Info),
    ("CONFIG_EXPORTED", "configuration", Severity::Warning),
    ("REMOTE_SESSION_OPENED", "session", Severity::Info),
    ("REMOTE_SESSION_CLOSED", "session", Severity::Info),
    ("ALERT_ACKNOWLEDGED", "alert", Severity::Info),
    ("FIRMWARE_CHECK_FAILED", "maintenance", Severity::Error),
];

/// Makes events.
pub struct Fleet {
    random: StdRng,
    customers: Vec<Uuid>,
    host_logons: bool,
    recent: Vec<Event>,
}

struct Person {
    number: u32,
    account: String,
    address: String,
    id: Uuid,
}

impl Fleet {
    /// A fleet of invented customers. `host_logons` adds logons to hosts to the events of portals.
    #[must_use]
    pub fn new(seed: u64, host_logons: bool) -> Self {
        let customers = (0..CUSTOMERS).map(|n| derived("fleet-customer", &[&n.to_be_bytes()])).collect();
        Self::of_customers(seed, customers, host_logons)
    }

    /// A fleet of these customers. There must be at least one.
    #[must_use]
    pub fn of_customers(seed: u64, customers: Vec<Uuid>, host_logons: bool) -> Self {
        assert!(!customers.is_empty(), "a fleet has customers");
        Self { random: StdRng::seed_from_u64(seed), customers, host_logons, recent: Vec::new() }
    }

    /// The customers, the largest first.
    #[must_use]
    pub fn customers(&self) -> &[Uuid] {
        &self.customers
    }

    /// The next event, as if it happened at `now`.
    pub fn next(&mut self, now: DateTime<Utc>) -> Event {
        if !self.recent.is_empty() && self.one_in(REPEATED_ONE_IN) {
            let index = self.random.random_range(0..self.recent.len());
            return self.recent[index].clone();
        }
        let event = self.fresh(now);
        if self.recent.len() < REMEMBERED {
            self.recent.push(event.clone());
        } else {
            let index = self.random.random_range(0..REMEMBERED);
            self.recent[index] = event.clone();
        }
        event
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.random_range(0..list.len())]
    }

    /// A customer by a skewed draw: the first has about a quarter of the events, the last few almost none.
    fn customer(&mut self) -> Uuid {
        let draw: f64 = self.random.random();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (draw.powi(3) * self.customers.len() as f64) as usize;
        self.customers[index.min(self.customers.len() - 1)]
    }

    fn person(&mut self, customer: Uuid) -> Person {
        let draw: f64 = self.random.random();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of a person")]
        let number = (draw * draw * f64::from(PEOPLE)) as u32;
        let [a, b, c, d, ..] = customer.into_bytes();
        let first = FIRST_NAMES[number as usize % FIRST_NAMES.len()];
        let last = LAST_NAMES[number as usize / FIRST_NAMES.len() % LAST_NAMES.len()];
        let account = format!("{first}.{last}@{:02x}{:02x}.example", a ^ c, b ^ d);
        Person {
            number,
            address: format!("10.{}.{}.{}", a, number / 200, number % 200 + 10),
            id: derived("fleet-person", &[customer.as_bytes(), &number.to_be_bytes()]),
            account,
        }
    }

    fn fresh(&mut self, now: DateTime<Utc>) -> Event {
        let customer = self.customer();
        let person = self.person(customer);
        let late = if self.one_in(LATE_ONE_IN) { self.random.random_range(0..86_400) } else { 0 };
        let occurred_at = now - TimeDelta::seconds(late);
        let host = self.host_logons && self.one_in(5);
        let meta = Meta {
            event_id: self.event_id(now),
            customer,
            occurred_at,
            source: if host { "urn:windows:fleet" } else { "annals:fleet" }.to_owned(),
            actor: Actor::new(
                if host { ActorKind::HostAccount } else { ActorKind::PortalAccount },
                person.id,
            ),
        };
        if host { self.host_event(meta, &person) } else { self.portal_event(meta, &person) }
    }

    /// A v7 id whose random part comes from the seed.
    fn event_id(&mut self, now: DateTime<Utc>) -> Uuid {
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn portal_event(&mut self, meta: Meta, person: &Person) -> Event {
        let personal = Personal {
            account: Some(person.account.clone()),
            address: Some(person.address.clone()),
            ..Personal::default()
        };
        let account_number = Some(i64::from(person.number));
        match self.random.random_range(0..100) {
            0..25 => {
                LoginSucceeded { meta, account_number, personal: PersonalData::Personal(personal) }.into()
            }
            25..28 => LoginFailed {
                meta,
                reason: "wrong password".into(),
                attempts: 1,
                personal: PersonalData::Personal(personal),
            }
            .into(),
            28..40 => LoggedOut { meta, account_number, personal: PersonalData::Personal(personal) }.into(),
            40..75 => self.change(meta, personal),
            _ => self.action(meta, personal),
        }
    }

    fn change(&mut self, meta: Meta, personal: Personal) -> Event {
        let (entity_type, prefix) = self.pick(&OBJECTS);
        let number = self.random.random_range(0..2_000);
        let change = self.pick(&CHANGES);
        let (port, vlan) = (self.random.random_range(1..49), self.random.random_range(2..4_000));
        ConfigurationChanged {
            meta,
            action: change.to_owned(),
            category: None,
            severity: None,
            entity_type: Some(entity_type.to_owned()),
            personal: PersonalData::Personal(Personal {
                entity_id: Some(format!("{prefix}-{number:04}")),
                text: Some(format!("{change} of port {port} to vlan {vlan} by request")),
                ..personal
            }),
        }
        .into()
    }

    fn action(&mut self, meta: Meta, personal: Personal) -> Event {
        let (action, category, severity) = self.pick(&ACTIONS);
        let number = self.random.random_range(0..100_000);
        ActionRecorded {
            meta,
            action: action.to_owned(),
            category: category.to_owned(),
            severity,
            entity_type: Some("device".to_owned()),
            count: 1,
            personal: PersonalData::Personal(Personal {
                entity_id: Some(format!("dev-{:05}", number % 5_000)),
                text: Some(format!(
                    "{} on device dev-{:05}, ticket {number}",
                    action.to_lowercase().replace('_', " "),
                    number % 5_000
                )),
                ..personal
            }),
        }
        .into()
    }

    fn host_event(&mut self, meta: Meta, person: &Person) -> Event {
        let host = format!("WS{:03}.fleet.example", person.number % 120);
        let logon_id = Some(format!("{:#x}", self.random.random_range(0x1000_u32..0xFFFF)));
        let name = person.account.split('@').next().unwrap_or_default().to_owned();
        let personal = Personal { account: Some(name), ..Personal::default() };
        if self.one_in(3) {
            return HostLoggedOff {
                meta,
                host,
                logon_id,
                identity: HostIdentity::Person,
                personal: PersonalData::Personal(personal),
            }
            .into();
        }
        HostLoggedOn {
            meta,
            host,
            logon_id,
            logon_type: Some(3),
            identity: HostIdentity::Person,
            personal: PersonalData::Personal(Personal { address: Some(person.address.clone()), ..personal }),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn a_seed_gives_the_same_skewed_and_varied_fleet() {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let make = |seed| {
            let mut fleet = Fleet::new(seed, false);
            (0..300_000).map(|n| fleet.next(start + TimeDelta::milliseconds(n * 10))).collect::<Vec<_>>()
        };
        let events = make(7);
        assert_eq!(events[..1000], make(7)[..1000]);
        assert_ne!(events[..10], make(8)[..10]);
        let mut by_customer: HashMap<Uuid, u32> = HashMap::new();
        let mut ids = HashSet::new();
        let (mut repeated, mut late) = (0, 0);
        for event in &events {
            *by_customer.entry(event.meta().customer).or_default() += 1;
            repeated += u32::from(!ids.insert(event.meta().event_id));
            late += u32::from(event.meta().occurred_at < start);
        }
        assert_eq!(by_customer.len(), CUSTOMERS);
        assert!(by_customer.values().max() > by_customer.values().min().map(|min| min * 20).as_ref());
        assert!((2_500..3_500).contains(&repeated), "{repeated}");
        assert!(late > 1_500, "{late}");
        let descriptions: HashSet<String> =
            events.iter().map(|event| annals_schemas::present(event).description).collect();
        assert!(descriptions.len() >= 150_000, "{}", descriptions.len());
    }
}
