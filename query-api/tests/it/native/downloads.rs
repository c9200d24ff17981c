//! Whole queries as files.

use std::time::Duration;

use annals_access::Author;
use annals_query_api::ApiSettings;
use annals_query_api::native::csv;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{ADA, Native, dechunked, number, problem, telling};
use crate::engine::{Engine, suite};
use crate::events::Action;
use crate::http;

suite!(
    a_download_has_every_event_in_order_in_both_formats,
    cells_that_a_spreadsheet_would_run_are_texts,
    a_download_that_is_cut_says_so_in_its_last_line,
    a_download_ends_where_its_caller_may_read_no_more,
    the_header_asks_for_a_file_as_well_as_the_parameter,
    what_does_not_go_together_with_a_file_is_refused,
);

async fn file(native: &Native, parameters: &[(&str, &str)]) -> String {
    let reply = native.get("audit-events", parameters).await;
    assert_eq!(reply.status, 200);
    let (text, whole) = dechunked(&reply);
    assert!(whole);
    text
}

/// Cells of the lines of a file without line ends in cells.
fn column(text: &str, name: &str) -> Vec<String> {
    let at = csv::COLUMNS.iter().position(|column| *column == name).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
}

async fn a_download_has_every_event_in_order_in_both_formats(engine: Engine) {
    let native = Native::start(engine).await;
    // More than two pages.
    let events: Vec<_> = (1..2_105).map(|id| native.event(id, "2020-05-01 10:00:00")).collect();
    native.world.publish(&events).await;
    let text = file(&native, &[("format", "ndjson"), ("sort", "time")]).await;
    let numbers: Vec<u64> =
        text.lines().map(|line| number(&serde_json::from_str::<Value>(line).unwrap())).collect();
    assert_eq!(numbers, (1..2_105).collect::<Vec<_>>());
    let text = file(&native, &[("format", "csv"), ("sort", "time")]).await;
    assert!(text.starts_with(&csv::header()) && text.ends_with("\r\n"));
    let ids = column(&text, "id");
    assert_eq!((ids.len(), &*ids[0]), (2_104, "00000000-0000-0000-0000-000000000001"));
    // A page of JSON and a row of the file say the same.
    let first = native.answer("audit-events", &[("sort", "time"), ("limit", "1")]).await;
    assert_eq!(column(&text, "time")[0], first["events"][0]["time"].as_str().unwrap());
    assert_eq!(file(&native, &[("format", "csv"), ("account", "nobody")]).await, csv::header());
    assert_eq!(file(&native, &[("format", "ndjson"), ("account", "nobody")]).await, "");
}

async fn cells_that_a_spreadsheet_would_run_are_texts(engine: Engine) {
    let native = Native::start(engine).await;
    let event =
        Action { account: "=cmd|' /C calc'!A0", ..Action::new(1, native.acme.id, "2020-05-01 10:00:00") };
    native.world.publish(&[telling(event.event(), "@SUM(A1)", Some("-1"))]).await;
    let text = file(&native, &[("format", "csv")]).await;
    assert_eq!(column(&text, "account"), ["'=cmd|' /C calc'!A0"]);
    assert_eq!((&*column(&text, "description")[0], &*column(&text, "sign_in")[0]), ("'@SUM(A1)", "'-1"));
    // JSON needs no such care.
    assert!(file(&native, &[("format", "ndjson")]).await.contains("\"account\":\"=cmd|"));
}

/// Far more than the buffers between server and client hold.
async fn publish_much(native: &Native) {
    let text = "x".repeat(8 * 1024);
    let events: Vec<_> =
        (1..2_500).map(|id| telling(native.event(id, "2020-05-01 10:00:00"), &text, None)).collect();
    for some in events.chunks(250) {
        native.world.publish(some).await;
    }
}

/// A download that has begun, and cannot go on: nobody reads.
async fn begun(native: &Native, format: &str) -> TcpStream {
    let mut stream = TcpStream::connect(native.world.server).await.unwrap();
    stream.write_all(&native.asking("audit-events", &[("format", format)]).bytes()).await.unwrap();
    assert_ne!(stream.peek(&mut [0]).await.unwrap(), 0);
    stream
}

async fn assert_incomplete(mut stream: TcpStream, mark: &str) {
    let (text, whole) = dechunked(&http::read(&mut stream).await);
    assert!(whole);
    assert!(text.ends_with(mark), "{}", &text[text.len().saturating_sub(100)..]);
    assert!(text.lines().count() < 2_500);
}

async fn a_download_that_is_cut_says_so_in_its_last_line(engine: Engine) {
    for (format, mark) in
        [("csv", "# incomplete: the server stops\r\n"), ("ndjson", "{\"incomplete\":\"the server stops\"}\n")]
    {
        let mut native = Native::start(engine).await;
        publish_much(&native).await;
        let stream = begun(&native, format).await;
        let serving = native.world.stop();
        assert_incomplete(stream, mark).await;
        serving.await.unwrap().unwrap();
    }
}

async fn a_download_ends_where_its_caller_may_read_no_more(engine: Engine) {
    let always = ApiSettings { renew_interval: Duration::ZERO, ..ApiSettings::default() };
    let native = Native::start_with(engine, always).await;
    publish_much(&native).await;
    let stream = begun(&native, "csv").await;
    native.world.access.disable_account(ADA, &Author::command_line()).await.unwrap();
    assert_incomplete(stream, "# incomplete: wrong or missing credentials\r\n").await;
}

async fn the_header_asks_for_a_file_as_well_as_the_parameter(engine: Engine) {
    let native = Native::start(engine).await;
    for (accept, media_type, name) in [
        ("text/csv", "text/csv; charset=utf-8; header=present", "audit-events.csv"),
        ("application/x-ndjson", "application/x-ndjson", "audit-events.ndjson"),
    ] {
        let ask = native.asking("audit-events", &[]).header("Accept", accept);
        let reply = native.world.ask(&ask).await;
        assert_eq!(reply.header("content-type"), Some(media_type));
        let disposition = format!("attachment; filename=\"{name}\"");
        assert_eq!(reply.header("content-disposition"), Some(&*disposition));
        assert!(reply.header("annals-position").is_some());
    }
    let ask = native.asking("audit-events", &[("format", "json")]).header("Accept", "text/csv");
    assert!(native.world.ask(&ask).await.json()["events"].is_array());
}

async fn what_does_not_go_together_with_a_file_is_refused(engine: Engine) {
    let native = Native::start(engine).await;
    for other in [("cursor", "x"), ("count", "true"), ("limit", "5")] {
        let reply = native.get("audit-events", &[("format", "csv"), other]).await;
        assert_eq!(problem(&reply), (400, "bad-parameter".to_owned()), "{other:?}");
    }
}
