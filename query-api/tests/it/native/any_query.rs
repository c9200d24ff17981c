//! Whatever is asked comes back as an answer or a problem: no panic, no 5xx, in time.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use super::Native;
use crate::engine::Engine;
use crate::events::{Action, logon};
use crate::http::{Ask, Reply};

const TIME_LIMIT: Duration = Duration::from_secs(10);

const PATHS: &[&str] = &[
    "audit-events",
    "audit-events",
    "audit-events",
    "audit-events/00000000-0000-0000-0000-000000000001",
    "audit-events/%00",
    "logons",
    "openapi.json",
    "nothing",
];

const NAMES: &[&str] = &[
    "start",
    "end",
    "customer",
    "account",
    "actor",
    "address",
    "action",
    "category",
    "severity",
    "entity-type",
    "entity",
    "description",
    "text",
    "sign-in",
    "sort",
    "limit",
    "cursor",
    "count",
    "format",
    "after",
    "at-least",
    "x",
];

const VALUES: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "18446744073709551616",
    "somebody,bob",
    "acme",
    "2020-05-01T10:00:00Z",
    "0000-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999999-23:59",
    "2020-02-30T00:00:00Z",
    "-time",
    "time",
    "true",
    "csv",
    "ndjson",
    "json",
    "info,ERROR",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "00000000000000000000000000000001",
    "%00",
    "%FF",
    "%",
    "%25",
    "_",
    "'",
    "%22",
    "*",
    "\\,",
    "%27+OR+1=1--",
    "%C4%B0",
    "%F0%9F%A6%80",
    "AQEA",
];

#[derive(Clone, Debug)]
struct Anything {
    path: &'static str,
    query: Vec<u8>,
    accept: Option<&'static str>,
    signed_in: bool,
}

fn anything() -> impl Strategy<Value = Anything> {
    let pair =
        (select(NAMES), select(VALUES)).prop_map(|(name, value)| format!("{name}={value}&").into_bytes());
    let piece = prop_oneof![
        8 => pair,
        1 => "[&=%+,@0-9a-fA-F]{0,6}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    let query = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    // No live streams: they do not end.
    let accept = proptest::option::of(select(&["*/*", "text/csv", "application/x-ndjson", "x/y;q=2,;,"][..]));
    (select(PATHS), query, accept, proptest::bool::weighted(0.9))
        .prop_map(|(path, query, accept, signed_in)| Anything { path, query, accept, signed_in })
}

impl Anything {
    fn ask(&self, cookie: &str) -> Ask {
        // What the HTTP library refuses to have in a target goes in encoded; everything else goes in as it is.
        let query: String = self
            .query
            .iter()
            .map(|byte| match byte {
                b'#' | b'"' | b'<' | b'>' | 0..=0x20 | 0x7f.. => format!("%{byte:02X}"),
                _ => char::from(*byte).to_string(),
            })
            .collect();
        let mut ask = Ask::get(&format!("/v1/{}?{query}", self.path));
        if let Some(accept) = self.accept {
            ask = ask.header("Accept", accept);
        }
        if self.signed_in { ask.cookie(cookie) } else { ask }
    }
}

fn check(reply: &Reply, took: Duration) -> Result<(), TestCaseError> {
    prop_assert!(took < TIME_LIMIT, "{:?}", took);
    prop_assert!(reply.status < 500, "{}", reply.text());
    if reply.status == 200 {
        return Ok(());
    }
    prop_assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_slice(&reply.body).unwrap();
    prop_assert_eq!(&problem["status"], &Value::from(reply.status));
    prop_assert!(problem["code"].is_string() && problem["detail"].is_string(), "{}", problem);
    Ok(())
}

mod embedded {
    #[test]
    fn any_query_gets_an_answer_or_a_problem_in_time() {
        super::any_query_gets_an_answer_or_a_problem_in_time(crate::engine::Engine::Embedded);
    }
}

mod postgres {
    #[test]
    fn any_query_gets_an_answer_or_a_problem_in_time() {
        super::any_query_gets_an_answer_or_a_problem_in_time(crate::engine::Engine::Postgres);
    }
}

fn any_query_gets_an_answer_or_a_problem_in_time(engine: Engine) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let native = runtime.block_on(async {
        let native = Native::start(engine).await;
        native
            .world
            .publish(&[
                Action::new(1, native.acme.id, "2020-05-01 10:00:00").event(),
                logon(2, native.acme.id, "2020-05-01 10:00:00", 3, "bob", "10.0.0.1"),
            ])
            .await;
        native
    });
    let config = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&anything(), |anything| {
        runtime.block_on(async {
            let started = Instant::now();
            let reply = native.world.ask(&anything.ask(&native.cookie)).await;
            check(&reply, started.elapsed())
        })
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}
