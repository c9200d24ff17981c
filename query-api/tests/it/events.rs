//! Events for the tests.

use annals_schemas::{
    ActionRecorded, Actor, ActorKind, Event, HostIdentity, HostLoggedOff, HostLoggedOn, Meta, Personal,
    PersonalData, Severity,
};
use chrono::{DateTime, NaiveDateTime, Utc};
use uuid::Uuid;

/// `YYYY-MM-DD HH:MM:SS[.f]` in UTC.
pub(crate) fn utc(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc()
}

/// An action, with defaults for whatever a test does not care for.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) id: u128,
    pub(crate) customer: Uuid,
    pub(crate) at: &'static str,
    pub(crate) actor: (ActorKind, Uuid),
    pub(crate) account: &'static str,
    pub(crate) qualified: Option<&'static str>,
    pub(crate) address: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) category: &'static str,
    pub(crate) severity: Severity,
    pub(crate) entity: (&'static str, &'static str),
}

impl Action {
    pub(crate) fn new(id: u128, customer: Uuid, at: &'static str) -> Self {
        Self {
            id,
            customer,
            at,
            actor: (ActorKind::HostAccount, Uuid::from_u128(77)),
            account: "somebody",
            qualified: None,
            address: None,
            name: "THING_DONE",
            category: "things",
            severity: Severity::Info,
            entity: ("thing", "a thing"),
        }
    }

    pub(crate) fn event(self) -> Event {
        ActionRecorded {
            meta: meta(self.id, self.customer, self.at, self.actor),
            action: self.name.to_owned(),
            category: self.category.to_owned(),
            severity: self.severity,
            entity_type: Some(self.entity.0.to_owned()),
            count: 1,
            personal: PersonalData::Personal(Personal {
                account: Some(self.account.to_owned()),
                qualified_account: self.qualified.map(str::to_owned),
                address: self.address.map(str::to_owned),
                entity_id: Some(self.entity.1.to_owned()),
                text: Some("a text".to_owned()),
                ..Personal::default()
            }),
        }
        .into()
    }
}

fn meta(id: u128, customer: Uuid, at: &str, (kind, actor): (ActorKind, Uuid)) -> Meta {
    Meta {
        event_id: Uuid::from_u128(id),
        customer,
        occurred_at: utc(at),
        source: "urn:test".to_owned(),
        actor: Actor::new(kind, actor),
    }
}

/// A person's logon to a host.
pub(crate) fn logon(id: u128, customer: Uuid, at: &str, user: u128, account: &str, address: &str) -> Event {
    HostLoggedOn {
        meta: meta(id, customer, at, (ActorKind::HostAccount, Uuid::from_u128(user))),
        host: "HOST".to_owned(),
        logon_id: Some("0x1".to_owned()),
        logon_type: Some(3),
        identity: if account.ends_with('$') { HostIdentity::Machine } else { HostIdentity::Person },
        personal: PersonalData::Personal(Personal {
            account: Some(account.to_owned()),
            qualified_account: Some(format!("DOMAIN\\{account}")),
            address: Some(address.to_owned()),
            ..Personal::default()
        }),
    }
    .into()
}

/// The end of such a logon.
pub(crate) fn logoff(id: u128, customer: Uuid, at: &str, user: u128, account: &str) -> Event {
    HostLoggedOff {
        meta: meta(id, customer, at, (ActorKind::HostAccount, Uuid::from_u128(user))),
        host: "HOST".to_owned(),
        logon_id: Some("0x1".to_owned()),
        identity: HostIdentity::Person,
        personal: PersonalData::Personal(Personal {
            account: Some(account.to_owned()),
            ..Personal::default()
        }),
    }
    .into()
}
