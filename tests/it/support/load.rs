//! `publish_load`: processes that publish into a data directory and say what they sent and what was acknowledged.

use std::process::Command;

use uuid::Uuid;

use super::{Home, Ledger, Process, example};

/// `publish_load` on a data directory.
pub struct Load;

impl Load {
    /// The command; more options may be added.
    pub fn command(home: &Home, customer: Uuid, seed: u64) -> Command {
        let mut command = Command::new(example("publish_load"));
        command.current_dir(home.path()).arg("--data").arg(&home.data);
        command.args(["--customer", &customer.to_string(), "--seed", &seed.to_string()]);
        command
    }

    /// Eight publishers without an end.
    pub fn endless(home: &Home, customer: Uuid, seed: u64) -> Process {
        Process::start(Self::command(home, customer, seed).args(["--concurrency", "8"]))
    }

    /// Four publishers of so many events; runs to its end.
    #[track_caller]
    pub fn of(home: &Home, customer: Uuid, seed: u64, count: usize, ledger: &mut Ledger) {
        let count = count.to_string();
        let mut load = Process::start(Self::command(home, customer, seed).args([
            "--concurrency",
            "4",
            "--count",
            &count,
        ]));
        let status = load.end();
        assert!(status.success(), "{}", load.stderr());
        ledger.add(&load);
    }
}

/// Acknowledgements of a load so far.
pub fn acknowledged(load: &Process) -> usize {
    load.count_stdout(|line| line.starts_with("ok "))
}
