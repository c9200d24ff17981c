//! What is refused before anybody looks for what was asked, in the form of the dialect that was asked.

use annals_query_api::ApiSettings;
use annals_query_api::LateViews;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::engine::{Engine, suite};
use crate::http::{Ask, Reply, read};
use crate::world::World;

suite!(
    a_url_that_is_too_long_is_told_in_the_form_of_the_dialect,
    a_url_may_be_as_long_as_is_told,
    what_follows_a_url_that_is_too_long_is_read_as_ever,
    without_views_every_dialect_says_so_in_its_own_form,
);

/// The longest URL that is taken.
const LONGEST: usize = 65_000;

const LIST: &str = "/santaba/rest/setting/accesslogs";

/// A path of each form of answers, with a header that the form depends on.
const FORMS: [(&str, Option<&str>); 8] = [
    ("/papi/ping", None),
    ("/papi/ping.xml", None),
    (LIST, None),
    (LIST, Some("1")),
    (LIST, Some("2")),
    (LIST, Some("3")),
    ("/v1/audit-events", None),
    ("/elsewhere", None),
];

/// A target of so many bytes.
fn target(path: &str, bytes: usize) -> String {
    format!("{path}?{}", "x".repeat(bytes - path.len() - 1))
}

fn ask(target: &str, version: Option<&str>) -> Ask {
    let ask = Ask::get(target);
    version.into_iter().fold(ask, |ask, version| ask.header("X-Version", version))
}

/// The body of a failure as its dialect writes it.
fn body(reply: &Reply) -> Value {
    match reply.header("content-type") {
        Some("application/xml; charset=utf-8") => json!(reply.text()),
        Some("application/problem+json") => serde_json::from_slice(&reply.body).unwrap(),
        _ => reply.json(),
    }
}

/// A failure of papi, of the versions of santaba, and of the native API, in the order of [`FORMS`].
fn failures(papi: (u16, &str), santaba: [(u16, &str); 2], native: &Value) -> [Value; 7] {
    let first = json!({"status": santaba[0].0, "errmsg": santaba[0].1, "data": null});
    let later = json!({"errorMessage": santaba[1].1, "errorCode": santaba[1].0, "errorDetail": null});
    let (code, text) = papi;
    let xml =
        format!("<result><success>0</success><error_code>{code}</error_code><error>{text}</error></result>");
    [
        json!({"success": 0, "error_code": code, "error": text}),
        json!(xml),
        first.clone(),
        first,
        later.clone(),
        later,
        native.clone(),
    ]
}

async fn a_url_that_is_too_long_is_told_in_the_form_of_the_dialect(engine: Engine) {
    let world = World::start(engine).await;
    let text = "the URL is longer than 65000 bytes";
    let in_papi = format!("{text}; send parameters in a form body");
    let problem = json!({"type": "urn:annals:problem:target-too-long", "title": "The URL is too long", "status": 414,
        "detail": text, "code": "target-too-long"});
    let mut expected = failures((3005, &in_papi), [(1007, text), (1400, text)], &problem).to_vec();
    expected.push(json!({ "error": text }));
    // One more than is taken; what the HTTP library would still take, and would not; what it has no room for.
    for bytes in [LONGEST + 1, 65_534, 65_535, 200_000, 1_000_000] {
        for ((path, version), expected) in FORMS.into_iter().zip(&expected) {
            let reply = world.ask(&ask(&target(path, bytes), version)).await;
            assert_eq!((reply.status, &body(&reply)), (414, expected), "{path} {version:?} {bytes}");
        }
    }
    // Bytes that belong encoded count three times, and the last one may be cut anywhere.
    for letter in ["<", "ü", "名", "😀"] {
        let reply = world.ask(&Ask::get(&format!("/papi/ping?{}", letter.repeat(LONGEST)))).await;
        assert_eq!((reply.status, reply.error().0), (414, 3005), "{letter}");
    }
    // The version may stand in what is left of the query; with another one nothing can be said.
    let named = world.ask(&Ask::get(&target(&format!("{LIST}?v=1&"), 1_000_000))).await;
    assert_eq!(named.json()["status"], 1007);
    let lost = world.ask(&Ask::get(&format!("{}&v=3", target(LIST, 1_000_000)))).await;
    assert_eq!(lost.json()["status"], 1007);
    let path = world.ask(&Ask::get(&format!("/papi/{}", "x".repeat(1_000_000)))).await;
    assert_eq!((path.status, path.error().0), (414, 3005));
    let absolute = world.ask(&Ask::get(&target("http://any.host/v1/logons", LONGEST + 1))).await;
    assert_eq!(absolute.status, 414);
}

async fn a_url_may_be_as_long_as_is_told(engine: Engine) {
    let world = World::start(engine).await;
    for (path, version) in FORMS {
        let reply = world.ask(&ask(&target(path, LONGEST), version)).await;
        assert_ne!(reply.status, 414, "{path}");
    }
    assert_ne!(world.ask(&Ask::get(&target("http://any.host/v1/logons", LONGEST))).await.status, 414);
    // A fragment, which belongs to no request, is not counted.
    let fragment = format!("/healthz#{}", "x".repeat(200_000));
    assert_eq!(world.ask(&Ask::get(&fragment)).await.status, 200);
}

async fn what_follows_a_url_that_is_too_long_is_read_as_ever(engine: Engine) {
    let world = World::start(engine).await;
    let mut stream = TcpStream::connect(world.server).await.unwrap();
    let long = target("/healthz", 300_000);
    let requests = [
        format!(
            "POST {long} HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n\r\nGET /papi/ping HTTP/1.1\r\n\r\n"
        ),
        "GET /nowhere?<> HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    stream.write_all(requests.concat().as_bytes()).await.unwrap();
    let answers = read(&mut stream).await;
    let text = [b"HTTP/1.1 414 \r\n\r\n", answers.body.as_slice()].concat();
    let answers = String::from_utf8(text).unwrap();
    let statuses: Vec<&str> = answers
        .match_indices("HTTP/1.1 ")
        .map(|(start, found)| &answers[start + found.len()..][..3])
        .collect();
    assert_eq!(statuses, ["414", "404"], "{answers}");
}

async fn without_views_every_dialect_says_so_in_its_own_form(engine: Engine) {
    let settings = ApiSettings::default();
    let world = World::start_with(engine, settings, |state| state.views = LateViews::default()).await;
    let text = "Apologies, service is temporarily unavailable. Please try again later.";
    let papi = "temporarily unavailable, try again later";
    let problem = json!({"type": "urn:annals:problem:unavailable", "title": "The server cannot answer now",
        "status": 503, "detail": "no projector has made the views yet; try again", "code": "unavailable"});
    let expected = failures((3015, papi), [(1001, text), (1500, text)], &problem);
    for ((path, version), expected) in FORMS.into_iter().zip(&expected) {
        let reply = world.ask(&ask(path, version)).await;
        assert_eq!((reply.status, &body(&reply)), (503, expected), "{path} {version:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        // Clients of santaba sleep and repeat silently when they are told how long.
        let native = path.starts_with("/v1/");
        assert_eq!(reply.header("retry-after"), native.then_some("1"), "{path}");
        assert_eq!(reply.header("x-rate-limit-remaining"), (path == LIST).then_some("6000"), "{path}");
    }
    assert_eq!(world.ask(&Ask::get("/elsewhere")).await.status, 404);
    assert_eq!(world.ask(&Ask::get("/healthz")).await.status, 200);
    let ready = world.ask(&Ask::get("/readyz")).await;
    let waiting = json!({"status": "waiting for a projector to make the views"});
    assert_eq!((ready.status, ready.json()), (503, waiting));
}
