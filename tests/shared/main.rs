//! Many processes of annals on one Kafka and one PostgreSQL, and what happens to them: they join, leave, hang and die;
//! servers and connections go away and come back; somebody tampers with topics.
//!
//! The servers are found or started by `annals-testing`. The load is published by the test process itself, so what was
//! acknowledged is known whatever happens; `tests/it/support/verify.rs` says what must hold afterwards. Nothing here waits
//! a fixed time: conditions are polled up to a deadline.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chaos;
mod crash;
mod faults_kafka;
mod faults_postgres;
mod poison;
mod relays;
mod roles;
mod settings;
mod support;
mod takeover;
mod topics;
