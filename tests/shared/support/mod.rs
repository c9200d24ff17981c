//! What the tests share: processes, installations on Kafka and PostgreSQL, a load, and reading log and views from outside.
//!
//! Processes, answers, the ledger and the checks are those of `tests/it`; they work on the [`Home`] of this folder.

pub mod health;
pub mod home;
pub mod load;
pub mod servers;
pub mod views;

#[path = "../../it/support/http.rs"]
pub mod http;
#[path = "../../it/support/ledger.rs"]
#[expect(dead_code, reason = "shared with tests/it")]
pub mod ledger;
#[path = "../../it/support/log.rs"]
pub mod log;
#[path = "../../it/support/process.rs"]
#[expect(dead_code, reason = "shared with tests/it")]
pub mod process;
#[path = "../../it/support/server.rs"]
#[expect(dead_code, reason = "shared with tests/it")]
pub mod server;
#[path = "../../it/support/verify.rs"]
pub mod verify;
#[path = "../../it/support/windows.rs"]
pub mod windows;

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use home::Home;
pub use ledger::Ledger;
pub use load::Load;
pub use process::Process;
pub use server::Server;

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(5);

/// Deadline of everything that should take a moment: longer than any timeout of a server, a client or a group that has
/// to pass before somebody takes over.
pub const SOON: Duration = Duration::from_secs(90);

/// Looks at `condition` until it gives something, and panics with `what` after the deadline.
#[track_caller]
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(SOON, what, condition)
}

/// As [`until`], with a deadline of its own.
#[track_caller]
pub fn until_within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {} s still not: {what}", limit.as_secs());
        std::thread::sleep(POLL);
    }
}

/// One runtime for everything that this process does itself: connections outlive the call that made them.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// Lets a future run beside the test.
pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    RUNTIME.spawn(future)
}

/// How many cases run at the same time: they wait for timeouts most of the time, but the processor must keep up.
const AT_ONCE: usize = 3;

/// Runs the cases beside each other, each in a thread of its own.
pub fn at_once<C: Send>(cases: impl IntoIterator<Item = C>, case: impl Fn(C) + Sync) {
    let cases: Mutex<VecDeque<C>> = Mutex::new(cases.into_iter().collect());
    let next = || cases.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        let work = || std::iter::from_fn(next).for_each(&case);
        let running: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let failed = running.into_iter().filter_map(|thread| thread.join().err()).last();
        if let Some(panic) = failed {
            std::panic::resume_unwind(panic);
        }
    });
}
