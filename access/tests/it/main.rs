//! Access on real databases: one binary, a module per topic, each test on both engines.
#![expect(clippy::unwrap_used, reason = "tests")]

mod administration;
mod authenticate;
mod changes;
mod copy;
mod counted;
mod credentials;
mod installation;
mod known_ids;
mod leases;
mod members;
mod outbox;
mod rate;
mod reseal;
mod secrets;
mod sessions;
mod sign_in;
mod support;
