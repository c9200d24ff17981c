//! Targets with bytes that belong encoded, as curl sends what was typed: each gets the envelope, and means what was
//! typed.

use annals_access::Permission;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{Engine, suite};
use crate::events::Action;
use crate::world::World;

suite!(
    every_query_gets_the_envelope_on_one_kept_connection,
    raw_bytes_after_a_body_are_encoded_and_the_body_is_not,
    a_raw_value_means_the_same_as_an_encoded_one,
    a_target_that_comes_byte_by_byte_gets_the_envelope,
    after_a_chunked_body_raw_bytes_and_long_urls_get_the_bare_refusals_of_the_library,
);

const ADA: &str = "ada@acme.example";

/// What curl does not encode, and bytes that are no UTF-8.
const RAW: &[&[u8]] = &[
    b"\"",
    b"<",
    b">",
    b"<>",
    b"`",
    b"{|}",
    b"^\\",
    b"\x01\x7f",
    b"\xff",
    b"\xfc",
    b"\xe5\x90",
    b"\xed\xa0\x80",
    "ü名😀".as_bytes(),
];

/// A connection that is kept.
struct Kept {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Kept {
    async fn open(world: &World) -> Self {
        Self { stream: TcpStream::connect(world.server).await.unwrap(), received: Vec::new() }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Status and body of the next answer, by its length.
    async fn answer(&mut self) -> (u16, Vec<u8>) {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.received[..end].to_vec()).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let length: usize = length.parse().unwrap();
                if self.received.len() >= end + 4 + length {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    let body = self.received[end + 4..end + 4 + length].to_vec();
                    self.received.drain(..end + 4 + length);
                    return (status, body);
                }
            }
            let shown = String::from_utf8_lossy(&self.received).into_owned();
            assert_ne!(self.stream.read_buf(&mut self.received).await.unwrap(), 0, "{shown}");
        }
    }

    /// Status and envelope of the next answer.
    async fn envelope(&mut self) -> (u16, Value) {
        let (status, body) = self.answer().await;
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn expect(&mut self, data: Value) {
        assert_eq!(self.envelope().await, (200, json!({"success": 1, "data": data})));
    }
}

fn get(path_and_query: &[u8], cookie: &str) -> Vec<u8> {
    let head = format!(" HTTP/1.1\r\nHost: x\r\nCookie: PHPSESSID={cookie}\r\n\r\n");
    [b"GET ", path_and_query, head.as_bytes()].concat()
}

fn post(query: &[u8], cookie: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        " HTTP/1.1\r\nHost: x\r\nCookie: PHPSESSID={cookie}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [b"POST /papi/ping?", query, head.as_bytes(), body].concat()
}

async fn world(engine: Engine) -> (World, String) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    world.publish(&[Action::new(1, acme.id, "2020-05-01 10:00:00").event()]).await;
    let cookie = world.cookie(ADA).await;
    (world, cookie)
}

async fn every_query_gets_the_envelope_on_one_kept_connection(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let mut kept = Kept::open(&world).await;
    for raw in RAW {
        let target = [b"/papi/auditlog/get_events?accounts=", *raw].concat();
        kept.send(&get(&target, &cookie)).await;
        kept.expect(json!([])).await;
        kept.send(&get(&[b"/papi/ping?", *raw, b"=", *raw].concat(), &cookie)).await;
        kept.expect(json!("pong")).await;
        kept.send(&get(&[b"/papi/", *raw].concat(), &cookie)).await;
        let (status, envelope) = kept.envelope().await;
        assert_eq!((status, &envelope["success"], &envelope["error_code"]), (404, &json!(0), &json!(3007)));
        kept.send(&get(&[b"http://x/papi/ping?", *raw].concat(), &cookie)).await;
        kept.expect(json!("pong")).await;
    }
}

async fn raw_bytes_after_a_body_are_encoded_and_the_body_is_not(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let mut kept = Kept::open(&world).await;
    for raw in RAW {
        // A body that looks like a request.
        let body = [b"GET /papi/ping?", *raw, b" HTTP/1.1\r\n\r\n"].concat();
        kept.send(&post(b"a=b", &cookie, &body)).await;
        kept.expect(json!("pong")).await;
        kept.send(&get(&[b"/papi/ping?", *raw].concat(), &cookie)).await;
        kept.expect(json!("pong")).await;
        // In one write, so that the body and the next request come together.
        let both = [post(raw, &cookie, &body), get(&[b"/papi/ping?", *raw].concat(), &cookie)].concat();
        kept.send(&both).await;
        kept.expect(json!("pong")).await;
        kept.expect(json!("pong")).await;
    }
}

async fn a_raw_value_means_the_same_as_an_encoded_one(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let mut kept = Kept::open(&world).await;
    let mut errors = Vec::new();
    for zone in ["<\">ü", "%3C%22%3E%C3%BC"] {
        kept.send(&get(format!("/papi/auditlog/get_events?timezone={zone}").as_bytes(), &cookie)).await;
        errors.push(kept.envelope().await);
    }
    assert_eq!(errors[0].1["error_code"], 3005);
    assert_eq!(errors[0].1["error"], "unknown time zone `<\">ü`");
    assert_eq!(errors[0], errors[1]);
}

async fn a_target_that_comes_byte_by_byte_gets_the_envelope(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let mut kept = Kept::open(&world).await;
    kept.stream.set_nodelay(true).unwrap();
    for byte in get("/papi/ping?<\u{540d}>\"".as_bytes(), &cookie) {
        kept.send(&[byte]).await;
    }
    kept.expect(json!("pong")).await;
}

async fn after_a_chunked_body_raw_bytes_and_long_urls_get_the_bare_refusals_of_the_library(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let chunked = format!(
        "POST /papi/ping?< HTTP/1.1\r\nHost: x\r\nCookie: PHPSESSID={cookie}\r\n\
         Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n"
    );
    let long = format!("/papi/ping?{}", "a".repeat(70_000));
    for (refused, status) in [("/papi/ping?<", 400), (long.as_str(), 414)] {
        let mut kept = Kept::open(&world).await;
        kept.send(chunked.as_bytes()).await;
        kept.expect(json!("pong")).await;
        kept.send(&get(b"/papi/ping?%3C", &cookie)).await;
        kept.expect(json!("pong")).await;
        kept.send(&get(refused.as_bytes(), &cookie)).await;
        assert_eq!(kept.answer().await, (status, Vec::new()));
    }
}
