//! A child process whose output is read along, and which does not outlive the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::until;

/// Whole lines of one stream.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, wanted: &dyn Fn(&str) -> bool) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|line| wanted(line)).cloned()
    }

    fn count(&self, wanted: &dyn Fn(&str) -> bool) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|line| wanted(line)).count()
    }

    fn read(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = self.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                // A line without an end was cut by the death of its writer: it was never said.
                if line.ends_with(b"\n") {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                }
                line.clear();
            }
        })
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Finished {
    /// Exit status; none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Panics unless it ended with this status.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Panics unless stderr says all of this.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not told: {self:#?}");
        }
        self
    }
}

/// A running process.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a process. Settings of the person who runs the tests do not reach it.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command, "")
    }

    /// Starts a process with this text on its standard input.
    pub fn start_with_input(command: &mut Command, input: &str) -> Self {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ANNALS_"))
        {
            if !command.get_envs().any(|(set, value)| set == name && value.is_some()) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // Who does not read its input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let (stdout, stderr) = (Lines::default(), Lines::default());
        let readers =
            vec![stdout.read(child.stdout.take().unwrap()), stderr.read(child.stderr.take().unwrap())];
        Self { child, stdout, stderr, readers }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whole lines of standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.get()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.get().join("\n")
    }

    /// How many lines of standard output are of this kind so far.
    pub fn count_stdout(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.stdout.count(&wanted)
    }

    /// Waits for a line on standard output.
    #[track_caller]
    pub fn stdout_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let lines = self.stdout.clone();
        self.line(&lines, &wanted)
    }

    /// Waits for a line on standard error.
    #[track_caller]
    pub fn stderr_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let lines = self.stderr.clone();
        self.line(&lines, &wanted)
    }

    #[track_caller]
    fn line(&mut self, lines: &Lines, wanted: &dyn Fn(&str) -> bool) -> String {
        until("a process says what it should", || {
            let found = lines.find(wanted);
            if found.is_none()
                && let Some(status) = self.child.try_wait().unwrap()
            {
                self.join();
                let late = lines.find(wanted);
                assert!(late.is_some(), "it ended with {status}: {}", self.stderr());
                return late;
            }
            found
        })
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal, by its name without `SIG`. After `STOP` nothing of the process runs any more.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(sent.success(), "no process {}", self.id());
        if name == "STOP" {
            // The signal goes to one thread, which stops the others when it is its turn. On a busy machine they work on
            // until then, long enough for a commit.
            until("all its threads stand still", || self.stands_still().then_some(()));
        }
    }

    /// Whether every thread is stopped, as the kernel tells it.
    fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        threads.map(|thread| thread.unwrap().path().join("stat")).all(|stat| {
            // PID (NAME) STATE …, and a name may hold anything.
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
        })
    }

    /// Kills it as a power cut does, and reads what it had said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.join();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        let status = until("a process ends", || self.child.try_wait().unwrap());
        self.join();
        status
    }

    /// Waits until it ends by itself, and gives what it said.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        let code = self.end().code();
        Finished { code, stdout: self.stdout().join("\n"), stderr: self.stderr() }
    }

    fn join(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
