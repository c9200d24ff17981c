//! The PostgreSQL engine: control tables in the schema `annals`, each generation of a view in a schema of its own, so
//! that a generation is made, read and removed as a whole, and hand-written SQL names the same tables on both engines.

mod layout;
mod rights;
mod values;
mod view;
mod write;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgConnection};

use crate::control::{CONNECTIONS, ControlDb};
use crate::database::RoleGuard;
use crate::directory::Role;
use crate::error::Context;
use crate::sql::Pool;
use crate::{Place, Result, StoreError, Table};

pub use view::PostgresViewStore;

/// Schema of the control tables.
pub(crate) const CONTROL_SCHEMA: &str = "annals";

/// How long a server may take to answer a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller waits for a connection of a pool, also while the server is down.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement waits for another's lock. The writer that was stopped in the middle of its transaction is sent
/// away by the server before that (`IDLE_IN_TRANSACTION`).
const LOCK_TIMEOUT: &str = "20s";

/// How long a transaction may do nothing. One batch's statements follow each other at once; longer is a process that was
/// stopped, or a machine that is gone.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// How long a statement of a query may take.
const READ_TIMEOUT: &str = "30s";

/// How long a statement of a writer may take.
const WRITE_TIMEOUT: &str = "120s";

/// How long an answer may take at all, from the side of this process. The server's own limits come first, unless the
/// server is gone without a word: nothing else would end the wait then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// How long a connection that was idle may take to say that it is alive.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may take to be free after its user went away. Longer than a query: one that nobody waits for any
/// more still loads the server, and must not make room for another.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(35);

/// A connection that was in use this short ago is taken to be alive.
const ALIVE_FOR: Duration = Duration::from_secs(1);

/// How long closing a pool waits for connections that are in use.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Oldest server: partial sorts, which the queries' plans need, came with 13.
const OLDEST_VERSION: i32 = 130_000;

/// Parameters of an address, as the driver has them.
const PARAMETERS: [&str; 9] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port", "dbname", "user", "password"];

/// Keys of the advisory locks. Whoever sets an installation up may lay out tables meanwhile.
const SETUP_LOCK: i64 = 0x616e_6e61_6c73_0001;
const REBUILD_LOCK: i64 = 0x616e_6e61_6c73_0002;
const LAYOUT_LOCK: i64 = 0x616e_6e61_6c73_0003;

/// What every session has. The compare-and-set of positions needs each statement to see what was committed before it,
/// whatever the database's own default is. The server finds out within a minute that a machine with locks is gone.
const SESSION: [(&str, &str); 7] = [
    ("timezone", "UTC"),
    ("jit", "off"),
    ("lock_timeout", LOCK_TIMEOUT),
    ("default_transaction_isolation", "read committed"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// A PostgreSQL database of annals. Cheap to clone.
#[derive(Clone)]
pub struct PostgresDb {
    options: Arc<PgConnectOptions>,
    place: Place,
    idle_in_transaction: Duration,
}

/// Without the options: they hold the password.
impl std::fmt::Debug for PostgresDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresDb").field(&self.place).finish()
    }
}

impl PostgresDb {
    /// Reads an address: `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE&password_file=FILE]`.
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError::Setting`] when it is none.
    pub fn parse(url: &str) -> Result<Self> {
        let (url, password_file) = take_password_file(url)?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(StoreError::Setting("it begins with neither postgres:// nor postgresql://".into()));
        }
        if let Some(unknown) = parameters(&url).find(|name| !PARAMETERS.contains(name)) {
            // The driver would only warn: a misspelt `sslmode` must not connect without it.
            let known = PARAMETERS.join(", ");
            return Err(StoreError::Setting(format!(
                "there is no parameter `{unknown}`; there are password_file, {known}"
            )));
        }
        let mut options = PgConnectOptions::from_str(&url)
            // The message of the parser may repeat the URL, and with it the password.
            .map_err(|_| {
                StoreError::Setting("it is not an address such as postgres://USER@HOST/DATABASE".into())
            })?;
        if let Some(file) = password_file {
            let text = std::fs::read_to_string(Path::new(&file)).map_err(|error| {
                StoreError::Setting(format!("password_file `{file}` cannot be read: {error}"))
            })?;
            options = options.password(text.trim_end_matches(['\r', '\n']));
        }
        let database = options.get_database().unwrap_or("annals").to_owned();
        let host = options.get_host();
        let place = Place::new(format!("postgres://{host}:{}/{database}", options.get_port()));
        let options = Arc::new(options.database(&database));
        Ok(Self { options, place, idle_in_transaction: IDLE_IN_TRANSACTION })
    }

    /// The same database with another limit for a transaction that does nothing: tests would wait too long.
    #[must_use]
    pub fn with_idle_in_transaction(self, limit: Duration) -> Self {
        Self { idle_in_transaction: limit, ..self }
    }

    /// Connects once, so that a wrong address, password, encryption or server is told at the start.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, is too old, or keeps its texts in another encoding than UTF-8.
    pub async fn check(&self) -> Result<()> {
        let mut connection = self.connect("check", CONTROL_SCHEMA).await?;
        let (version, encoding): (i32, String) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding')",
        )
        .fetch_one(&mut connection)
        .await
        .during(&self.place, "ask for its version")?;
        if version < OLDEST_VERSION {
            return Err(StoreError::Setting(format!(
                "the server at `{}` is older than PostgreSQL 13",
                self.place
            )));
        }
        if encoding != "UTF8" {
            return Err(StoreError::Setting(format!(
                "the database `{}` keeps its texts as {encoding}; it must be UTF8",
                self.place
            )));
        }
        let _ = connection.close().await;
        Ok(())
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn address(&self) -> &Place {
        &self.place
    }

    pub(crate) fn place(&self, view: &str, generation: i64) -> Place {
        Place::new(format!("{}/{}", self.place, schema(view, generation)))
    }

    /// Options of a connection: its name for the server's lists, its schema, and what it may take.
    fn options(&self, purpose: &str, schema: &str, settings: &[(&str, &str)]) -> PgConnectOptions {
        let process = std::process::id();
        let idle = format!("{}ms", self.idle_in_transaction.as_millis());
        PgConnectOptions::clone(&self.options)
            .application_name(&format!("annals {purpose} ({process})"))
            .options(SESSION)
            .options([("search_path", schema), ("idle_in_transaction_session_timeout", &idle)])
            .options(settings.iter().copied())
    }

    fn pool(&self, connections: u32, options: PgConnectOptions) -> PgPool {
        PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(0)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(Duration::from_secs(600))
            // The driver's own test would wait for ever for a server that is gone without a word.
            .test_before_acquire(false)
            .before_acquire(|connection, used: PoolConnectionMetadata| {
                Box::pin(async move {
                    if used.idle_for < ALIVE_FOR {
                        Ok(true)
                    } else {
                        is_alive(connection, ALIVE_TIMEOUT).await
                    }
                })
            })
            .after_release(|connection, _| Box::pin(is_alive(connection, RELEASE_TIMEOUT)))
            .connect_lazy_with(options)
    }

    async fn connect(&self, purpose: &str, schema: &str) -> Result<PgConnection> {
        let options = self.options(purpose, schema, &[]);
        within(CONNECT_TIMEOUT, options.connect()).await.during(&self.place, "connect")
    }

    /// Whether there are control tables.
    pub(crate) async fn has_control(&self) -> Result<bool> {
        self.check().await?;
        layout::has_control(self).await
    }

    /// Opens and migrates the control tables.
    pub(crate) async fn control(&self) -> Result<ControlDb> {
        self.check().await?;
        layout::migrate_control(self).await?;
        let settings = [("statement_timeout", READ_TIMEOUT)];
        // One more than the embedded engine: a listener keeps it.
        let pool = self.pool(CONNECTIONS + 1, self.options("control", CONTROL_SCHEMA, &settings));
        Ok(ControlDb::of(Pool::Postgres(pool), self.place.clone()))
    }

    pub(crate) async fn view_store(
        &self,
        view: &str,
        generation: i64,
        tables: &[&'static Table],
    ) -> Result<PostgresViewStore> {
        let schema = schema(view, generation);
        let place = self.place(view, generation);
        layout::lay_out(self, &schema, &place, tables).await?;
        let settings = [
            ("statement_timeout", WRITE_TIMEOUT),
            // For what stands beside the batches, whatever the database's own default is: an id of a dictionary is used from
            // memory as soon as it is known, so a crash must not take its row back. Batches say otherwise themselves.
            ("synchronous_commit", "on"),
            // A batch's keys are few beside the table's rows, but the planner does not know that of a new table.
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
        ];
        let purpose = format!("{view}.{generation} projector");
        let pool = self.pool(view::CONNECTIONS, self.options(&purpose, &schema, &settings));
        Ok(PostgresViewStore::new(pool, place, tables))
    }

    pub(crate) async fn readers(&self, view: &str, generation: i64, connections: u32) -> Result<Pool> {
        let schema = schema(view, generation);
        let place = self.place(view, generation);
        let settings = [
            ("statement_timeout", READ_TIMEOUT),
            ("default_transaction_read_only", "on"),
            // Joins are written in the order in which they are best made. To try all orders of a page's seven dictionaries
            // took longer than to find the page.
            ("join_collapse_limit", "1"),
            // What is asked for often is in memory, and no disk of today takes four times as long for a page elsewhere.
            ("random_page_cost", "1.1"),
        ];
        let purpose = format!("{view}.{generation} query");
        let pool = self.pool(connections, self.options(&purpose, &schema, &settings));
        // Fails with the table's name when nobody has laid it out yet.
        sqlx::query("SELECT 1 FROM positions LIMIT 0").execute(&pool).await.during(&place, "open it")?;
        Ok(Pool::Postgres(pool))
    }

    pub(crate) async fn remove_generation(&self, view: &str, generation: i64) -> Result<()> {
        layout::remove(self, &schema(view, generation), &self.place(view, generation)).await
    }

    pub(crate) async fn take_role(&self, role: Role) -> Result<RoleGuard> {
        let mut connection = self.connect(role.name(), CONTROL_SCHEMA).await?;
        let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(REBUILD_LOCK)
            .fetch_one(&mut connection)
            .await
            .during(&self.place, "take a role")?;
        if taken {
            return Ok(RoleGuard::Session(Box::new(connection)));
        }
        Err(StoreError::InUse { path: self.place.clone(), role: role.name(), holder: None })
    }

    pub(crate) async fn setup_lock(&self) -> Result<RoleGuard> {
        let mut connection = self.connect("setup", CONTROL_SCHEMA).await?;
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(SETUP_LOCK)
            .execute(&mut connection)
            .await
            .during(&self.place, "wait for another process to set it up")?;
        Ok(RoleGuard::Session(Box::new(connection)))
    }
}

/// Waits for an answer of the server, but not for ever.
pub(crate) async fn answered<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    within(ANSWER_TIMEOUT, answer).await
}

async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

async fn is_alive(connection: &mut PgConnection, limit: Duration) -> Result<bool, sqlx::Error> {
    within(limit, connection.ping()).await.map(|()| true)
}

/// Closes a pool, waiting a moment for the connections in use.
pub(crate) async fn close(pool: &PgPool) {
    if tokio::time::timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!("connections to PostgreSQL were left while they waited for an answer");
    }
}

/// The schema of a generation.
pub(crate) fn schema(view: &str, generation: i64) -> String {
    format!("annals_{view}_{generation}")
}

/// Names of the parameters of an address.
fn parameters(url: &str) -> impl Iterator<Item = &str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').map_or(part, |(name, _)| name))
}

/// Takes `password_file=…` out of an address: libpq has no such parameter.
fn take_password_file(url: &str) -> Result<(String, Option<String>)> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), None)) };
    let mut file = None;
    let mut rest = Vec::new();
    for part in query.split('&') {
        match part.strip_prefix("password_file=") {
            Some(path) => {
                let path = percent_decode_str(path).decode_utf8().map_err(|_| {
                    StoreError::Setting("password_file is not text after percent-decoding".into())
                })?;
                file = Some(path.into_owned());
            }
            None => rest.push(part),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_never_shows_its_password() {
        let database =
            PostgresDb::parse("postgres://ada:secret@db.example:5433/audit?sslmode=disable").unwrap();
        assert_eq!(database.address().as_str(), "postgres://db.example:5433/audit");
        assert_eq!(
            database.place("audit_log", 3).as_str(),
            "postgres://db.example:5433/audit/annals_audit_log_3"
        );
    }

    #[test]
    fn another_scheme_is_refused() {
        for url in [
            "postgres://a@b/c?sslmod=require",
            "mysql://x/y",
            "postgres",
            "postgres://ada:geheim@:notaport/x",
        ] {
            let error = PostgresDb::parse(url).unwrap_err().to_string();
            assert!(error.contains("--store") && !error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn the_password_may_stand_in_a_file() {
        let taken = |parameters: &str| take_password_file(&format!("postgres://a@b/c?{parameters}")).unwrap();
        let of = |url: &str, file: &str| (url.to_owned(), Some(file.to_owned()));
        assert_eq!(
            taken("sslmode=require&password_file=/run/secret"),
            of("postgres://a@b/c?sslmode=require", "/run/secret")
        );
        assert_eq!(
            taken("password_file=%2fa%20b%2Fp%C3%A4ss%26%25"),
            of("postgres://a@b/c", "/a b/p\u{e4}ss&%")
        );
        let error = take_password_file("postgres://a@b/c?password_file=%FF").unwrap_err().to_string();
        assert!(error.contains("password_file"), "{error}");
    }
}
