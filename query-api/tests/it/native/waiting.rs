//! Read your writes: answers that are at least as new as a token.

use std::time::{Duration, Instant};

use annals_query_api::native::token::Token;
use serde_json::Value;

use super::{Native, numbers, problem};
use crate::engine::{Engine, suite};

suite!(
    a_view_that_is_behind_is_told_by_how_much,
    a_request_waits_until_the_view_has_come,
    a_position_that_was_reached_is_not_waited_for,
);

/// Events for every partition of the audit topic.
fn events(native: &Native, ids: std::ops::Range<u128>) -> Vec<annals_schemas::Event> {
    ids.map(|id| native.event(id, "2020-05-01 10:00:00")).collect()
}

/// A token `ahead` events ahead of the view in one partition.
async fn ahead(native: &Native, ahead: u64) -> String {
    let reply = native.get("audit-events", &[]).await;
    let mut token = Token::parse(reply.header("annals-position").unwrap()).unwrap();
    let (partition, next) = token.positions[0].clone();
    token.advance(&partition, next + ahead);
    token.text()
}

async fn a_view_that_is_behind_is_told_by_how_much(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.publish(&events(&native, 1..40)).await;
    let token = ahead(&native, 3).await;
    for path in ["audit-events", "audit-events/00000000-0000-0000-0000-000000000001"] {
        let reply = native.get(path, &[("at-least", &token), ("wait", "0")]).await;
        assert_eq!(problem(&reply), (409, "not-yet".to_owned()), "{path}");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(body["behind"], 3);
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    let started = Instant::now();
    let reply = native.get("audit-events", &[("at-least", &token), ("wait", "1")]).await;
    assert_eq!((problem(&reply).0, started.elapsed() >= Duration::from_secs(1)), (409, true));
}

async fn a_request_waits_until_the_view_has_come(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.publish(&events(&native, 1..40)).await;
    let token = ahead(&native, 1).await;
    let parameters = [("at-least", &*token), ("wait", "10"), ("limit", "1000")];
    let (answer, ()) = tokio::join!(native.answer("audit-events", &parameters), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Enough of them that each partition gets some.
        native.world.publish(&events(&native, 40..140)).await;
    });
    assert!(numbers(&answer).len() > 39);
}

async fn a_position_that_was_reached_is_not_waited_for(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.publish(&events(&native, 1..10)).await;
    let position = native.get("audit-events", &[]).await.header("annals-position").unwrap().to_owned();
    for parameters in
        [&[("at-least", &*position)][..], &[("at-least", &position), ("wait", "0")], &[("at-least", "")]]
    {
        let started = Instant::now();
        assert_eq!(native.get("audit-events", parameters).await.status, 200);
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    // Logons are of another view, which folds fewer topics and is asked for those only.
    let logons = [("at-least", &*position), ("wait", "0"), ("address", "10.0.0.1")];
    assert_eq!(native.get("logons", &logons).await.status, 200);
}
