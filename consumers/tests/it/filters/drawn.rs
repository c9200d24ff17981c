//! Events and filters that are drawn.

use annals_schemas::{ActionRecorded, Actor, ActorKind, Event, Meta, Personal, PersonalData, Severity};
use annals_views::audit_log::{AuditField, Scope};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use crate::events::base;

/// Parts of texts that engines treat in ways of their own.
pub(super) const PARTS: [&str; 26] = [
    "a", "A", "b", "ab", "%", "_", "\\", "'", "\"", "*", "?", "[", "]", "[a]", "İ", "i", "ß", "Σ", "ς", "🦀",
    "\0", "\u{1f}", " ", "?1", "Login", "log",
];

pub(super) fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..4).prop_map(|parts| parts.concat())
}

pub(super) fn address() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        3 => (1..4_u8).prop_map(|n| Some(format!("10.0.0.{n}"))),
        1 => Just(Some("2001:DB8::1".to_owned())),
    ]
}

/// Hours before and behind the base, most of them on few hours.
pub(super) fn hours() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..3_i64, 1 => -100..100_i64]
}

prop_compose! {
    pub(super) fn event()(
        (id, customer, actor) in (0..900_u128, 0..3_u128, 0..5_u128),
        (hour, second) in (hours(), 0..3_600_i64),
        (account, description, entity, sign_in) in (text(), text(), text(), prop::option::of("[a-cA-C]{1,3}")),
        (action, category, severity) in (0..3_u8, 0..2_u8, 0..3_u8),
        address in address(),
    ) -> Event {
        ActionRecorded {
            meta: Meta {
                event_id: Uuid::from_u128(id),
                customer: Uuid::from_u128(0xC0 + customer),
                occurred_at: base() + TimeDelta::hours(hour) + TimeDelta::seconds(second),
                source: "urn:test".into(),
                actor: Actor::new(ActorKind::PortalAccount, Uuid::from_u128(0xA0 + actor)),
            },
            action: format!("ACTION_{action}"),
            category: ["one", "Other%"][usize::from(category)].into(),
            severity: [Severity::Info, Severity::Warning, Severity::Error][usize::from(severity)],
            entity_type: (!entity.is_empty()).then(|| "thing".into()),
            count: 1,
            personal: PersonalData::Personal(Personal {
                account: Some(account.clone()),
                qualified_account: Some(format!("DOM\\{account}")),
                address,
                entity_id: Some(entity),
                text: Some(description),
                sign_in_id: sign_in,
                ..Personal::default()
            }),
        }
        .into()
    }
}

pub(super) fn rename(event: &mut Event, id: Uuid) {
    if let Event::ActionRecorded(event) = event {
        event.meta.event_id = id;
    }
}

pub(super) fn pattern() -> impl Strategy<Value = Pattern> {
    prop::collection::vec(text(), 1..4).prop_map(|pieces| Pattern::of(pieces.iter().map(String::as_str)))
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    prop_oneof![Just(Case::Exact), Just(Case::Folded)]
}

pub(super) fn text_test() -> impl Strategy<Value = Test> {
    prop_oneof![
        (case(), prop::collection::vec(text(), 0..3)).prop_map(|(case, texts)| Test::Texts(case, texts)),
        (
            case(),
            prop::sample::select(vec![
                "ACTION_1",
                "one",
                "INFO",
                "error",
                "10.0.0.1",
                "2001:db8::1",
                "thing"
            ])
        )
            .prop_map(|(case, text)| Test::Texts(case, vec![text.into()])),
        (case(), pattern()).prop_map(|(case, pattern)| Test::Like(case, pattern)),
        (case(), text()).prop_map(|(case, text)| Test::Like(case, Pattern::containing(&text))),
        (case(), prop::sample::select(vec!["10.", "ACT", "2001", "dom\\"]))
            .prop_map(|(case, text)| Test::Like(case, Pattern::beginning(text))),
    ]
}

pub(super) fn moment() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop_oneof![
        1 => Just(None),
        2 => (hours(), 0..3_600_i64).prop_map(|(hour, second)| Some(base() + TimeDelta::hours(hour) + TimeDelta::seconds(second))),
        1 => hours().prop_map(|hour| Some(DateTime::from_timestamp((1_700_000_000 / 3_600 + hour) * 3_600, 0).unwrap())),
    ]
}

pub(super) fn time_test() -> impl Strategy<Value = Test> {
    (moment(), moment()).prop_map(|(start, end)| Test::Time(TimeRange { start, end }))
}

pub(super) fn leaf() -> impl Strategy<Value = Filter<AuditField>> {
    use AuditField as F;
    let texts = vec![
        F::Account,
        F::AnyAccount,
        F::Address,
        F::Action,
        F::Category,
        F::Severity,
        F::EntityType,
        F::Entity,
        F::Description,
        F::SignIn,
        F::Anything,
        F::At,
        F::EventId,
    ];
    let ids = |range: std::ops::Range<u128>| {
        prop::collection::vec(range.prop_map(Uuid::from_u128), 0..4).prop_map(Test::Ids)
    };
    prop_oneof![
        6 => (prop::sample::select(texts), text_test()).prop_map(|(field, test)| Filter::Is(field, test)),
        3 => time_test().prop_map(|test| Filter::Is(F::At, test)),
        1 => time_test().prop_map(|test| Filter::Is(F::RecordedAt, test)),
        1 => ids(0..900).prop_map(|test| Filter::Is(F::EventId, test)),
        1 => ids(0xC0..0xC4).prop_map(|test| Filter::Is(F::Customer, test)),
        1 => ids(0xA0..0xA6).prop_map(|test| Filter::Is(F::Actor, test)),
        1 => (1..4_u8).prop_map(|n| Filter::Is(F::Address, Test::Addresses(vec![[10, 0, 0, n].into()]))),
        1 => Just(Filter::Everything),
        1 => Just(Filter::Nothing),
    ]
}

pub(super) fn any_filter() -> impl Strategy<Value = Filter<AuditField>> {
    leaf().prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::all),
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
            1 => inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

pub(super) fn scope() -> impl Strategy<Value = Scope> {
    let some = || prop::collection::vec((0xC0..0xC4_u128).prop_map(Uuid::from_u128), 0..4);
    (some(), some(), 0xA0..0xA5_u128).prop_map(|(all_of, own_of, caller)| Scope {
        all_of,
        own_of,
        caller: (ActorKind::PortalAccount, Uuid::from_u128(caller)),
    })
}
