//! How often a customer may ask.

use std::time::Duration;

use annals_access::Permission;
use annals_query_api::ApiSettings;

use super::portal::{Answer, LIST, Portal, VERSIONS};
use crate::engine::{Engine, suite};
use crate::http::Ask;

suite!(
    beyond_the_limit_it_is_429_until_the_minute_is_over,
    the_limit_is_of_a_customer_and_an_endpoint,
    every_answer_says_what_is_left,
);

const BOB: &str = "bob@acme.example";
const EVE: &str = "eve@other.example";

async fn portal(engine: Engine, rate_limit: u32) -> Portal {
    let portal = Portal::start_with(engine, ApiSettings { rate_limit, ..ApiSettings::default() }).await;
    portal.world.account(BOB, &portal.acme, &[]).await;
    portal.world.account(EVE, &portal.other, &[Permission::ViewAuditLog]).await;
    portal
}

fn left(answer: &Answer) -> u32 {
    answer.reply.header("x-rate-limit-remaining").unwrap().parse().unwrap()
}

async fn beyond_the_limit_it_is_429_until_the_minute_is_over(engine: Engine) {
    let portal = portal(engine, 3).await;
    for remaining in [2, 1, 0] {
        let answer = portal.ask(3, &portal.get(3, "")).await;
        assert_eq!((answer.page().0, left(&answer)), (0, remaining));
        assert_eq!(answer.reply.header("x-rate-limit-limit"), Some("3"));
    }
    for version in VERSIONS {
        let answer = portal.ask(version, &portal.get(version, "")).await;
        assert_eq!(answer.refusal(), (429, 1429, "Too many requests".to_owned()));
        assert_eq!(left(&answer), 0);
    }
    portal.world.clock.advance(Duration::from_secs(60));
    assert_eq!(left(&portal.ask(1, &portal.get(1, "")).await), 2);
}

async fn the_limit_is_of_a_customer_and_an_endpoint(engine: Engine) {
    let portal = portal(engine, 4).await;
    let (bob, eve) = (portal.token_of(BOB, "token").await, portal.token_of(EVE, "token").await);
    let by = |method, token: &str| {
        let ask = Ask::new(method, LIST).header("X-Version", "3");
        ask.header("Authorization", format!("Bearer {token}"))
    };
    assert_eq!(left(&portal.ask(3, &by("GET", &portal.token)).await), 3);
    // Somebody without the permission spends of the same, and so does HEAD, and a mistake.
    assert_eq!(left(&portal.ask(3, &by("GET", &bob)).await), 2);
    assert_eq!(left(&portal.ask(3, &by("HEAD", &portal.token)).await), 1);
    assert_eq!(left(&portal.ask(3, &portal.get(3, "size=0")).await), 0);
    assert_eq!(portal.ask(3, &by("GET", &bob)).await.refusal().0, 429);
    assert_eq!(left(&portal.ask(3, &by("GET", &eve)).await), 3);
    let one = portal.ask(3, &portal.get_path(3, &format!("{LIST}/2415"))).await;
    assert_eq!((one.refusal().0, left(&one)), (404, 3));
}

async fn every_answer_says_what_is_left(engine: Engine) {
    let portal = portal(engine, 1_000).await;
    let unknown = Ask::get(LIST).header("X-Version", "3");
    // Who is not known has everything left, and takes nothing.
    for ask in [
        unknown.clone(),
        unknown.header("Authorization", "Bearer x"),
        Ask::get("/santaba/rest/nothing").header("X-Version", "3"),
        Ask::post(LIST).header("X-Version", "3"),
        Ask::get(LIST).header("X-Version", "9"),
    ] {
        assert_eq!(left(&portal.ask(3, &ask).await), 1_000, "{ask:?}");
    }
    assert_eq!(left(&portal.ask(3, &portal.get(3, "")).await), 999);
}
