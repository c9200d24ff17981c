//! annals as its users run it: processes that are started, killed, starved and asked, seen from outside.
//!
//! The program is the one that cargo built for this test; the load comes from `examples/publish_load.rs`. Nothing here
//! waits a fixed time: conditions are polled up to a deadline.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bad_files;
mod bad_input;
mod configuration;
mod copy;
mod crash;
mod credentials;
mod disk;
mod program;
mod routes;
mod support;
mod sync;
