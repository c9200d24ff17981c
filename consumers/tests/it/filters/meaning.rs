//! What a filter finds.

use annals_schemas::{ActionRecorded, ActorKind, Event, PersonalData};
use annals_views::audit_log::{
    AuditField, AuditQuery, Direction, Memory, Scope, SortKey, counted_page, placed_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::drawn::{any_filter, event, rename, scope};
use super::{Growing, every_effort, everybody, expected, ids, runner, some};
use crate::engines::{Store, on_every_store};
use crate::events::base;

on_every_store!(
    texts_of_any_characters_are_found_by_every_part_of_them,
    questions_about_many_customers_and_actors,
    every_filter_finds_what_it_says_while_the_view_grows,
);

async fn every_filter_finds_what_it_says_while_the_view_grows(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let memories = every_effort(9);
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
            for memory in &memories {
                let page = counted_page(&view.reader(), memory, &query).await.unwrap();
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
    let memories = every_effort(1);
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
                    for memory in &memories {
                        let page = counted_page(&view.reader(), memory, &query).await.unwrap();
                        assert_eq!(ids(&page.events), ids(&wanted), "{filter:?}");
                        assert_eq!(page.total, wanted.len() as u64, "{filter:?}");
                    }
                }
            }
        }
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
    let most = Scope { all_of: customers(0..11), own_of: Vec::new(), caller };
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
    for (scope, filter) in
        [all, most, some_own].iter().flat_map(|scope| filters.iter().map(move |f| (scope, f)))
    {
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
                let page = counted_page(&view.reader(), &Memory::default(), &query).await.unwrap();
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
