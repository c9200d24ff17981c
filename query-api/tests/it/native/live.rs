//! The feed as it grows, over a real connection.

use std::time::Duration;

use annals_access::Author;
use annals_query_api::ApiSettings;
use annals_query_api::native::MAX_LIVE_STREAMS;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ADA, Native, number, problem};
use crate::engine::{Engine, suite};
use crate::http::Ask;

suite!(
    events_come_as_they_are_folded_and_a_cut_client_goes_on_after_any_of_them,
    a_stream_without_a_token_begins_now,
    a_stream_outlives_the_time_limit_of_requests_and_ends_with_the_server,
    a_stream_ends_when_its_caller_may_read_no_more,
    streams_are_limited,
    what_cannot_be_streamed_is_refused_as_a_problem,
);

const SOON: Duration = Duration::from_secs(20);

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    id: Option<String>,
    event: Option<u64>,
}

/// A client of a stream.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// What was read of the text.
    read: usize,
}

impl Client {
    async fn open(native: &Native, ask: &Ask) -> Self {
        let mut stream = TcpStream::connect(native.world.server).await.unwrap();
        stream.write_all(&ask.bytes()).await.unwrap();
        let mut client = Self { stream, bytes: Vec::new(), read: 0 };
        while !client.bytes.windows(4).any(|four| four == b"\r\n\r\n") {
            assert!(client.more().await, "{}", String::from_utf8_lossy(&client.bytes));
        }
        let head = String::from_utf8_lossy(&client.bytes).into_owned();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        client
    }

    /// Reads on; says whether anything came.
    async fn more(&mut self) -> bool {
        timeout(SOON, self.stream.read_buf(&mut self.bytes)).await.unwrap().unwrap() > 0
    }

    /// The text of the stream so far. The sizes of chunks stand on lines of their own, where they are no field.
    fn messages(&self) -> Vec<Message> {
        let text = String::from_utf8_lossy(&self.bytes).replace("\r\n", "\n");
        let (_, text) = text.split_once("\n\n").unwrap();
        let (whole, _) = text.rsplit_once("\n\n").unwrap_or_default();
        let field = |message: &str, name: &str| {
            message.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        whole
            .split("\n\n")
            .map(|message| Message {
                id: field(message, "id:"),
                event: field(message, "data:")
                    .map(|data| number(&serde_json::from_str::<Value>(&data).unwrap())),
            })
            .filter(|message| message.id.is_some())
            .collect()
    }

    /// The next message with an event.
    async fn event(&mut self) -> (u64, String) {
        loop {
            let messages = self.messages();
            let events: Vec<_> =
                messages.iter().filter_map(|message| Some((message.event?, message.id.clone()?))).collect();
            if let Some(event) = events.get(self.read) {
                self.read += 1;
                return event.clone();
            }
            assert!(self.more().await, "the stream has ended");
        }
    }
}

fn live(native: &Native, parameters: &[(&str, &str)]) -> Ask {
    native.asking("audit-events", parameters).header("Accept", "text/event-stream")
}

async fn publish(native: &Native, ids: std::ops::Range<u128>) {
    native.world.publish(&ids.map(|id| native.event(id, "2020-05-01 10:00:00")).collect::<Vec<_>>()).await;
}

async fn events_come_as_they_are_folded_and_a_cut_client_goes_on_after_any_of_them(engine: Engine) {
    let native = Native::start(engine).await;
    publish(&native, 1..10).await;
    let mut client = Client::open(&native, &live(&native, &[("after", ""), ("account", "somebody")])).await;
    let mut order = Vec::new();
    for _ in 1..10 {
        order.push(client.event().await);
    }
    publish(&native, 10..20).await;
    for _ in 10..20 {
        order.push(client.event().await);
    }
    let mut seen: Vec<u64> = order.iter().map(|(number, _)| *number).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..20).collect::<Vec<_>>());
    drop(client);
    // Cut after each of them, also in the middle of what came together.
    for (index, (_, id)) in order.iter().enumerate() {
        let ask = live(&native, &[("after", "")]).header("Last-Event-ID", id);
        let mut client = Client::open(&native, &ask).await;
        let mut rest: Vec<u64> = order[index + 1..].iter().map(|(number, _)| *number).collect();
        let mut again = Vec::new();
        for _ in 0..rest.len() {
            again.push(client.event().await.0);
        }
        rest.sort_unstable();
        again.sort_unstable();
        assert_eq!(again, rest, "after {index}");
    }
}

async fn a_stream_without_a_token_begins_now(engine: Engine) {
    let native = Native::start(engine).await;
    publish(&native, 1..5).await;
    let mut client = Client::open(&native, &live(&native, &[])).await;
    while client.messages().is_empty() {
        assert!(client.more().await);
    }
    // The first message is only where it begins, so that a cut before any event loses nothing.
    let beginning = client.messages()[0].clone();
    assert_eq!(beginning.event, None);
    drop(client);
    publish(&native, 5..6).await;
    let ask = live(&native, &[]).header("Last-Event-ID", beginning.id.unwrap());
    assert_eq!(Client::open(&native, &ask).await.event().await.0, 5);
}

async fn a_stream_outlives_the_time_limit_of_requests_and_ends_with_the_server(engine: Engine) {
    let limit = Duration::from_secs(5);
    let settings =
        ApiSettings { request_timeout: limit, max_concurrent_requests: 1, ..ApiSettings::default() };
    let mut native = Native::start_with(engine, settings).await;
    let mut client = Client::open(&native, &live(&native, &[("after", ""), ("account", "somebody")])).await;
    tokio::time::sleep(limit + Duration::from_secs(1)).await;
    // Nor does it take the place of a request.
    assert_eq!(native.get("audit-events", &[]).await.status, 200);
    publish(&native, 1..2).await;
    assert_eq!(client.event().await.0, 1);
    let serving = native.world.stop();
    while client.more().await {}
    timeout(SOON, serving).await.unwrap().unwrap().unwrap();
    // It ended as a stream ends, and was not cut off.
    assert!(client.bytes.ends_with(b"0\r\n\r\n"));
}

async fn a_stream_ends_when_its_caller_may_read_no_more(engine: Engine) {
    let always = ApiSettings { renew_interval: Duration::ZERO, ..ApiSettings::default() };
    let native = Native::start_with(engine, always).await;
    let mut client = Client::open(&native, &live(&native, &[])).await;
    native.world.access.disable_account(ADA, &Author::command_line()).await.unwrap();
    while client.more().await {}
    assert!(client.bytes.ends_with(b"0\r\n\r\n"));
}

async fn streams_are_limited(engine: Engine) {
    let native = Native::start(engine).await;
    let ask = live(&native, &[("after", "")]);
    let mut clients = Vec::new();
    for _ in 0..MAX_LIVE_STREAMS {
        clients.push(Client::open(&native, &ask).await);
    }
    let refused = native.world.ask(&ask).await;
    assert_eq!(problem(&refused), (429, "too-many-streams".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(clients);
    // The places come back when the server notices.
    timeout(SOON, async { while native.places_are_taken(&ask).await {} }).await.unwrap();
}

impl Native {
    /// Whether one more stream is refused.
    async fn places_are_taken(&self, ask: &Ask) -> bool {
        let mut stream = TcpStream::connect(self.world.server).await.unwrap();
        stream.write_all(&ask.bytes()).await.unwrap();
        let mut bytes = Vec::new();
        while bytes.len() < 12 {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        bytes.starts_with(b"HTTP/1.1 429")
    }
}

async fn what_cannot_be_streamed_is_refused_as_a_problem(engine: Engine) {
    let native = Native::start(engine).await;
    for other in [("sort", "time"), ("cursor", "x"), ("count", "true"), ("limit", "1")] {
        assert_eq!(problem(&native.world.ask(&live(&native, &[other])).await).0, 400, "{other:?}");
    }
    let bad = live(&native, &[]).header("Last-Event-ID", "x");
    assert_eq!(problem(&native.world.ask(&bad).await).1, "bad-cursor");
    native.world.access.disable_account(ADA, &Author::command_line()).await.unwrap();
    assert_eq!(problem(&native.world.ask(&live(&native, &[])).await).0, 401);
}
