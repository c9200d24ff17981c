//! Whatever is sent comes back as the dialect's own envelope: no panic, no 5xx, in time.

use std::time::{Duration, Instant};

use annals_query_api::ApiSettings;
use annals_query_api::santaba::ROUTES;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::portal::{Answer, Portal, Record, SARAH, basic};
use crate::engine::Engine;
use crate::http::Ask;
use crate::world::PASSWORD;

const TIME_LIMIT: Duration = Duration::from_secs(10);

const NAMES: &[&str] =
    &["size", "offset", "sort", "fields", "filter", "filter", "filter", "format", "v", "x"];

const VALUES: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "18446744073709551616",
    "happenedOn",
    "+id,-username",
    "*",
    "username",
    "username:\"sarah\"|x",
    "username!~\"*a*\"||ip:::1",
    "ip:10.0.0.*",
    "description~\"%25\"",
    "description~'",
    "sessionId~%5C",
    "sessionId:::empty",
    "happenedOn>:0,happenedOn<99999999999999999999",
    "happenedOn!:-1|x",
    "happenedOnLocal:x",
    "id:00000000000000000000000000000001",
    "id~*",
    "_all~\"* AND NOT (a OR b)\"",
    "_all~%00",
    "username:%00|%2500*",
    "_all!~\"%C3%9F\"",
    "_all:%FF",
    "nothing!:x",
    "3",
    "%",
];

#[derive(Clone, Debug)]
struct Anything {
    route: usize,
    behind: Vec<u8>,
    query: Vec<u8>,
    version: Option<Vec<u8>>,
    authorization: Vec<u8>,
    known: bool,
    body: Option<Vec<u8>>,
}

fn anything() -> impl Strategy<Value = Anything> {
    let pair =
        (select(NAMES), select(VALUES)).prop_map(|(name, value)| format!("{name}={value}&").into_bytes());
    let grammar = r#"filter=([a-z_]{0,4}[:!~<>|, "\\%*()]{0,3}|AND |NOT |username|_all~|happenedOn>){0,8}&"#;
    let piece = prop_oneof![
        6 => pair,
        3 => grammar.prop_map(String::into_bytes),
        1 => "[&=%+,@0-9a-fA-F]{0,6}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..8),
    ];
    let header_byte = prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff];
    let version = prop_oneof![
        6 => select(&["1", "2", "3"][..]).prop_map(|version| version.as_bytes().to_vec()),
        1 => proptest::collection::vec(header_byte.clone(), 0..4),
    ];
    let authorization = prop_oneof![
        Just(basic(SARAH, PASSWORD).into_bytes()),
        "(LMv1|Bearer|Basic) [A-Za-z0-9+/=:]{0,100}".prop_map(String::into_bytes),
        proptest::collection::vec(header_byte, 0..40),
    ];
    (
        0..ROUTES.len(),
        prop_oneof![6 => Just(Vec::new()), 1 => proptest::collection::vec(any::<u8>(), 0..6)],
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat()),
        proptest::option::weighted(0.9, version),
        authorization,
        proptest::bool::weighted(0.8),
        proptest::option::weighted(0.1, proptest::collection::vec(any::<u8>(), 0..20)),
    )
        .prop_map(|(route, behind, query, version, authorization, known, body)| Anything {
            route,
            behind,
            query,
            version,
            authorization,
            known,
            body,
        })
}

/// What would end a target, or make it another kind of target, goes in encoded; everything else goes in as it is, also
/// what the HTTP library would refuse.
fn in_target(bytes: &[u8], more: &[u8]) -> String {
    let raw = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#' && !more.contains(byte);
    bytes
        .iter()
        .map(|byte| if raw(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

impl Anything {
    fn ask(&self, token: &str) -> Ask {
        let behind = in_target(&self.behind, b"?");
        let target = format!("{}{behind}?{}", ROUTES[self.route].example, in_target(&self.query, b""));
        let mut ask = Ask::get(&target);
        if let Some(version) = &self.version {
            ask = ask.header("X-Version", version);
        }
        if let Some(body) = &self.body {
            ask = ask.body("application/json", body);
        }
        if self.known {
            ask.header("Authorization", format!("Bearer {token}"))
        } else {
            ask.header("Authorization", &self.authorization)
        }
    }
}

fn check(answer: &Answer, took: Duration) -> Result<(), TestCaseError> {
    let text = answer.reply.text();
    prop_assert!(answer.reply.status < 500, "{}", text);
    prop_assert!(took < TIME_LIMIT, "{:?}", took);
    let body = answer.reply.json();
    // The version may stand in the query, so that the answer tells which it is.
    let version = if body.get("errmsg").is_some() { 1 } else { 3 };
    Answer { version, ..answer.clone() }.check();
    prop_assert!(version == 3 || body["status"] != 1001, "{}", text);
    Ok(())
}

mod embedded {
    #[test]
    fn anything_gets_the_envelope_in_time() {
        super::anything_gets_the_envelope_in_time(crate::engine::Engine::Embedded);
    }
}

mod postgres {
    #[test]
    fn anything_gets_the_envelope_in_time() {
        super::anything_gets_the_envelope_in_time(crate::engine::Engine::Postgres);
    }
}

fn anything_gets_the_envelope_in_time(engine: Engine) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let portal = runtime.block_on(async {
        let settings = ApiSettings { rate_limit: 1_000_000, ..ApiSettings::default() };
        let portal = Portal::start_with(engine, settings).await;
        let record = Record { ip: None, session: Some("S1"), ..Record::new(1, &portal.acme, 1_400_000_000) };
        portal.world.publish(&[record.event(), Record::new(2, &portal.acme, 1_400_000_001).event()]).await;
        portal
    });
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&anything(), |anything| {
        runtime.block_on(async {
            let started = Instant::now();
            let reply = portal.world.ask(&anything.ask(&portal.token)).await;
            check(&Answer { version: 3, reply }, started.elapsed())
        })
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}
