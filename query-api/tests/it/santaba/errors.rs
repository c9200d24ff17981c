//! Paths, methods, bodies, and what cannot be answered.

use std::time::Duration;

use annals_query_api::ApiSettings;
use annals_query_api::santaba::{MAX_BODY_BYTES, ROUTES};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::portal::{Answer, LIST, NOBODY, Portal, Record, VERSIONS};
use crate::engine::{Engine, suite};
use crate::http::{self, Ask};

suite!(
    every_path_that_is_none_is_a_404_in_the_envelope,
    an_encoded_path_is_the_same_path,
    other_methods_are_told_which_are_taken,
    head_is_get_without_its_body,
    an_id_that_no_record_has_is_a_404_whatever_it_looks_like,
    without_the_permission_nothing_is_told,
    parameters_that_cannot_be_read_are_named,
    a_body_is_read_up_to_its_limit_and_not_looked_at,
    a_request_that_takes_too_long_gets_the_envelope,
    a_broken_body_is_the_clients_mistake,
);

async fn every_path_that_is_none_is_a_404_in_the_envelope(engine: Engine) {
    let portal = Portal::start(engine).await;
    for path in [
        "/santaba",
        "/santaba/",
        "/santaba/rest",
        "/santaba/rest/setting",
        "/santaba/rest/setting/accesslogs/",
        "/santaba/rest/setting/accesslogs/1/2",
        "/santaba/rest/setting/accesslogs//1",
        "/santaba/rest/setting/AccessLogs",
        "/santaba/rest//setting/accesslogs",
        "/santaba/rest/device/devices",
        "/santaba/rest/../healthz",
        "/santaba%2Frest%2Fsetting%2Faccesslogs",
        "/santaba/rest/%FF",
        "/santaba/rest/<\">",
    ] {
        for version in VERSIONS {
            let expected = if version == 1 { (404, 1069) } else { (404, 1404) };
            for method in ["GET", "POST"] {
                let ask = Ask::new(method, path).header("X-Version", version.to_string());
                let (status, code, text) = portal.ask(version, &ask).await.refusal();
                assert_eq!(((status, code), &*text), (expected, "HTTP 404 Not Found"), "{version} {path}");
            }
        }
    }
    for outside in ["/santabax/rest", "/rest/setting/accesslogs", "/SANTABA/rest"] {
        assert_eq!(
            portal.world.ask(&Ask::get(outside)).await.json()["error"],
            "nothing is here",
            "{outside}"
        );
    }
}

async fn an_encoded_path_is_the_same_path(engine: Engine) {
    let portal = Portal::start(engine).await;
    portal.world.publish(&[Record::new(1, &portal.acme, 1_400_000_000).event()]).await;
    for target in [
        "/santaba/rest/setting/%61ccesslogs",
        "/%73antaba/rest/setting/accesslogs",
        "http://any.host/santaba/rest/setting/accesslogs",
    ] {
        assert_eq!(portal.ask(3, &portal.get_path(3, target)).await.page().0, 1, "{target}");
    }
}

async fn other_methods_are_told_which_are_taken(engine: Engine) {
    let portal = Portal::start(engine).await;
    for route in ROUTES {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            for version in VERSIONS {
                let ask = Ask::new(method, route.example).header("X-Version", version.to_string());
                let answer = portal.ask(version, &ask).await;
                let expected = if version == 1 { (405, 1007) } else { (405, 1400) };
                let (status, code, text) = answer.refusal();
                assert_eq!(((status, code), &*text), (expected, "this resource takes GET only"));
                assert_eq!(answer.reply.header("allow"), Some("GET"));
            }
        }
    }
}

async fn head_is_get_without_its_body(engine: Engine) {
    let portal = Portal::start(engine).await;
    let bearer = format!("Bearer {}", portal.token);
    let ask = |method| Ask::new(method, LIST).header("X-Version", "3").header("Authorization", &bearer);
    let (get, head) = (portal.ask(3, &ask("GET")).await, portal.ask(3, &ask("HEAD")).await);
    assert_eq!((head.reply.status, head.reply.body.len()), (200, 0));
    assert_eq!(head.reply.header("content-length"), get.reply.header("content-length"));
}

async fn an_id_that_no_record_has_is_a_404_whatever_it_looks_like(engine: Engine) {
    let portal = Portal::start(engine).await;
    let long = "x".repeat(3_000);
    let zero = "0".repeat(32);
    for id in [
        &zero,
        "2415",
        "a%2Fb%20c%25",
        "%2e%2e",
        "..%2Faccesslogs",
        "%C3%A9%F0%9F%A6%80",
        "%FF%00",
        "*",
        &long,
    ] {
        for version in VERSIONS {
            let expected = if version == 1 { (200, 1069) } else { (404, 1404) };
            let answer = portal.ask(version, &portal.get_path(version, &format!("{LIST}/{id}"))).await;
            let (status, code, text) = answer.refusal();
            assert_eq!(((status, code), &*text), (expected, "No such record"), "{id}");
        }
    }
}

async fn without_the_permission_nothing_is_told(engine: Engine) {
    let portal = Portal::start(engine).await;
    portal.world.publish(&[Record::new(1, &portal.acme, 1_400_000_000).event()]).await;
    let token = portal.token_of(NOBODY, "token").await;
    let known = format!("{LIST}/{:032x}", 1);
    let unknown = format!("{LIST}/{:032x}", 2);
    let bad = format!("{LIST}?size=0");
    for target in [LIST, &bad, &known, &unknown] {
        for version in VERSIONS {
            let ask = Ask::get(target).header("X-Version", version.to_string());
            let answer = portal.ask(version, &ask.header("Authorization", format!("Bearer {token}"))).await;
            let expected = if version == 1 { (200, 1041) } else { (403, 1403) };
            let (status, code, text) = answer.refusal();
            assert_eq!(((status, code), &*text), (expected, "Permission denied"), "{version} {target}");
        }
    }
}

async fn parameters_that_cannot_be_read_are_named(engine: Engine) {
    let portal = Portal::start(engine).await;
    let many = "a&".repeat(1_001);
    for (query, text) in [
        ("size=ten", "parameter `size` must be a whole number"),
        ("size=0", "parameter `size` must be 1 or more"),
        ("offset=-1", "parameter `offset` must be a whole number"),
        ("sort=shoeSize", "parameter `sort` cannot be `shoeSize`"),
        ("filter=username", "invalid filter: an operator is missing at character 9"),
        ("filter=a:1&filter=b:%22", "invalid filter: a quote is not closed at character 3"),
        (
            "filter=_all~%22a+AND%22",
            "invalid filter: a text is missing beside `AND`, `OR` or `NOT` in `_all`",
        ),
        (&many, "more than 1000 parameters"),
    ] {
        assert_eq!(portal.refusal(query).await, (400, 1400, text.to_owned()), "{query}");
        let answer: Answer = portal.ask(1, &portal.get(1, query)).await;
        assert_eq!(answer.refusal(), (200, 1007, text.to_owned()), "{query}");
    }
    let nested = format!("filter=_all~%22{}a{}%20AND%20b%22", "(".repeat(65), ")".repeat(65));
    assert_eq!(portal.refusal(&nested).await.2, "invalid filter: `_all` is nested deeper than 64");
    let long = format!("filter=username:{}", vec!["a"; 1_001].join("|"));
    assert_eq!(portal.refusal(&long).await.2, "invalid filter: more than 1000 conditions");
}

async fn a_body_is_read_up_to_its_limit_and_not_looked_at(engine: Engine) {
    let portal = Portal::start(engine).await;
    let ask = |version, size| portal.get(version, "").form("&".repeat(size));
    assert_eq!(portal.ask(3, &ask(3, MAX_BODY_BYTES)).await.page().0, 0);
    assert_eq!(portal.ask(3, &portal.get(3, "").form("size=0")).await.page().0, 0);
    for size in [MAX_BODY_BYTES + 1, 4 * 1024 * 1024] {
        let text = "the body is longer than 65536 bytes".to_owned();
        assert_eq!(portal.ask(3, &ask(3, size)).await.refusal(), (413, 1413, text.clone()));
        assert_eq!(portal.ask(1, &ask(1, size)).await.refusal(), (200, 1007, text));
    }
}

async fn a_request_that_takes_too_long_gets_the_envelope(engine: Engine) {
    let settings = ApiSettings { request_timeout: Duration::from_millis(50), ..ApiSettings::default() };
    let portal = Portal::start_with(engine, settings).await;
    for (version, code) in [(1, 1101), (3, 1500)] {
        let mut stream = TcpStream::connect(portal.world.server).await.unwrap();
        let head =
            format!("GET {LIST} HTTP/1.1\r\nHost: x\r\nX-Version: {version}\r\nContent-Length: 9\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = Answer { version, reply: http::read(&mut stream).await };
        answer.check();
        assert_eq!(answer.refusal(), (503, code, "the request took too long".to_owned()));
    }
}

async fn a_broken_body_is_the_clients_mistake(engine: Engine) {
    let portal = Portal::start(engine).await;
    let mut stream = TcpStream::connect(portal.world.server).await.unwrap();
    let head = format!(
        "GET {LIST} HTTP/1.1\r\nHost: x\r\nX-Version: 2\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = Answer { version: 2, reply: http::read(&mut stream).await };
    answer.check();
    assert_eq!(answer.refusal(), (400, 1400, "the body cannot be read".to_owned()));
}
