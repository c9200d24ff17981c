//! The feed: complete, resumable, in the order of the log.

use serde_json::Value;

use super::{Native, numbers, problem};
use crate::engine::{Engine, suite};

suite!(
    a_reader_that_is_killed_at_random_misses_nothing_and_gets_nothing_twice,
    a_filter_narrows_the_feed_and_its_token_moves_on,
    a_page_can_be_followed_by_the_feed,
    what_does_not_go_together_with_the_feed_is_refused,
);

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn read(native: &Native, token: &str, limit: u64) -> Value {
    let limit = limit.to_string();
    native.answer("audit-events", &[("after", token), ("limit", &limit), ("category", "things")]).await
}

async fn a_reader_that_is_killed_at_random_misses_nothing_and_gets_nothing_twice(engine: Engine) {
    let native = Native::start(engine).await;
    let mut dice = Dice(11);
    let mut token = String::new();
    let mut seen = Vec::new();
    let mut written = 0_u128;
    loop {
        if written < 120 && dice.roll(3) == 0 {
            let count = u128::from(dice.roll(12)) + 1;
            // Later ones are older: the feed goes by the log, not by time.
            let time = if dice.roll(2) == 0 { "2020-05-01 10:00:00" } else { "2019-05-01 10:00:00" };
            let events: Vec<_> = (written..written + count).map(|id| native.event(id + 1, time)).collect();
            native.world.publish(&events).await;
            written += count;
        }
        let answer = read(&native, &token, dice.roll(6) + 1).await;
        if dice.roll(3) == 0 {
            // Killed before it could keep the answer.
            continue;
        }
        seen.extend(numbers(&answer));
        token = answer["next"].as_str().unwrap().to_owned();
        if written >= 120 && answer["complete"] == true {
            break;
        }
    }
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(all, seen.len());
    assert_eq!(seen, (1..=u64::try_from(written).unwrap()).collect::<Vec<_>>());
    let rest = read(&native, &token, 1).await;
    assert_eq!((numbers(&rest).len(), &rest["complete"]), (0, &true.into()));
}

async fn a_filter_narrows_the_feed_and_its_token_moves_on(engine: Engine) {
    let native = Native::start(engine).await;
    native
        .world
        .publish(&(1..20).map(|id| native.event(id, "2020-05-01 10:00:00")).collect::<Vec<_>>())
        .await;
    let none = native.answer("audit-events", &[("after", ""), ("account", "nobody")]).await;
    assert_eq!((numbers(&none).len(), &none["complete"]), (0, &true.into()));
    let token = none["next"].as_str().unwrap();
    // Without the filter nothing of what was passed over comes back.
    let later = native.answer("audit-events", &[("after", token)]).await;
    assert_eq!(numbers(&later), [0; 0]);
    native.world.publish(&[native.event(20, "2001-05-01 10:00:00")]).await;
    assert_eq!(numbers(&native.answer("audit-events", &[("after", token)]).await), [20]);
}

async fn a_page_can_be_followed_by_the_feed(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.publish(&[native.event(1, "2020-05-01 10:00:00")]).await;
    let page = native.get("audit-events", &[]).await;
    let position = page.header("annals-position").unwrap().to_owned();
    native.world.publish(&[native.event(2, "2019-05-01 10:00:00")]).await;
    let feed = native.answer("audit-events", &[("after", &position)]).await;
    assert_eq!(numbers(&feed), [2]);
}

async fn what_does_not_go_together_with_the_feed_is_refused(engine: Engine) {
    let native = Native::start(engine).await;
    for other in [("sort", "time"), ("cursor", "x"), ("count", "true"), ("format", "csv")] {
        let reply = native.get("audit-events", &[("after", ""), other]).await;
        assert_eq!(problem(&reply), (400, "bad-parameter".to_owned()), "{other:?}");
    }
    for bad in ["x", "AQ"] {
        assert_eq!(problem(&native.get("audit-events", &[("after", bad)]).await).1, "bad-cursor");
    }
}
