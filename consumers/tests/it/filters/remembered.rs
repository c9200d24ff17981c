//! The same few questions again and again, page after page, while rows and the text index are added to: what is remembered
//! of an answer changes no other one.

use std::cmp::Ordering;
use std::net::IpAddr;

use annals_schemas::{ActorKind, Event};
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditQuery, Direction, Order, Scope, SortKey, counted_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::drawn::{event, rename, scope};
use super::{Growing, SORT_KEYS, every_effort, everybody, expected, ids, runner, some};
use crate::engines::{Store, on_every_store};
use crate::events::base;

on_every_store!(pages_of_the_same_questions_while_the_view_grows);

fn compared(key: SortKey, one: &AuditEvent, other: &AuditEvent) -> Ordering {
    fn address(event: &AuditEvent) -> Option<[u8; 16]> {
        event.address.map(|address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
    match key {
        SortKey::Time => one.at.cmp(&other.at),
        SortKey::RecordedAt => one.recorded_at.cmp(&other.recorded_at),
        SortKey::EventId => one.event_id.cmp(&other.event_id),
        SortKey::Account => one.account.cmp(&other.account),
        SortKey::Customer => one.customer.cmp(&other.customer),
        SortKey::Action => one.name.cmp(&other.name),
        SortKey::Category => one.category.cmp(&other.category),
        SortKey::Severity => one.severity.as_str().cmp(other.severity.as_str()),
        SortKey::EntityType => one.entity_type.cmp(&other.entity_type),
        SortKey::EntityId => one.entity_id.cmp(&other.entity_id),
        SortKey::Address => address(one).cmp(&address(other)),
        SortKey::Description => one.description.cmp(&other.description),
        SortKey::SignIn => one.sign_in.cmp(&other.sign_in),
    }
}

fn sort(rows: &mut [AuditEvent], order: &[Order]) {
    rows.sort_by(|one, other| {
        let by_keys = order.iter().map(|(key, direction)| match direction {
            Direction::Ascending => compared(*key, one, other),
            Direction::Descending => compared(*key, other, one),
        });
        by_keys.fold(Ordering::Equal, Ordering::then).then(one.event_id.cmp(&other.event_id))
    });
}

fn orders() -> impl Strategy<Value = Vec<Order>> {
    let key = (prop::sample::select(SORT_KEYS.to_vec()), any::<bool>()).prop_map(|(key, is_ascending)| {
        (key, if is_ascending { Direction::Ascending } else { Direction::Descending })
    });
    prop_oneof![
        1 => Just(vec![(SortKey::Time, Direction::Descending)]),
        1 => Just(vec![(SortKey::Time, Direction::Ascending)]),
        2 => prop::collection::vec(key, 1..3),
    ]
}

fn filters() -> Vec<Filter<AuditField>> {
    let like =
        |text: &str| Filter::Is(AuditField::Anything, Test::Like(Case::Folded, Pattern::containing(text)));
    let actions = Test::Texts(Case::Exact, vec!["ACTION_1".into(), "ACTION_2".into()]);
    let range =
        TimeRange { start: Some(base() - TimeDelta::hours(50)), end: Some(base() + TimeDelta::hours(2)) };
    vec![
        Filter::Everything,
        Filter::Is(AuditField::At, Test::Time(range)),
        Filter::Is(AuditField::Action, actions.clone()),
        like("10.0.0"),
        like("log"),
        Filter::Not(Box::new(like("LOGIN"))),
        Filter::All(vec![like("10.0.0.2"), Filter::Is(AuditField::At, Test::Time(range))]),
        Filter::All(vec![like("log"), Filter::Is(AuditField::Action, actions)]),
        like("nothing has this"),
    ]
}

async fn pages_of_the_same_questions_while_the_view_grows(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let memories = every_effort(9);
    let mut next_id = 0;
    add(&mut view, &mut runner, &mut next_id, 600).await;
    view.index(400).await;
    let mut asked: Vec<(Filter<AuditField>, Vec<Order>, _)> = Vec::new();
    // Scopes and orders that differ in one thing.
    let few = Scope {
        all_of: vec![Uuid::from_u128(0xC0)],
        own_of: vec![Uuid::from_u128(0xC1)],
        caller: (ActorKind::PortalAccount, Uuid::from_u128(0xA1)),
    };
    let fewer = Scope { own_of: Vec::new(), ..few.clone() };
    for filter in filters() {
        for scope in [everybody(), some(&mut runner, &scope()), few.clone(), fewer.clone()] {
            for order in some(&mut runner, &[orders(), orders()]) {
                asked.push((filter.clone(), order, scope.clone()));
            }
        }
    }
    let mut rows = view.rows().await;
    let count = std::env::var("ANNALS_RANDOM_FILTERS").map_or(600, |count| count.parse().unwrap());
    for round in 0..count {
        let added = match some(&mut runner, &(0..100_u32)) {
            0..15 => some(&mut runner, &(1..40_usize)),
            // More than an answer is brought forward by.
            15 => 1_200,
            16..40 => {
                view.index(some(&mut runner, &(1..100_usize))).await;
                0
            }
            40 => {
                view.index(usize::MAX).await;
                0
            }
            _ => 0,
        };
        if added > 0 {
            add(&mut view, &mut runner, &mut next_id, added).await;
            rows = view.rows().await;
        }
        // Some questions, again and again, then others.
        let asked = &asked[round / 60 * 7 % asked.len()..];
        let (filter, order, scope) =
            some(&mut runner, &prop::sample::select(asked[..asked.len().min(7)].to_vec()));
        let mut wanted = expected(&rows, &scope, &filter);
        sort(&mut wanted, &order);
        let total = wanted.len();
        let offset = some(&mut runner, &prop_oneof![1 => Just(0), 3 => 0..total + 5]);
        let limit = some(&mut runner, &prop_oneof![1 => 0..5_usize, 3 => 20..60_usize]);
        let query =
            AuditQuery { order, offset: offset as u64, ..AuditQuery::newest(scope, filter, limit as u32) };
        let part: Vec<_> = wanted.into_iter().skip(offset).take(limit).collect();
        for memory in &memories {
            let page = counted_page(&view.reader(), memory, &query).await.unwrap();
            assert_eq!(page.total, total as u64, "round {round}: {query:?}");
            assert_eq!(ids(&page.events), ids(&part), "round {round}: {query:?}");
        }
    }
}

async fn add(view: &mut Growing, runner: &mut TestRunner, next_id: &mut u128, count: usize) {
    let mut events: Vec<Event> = some(runner, &prop::collection::vec(event(), count));
    for event in &mut events {
        // Anywhere in the order of ids, which breaks ties.
        let id = Uuid::from_u128(next_id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        rename(event, id);
        *next_id += 1;
    }
    view.fold(&events).await;
}
