//! For tests only: real servers, databases of their own, and a proxy that breaks connections.
//!
//! Read in this order: [`servers`] finds or starts Apache Kafka, a schema registry and PostgreSQL; [`postgres`]
//! gives each test a database; [`proxy`] stands between a client and a server and does what networks do; [`process`]
//! sends signals.
//!
//! Everything here panics with words instead of returning errors: a test cannot go on without its server.

#![forbid(unsafe_code)]

pub mod servers;

pub mod postgres;
pub mod process;
pub mod proxy;

use std::time::{Duration, Instant};

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(2);

/// Deadline of everything that should take a moment, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// Looks at `condition` until it holds, and panics with `what` after [`SOON`].
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "after {} s still not: {what}", SOON.as_secs());
        std::thread::sleep(POLL);
    }
}
