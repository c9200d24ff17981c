//! Whatever is sent to a function comes back as the envelope: no panic, no 5xx, in time.

use std::time::{Duration, Instant};

use annals_access::Permission;
use annals_query_api::papi::ROUTES;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::engine::Engine;
use crate::events::{Action, logon};
use crate::http::{Ask, Reply};
use crate::world::{PASSWORD, World};

const ADA: &str = "ada@acme.example";
const TIME_LIMIT: Duration = Duration::from_secs(10);

const NAMES: &[&str] = &[
    "username",
    "password",
    "timezone",
    "time_zone",
    "start_time",
    "end_time",
    "orderby",
    "max_results",
    "offset_results",
    "accounts",
    "affected_customers",
    "source_ips",
    "action_types",
    "entity_types",
    "portal_entity_ids",
    "audit_event_id",
    "ip_address",
    "lookup_start",
    "lookup_end",
    "customer",
    "x",
];

const VALUES: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "18446744073709551616",
    "ada%40acme.example",
    "acme",
    "UTC",
    "Asia/Taipei",
    "Etc/GMT+8",
    "2020-05-01",
    "2020-05-01+10:00:00",
    "0001-01-01",
    "9999-12-31T23:59:59.999999",
    "2020-02-30",
    "ts+DESC",
    "account,ts",
    "customer+desc",
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "somebody,bob",
    "THING_DONE",
    "00000000000000000000000000000001",
    "%00",
    "%FF",
    "%",
    "true",
    "'",
    "%27+OR+1=1--",
];

#[derive(Clone, Debug)]
struct Anything {
    route: usize,
    suffix: &'static str,
    method: &'static str,
    query: Vec<u8>,
    body: Option<(String, Vec<u8>)>,
    cookie: Vec<u8>,
    signed_in: bool,
}

fn anything() -> impl Strategy<Value = Anything> {
    let pair =
        (select(NAMES), select(VALUES)).prop_map(|(name, value)| format!("{name}={value}&").into_bytes());
    let piece = || {
        prop_oneof![
            6 => pair.clone(),
            1 => "[&=%+,@0-9a-fA-F]{0,6}".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..8),
        ]
    };
    let form = || proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat());
    let content_type = prop_oneof![
        4 => Just("application/x-www-form-urlencoded".to_owned()),
        1 => "[ -~]{0,16}",
    ];
    let cookie_byte = prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff];
    (
        0..ROUTES.len(),
        select(&["", ".json", ".xml"][..]),
        select(&["GET", "POST"][..]),
        form(),
        proptest::option::of((content_type, form())),
        prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(cookie_byte, 0..40),
            "(; ?)?PHPSESSID=[0-9a-f\"=; ]{0,70}".prop_map(String::into_bytes),
        ],
        any::<bool>(),
    )
        .prop_map(|(route, suffix, method, query, body, cookie, signed_in)| Anything {
            route,
            suffix,
            method,
            query,
            body,
            cookie,
            signed_in,
        })
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
        let target = format!("/papi/{}{}?{query}", ROUTES[self.route].name, self.suffix);
        let mut ask = Ask::new(self.method, &target);
        if let Some((content_type, body)) = &self.body {
            ask = ask.body(content_type, body);
        }
        if self.signed_in { ask.cookie(cookie) } else { ask.header("Cookie", &self.cookie) }
    }
}

fn check(reply: &Reply, suffix: &str, took: Duration) -> Result<(), TestCaseError> {
    prop_assert_eq!(reply.status, 200);
    prop_assert!(took < TIME_LIMIT, "{:?}", took);
    let text = reply.text();
    prop_assert_eq!(text.contains("Permission denied"), text.contains("3001"), "{}", text);
    if suffix == ".xml" {
        let document = roxmltree::Document::parse(text).unwrap();
        let root = document.root_element();
        let names: Vec<_> = root.children().map(|node| node.tag_name().name()).collect();
        prop_assert!(
            names == ["success", "data"] || names == ["success", "error_code", "error"],
            "{:?}",
            names
        );
    } else {
        let answer: Value = serde_json::from_str(text).unwrap();
        let whole = match answer["success"].as_u64() {
            Some(1) => answer.get("data").is_some(),
            Some(0) => answer["error_code"].is_u64() && answer["error"].is_string(),
            _ => false,
        };
        prop_assert!(whole, "{}", text);
    }
    Ok(())
}

mod embedded {
    #[test]
    fn any_query_body_and_cookie_get_the_envelope_in_time() {
        super::any_query_body_and_cookie_get_the_envelope_in_time(crate::engine::Engine::Embedded);
    }
}

mod postgres {
    #[test]
    fn any_query_body_and_cookie_get_the_envelope_in_time() {
        super::any_query_body_and_cookie_get_the_envelope_in_time(crate::engine::Engine::Postgres);
    }
}

fn any_query_body_and_cookie_get_the_envelope_in_time(engine: Engine) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(async {
        let world = World::start(engine).await;
        let acme = world.customer("acme").await;
        world.account(ADA, &acme, &[Permission::ManageUsers, Permission::ViewAppliances]).await;
        world
            .publish(&[
                Action::new(1, acme.id, "2020-05-01 10:00:00").event(),
                logon(2, acme.id, "2020-05-01 10:00:00", 3, "bob", "10.0.0.1"),
            ])
            .await;
        world
    });
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&anything(), |anything| {
        runtime.block_on(async {
            let cookie = if anything.signed_in { world.cookie(ADA).await } else { String::new() };
            let started = Instant::now();
            let reply = world.ask(&anything.ask(&cookie)).await;
            check(&reply, anything.suffix, started.elapsed())
        })
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
    assert!(!PASSWORD.is_empty());
}
