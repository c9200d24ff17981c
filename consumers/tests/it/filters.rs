//! Every filter, page and total of the audit log against a plain evaluation of the same rows, while the view grows.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_bus::{PartitionRecords, StoredRecord};
use annals_consumers::folder::{self, Folder};
use annals_schemas::{
    ActionRecorded, Actor, ActorKind, Event, Meta, Personal, PersonalData, Severity, codec,
};
use annals_store::sql::sql;
use annals_store::{Followed, GenerationReader, Partition, StoreError};
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditLog, AuditQuery, Direction, RowKey, Scope, SortKey, Totals, counted_page,
    feed, placed_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use annals_views::{Indexed, View};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};
use uuid::Uuid;

use crate::engines::{Databases, Store, on_every_store};
use crate::events::base;

on_every_store!(
    texts_of_any_characters_are_found_by_every_part_of_them,
    every_order_of_what_the_index_finds_is_that_of_all_rows,
    feeding_the_index_goes_on_where_it_stood,
    small_chunks_of_the_index_become_one,
    questions_about_many_customers_and_actors,
    every_filter_finds_what_it_says_while_the_view_grows,
    deep_pages_and_walks_give_each_row_once,
    the_feed_gives_every_row_once_in_the_order_of_the_log,
);

/// Parts of texts that engines treat in ways of their own.
const PARTS: [&str; 24] = [
    "a", "A", "b", "ab", "%", "_", "\\", "'", "\"", "*", "?", "[", "]", "[a]", "İ", "i", "ß", "Σ", "ς", "🦀",
    "\0", "\u{1f}", " ", "?1",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..4).prop_map(|parts| parts.concat())
}

fn address() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        3 => (1..4_u8).prop_map(|n| Some(format!("10.0.0.{n}"))),
        1 => Just(Some("2001:DB8::1".to_owned())),
    ]
}

/// Hours before and behind the base, most of them on few hours.
fn hours() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..3_i64, 1 => -100..100_i64]
}

prop_compose! {
    fn event()(
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

fn rename(event: &mut Event, id: Uuid) {
    if let Event::ActionRecorded(event) = event {
        event.meta.event_id = id;
    }
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop::collection::vec(text(), 1..4).prop_map(|pieces| Pattern::of(pieces.iter().map(String::as_str)))
}

fn case() -> impl Strategy<Value = Case> {
    prop_oneof![Just(Case::Exact), Just(Case::Folded)]
}

fn text_test() -> impl Strategy<Value = Test> {
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

fn moment() -> impl Strategy<Value = Option<DateTime<Utc>>> {
    prop_oneof![
        1 => Just(None),
        2 => (hours(), 0..3_600_i64).prop_map(|(hour, second)| Some(base() + TimeDelta::hours(hour) + TimeDelta::seconds(second))),
        1 => hours().prop_map(|hour| Some(DateTime::from_timestamp((1_700_000_000 / 3_600 + hour) * 3_600, 0).unwrap())),
    ]
}

fn time_test() -> impl Strategy<Value = Test> {
    (moment(), moment()).prop_map(|(start, end)| Test::Time(TimeRange { start, end }))
}

fn leaf() -> impl Strategy<Value = Filter<AuditField>> {
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

fn any_filter() -> impl Strategy<Value = Filter<AuditField>> {
    leaf().prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::all),
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
            1 => inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

fn scope() -> impl Strategy<Value = Scope> {
    let some = || prop::collection::vec((0xC0..0xC4_u128).prop_map(Uuid::from_u128), 0..4);
    (some(), some(), 0xA0..0xA5_u128).prop_map(|(all_of, own_of, caller)| Scope {
        all_of,
        own_of,
        caller: (ActorKind::PortalAccount, Uuid::from_u128(caller)),
    })
}

fn everybody() -> Scope {
    let all_of = (0xC0..0xC4_u128).map(Uuid::from_u128).collect();
    Scope { all_of, own_of: Vec::new(), caller: (ActorKind::PortalAccount, Uuid::nil()) }
}

fn runner() -> TestRunner {
    // Always the same: a failure must come again.
    TestRunner::new(ProptestConfig { rng_seed: RngSeed::Fixed(4_711), ..ProptestConfig::default() })
}

fn some<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// A view that grows.
struct Growing {
    folder: Folder<AuditLog>,
    followed: Followed,
    ends: BTreeMap<Partition, u64>,
    _databases: Databases,
}

impl Growing {
    async fn new(store: Store) -> Self {
        let databases = Databases::new(store).await;
        let control = databases.database.control().await.unwrap();
        let (name, version) = (AuditLog::NAME, AuditLog::VERSION);
        let followed =
            Followed::start(&control, &databases.database, name, version, Some(AuditLog::tables()))
                .await
                .unwrap();
        let number = followed.current().generation.number;
        let view = databases.database.view_store(name, number, AuditLog::tables()).await.unwrap();
        Self { folder: Folder::new(view), followed, ends: BTreeMap::new(), _databases: databases }
    }

    /// Takes rows into the text index: at most so many.
    async fn index(&self, at_most: usize) -> Indexed {
        AuditLog::index(&**self.folder.store(), 1, at_most).await.unwrap()
    }

    async fn fold(&mut self, events: &[Event]) {
        let mut parts: BTreeMap<Partition, PartitionRecords> = BTreeMap::new();
        for event in events {
            let number = u32::from(event.meta().actor.id.as_bytes()[15] % 3);
            let partition = Partition::new(event.event_type().topic().name, number);
            let end = self.ends.entry(partition.clone()).or_default();
            let part = parts.entry(partition.clone()).or_insert_with(|| PartitionRecords {
                partition,
                from: *end,
                records: Vec::new(),
            });
            part.records.push(StoredRecord {
                offset: *end,
                recorded_at: base() + TimeDelta::days(30),
                key: Some(event.key().into()),
                value: codec::encode(event).unwrap().into(),
                headers: Vec::new(),
            });
            *end += 1;
        }
        let batch = folder::decode::<AuditLog>(parts.into_values().collect(), None).await.unwrap();
        self.folder.fold(batch).await.unwrap();
    }

    fn reader(&self) -> Arc<GenerationReader> {
        self.followed.current()
    }

    /// Every row, as everybody sees it.
    async fn rows(&self) -> Vec<AuditEvent> {
        let all = AuditQuery::newest(everybody(), Filter::Everything, 1_000_000);
        placed_page(&self.reader(), &all).await.unwrap().0
    }
}

fn sees(scope: &Scope, row: &AuditEvent) -> bool {
    scope.all_of.contains(&row.customer)
        || scope.own_of.contains(&row.customer)
            && (row.actor_kind, row.actor) == (Some(scope.caller.0), scope.caller.1)
}

/// What a filter means, newest first.
fn expected(rows: &[AuditEvent], scope: &Scope, filter: &Filter<AuditField>) -> Vec<AuditEvent> {
    let mut rows: Vec<_> =
        rows.iter().filter(|row| sees(scope, row) && filter.matches(*row)).cloned().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.at), row.event_id));
    rows
}

async fn every_filter_finds_what_it_says_while_the_view_grows(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    // Few candidates are too many for the one, and enough for the other.
    let totals = [Totals::default(), Totals::with_candidates(9)];
    let count = std::env::var("ANNALS_RANDOM_FILTERS").map_or(150, |count| count.parse().unwrap());
    let asked: Vec<_> =
        (0..count).map(|_| (some(&mut runner, &scope()), some(&mut runner, &any_filter()))).collect();
    // Late events and repeated ones come between the same questions.
    // Nothing is in the text index, then a part of it, then all but what came last, then all.
    for (size, indexed) in [(300, 0), (1, 150), (200, 200), (40, 0), (0, usize::MAX)] {
        if indexed > 0 {
            view.index(indexed).await;
        }
        if size > 0 {
            view.fold(&some(&mut runner, &prop::collection::vec(event(), size))).await;
        }
        let rows = view.rows().await;
        for (scope, filter) in &asked {
            let wanted = expected(&rows, scope, filter);
            let (offset, limit) = some(&mut runner, &(prop_oneof![Just(0), 0..50_u64], 0..80_u32));
            let query = AuditQuery { offset, ..AuditQuery::newest(scope.clone(), filter.clone(), limit) };
            let part: Vec<_> = wanted.iter().skip(offset as usize).take(limit as usize).cloned().collect();
            for totals in &totals {
                let page = counted_page(&view.reader(), totals, &query).await.unwrap();
                let told = || format!("{scope:?} {filter:?}");
                assert_eq!(page.total, wanted.len() as u64, "{}", told());
                assert_eq!(ids(&page.events), ids(&part), "{}", told());
            }
        }
    }
}

/// Texts with characters that engines, locales and tokenizers treat in ways of their own.
const TEXTS: [&str; 16] = [
    "100% sure_of it",
    "\\path\\to 'it' \"quoted\"",
    "İstanbul ISPARTA ılık",
    "straße STRASSE ẞ",
    "ΟΔΟΣ οδος οδοσ",
    "🦀🦀🦀 crab 🏳️‍🌈",
    "e\u{301}te\u{301} été e\u{301}",
    "\0\0\0nul\0",
    "\u{1d}\u{1e}\u{1f}\u{1d}\u{1d}\u{1d}\u{1e}borders\u{1f}",
    "* ? [a-z]* ]",
    "кириллица КИРИЛЛИЦА",
    "漢字かな交じり文",
    "عربي \u{200f}نص",
    "AND OR NOT NEAR(\"a\" b)",
    "\t\r\n  \u{a0}\u{3000}   ",
    "ﬁn \u{fffd}\u{10ffff} ",
];

/// The filter as it is compared with what is stored: U+0000 is U+FFFD there.
fn stored(filter: Filter<AuditField>) -> Filter<AuditField> {
    let clean = |text: &String| annals_views::view::clean(text);
    match filter {
        Filter::Is(field, Test::Texts(case, texts)) => {
            Filter::Is(field, Test::Texts(case, texts.iter().map(clean).collect()))
        }
        Filter::Is(field, Test::Like(case, pattern)) => {
            let pieces: Vec<String> = pattern.pieces().iter().map(clean).collect();
            Filter::Is(field, Test::Like(case, Pattern::of(pieces.iter().map(String::as_str))))
        }
        other => other,
    }
}

async fn texts_of_any_characters_are_found_by_every_part_of_them(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let described = |id: usize, text: &str, runner: &mut TestRunner| {
        let mut event = some(runner, &event());
        rename(&mut event, Uuid::from_u128(id as u128 + 1));
        if let Event::ActionRecorded(ActionRecorded { personal: PersonalData::Personal(personal), .. }) =
            &mut event
        {
            personal.text = Some(text.to_owned());
        }
        event
    };
    let totals = [Totals::default(), Totals::with_candidates(1)];
    // The second half stands in the tail, then in the index, whose first chunk has the first.
    for (half, indexed) in TEXTS.chunks(TEXTS.len() / 2).chain([&[][..]]).zip([usize::MAX, 3, usize::MAX]) {
        let first = if half == &TEXTS[TEXTS.len() / 2..] { TEXTS.len() } else { 0 };
        let events: Vec<Event> =
            half.iter().enumerate().map(|(at, text)| described(first + at, text, &mut runner)).collect();
        if !events.is_empty() {
            view.fold(&events).await;
        }
        view.index(indexed).await;
        let rows = view.rows().await;
        for text in TEXTS {
            let text: Vec<char> = text.chars().collect();
            for length in [1, 2, 3, 7, text.len()] {
                let part: String =
                    text[text.len().saturating_sub(length + 1) / 2..].iter().take(length).collect();
                let contained = |case| Test::Like(case, Pattern::containing(&part));
                let tests = [
                    (AuditField::Anything, contained(Case::Folded)),
                    (AuditField::Description, contained(Case::Exact)),
                    (AuditField::Description, Test::Like(Case::Folded, Pattern::beginning(&part))),
                    (AuditField::Anything, Test::Texts(Case::Folded, vec![part.clone(), "no such".into()])),
                ];
                for (field, test) in tests {
                    let filter = Filter::Is(field, test);
                    let query = AuditQuery::newest(everybody(), filter.clone(), 100);
                    let wanted = expected(&rows, &everybody(), &stored(filter.clone()));
                    for totals in &totals {
                        let page = counted_page(&view.reader(), totals, &query).await.unwrap();
                        assert_eq!(ids(&page.events), ids(&wanted), "{filter:?}");
                        assert_eq!(page.total, wanted.len() as u64, "{filter:?}");
                    }
                }
            }
        }
    }
}

async fn every_order_of_what_the_index_finds_is_that_of_all_rows(store: Store) {
    use SortKey as K;
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    for (first, indexed) in [(0, usize::MAX), (200, 100)] {
        let events: Vec<Event> = (first..first + 200)
            .map(|id| {
                let mut event = some(&mut runner, &event());
                rename(&mut event, Uuid::from_u128(id));
                event
            })
            .collect();
        view.fold(&events).await;
        view.index(indexed).await;
    }
    let filter = Filter::Is(AuditField::Anything, Test::Like(Case::Folded, Pattern::containing("10.0.0")));
    let keys = [
        K::Time,
        K::RecordedAt,
        K::EventId,
        K::Account,
        K::Customer,
        K::Action,
        K::Category,
        K::Severity,
        K::EntityType,
        K::EntityId,
        K::Address,
        K::Description,
        K::SignIn,
    ];
    for key in keys {
        for direction in [Direction::Ascending, Direction::Descending] {
            let query = AuditQuery {
                order: vec![(key, direction)],
                offset: 3,
                ..AuditQuery::newest(everybody(), filter.clone(), 50)
            };
            // No candidate is few enough for the second: the rows are looked through.
            let found = counted_page(&view.reader(), &Totals::default(), &query).await.unwrap();
            let looked = counted_page(&view.reader(), &Totals::with_candidates(0), &query).await.unwrap();
            assert!(found.total > 100, "{}", found.total);
            assert_eq!(found, looked, "{key:?} {direction:?}");
        }
    }
}

async fn feeding_the_index_goes_on_where_it_stood(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    assert_eq!(view.index(usize::MAX).await, Indexed::default());
    let events: Vec<Event> = (0..1_000)
        .map(|id| {
            let mut event = some(&mut runner, &event());
            rename(&mut event, Uuid::from_u128(id));
            event
        })
        .collect();
    view.fold(&events[..900]).await;
    let store = Arc::clone(view.folder.store());
    // Too few to be worth while.
    let waiting = AuditLog::index(&*store, 10_000, usize::MAX).await.unwrap();
    assert_eq!((waiting.rows, waiting.behind >= 900), (0, true));
    assert_eq!(view.index(250).await.rows, 250);
    // Repeated events add no rows.
    view.fold(&events[800..]).await;
    let (mut rows, mut last) = (250, view.index(250).await);
    while last.rows > 0 {
        rows += last.rows;
        last = view.index(250).await;
    }
    assert_eq!((rows, last.behind), (1_000, 0));
    let mut fence = store.fence().await.unwrap();
    fence.retire().await.unwrap();
    fence.commit().await.unwrap();
    let refused = AuditLog::index(&*store, 1, usize::MAX).await.unwrap_err();
    assert!(matches!(refused, StoreError::Fenced(_)), "{refused}");
}

async fn small_chunks_of_the_index_become_one(store: Store) {
    const CHUNK: u128 = 7_500;
    let mut view = Growing::new(store).await;
    let mut runner = runner();
    let mut like: Vec<Event> = (0..CHUNK).map(|_| some(&mut runner, &event())).collect();
    let mut counts: Vec<i64> = Vec::new();
    for chunk in 0..8 {
        for (event, id) in like.iter_mut().zip(chunk * CHUNK..) {
            rename(event, Uuid::from_u128(id));
            if let Event::ActionRecorded(ActionRecorded {
                meta,
                personal: PersonalData::Personal(personal),
                ..
            }) = event
            {
                meta.occurred_at = base() + TimeDelta::hours(chunk as i64);
                personal.text = Some(format!("number {id} of chunk {chunk}"));
                personal.entity_id = Some(format!("thing-{}", id % 5_000));
            }
        }
        view.fold(&like).await;
        assert_eq!(view.index(CHUNK as usize).await.rows, CHUNK as u64);
        let reader = view.reader();
        counts.push(sql("SELECT count(*) FROM text_chunks").fetch_scalar(&reader.pool).await.unwrap());
    }
    // Seven make 52,500 rows.
    assert_eq!(counts, [1, 2, 3, 4, 5, 6, 1, 2]);
    let said =
        |text: &str| Filter::Is(AuditField::Description, Test::Like(Case::Folded, Pattern::containing(text)));
    let third = Filter::Is(
        AuditField::At,
        Test::Time(TimeRange {
            start: Some(base() + TimeDelta::hours(2)),
            end: Some(base() + TimeDelta::hours(2)),
        }),
    );
    let thing = Filter::Is(AuditField::Entity, Test::Texts(Case::Exact, vec!["thing-4711".into()]));
    for (filter, matches) in [
        (said("of chunk 3"), Some(CHUNK as usize)),
        (said("number 4999 of"), Some(1)),
        (said("chunk 8"), Some(0)),
        (Filter::All(vec![third, said("number 15")]), None),
        (thing, Some(12)),
    ] {
        let wanted = in_order(&view, &filter, Direction::Descending).await;
        assert!(matches.is_none_or(|matches| matches == wanted.len()) && wanted.len() < 20_000, "{filter:?}");
        let query = AuditQuery::newest(everybody(), filter.clone(), 30_000);
        let page = counted_page(&view.reader(), &Totals::default(), &query).await.unwrap();
        assert_eq!((page.total, ids(&page.events)), (wanted.len() as u64, ids(&wanted)), "{filter:?}");
    }
}

/// So many stretches of an index that they are looked at rather than merged.
async fn questions_about_many_customers_and_actors(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let many: Vec<Event> = (1..4_000_u128)
        .map(|id| {
            let mut event = some(&mut runner, &event());
            rename(&mut event, Uuid::from_u128(id));
            if let Event::ActionRecorded(ActionRecorded {
                meta,
                personal: PersonalData::Personal(personal),
                ..
            }) = &mut event
            {
                let (customer, person) = (id * id % 12, id % 11);
                meta.customer = Uuid::from_u128(0xC0 + customer);
                meta.actor.id = Uuid::from_u128(0xA000 + customer * 100 + person);
                meta.occurred_at += TimeDelta::hours(8 * (id % 150) as i64);
                // The same names everywhere.
                personal.account = Some(["shared", "other"][usize::from(person % 3 == 0)].into());
            }
            event
        })
        .collect();
    view.fold(&many).await;
    let customers = |numbers: std::ops::Range<u128>| numbers.map(|n| Uuid::from_u128(0xC0 + n)).collect();
    let caller = (ActorKind::PortalAccount, Uuid::from_u128(0xA000 + 1_100 + 1));
    let all = Scope { all_of: customers(0..12), own_of: Vec::new(), caller };
    let some_own = Scope { all_of: customers(0..11), own_of: customers(11..12), caller };
    let named = |field, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Filter::Is(field, Test::Texts(Case::Exact, names))
    };
    let shared = named(AuditField::Account, &["shared"]);
    let actions = named(AuditField::Action, &["ACTION_0", "ACTION_2"]);
    let days = |from, to| {
        let at = |days, minutes| Some(base() + TimeDelta::days(days) + TimeDelta::minutes(minutes));
        Filter::Is(AuditField::At, Test::Time(TimeRange { start: at(from, 17), end: at(to, 41) }))
    };
    let filters = [
        Filter::Everything,
        shared.clone(),
        actions.clone(),
        days(3, 47),
        Filter::All(vec![days(-2, 40), shared.clone()]),
        Filter::All(vec![days(5, 6), actions.clone()]),
        Filter::All(vec![shared, actions]),
    ];
    for (scope, filter) in [all, some_own].iter().flat_map(|scope| filters.iter().map(move |f| (scope, f))) {
        for direction in [Direction::Descending, Direction::Ascending] {
            let everything = AuditQuery::newest(scope.clone(), Filter::Everything, 9_000);
            let (rows, _) = placed_page(&view.reader(), &everything).await.unwrap();
            let mut wanted = expected(&rows, scope, filter);
            if direction == Direction::Ascending {
                wanted.sort_by_key(|row| (row.at, row.event_id));
            }
            assert!(wanted.len() > 20, "{filter:?}");
            for offset in [0, 7, 150, 1_999, 2_222, 3_333, 5_000] {
                let query = AuditQuery {
                    offset,
                    order: vec![(SortKey::Time, direction)],
                    ..AuditQuery::newest(scope.clone(), filter.clone(), 40)
                };
                let page = counted_page(&view.reader(), &Totals::default(), &query).await.unwrap();
                let (uncounted, _) = placed_page(&view.reader(), &query).await.unwrap();
                let part: Vec<_> = wanted.iter().skip(offset as usize).take(40).cloned().collect();
                let told = || format!("{direction:?} {offset} {filter:?} {scope:?}");
                assert_eq!(page.total, wanted.len() as u64, "{}", told());
                assert_eq!(ids(&page.events), ids(&part), "{}", told());
                assert_eq!(ids(&uncounted), ids(&part), "{}", told());
            }
        }
    }
}

async fn deep_pages_and_walks_give_each_row_once(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    // Enough for pages that are looked for in the counters.
    let many = prop::collection::vec(event(), 3_000).prop_map(|mut events: Vec<Event>| {
        for (event, id) in events.iter_mut().zip(1_u128..) {
            rename(event, Uuid::from_u128(id));
        }
        events
    });
    view.fold(&some(&mut runner, &many)).await;
    let narrow = Filter::Is(
        AuditField::At,
        Test::Time(TimeRange {
            start: Some(base() - TimeDelta::hours(50)),
            end: Some(base() + TimeDelta::hours(70)),
        }),
    );
    let only =
        Filter::Is(AuditField::Action, Test::Texts(Case::Exact, vec!["ACTION_1".into(), "ACTION_2".into()]));
    for filter in [Filter::Everything, narrow, only] {
        for direction in [Direction::Descending, Direction::Ascending] {
            let wanted = in_order(&view, &filter, direction).await;
            for offset in [0, 1_500, 1_999, 2_000, 2_001, 2_345, 2_700, 2_999, 3_000, 9_999] {
                let query = AuditQuery {
                    offset,
                    order: vec![(SortKey::Time, direction)],
                    ..AuditQuery::newest(everybody(), filter.clone(), 25)
                };
                let page = counted_page(&view.reader(), &Totals::default(), &query).await.unwrap();
                let part: Vec<_> = wanted.iter().skip(offset as usize).take(25).cloned().collect();
                assert_eq!(ids(&page.events), ids(&part), "{direction:?} {offset} {filter:?}");
            }
            walk(&mut view, &mut runner, &filter, direction).await;
        }
    }
}

/// All that a filter finds now.
async fn in_order(view: &Growing, filter: &Filter<AuditField>, direction: Direction) -> Vec<AuditEvent> {
    let mut wanted = expected(&view.rows().await, &everybody(), filter);
    if direction == Direction::Ascending {
        wanted.sort_by_key(|row| (row.at, row.event_id));
    }
    wanted
}

fn ids(events: &[AuditEvent]) -> Vec<Uuid> {
    events.iter().map(|event| event.event_id).collect()
}

/// A walk by keyset sees what was there when it began, whatever is added meanwhile.
async fn walk(
    view: &mut Growing,
    runner: &mut TestRunner,
    filter: &Filter<AuditField>,
    direction: Direction,
) {
    let wanted = in_order(view, filter, direction).await;
    let mut query = AuditQuery {
        order: vec![(SortKey::Time, direction)],
        ..AuditQuery::newest(everybody(), filter.clone(), 400)
    };
    let (mut seen, positions) = placed_page(&view.reader(), &query).await.unwrap();
    query.within = Some(positions);
    while let Some(last) = seen.last() {
        query.after = Some(RowKey { at: last.at, event_id: last.event_id });
        let mut late = some(runner, &event());
        rename(&mut late, Uuid::new_v4());
        view.fold(&[late]).await;
        let (more, _) = placed_page(&view.reader(), &query).await.unwrap();
        if more.is_empty() {
            break;
        }
        seen.extend(more);
    }
    assert_eq!(ids(&seen), ids(&wanted), "{direction:?} {filter:?}");
}

async fn the_feed_gives_every_row_once_in_the_order_of_the_log(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let filter =
        Filter::Is(AuditField::Severity, Test::Texts(Case::Exact, vec!["INFO".into(), "ERROR".into()]));
    let mut from = Vec::new();
    let mut seen: Vec<AuditEvent> = Vec::new();
    for size in [200, 0, 3, 150] {
        if size > 0 {
            view.fold(&some(&mut runner, &prop::collection::vec(event(), size))).await;
        }
        loop {
            let limit = some(&mut runner, &(1..60_u32));
            let stretch = feed(&view.reader(), &everybody(), &filter, &from, limit).await.unwrap();
            assert!(stretch.events.len() <= limit as usize);
            from = stretch.next;
            seen.extend(stretch.events);
            if stretch.complete {
                break;
            }
        }
    }
    let mut wanted = expected(&view.rows().await, &everybody(), &filter);
    let place = |row: &AuditEvent| (row.topic.clone(), row.partition, row.offset);
    wanted.sort_by_key(place);
    for pair in seen.windows(2) {
        assert!(
            (&pair[0].topic, pair[0].partition) != (&pair[1].topic, pair[1].partition)
                || pair[0].offset < pair[1].offset
        );
    }
    seen.sort_by_key(place);
    assert_eq!(ids(&seen), ids(&wanted));
}
