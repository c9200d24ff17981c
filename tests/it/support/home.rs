//! A data directory that goes away, and commands on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use annals_bus::EmbeddedBus;
use annals_schemas::TOPICS;
use annals_store::DataDir;
use uuid::Uuid;

use super::process::{Finished, Process};

/// The customer that most tests work with, and its account that may see everything of it.
pub const CUSTOMER: &str = "acme";
pub const ACCOUNT: &str = "ada@acme.example";
pub const PASSWORD: &str = "correct-horse-battery";

/// A folder with a data directory in it.
pub struct Home {
    folder: tempfile::TempDir,
    /// The data directory.
    pub data: PathBuf,
}

impl Home {
    /// A folder in which no data directory is yet.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("annals-it-").tempdir().unwrap();
        let data = folder.path().join("data");
        Self { folder, data }
    }

    /// As [`empty`](Self::empty), with the data directory elsewhere.
    pub fn with_data(data: &Path) -> Self {
        Self { data: data.to_owned(), ..Self::empty() }
    }

    /// A folder with a data directory that knows the customer and the account.
    pub fn new() -> Self {
        let home = Self::empty();
        home.set_up();
        home
    }

    /// Makes the customer and the account.
    pub fn set_up(&self) {
        self.add_customer(CUSTOMER);
        self.add_account(ACCOUNT, CUSTOMER, &["can_manage_users", "can_view_appliances"]);
    }

    /// The folder around the data directory; commands run in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A command of the program on the data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.arg("--data").arg(&self.data);
        command
    }

    /// A command of the program that names no data directory.
    pub fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(arguments).current_dir(self.path());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Process::start(&mut self.command(arguments)).finish()
    }

    /// Runs a command with this text on its standard input.
    #[track_caller]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        Process::start_with_input(&mut self.command(arguments), input).finish()
    }

    /// Adds a customer.
    #[track_caller]
    pub fn add_customer(&self, name: &str) -> Uuid {
        let said = self.run(&["customer", "add", name]).expect(0).stdout;
        said.trim_end_matches(')').rsplit_once('(').unwrap().1.parse().unwrap()
    }

    /// Adds an account with the password of the tests.
    #[track_caller]
    pub fn add_account(&self, email: &str, customer: &str, permissions: &[&str]) {
        let mut arguments = vec!["account", "add", email, "--customer", customer, "--password-stdin"];
        for permission in permissions {
            arguments.extend(["--permission", permission]);
        }
        self.run_with_input(&arguments, &format!("{PASSWORD}\n")).expect(0);
    }

    /// The log, opened by this process beside whatever else works on it.
    pub async fn bus(&self) -> EmbeddedBus {
        let directory = DataDir::open(&self.data).unwrap();
        let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
        EmbeddedBus::open(&directory, &topics).await.unwrap()
    }

    /// Id of a customer, as the command line lists it.
    pub fn customer_id(&self, name: &str) -> Uuid {
        let listed = self.run(&["customer", "list", "--json"]).expect(0).stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let found = listed.iter().find(|customer| customer["name"] == name).unwrap();
        found["id"].as_str().unwrap().parse().unwrap()
    }

    /// Imports a file of Windows records for the customer, and gives the summary.
    #[track_caller]
    pub fn import(&self, file: &Path, code: i32) -> serde_json::Value {
        let done = Process::start(&mut self.import_command(file)).finish().expect(code);
        serde_json::from_str(&done.stdout).unwrap()
    }

    /// The command that imports a file of Windows records for the customer.
    pub fn import_command(&self, file: &Path) -> Command {
        let mut command = self.command(&["import", "windows-security", "--customer", CUSTOMER, "--json"]);
        command.arg(file);
        command
    }

    /// Writes a file beside the data directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}
