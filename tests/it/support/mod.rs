//! What the tests share: processes, data directories, servers, and reading the log and the views from outside.

pub mod home;
pub mod http;
pub mod ledger;
pub mod load;
pub mod log;
pub mod process;
pub mod server;
pub mod verify;
pub mod views;
pub mod windows;

use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

pub use home::Home;
pub use ledger::Ledger;
pub use load::Load;
pub use process::Process;
pub use server::Server;

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(2);

/// Deadline of everything that should take a moment.
pub const SOON: Duration = Duration::from_secs(60);

/// Looks at `condition` until it gives something, and panics with `what` after the deadline.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {} s still not: {what}", SOON.as_secs());
        std::thread::sleep(POLL);
    }
}

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// An example program. `cargo test` builds it beside the program under test; when only this test is built, it is
/// built here.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let path = PathBuf::from(env!("CARGO_BIN_EXE_annals")).parent().unwrap().join("examples").join(name);
    BUILT.call_once(|| {
        if !path.is_file() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = std::process::Command::new(cargo);
            command
                .args(["build", "--package", "annals", "--example", name])
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            assert!(command.status().unwrap().success(), "example `{name}` cannot be built");
        }
    });
    path
}

/// Whether the tests run as root, who may mount and become somebody else, and whom permission bits do not stop.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
