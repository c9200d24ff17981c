//! Servers that belong to one test, which may stop, kill, halt and restart them.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::{KafkaServer, Lines, PostgresServer, RegistryServer, Server, local};

/// Which servers a test wants.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which ones; at least one.
    pub servers: Vec<Server>,
    /// Brokers of Apache Kafka; with three, every topic can have three copies. 0 is one broker.
    pub brokers: u32,
    /// TLS, and logins with and without rights.
    pub secure: bool,
    /// Where PostgreSQL keeps its data, if not with everything else: a small file system, for instance.
    pub postgres_directory: Option<PathBuf>,
    /// Settings of PostgreSQL, by name.
    pub postgres: Vec<(&'static str, String)>,
    /// Settings of Apache Kafka's brokers, by name.
    pub kafka: Vec<(&'static str, String)>,
}

/// Servers of one test. They are killed and their data is removed when this is dropped, and at the latest when the test
/// process is gone.
#[derive(Debug)]
pub struct PrivateServers {
    lines: Lines,
    directory: PathBuf,
}

/// Starts servers of a test's own; returns when they answer.
pub async fn private(options: Options) -> PrivateServers {
    let names: Vec<_> = options.servers.iter().map(|server| server.name()).collect();
    let watched = std::process::id().to_string();
    let mut command = Command::from(local::servers(&["start", "--watch", &watched]));
    command.args(["--only", &names.join(",")]);
    if options.brokers > 0 {
        command.args(["--brokers", &options.brokers.to_string()]);
    }
    if options.secure {
        command.arg("--secure");
    }
    if let Some(directory) = &options.postgres_directory {
        command.arg("--postgres-dir").arg(directory);
    }
    for (name, value) in &options.postgres {
        command.args(["--postgres-option", &format!("{name}={value}")]);
    }
    for (name, value) in &options.kafka {
        command.args(["--kafka-option", &format!("{name}={value}")]);
    }
    let output = command.output().await.expect("`deploy/dev/servers` can be run");
    let lines = local::lines_of(&output);
    let directory = lines.get("ANNALS_SERVERS_DIR").map(PathBuf::from).expect("the directory is printed");
    PrivateServers { lines, directory }
}

impl PrivateServers {
    /// Where Apache Kafka is.
    pub fn kafka(&self) -> KafkaServer {
        KafkaServer::read(&self.lines)
    }

    /// Where the schema registry is.
    pub fn registry(&self) -> RegistryServer {
        RegistryServer::read(&self.lines)
    }

    /// Where PostgreSQL is.
    pub fn postgres(&self) -> PostgresServer {
        PostgresServer::read(&self.lines)
    }

    /// Where logs and data are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Stops a server in order and returns when it is gone.
    pub async fn stop(&self, server: Server) {
        self.tell("down", server, &[]).await;
    }

    /// Kills a server, as a power cut would, and returns when it is gone.
    pub async fn kill(&self, server: Server) {
        self.tell("down", server, &["--hard"]).await;
    }

    /// Starts a stopped server again, with its address and its data; returns when it answers.
    pub async fn start(&self, server: Server) {
        self.tell("up", server, &[]).await;
    }

    /// Halts a server: its connections stay and nothing answers.
    pub async fn pause(&self, server: Server) {
        self.tell("pause", server, &[]).await;
    }

    /// Lets a halted server go on.
    pub async fn resume(&self, server: Server) {
        self.tell("resume", server, &[]).await;
    }

    async fn tell(&self, what: &str, server: Server, more: &[&str]) {
        let mut command = Command::from(local::servers(&[what, server.name()]));
        command.arg("--dir").arg(&self.directory).args(more);
        if let Server::Broker(number) = server {
            command.args(["--broker", &number.to_string()]);
        }
        let output = command.output().await.expect("`deploy/dev/servers` can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{what}` of {server:?} failed:\n{said}");
    }
}

impl Drop for PrivateServers {
    fn drop(&mut self) {
        let mut stop = local::servers(&["stop", "--dir"]);
        // What remains after a failure here goes away with the test process.
        let _ = stop.arg(&self.directory).output();
    }
}
