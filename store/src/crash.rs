//! Named points at which a test may hold a process to kill it there.
//!
//! A build with debug assertions stops for ever at the point that `ANNALS_CRASH_POINT` names, after saying so on
//! stderr; the test outside then kills the process with signal 9. In a release build the call is empty.

/// Every point that the crash test visits. A test holds that each is reached.
pub const POINTS: [&str; 18] = [
    "append:before-commit",
    "append:after-commit",
    "import:before-known-ids",
    "relay:after-append",
    "projector:before-transaction",
    "projector:after-positions",
    "projector:before-commit",
    "projector:after-commit",
    "index:before-commit",
    "index:after-commit",
    "rebuild:indexes-aside",
    "rebuild:before-indexes",
    "rebuild:before-switch",
    "rebuild:after-switch",
    "copy:before-note",
    "copy:after-append",
    "copy:before-rename",
    "copy:before-manifest",
];

/// Holds this thread for ever when the environment names this point (debug builds only).
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    {
        use std::sync::LazyLock;
        use std::sync::atomic::{AtomicI64, Ordering};
        // `NAME` stops at the first visit, `NAME#3` at the third.
        static WANTED: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
            let wanted = std::env::var("ANNALS_CRASH_POINT").ok()?;
            let (name, visit) = wanted.split_once('#').unwrap_or((&wanted, "1"));
            Some((name.to_owned(), AtomicI64::new(visit.parse().unwrap_or(1))))
        });
        if let Some((wanted, visits)) = WANTED.as_ref()
            && wanted == name
            && visits.fetch_sub(1, Ordering::SeqCst) == 1
        {
            eprintln!("crash point {name}");
            loop {
                std::thread::park();
            }
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
