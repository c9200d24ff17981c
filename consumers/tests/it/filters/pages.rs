//! Deep pages, walks by keyset, and the feed.

use annals_schemas::Event;
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditQuery, Direction, RowKey, SortKey, counted_page, feed, placed_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::TimeDelta;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use super::drawn::{event, rename};
use super::{Growing, every_effort, everybody, expected, ids, in_order, runner, some};
use crate::engines::{Store, on_every_store};
use crate::events::base;

on_every_store!(
    deep_pages_and_walks_give_each_row_once,
    the_feed_gives_every_row_once_in_the_order_of_the_log,
);

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
    let mut many = some(&mut runner, &many);
    // So long ago that a chunk tells times to several minutes only.
    if let Some(Event::ActionRecorded(event)) = many.get_mut(700) {
        event.meta.occurred_at -= TimeDelta::days(200);
    }
    view.fold(&many).await;
    // Two chunks and a tail.
    for rows in [1_800, 900] {
        assert_eq!(view.index(rows).await.rows, rows as u64);
    }
    let narrow = Filter::Is(
        AuditField::At,
        Test::Time(TimeRange {
            start: Some(base() - TimeDelta::hours(50)),
            end: Some(base() + TimeDelta::hours(70)),
        }),
    );
    let only =
        Filter::Is(AuditField::Action, Test::Texts(Case::Exact, vec!["ACTION_1".into(), "ACTION_2".into()]));
    let word = Filter::Is(AuditField::Anything, Test::Like(Case::Folded, Pattern::containing("LOG")));
    let word_in_range = Filter::All(vec![word.clone(), narrow.clone()]);
    let word_of_few = Filter::All(vec![word.clone(), only.clone()]);
    for filter in [Filter::Everything, narrow, only, word, word_in_range, word_of_few] {
        for direction in [Direction::Descending, Direction::Ascending] {
            let wanted = in_order(&view, &filter, direction).await;
            for offset in [0, 3, 77, 200, 1_500, 1_999, 2_000, 2_001, 2_345, 2_700, 2_999, 3_000, 9_999] {
                let query = AuditQuery {
                    offset,
                    order: vec![(SortKey::Time, direction)],
                    ..AuditQuery::newest(everybody(), filter.clone(), 25)
                };
                let part: Vec<_> = wanted.iter().skip(offset as usize).take(25).cloned().collect();
                for memory in every_effort(9) {
                    let page = counted_page(&view.reader(), &memory, &query).await.unwrap();
                    assert_eq!(page.total, wanted.len() as u64, "{memory:?} {filter:?}");
                    assert_eq!(ids(&page.events), ids(&part), "{memory:?} {direction:?} {offset} {filter:?}");
                }
            }
            walk(&mut view, &mut runner, &filter, direction).await;
        }
    }
}

/// A walk by keyset sees what was there when it began, whatever is added meanwhile.
async fn walk(
    view: &mut Growing,
    runner: &mut TestRunner,
    filter: &Filter<AuditField>,
    direction: Direction,
) {
    let wanted = in_order(view, filter, direction).await;
    assert!(wanted.len() > 150, "{} {filter:?}", wanted.len());
    let limit = if wanted.len() > 600 { 400 } else { 40 };
    let mut query = AuditQuery {
        order: vec![(SortKey::Time, direction)],
        ..AuditQuery::newest(everybody(), filter.clone(), limit)
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
