//! A database of its own for each test.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::servers::PostgresServer;

/// How often a database is tried to be made while another one is being copied from the same template.
const TRIES: u32 = 20;

/// SQLSTATE of a template that somebody is connected to.
const OBJECT_IN_USE: &str = "55006";

/// An empty database that goes away with this value, whoever is still connected to it.
#[derive(Debug)]
pub struct FreshDatabase {
    /// Where it is, with user and password.
    pub url: String,
    /// Its name.
    pub name: String,
    server: PgConnectOptions,
}

/// Makes an empty database with a name of its own.
pub async fn fresh_database(server: &PostgresServer) -> FreshDatabase {
    let options: PgConnectOptions = server.url.parse().expect("the address of PostgreSQL is a URL");
    let name = unique_name();
    let mut connection = options.connect().await.unwrap_or_else(|error| {
        panic!("PostgreSQL at {}:{} refuses: {error}", options.get_host(), options.get_port());
    });
    create(&mut connection, &name).await;
    // Nothing depends on a polite end.
    let _ = connection.close().await;
    FreshDatabase { url: with_database(&server.url, &name), name, server: options }
}

async fn create(connection: &mut PgConnection, name: &str) {
    for attempt in 1.. {
        let made = connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await;
        let Err(error) = made else { return };
        let busy = error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code == OBJECT_IN_USE);
        assert!(busy && attempt < TRIES, "the database `{name}` cannot be made: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Unlike any other of this machine: process, time, and a count.
fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |passed| passed.as_millis());
    format!("annals_test_{}_{now}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> String {
    let (address, parameters) =
        url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let after_scheme = address.find("://").map_or(0, |at| at + 3);
    let server = address[after_scheme..].find('/').map_or(address, |at| &address[..after_scheme + at]);
    match parameters {
        Some(parameters) => format!("{server}/{name}?{parameters}"),
        None => format!("{server}/{name}"),
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // The runtime of the test may be gone, or be the one that drops this.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut connection = tokio::time::timeout(Duration::from_secs(5), server.connect()).await??;
                let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                connection.execute(AssertSqlSafe(statement)).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        // A server that a test has taken down keeps its database: it goes away with the server.
        let _ = dropped.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_an_address_is_replaced_and_nothing_else() {
        for (given, wanted) in [
            ("postgres://u:p@127.0.0.1:5432/annals", "postgres://u:p@127.0.0.1:5432/x"),
            ("postgres://u:p@127.0.0.1:5432", "postgres://u:p@127.0.0.1:5432/x"),
            ("postgres://h/annals?sslmode=require", "postgres://h/x?sslmode=require"),
        ] {
            assert_eq!(with_database(given, "x"), wanted);
        }
    }

    #[test]
    fn no_two_names_are_the_same() {
        assert_ne!(unique_name(), unique_name());
    }
}
