//! What is PostgreSQL's own: connections that fail, writers that stop, rights.

mod failures;
mod rights;
mod writers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use annals_store::PostgresDb;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// An empty database of its own on the server that `ANNALS_POSTGRES` names, dropped with this value.
pub(crate) struct FreshDatabase {
    url: String,
    name: String,
}

/// The server that tests use; its user may create databases and roles.
fn server() -> String {
    std::env::var("ANNALS_POSTGRES").unwrap_or_else(|_| {
        panic!(
            "set ANNALS_POSTGRES: `deploy/dev/servers start --only postgres` starts a server and prints it"
        )
    })
}

impl FreshDatabase {
    pub(crate) async fn make() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let name = format!("annals_{}_{now}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let server = server();
        run(&server, [format!("CREATE DATABASE {name}")]).await;
        let (base, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{base}/{name}"), name }
    }

    pub(crate) fn open(&self) -> PostgresDb {
        PostgresDb::parse(&self.url).unwrap()
    }

    /// The address with another user and password.
    fn url_of(&self, user: &str, password: &str) -> String {
        let (_, host) = self.url.split_once('@').unwrap();
        format!("postgres://{user}:{password}@{host}")
    }

    /// A role that may only connect. It goes away with the database.
    async fn make_role(&self, password: &str) -> String {
        let role = format!("{}_role", self.name);
        run(&self.url, [format!("CREATE ROLE {role} LOGIN PASSWORD '{password}'")]).await;
        role
    }

    async fn connect(&self) -> PgConnection {
        self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
    }
}

async fn run(url: &str, statements: impl IntoIterator<Item = String>) {
    let mut connection = url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
    for statement in statements {
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    connection.close().await.unwrap();
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let statements = [
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
            format!("DROP ROLE IF EXISTS {}_role", self.name),
        ];
        // The runtime of the test is the one that drops this.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let _ = runtime.block_on(async {
                tokio::time::timeout(Duration::from_secs(20), run(&server(), statements)).await
            });
        });
        let _ = dropped.join();
    }
}

/// An error with its causes, as the program shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Waits until the server says so.
async fn until(connection: &mut PgConnection, condition: &'static str) {
    for _ in 0..500 {
        if sqlx::query_scalar(condition).fetch_one(&mut *connection).await.unwrap() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {condition}");
}
