//! Signals to processes by id, without unsafe code.

use std::process::{Command, Stdio};

/// What a process can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end (SIGTERM).
    Terminate,
    /// Ends it at once (SIGKILL).
    Kill,
    /// Halts it where it is (SIGSTOP).
    Stop,
    /// Lets it go on (SIGCONT).
    Continue,
}

/// Sends a signal to a process; false when there is no such process.
pub fn signal(pid: u32, signal: Signal) -> bool {
    kill(
        pid,
        match signal {
            Signal::Terminate => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
        },
    )
}

/// Whether there is a process with this id, be it one that only waits to be reaped.
pub fn exists(pid: u32) -> bool {
    kill(pid, "0")
}

/// The shell's own `kill`, because a slim system has no program of that name.
fn kill(pid: u32, name: &str) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status()
        .expect("`sh` runs")
        .success()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_reaches_its_process() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(exists(child.id()));
        assert!(signal(child.id(), Signal::Stop));
        assert!(signal(child.id(), Signal::Kill));
        assert!(!child.wait().unwrap().success());
        assert!(!exists(child.id()));
        assert!(!signal(child.id(), Signal::Terminate));
    }
}
