//! A running `annals serve`.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;

use super::home::{ACCOUNT, Home, PASSWORD};
use super::http::{self, Answer};
use super::process::Process;
use super::until;

/// A server process.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

impl Server {
    /// Starts a server on a free port, and waits until it listens.
    #[track_caller]
    pub fn start(home: &Home) -> Self {
        Self::start_command(&mut Self::command(home))
    }

    /// Starts a server that stops at a crash point, and waits until it listens.
    #[track_caller]
    pub fn start_with_crash_point(home: &Home, point: &str) -> Self {
        Self::start_command(Self::command(home).env("ANNALS_CRASH_POINT", point))
    }

    /// The command of [`start`](Self::start).
    pub fn command(home: &Home) -> Command {
        home.command(&["serve", "--listen", "127.0.0.1:0"])
    }

    /// Starts a server by this command.
    #[track_caller]
    pub fn start_command(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        let line = process.stdout_line(|line| line.starts_with("listening on http://"));
        let address = line.trim_start_matches("listening on http://").parse().unwrap();
        Self { process, address }
    }

    /// Waits until the views have what was in the log at the start.
    #[track_caller]
    pub fn ready(self) -> Self {
        until("the server is ready", || (self.get("/readyz").status == 200).then_some(()));
        self
    }

    /// A GET that must be answered.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.address, path, &[]).unwrap()
    }

    /// A GET with a cookie.
    #[track_caller]
    pub fn get_with(&self, path: &str, cookie: &str) -> Answer {
        http::get(self.address, path, &[("Cookie", cookie)]).unwrap()
    }

    /// Signs in the account of the tests, and gives the cookie.
    #[track_caller]
    pub fn sign_in(&self) -> String {
        self.sign_in_as(ACCOUNT)
    }

    /// Signs in an account with the password of the tests.
    #[track_caller]
    pub fn sign_in_as(&self, account: &str) -> String {
        let answer = self.get(&format!("/papi/login.json?username={account}&password={PASSWORD}"));
        assert_eq!(answer.json()["success"], 1, "{answer:?}");
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// Calls `get_events`, and gives the events.
    #[track_caller]
    pub fn events(&self, cookie: &str, query: &str) -> Vec<Value> {
        let answer = self.get_with(&format!("/papi/auditlog/get_events.json?{query}"), cookie);
        let mut body = answer.json();
        assert_eq!((answer.status, &body["success"]), (200, &Value::from(1)), "{answer:?}");
        match body["data"].take() {
            Value::Array(events) => events,
            other => panic!("no events but {other}"),
        }
    }

    /// Stops it by SIGTERM; it must end well.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.end();
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }
}
