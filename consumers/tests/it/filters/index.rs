//! The text index: its feeding, and pages from it.

use std::sync::Arc;

use annals_schemas::{ActionRecorded, Event, PersonalData};
use annals_store::StoreError;
use annals_store::sql::sql;
use annals_views::audit_log::{
    AuditField, AuditLog, AuditQuery, Direction, Effort, Memory, counted_page, placed_page,
};
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use annals_views::{Indexed, View as _};
use chrono::TimeDelta;
use sqlx::Executor;
use uuid::Uuid;

use super::drawn::{event, rename};
use super::{Growing, SORT_KEYS, everybody, ids, in_order, runner, some};
use crate::engines::{Store, on_every_store};
use crate::events::base;
use crate::until;

on_every_store!(
    every_order_of_what_the_index_finds_is_that_of_all_rows,
    feeding_the_index_goes_on_where_it_stood,
    small_chunks_of_the_index_become_one,
    whoever_feeds_the_index_too_late_gives_way,
);

async fn every_order_of_what_the_index_finds_is_that_of_all_rows(store: Store) {
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
    for key in SORT_KEYS {
        for direction in [Direction::Ascending, Direction::Descending] {
            let query = AuditQuery {
                order: vec![(key, direction)],
                offset: 3,
                ..AuditQuery::newest(everybody(), filter.clone(), 50)
            };
            // No candidate is few enough for the second: the rows are looked through.
            let without = Memory::with_effort(Effort { candidates: 0, ..Effort::default() });
            // Whatever is sorted is remembered.
            let remembers = Memory::with_effort(Effort { few: 0, ..Effort::default() });
            let found = counted_page(&view.reader(), &Memory::default(), &query).await.unwrap();
            let looked = counted_page(&view.reader(), &without, &query).await.unwrap();
            assert!(found.total > 100, "{}", found.total);
            assert_eq!(found, looked, "{key:?} {direction:?}");
            // Too many rows of an account are among them.
            let sorts = Memory::with_effort(Effort { candidates: 60, few: 0 });
            for offset in [3, 40, 3] {
                let query = AuditQuery { offset, ..query.clone() };
                let found = counted_page(&view.reader(), &Memory::default(), &query).await.unwrap();
                for memory in [&remembers, &sorts] {
                    let again = counted_page(&view.reader(), memory, &query).await.unwrap();
                    assert_eq!(found, again, "{key:?} {direction:?} {offset}");
                }
            }
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

/// Events of an action, told apart by their number.
fn numbered(numbers: std::ops::Range<u128>) -> Vec<Event> {
    let mut runner = runner();
    let event = some(&mut runner, &event());
    let one = |id: u128| {
        let mut event = event.clone();
        rename(&mut event, Uuid::from_u128(id));
        if let Event::ActionRecorded(ActionRecorded { personal: PersonalData::Personal(personal), .. }) =
            &mut event
        {
            personal.text = Some(format!("number {id}"));
        }
        event
    };
    numbers.map(one).collect()
}

/// Two processes take the same rows, and the first one is slow: before it writes its chunk, the other one has made a chunk of
/// that number and merged it into the next one, so that nothing of that number is there any more.
async fn whoever_feeds_the_index_too_late_gives_way(store: Store) {
    const SMALL: usize = 16_384;
    const LATE: usize = 21_000;
    if store == Store::Embedded {
        // There is one writer at a time, who reads what he indexes in the same transaction.
        return;
    }
    let mut view = Growing::new(store).await;
    view.fold(&numbered(0..3 * SMALL as u128)).await;
    assert_eq!(view.index(SMALL).await.rows, SMALL as u64);
    // A chunk of more rows than the other's waits before it is written.
    for statement in [
        "CREATE TABLE public.gate (id INT)",
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.number = 1 AND octet_length(NEW.times) > 2 * 20000 THEN PERFORM count(*) FROM public.gate; END IF;
           RETURN NEW;
         END $$",
        "CREATE TRIGGER wait BEFORE INSERT ON text_chunks FOR EACH ROW EXECUTE FUNCTION wait()",
    ] {
        let generation = view.reader().generation.number;
        view.databases.change_view::<AuditLog>(generation, statement).await;
    }
    let mut gate = view.databases.connect().await;
    gate.execute("BEGIN; LOCK TABLE public.gate").await.unwrap();
    let late = {
        let store = Arc::clone(view.folder.store());
        tokio::spawn(async move { AuditLog::index(&*store, 1, LATE).await.unwrap() })
    };
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST('public.gate' AS regclass)";
    until("the late one waits", async || {
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut gate).await.unwrap();
        waiting == 1
    })
    .await;
    let number = view.reader().generation.number;
    let other = view.databases.database.view_store(AuditLog::NAME, number, AuditLog::tables()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(AuditLog::index(&*other, 1, SMALL).await.unwrap().rows, SMALL as u64);
    }
    gate.execute("ROLLBACK").await.unwrap();
    assert_eq!(late.await.unwrap().rows, 0, "its rows are in the index already");
    let reader = view.reader();
    let numbers: Vec<i64> = sql("SELECT number FROM text_chunks").fetch_scalars(&reader.pool).await.unwrap();
    assert_eq!(numbers, [2]);
    let filter =
        Filter::Is(AuditField::Description, Test::Like(Case::Folded, Pattern::containing("number ")));
    let query = AuditQuery::newest(everybody(), filter, 5);
    let page = counted_page(&reader, &Memory::default(), &query).await.unwrap();
    assert_eq!(page.total, 3 * SMALL as u64);
}

async fn small_chunks_of_the_index_become_one(store: Store) {
    const CHUNK: u128 = 7_500;
    let mut view = Growing::new(store).await;
    let mut runner = runner();
    let mut like: Vec<Event> = (0..CHUNK).map(|_| some(&mut runner, &event())).collect();
    let mut counts: Vec<i64> = Vec::new();
    let said =
        |text: &str| Filter::Is(AuditField::Description, Test::Like(Case::Folded, Pattern::containing(text)));
    let memory = Memory::with_effort(Effort { candidates: CHUNK as usize, few: 0 });
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
        // What is remembered of one answer names chunks that are gone with the next one.
        for rows in [3_000, 4_500] {
            assert_eq!(view.index(rows).await.rows, rows as u64);
            let query = AuditQuery::newest(everybody(), said(&format!("of chunk {chunk}")), 5);
            let page = counted_page(&view.reader(), &memory, &query).await.unwrap();
            let wanted = ids(&placed_page(&view.reader(), &query).await.unwrap().0);
            assert_eq!((page.total, ids(&page.events)), (CHUNK as u64, wanted), "{chunk}");
        }
        let reader = view.reader();
        counts.push(sql("SELECT count(*) FROM text_chunks").fetch_scalar(&reader.pool).await.unwrap());
    }
    // The last part of the seventh makes 52,500 rows.
    assert_eq!(counts, [2, 4, 6, 8, 10, 12, 1, 3]);
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
        let page = counted_page(&view.reader(), &Memory::default(), &query).await.unwrap();
        assert_eq!((page.total, ids(&page.events)), (wanted.len() as u64, ids(&wanted)), "{filter:?}");
    }
    // More rows than are looked at one by one: the index is sure of them.
    let all = in_order(&view, &said("chunk"), Direction::Descending).await;
    for offset in [0, 12_345, 8 * CHUNK as usize - 10] {
        let query =
            AuditQuery { offset: offset as u64, ..AuditQuery::newest(everybody(), said("chunk"), 50) };
        let page = counted_page(&view.reader(), &memory, &query).await.unwrap();
        let part: Vec<_> = all.iter().skip(offset).take(50).cloned().collect();
        assert_eq!((page.total, ids(&page.events)), (8 * CHUNK as u64, ids(&part)), "{offset}");
        let (uncounted, _) = placed_page(&view.reader(), &query).await.unwrap();
        assert_eq!(ids(&uncounted), ids(&part), "{offset}");
    }
}
