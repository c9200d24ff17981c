//! Access on real files: one binary, a module per topic.
#![expect(clippy::unwrap_used, reason = "tests")]

mod administration;
mod counted;
mod installation;
mod known_ids;
mod outbox;
mod secrets;
mod sessions;
mod sign_in;
mod support;
