//! Walks by cursor: each row of the first page's snapshot once, whatever arrives meanwhile.

use super::{Native, numbers, problem};
use crate::engine::{Engine, suite};

suite!(
    a_walk_gives_each_row_of_its_snapshot_once_while_events_arrive,
    a_page_once_read_never_changes,
    a_total_is_that_of_the_walk,
    a_cursor_of_another_query_or_log_is_refused_by_name,
);

const TIMES: [&str; 5] = [
    "2020-05-01 10:00:00",
    "2020-05-01 10:00:00",
    "2020-05-01 10:00:00.000001",
    "2020-05-03 00:00:00",
    "2019-01-01 00:00:00",
];

async fn add(native: &Native, ids: std::ops::Range<u128>) {
    let time = |id: u128| TIMES[usize::try_from(id % 5).unwrap()];
    let events: Vec<_> = ids.map(|id| native.event(id, time(id))).collect();
    native.world.publish(&events).await;
}

async fn a_walk_gives_each_row_of_its_snapshot_once_while_events_arrive(engine: Engine) {
    for (sort, limit) in [("-time", "7"), ("time", "1"), ("time", "10"), ("-time", "43")] {
        let native = Native::start(engine).await;
        add(&native, 1..44).await;
        let mut cursor: Option<String> = None;
        let mut seen = Vec::new();
        let mut new = 100;
        loop {
            let mut parameters = vec![("sort", sort), ("limit", limit), ("category", "things")];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let answer = native.answer("audit-events", &parameters).await;
            seen.extend(numbers(&answer));
            let Some(next) = answer["next"].as_str() else { break };
            cursor = Some(next.to_owned());
            // Newer ones, older ones, and ones of the very same times.
            add(&native, new..new + 5).await;
            new += 5;
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((all, seen), (43, (1..44).collect::<Vec<u64>>()), "{sort} {limit}");
    }
}

async fn a_page_once_read_never_changes(engine: Engine) {
    let native = Native::start(engine).await;
    add(&native, 1..30).await;
    let first = native.answer("audit-events", &[("limit", "10")]).await;
    let cursor = first["next"].as_str().unwrap();
    let second = native.answer("audit-events", &[("limit", "10"), ("cursor", cursor)]).await;
    add(&native, 100..130).await;
    let again = native.answer("audit-events", &[("limit", "10"), ("cursor", cursor)]).await;
    assert_eq!(again, second);
}

async fn a_total_is_that_of_the_walk(engine: Engine) {
    let native = Native::start(engine).await;
    add(&native, 1..30).await;
    let first = native.answer("audit-events", &[("limit", "10"), ("count", "true")]).await;
    assert_eq!(first["total"], 29);
    add(&native, 100..130).await;
    let cursor = first["next"].as_str().unwrap();
    let second = native.answer("audit-events", &[("cursor", cursor), ("count", "true")]).await;
    assert_eq!((&second["total"], numbers(&second).len()), (&29.into(), 19));
    let uncounted = native.answer("audit-events", &[("limit", "10")]).await;
    let cursor = uncounted["next"].as_str().unwrap();
    let late = native.get("audit-events", &[("cursor", cursor), ("count", "true")]).await;
    assert_eq!(problem(&late).1, "bad-parameter");
}

async fn a_cursor_of_another_query_or_log_is_refused_by_name(engine: Engine) {
    let native = Native::start(engine).await;
    add(&native, 1..30).await;
    let first = native.answer("audit-events", &[("limit", "10"), ("account", "somebody,x")]).await;
    let cursor = first["next"].as_str().unwrap();
    let code = async |native: &Native, parameters: &[(&str, &str)]| {
        let reply = native.get("audit-events", parameters).await;
        let (status, code) = problem(&reply);
        assert_eq!(status, 400);
        code
    };
    // The same question in other words, and another number of rows, go on.
    let same = [("account", "x"), ("account", "somebody"), ("cursor", cursor), ("limit", "3")];
    assert_eq!(native.get("audit-events", &same).await.status, 200);
    for other in [("account", "somebody"), ("sort", "time"), ("text", "x")] {
        let parameters = [other, ("cursor", cursor)];
        assert_eq!(code(&native, &parameters).await, "cursor-of-another-query", "{other:?}");
    }
    for bad in ["", "x", &cursor[1..], &format!("{cursor}A")] {
        let parameters = [("account", "somebody,x"), ("cursor", bad)];
        assert_eq!(code(&native, &parameters).await, "bad-cursor", "{bad}");
    }
    let other = Native::start(engine).await;
    add(&other, 1..30).await;
    let parameters = [("account", "somebody,x"), ("cursor", cursor)];
    assert_eq!(code(&other, &parameters).await, "cursor-of-another-log");
    let position = native.get("audit-events", &[]).await.header("annals-position").unwrap().to_owned();
    for name in ["after", "at-least"] {
        assert_eq!(code(&other, &[(name, &position)]).await, "cursor-of-another-log", "{name}");
        assert_eq!(code(&native, &[(name, cursor)]).await, "bad-cursor", "{name}");
    }
}
