//! Random events from few hosts, users and times, so that they collide in every way.

use annals_schemas::{
    ActionRecorded, Actor, ActorKind, Event, HostIdentity, HostLoggedOff, HostLoggedOn, LoginFailed, Meta,
    Personal, PersonalData, Severity,
};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

/// The time around which everything happens.
pub(crate) fn base() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

prop_compose! {
    fn meta()(id in 0..60_u128, customer in 0..3_u128, second in 0..12_i64, actor in 0..4_u128) -> Meta {
        Meta {
            // Few ids: the same id comes again, also at another customer, and for another event.
            event_id: Uuid::from_u128(id),
            customer: Uuid::from_u128(0xC0 + customer),
            occurred_at: base() + TimeDelta::seconds(second),
            source: "urn:test".into(),
            actor: Actor::new(ActorKind::HostAccount, Uuid::from_u128(0xA0 + actor)),
        }
    }
}

fn personal() -> impl Strategy<Value = Personal> {
    let address = prop_oneof![
        4 => (1..4_u8).prop_map(|n| Some(format!("10.0.0.{n}"))),
        1 => Just(None),
        1 => Just(Some("::1".to_owned())),
        1 => Just(Some("nonsense".to_owned())),
    ];
    (address, "[a-cß\\x00]{1,2}", prop::option::of("[a-c]{1,2}")).prop_map(|(address, account, entity_id)| {
        Personal {
            address,
            account: Some(account),
            text: entity_id.as_ref().map(|id| format!("something about {id}")),
            entity_id,
            ..Personal::default()
        }
    })
}

fn identity() -> impl Strategy<Value = HostIdentity> {
    prop_oneof![5 => Just(HostIdentity::Person), 1 => Just(HostIdentity::Machine), 1 => Just(HostIdentity::Service)]
}

fn host() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["WS1", "ws1", "WS2"]).prop_map(str::to_owned)
}

fn logon_id() -> impl Strategy<Value = Option<String>> {
    prop_oneof![6 => (0..3_u8).prop_map(|n| Some(format!("0x{n}"))), 1 => Just(None)]
}

/// Any event.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (meta(), personal(), host(), logon_id(), identity()).prop_map(|(meta, personal, host, logon_id, identity)| {
            HostLoggedOn { meta, host, logon_id, logon_type: None, identity, personal: PersonalData::Personal(personal) }.into()
        }),
        3 => (meta(), personal(), host(), logon_id(), identity()).prop_map(|(meta, personal, host, logon_id, identity)| {
            HostLoggedOff { meta, host, logon_id, identity, personal: PersonalData::Personal(personal) }.into()
        }),
        1 => (meta(), personal()).prop_map(|(meta, personal)| {
            LoginFailed { meta, reason: "wrong password".into(), attempts: 1, personal: PersonalData::Personal(personal) }.into()
        }),
        1 => (meta(), personal()).prop_map(|(meta, personal)| {
            ActionRecorded {
                meta,
                action: "ACTION".into(),
                category: "test".into(),
                severity: Severity::Warning,
                entity_type: personal.entity_id.as_ref().map(|_| "thing".into()),
                count: 1,
                personal: PersonalData::Personal(personal),
            }
            .into()
        }),
    ]
}

/// Events in which the same (customer, event id) is always the same event, as producers promise.
pub(crate) fn events(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(event(), count).prop_map(|events| {
        let mut seen: std::collections::HashMap<(Uuid, Uuid), Event> = std::collections::HashMap::new();
        events
            .into_iter()
            .map(|event| seen.entry((event.meta().customer, event.meta().event_id)).or_insert(event).clone())
            .collect()
    })
}

fn session(number: u128, part: u128) -> (Meta, Personal) {
    let meta = Meta {
        event_id: Uuid::from_u128(number << 8 | part),
        customer: Uuid::from_u128(0xC0),
        occurred_at: base() + TimeDelta::seconds(i64::try_from(part).unwrap()),
        source: "urn:test".into(),
        actor: Actor::new(ActorKind::HostAccount, Uuid::from_u128(0xA0)),
    };
    let personal =
        Personal { address: Some("10.0.0.1".into()), account: Some("ada".into()), ..Personal::default() };
    (meta, personal)
}

/// A logon of its own number.
pub(crate) fn logon(number: u128) -> Event {
    let (meta, personal) = session(number, 1);
    HostLoggedOn {
        meta,
        host: "WS1".into(),
        logon_id: Some(format!("{number:#x}")),
        logon_type: None,
        identity: HostIdentity::Person,
        personal: PersonalData::Personal(personal),
    }
    .into()
}

/// The logoff of the logon of this number, a second later.
pub(crate) fn logoff(number: u128) -> Event {
    let (meta, personal) = session(number, 2);
    HostLoggedOff {
        meta,
        host: "WS1".into(),
        logon_id: Some(format!("{number:#x}")),
        identity: HostIdentity::Person,
        personal: PersonalData::Personal(personal),
    }
    .into()
}
