//! What a server says about itself during an outage, and that it goes on by itself afterwards.

use std::time::Duration;

use serde_json::Value;

use super::{Home, Load, Server, until_within, views};

/// How soon a process must say what is wrong: Kafka's and PostgreSQL's own time limits are about ten seconds.
const NOTICED: Duration = Duration::from_secs(45);

/// How soon a process must be at work again.
const MENDED: Duration = Duration::from_secs(60);

/// The parts of a process as `/healthz` shows them.
pub fn components(server: &Server) -> Vec<Value> {
    let answer = server.get("/healthz");
    assert_eq!(answer.status, 200, "alive, whatever else is down: {answer:?}");
    answer.json()["components"].as_array().unwrap().clone()
}

/// Waits until a server says that this part of it does not work, and why.
#[track_caller]
pub fn says(server: &Server, component: &str, state: &str, reason: &str) {
    until_within(NOTICED, &format!("`{component}` is {state}: {reason}"), || {
        let found = components(server).into_iter().find(|one| one["name"] == component)?;
        let told = found["reason"].as_str().unwrap_or_default().to_owned();
        (found["state"] == state && told.contains(reason)).then_some(())
    });
}

/// Waits until every part of a server works.
#[track_caller]
pub fn is_well(server: &Server) {
    until_within(MENDED, "every component runs", || {
        components(server).iter().all(|one| one["state"] == "running").then_some(())
    });
}

/// After an outage: everybody works again by itself, events get through, and nothing was taken for a bad record.
#[track_caller]
pub fn goes_on(home: &Home, servers: &[&Server], load: &Load) {
    servers.iter().for_each(|server| is_well(server));
    load.more(300);
    views::caught_up(home);
    assert_eq!(views::dead_letters(home), [""; 0]);
}
