//! An installation of its own on Kafka and PostgreSQL: topics by their prefix, a database, and commands on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_schemas::TOPICS;
use annals_testing::postgres::{FreshDatabase, fresh_database};
use annals_testing::servers::{self, PostgresServer};
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor};
use uuid::Uuid;

use super::process::{Finished, Process};
use super::{SOON, block_on};

/// The customer that the tests work with, and its account that may see everything of it.
pub const CUSTOMER: &str = "acme";
pub const ACCOUNT: &str = "ada@acme.example";
pub const PASSWORD: &str = "correct-horse-battery";

/// Nobody whom the control tables know: views need no customers.
const FLEET: Uuid = Uuid::from_u128(0xacde);

/// An installation. Its database goes away with it.
pub struct Home {
    folder: tempfile::TempDir,
    /// The log, as processes are told it; a test may put a proxy between.
    pub bus: String,
    /// The store, as processes are told it; a test may put a proxy between.
    pub store: String,
    /// The log, as this process reaches it.
    pub direct_bus: String,
    /// The prefix of its topics and groups.
    pub prefix: String,
    /// The customer of the load.
    pub customer: Uuid,
    /// Its database.
    pub database: FreshDatabase,
    pool: PgPool,
}

impl Home {
    /// An installation on the servers that all tests share, with its topics and without accounts.
    pub fn new() -> Self {
        Self::at(&servers::kafka().bootstrap, "", &servers::postgres())
    }

    /// As [`new`](Self::new), with the customer and the account of the tests.
    pub fn with_account() -> Self {
        let mut home = Self::new();
        home.set_up();
        home
    }

    /// An installation on these servers, with its topics and without accounts. `parameters` go into the address of the log.
    pub fn at(kafka: &str, parameters: &str, postgres: &PostgresServer) -> Self {
        let home = Self::without_topics(kafka, parameters, postgres);
        home.run(&["topics", "ensure"]).expect(0);
        home
    }

    /// As [`at`](Self::at), without topics.
    pub fn without_topics(kafka: &str, parameters: &str, postgres: &PostgresServer) -> Self {
        let prefix = format!("shared-{}.", Uuid::new_v4().simple());
        let bus = format!("kafka://{kafka}?topic_prefix={prefix}{parameters}");
        let database = block_on(fresh_database(postgres));
        let options = PgPoolOptions::new().max_connections(4).acquire_timeout(SOON);
        let pool = block_on(async { options.connect_lazy(&database.url).unwrap() });
        let folder = tempfile::Builder::new().prefix("annals-shared-").tempdir().unwrap();
        Self {
            folder,
            direct_bus: bus.clone(),
            bus,
            store: database.url.clone(),
            prefix,
            customer: FLEET,
            database,
            pool,
        }
    }

    /// Makes the customer and the account. The load is the customer's from then on.
    pub fn set_up(&mut self) {
        let said = self.run(&["customer", "add", CUSTOMER]).expect(0).stdout;
        self.customer = said.split(['(', ')']).nth(1).unwrap().parse().unwrap();
        self.add_account(ACCOUNT, &["can_manage_users", "can_view_appliances"]);
    }

    /// Adds an account with the password of the tests.
    pub fn add_account(&self, email: &str, permissions: &[&str]) {
        let mut arguments = vec!["account", "add", email, "--customer", CUSTOMER, "--password-stdin"];
        for permission in permissions {
            arguments.extend(["--permission", permission]);
        }
        Process::start_with_input(&mut self.command(&arguments), &format!("{PASSWORD}\n")).finish().expect(0);
    }

    /// A folder for files of a test; commands run in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command of the program on this installation.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.bare_command(arguments);
        command.env("ANNALS_BUS", &self.bus).env("ANNALS_STORE", &self.store);
        command
    }

    /// A command of the program that names no installation.
    pub fn bare_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_annals"));
        command.args(arguments).current_dir(self.path());
        command
    }

    /// The command of a server with these roles.
    pub fn serve(&self, roles: &str) -> Command {
        self.command(&["serve", "--listen", "127.0.0.1:0", "--roles", roles])
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Process::start(&mut self.command(arguments)).finish()
    }

    /// What `annals status` shows.
    #[track_caller]
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.run(&["status", "--json"]).expect(0).stdout).unwrap()
    }

    /// The log, opened by this process beside whatever else works on it.
    pub async fn bus(&self) -> KafkaBus {
        let settings = KafkaSettings::parse(&self.direct_bus).unwrap();
        KafkaBus::open(&settings, &TOPICS.map(|topic| (topic.name, topic.partitions))).await.unwrap()
    }

    /// The name of a topic in the cluster.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Connections to the database.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of its own to the database, for what holds locks.
    pub fn connection(&self) -> PgConnection {
        block_on(PgConnection::connect(&self.database.url)).unwrap()
    }

    /// Changes the database behind the program's back.
    #[track_caller]
    pub fn execute(&self, sql: &str) {
        block_on(self.pool.execute(AssertSqlSafe(sql.to_owned()))).unwrap();
    }

    /// Says a statement to a database that may be down, over a connection of its own.
    pub fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        block_on(async {
            let mut connection = PgConnection::connect(&self.database.url).await?;
            connection.execute(AssertSqlSafe(sql.to_owned())).await?;
            connection.close().await
        })
    }
}
