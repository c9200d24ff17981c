//! Words, of which the text index is often sure without a look at the rows, beside whatever else can be asked.

use annals_schemas::{ActionRecorded, Event, PersonalData};
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditQuery, Direction, RowKey, SortKey, counted_page, placed_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test};
use chrono::TimeDelta;
use proptest::prelude::*;
use uuid::Uuid;

use super::drawn::{case, event, leaf, rename, scope, time_test};
use super::{Growing, every_effort, expected, ids, runner, some};
use crate::engines::{Store, on_every_store};

on_every_store!(words_find_what_they_say_whatever_else_is_asked);

const WORDS: [&str; 10] =
    ["Login", "logout", "backup", "Backups", "log-in", "ΛΌΓΟΣ", "x42", "x423", "7", "1234"];

/// An event of few words, some of which contain others.
fn wordy_event() -> impl Strategy<Value = Event> {
    let words = || prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..6);
    (event(), words(), words()).prop_map(|(mut event, text, account)| {
        if let Event::ActionRecorded(ActionRecorded { personal: PersonalData::Personal(personal), .. }) =
            &mut event
        {
            personal.text = Some(text.join(" "));
            personal.account = Some(account.concat());
        }
        event
    })
}

/// A part of a word, or of two.
fn word() -> impl Strategy<Value = Filter<AuditField>> {
    use AuditField as F;
    let parts = [
        "log",
        "LOGIN",
        "out",
        "backup",
        "ups",
        "λόγοσ",
        "x42",
        "x4",
        "in log",
        "7 back",
        "in 1",
        "1234 log",
        "log-in",
        "nothing",
        "10.0",
    ];
    let fields = prop_oneof![3 => Just(F::Anything), 2 => Just(F::Description), 1 => Just(F::Account)];
    let case = prop_oneof![4 => Just(Case::Folded), 1 => case()];
    let pattern = prop_oneof![
        5 => prop::sample::select(parts.to_vec()).prop_map(Pattern::containing),
        1 => prop::sample::select(parts.to_vec()).prop_map(Pattern::beginning),
        1 => Just(Pattern::of(["", "log", "backup", ""])),
    ];
    (fields, case, pattern).prop_map(|(field, case, pattern)| Filter::Is(field, Test::Like(case, pattern)))
}

fn words_and_more() -> impl Strategy<Value = Filter<AuditField>> {
    let words = prop_oneof![
        4 => word(),
        1 => prop::collection::vec(word(), 2..3).prop_map(Filter::Any),
        1 => prop::collection::vec(word(), 2..3).prop_map(Filter::All),
        1 => (word(), leaf()).prop_map(|(word, leaf)| Filter::Any(vec![word, leaf])),
    ];
    let more = prop_oneof![
        3 => time_test().prop_map(|test| Filter::Is(AuditField::At, test)),
        2 => leaf(),
        1 => word().prop_map(|word| Filter::Not(Box::new(word))),
    ];
    (words, prop::collection::vec(more, 0..3)).prop_map(|(words, mut all)| {
        all.push(words);
        Filter::all(all)
    })
}

async fn words_find_what_they_say_whatever_else_is_asked(store: Store) {
    let mut runner = runner();
    let mut view = Growing::new(store).await;
    let mut events = some(&mut runner, &prop::collection::vec(wordy_event(), 1_000));
    for (event, id) in events.iter_mut().zip(1_u128..) {
        rename(event, Uuid::from_u128(id));
    }
    // So long ago that a chunk tells times to several minutes only.
    if let Some(Event::ActionRecorded(event)) = events.get_mut(400) {
        event.meta.occurred_at -= TimeDelta::days(200);
    }
    view.fold(&events).await;
    // Three chunks and a tail.
    for rows in [350, 200, 400] {
        assert_eq!(view.index(rows).await.rows, rows as u64);
    }
    let rows = view.rows().await;
    let (_, positions) =
        placed_page(&view.reader(), &AuditQuery::newest(super::everybody(), Filter::Nothing, 1))
            .await
            .unwrap();
    let count = std::env::var("ANNALS_RANDOM_FILTERS").map_or(400, |count| count.parse().unwrap());
    let mut found = 0;
    for _ in 0..count {
        let scope =
            if some(&mut runner, &any::<bool>()) { super::everybody() } else { some(&mut runner, &scope()) };
        let filter = some(&mut runner, &words_and_more());
        let mut wanted = expected(&rows, &scope, &filter);
        let total = wanted.len() as u64;
        let mut query = AuditQuery::newest(scope, filter, some(&mut runner, &(0..80_u32)));
        if some(&mut runner, &any::<bool>()) {
            query.order = vec![(SortKey::Time, Direction::Ascending)];
            wanted.sort_by_key(|row| (row.at, row.event_id));
        }
        if some(&mut runner, &any::<bool>()) {
            query.offset = some(&mut runner, &(0..total + 10));
        }
        if some(&mut runner, &any::<bool>()) && !wanted.is_empty() {
            let after: AuditEvent = wanted.remove(some(&mut runner, &(0..wanted.len())));
            query.after = Some(RowKey { at: after.at, event_id: after.event_id });
            let is_before = |row: &AuditEvent| match query.order.is_empty() {
                true => (after.at, row.event_id) > (row.at, after.event_id),
                false => (row.at, row.event_id) > (after.at, after.event_id),
            };
            wanted.retain(is_before);
            query.within = Some(positions.clone());
        }
        let part: Vec<_> =
            wanted.into_iter().skip(query.offset as usize).take(query.limit as usize).collect();
        found += part.len();
        for memory in every_effort(9) {
            let page = counted_page(&view.reader(), &memory, &query).await.unwrap();
            assert_eq!(page.total, total, "{memory:?} {query:?}");
            assert_eq!(ids(&page.events), ids(&part), "{memory:?} {query:?}");
        }
        let (uncounted, _) = placed_page(&view.reader(), &query).await.unwrap();
        assert_eq!(ids(&uncounted), ids(&part), "{query:?}");
    }
    assert!(found > 10 * count, "{found}");
}
