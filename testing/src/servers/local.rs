//! Servers as processes of this machine, by way of the command `deploy/dev/servers`.

use std::process::Command;

use super::{Lines, Server};

/// The command, beside this crate in the repository.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dev/servers");

/// The command with its first arguments.
pub(super) fn servers(arguments: &[&str]) -> Command {
    let mut command = Command::new(SCRIPT);
    command.args(arguments);
    command
}

/// Starts one server for as long as this process lives.
pub(super) fn start_shared(server: Server) -> Lines {
    let watched = std::process::id().to_string();
    let output = servers(&["start", "--only", server.name(), "--watch", &watched])
        .output()
        .unwrap_or_else(|error| panic!("`{SCRIPT}` cannot be run (it needs Python 3.11 or newer): {error}"));
    lines_of(&output)
}

/// The lines that a start has printed; panics with what it said when it failed.
pub(super) fn lines_of(output: &std::process::Output) -> Lines {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the servers for this test cannot be started. Start them yourself with `deploy/dev/servers start`, or name \
         them in ANNALS_KAFKA, ANNALS_REGISTRY and ANNALS_POSTGRES.\n{said}"
    );
    parse(&String::from_utf8_lossy(&output.stdout))
}

pub(super) fn parse(text: &str) -> Lines {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
