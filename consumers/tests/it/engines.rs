//! The engines of log and databases: one case, every pair of them.

use std::sync::Arc;

use annals_bus::{Bus, EmbeddedBus, KafkaBus};
use annals_consumers::Engine;
use annals_schemas::TOPICS;
use annals_store::{DataDir, Database, PostgresDb};
use annals_testing::postgres::{FreshDatabase, fresh_database};
use annals_testing::servers;
use annals_views::View;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;

use crate::kafka::{self, OwnTopics};

/// Which engines an installation has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engines {
    pub log: Log,
    pub store: Store,
}

/// Where the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    Embedded,
    Kafka,
}

/// Where the control tables and the views are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Embedded,
    Postgres,
}

/// Every pair.
pub const EVERY: [Engines; 4] = [EMBEDDED, EMBEDDED_POSTGRES, KAFKA_EMBEDDED, KAFKA_POSTGRES];

pub const EMBEDDED: Engines = Engines { log: Log::Embedded, store: Store::Embedded };
pub const EMBEDDED_POSTGRES: Engines = Engines { log: Log::Embedded, store: Store::Postgres };
pub const KAFKA_EMBEDDED: Engines = Engines { log: Log::Kafka, store: Store::Embedded };
pub const KAFKA_POSTGRES: Engines = Engines { log: Log::Kafka, store: Store::Postgres };

/// Runs each case on the engines after it, in a module of their name: `on!(kafka_postgres: KAFKA_POSTGRES; case, …)`.
macro_rules! on {
    ($module:ident: $engines:expr; $($case:ident),+ $(,)?) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                #[allow(unused_imports, reason = "some of it")]
                use crate::engines::*;
                super::$case($engines).await;
            })+
        }
    };
}

/// Runs each case on every pair of engines.
macro_rules! on_every_engine {
    ($($case:ident),+ $(,)?) => {
        crate::engines::on!(embedded: EMBEDDED; $($case),+);
        crate::engines::on!(embedded_postgres: EMBEDDED_POSTGRES; $($case),+);
        crate::engines::on!(kafka_embedded: KAFKA_EMBEDDED; $($case),+);
        crate::engines::on!(kafka_postgres: KAFKA_POSTGRES; $($case),+);
    };
}

/// Runs each case on every engine of the databases, where no log is needed.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        crate::engines::on!(embedded: Store::Embedded; $($case),+);
        crate::engines::on!(postgres: Store::Postgres; $($case),+);
    };
}
pub(crate) use {on, on_every_engine, on_every_store};

/// Databases that go away with this value.
pub struct Databases {
    pub database: Database,
    fresh: Option<FreshDatabase>,
    folder: TempDir,
}

impl Databases {
    pub async fn new(store: Store) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fresh = match store {
            Store::Embedded => None,
            Store::Postgres => {
                let server = tokio::task::spawn_blocking(servers::postgres).await.unwrap();
                Some(fresh_database(&server).await)
            }
        };
        let database = match &fresh {
            None => Database::Embedded(DataDir::create(folder.path()).unwrap()),
            Some(fresh) => Database::Postgres(PostgresDb::parse(&fresh.url).unwrap()),
        };
        Self { database, fresh, folder }
    }

    /// The directory of what is embedded.
    pub fn directory(&self) -> DataDir {
        DataDir::create(self.folder.path()).unwrap()
    }

    /// Another connection to PostgreSQL.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.fresh.as_ref().unwrap().url).await.unwrap()
    }

    /// Changes a generation of a view by hand. Gives how many rows it touched.
    pub async fn change_view<V: View>(&self, generation: i64, sql: &str) -> u64 {
        let schema = format!("annals_{}_{generation}", V::NAME);
        self.change(&self.directory().view_db(V::NAME, generation), &schema, sql).await
    }

    /// Changes the control tables by hand.
    pub async fn change_control(&self, sql: &str) -> u64 {
        self.change(&self.directory().control_db(), "annals", sql).await
    }

    async fn change(&self, file: &std::path::Path, schema: &str, sql: &str) -> u64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.fresh {
            None => {
                let mut connection = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
                let changed = sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected();
                connection.close().await.unwrap();
                changed
            }
            Some(fresh) => {
                let options: PgConnectOptions = fresh.url.parse().unwrap();
                let mut connection = options.options([("search_path", schema)]).connect().await.unwrap();
                let changed = sqlx::query(sql).execute(&mut connection).await.unwrap().rows_affected();
                connection.close().await.unwrap();
                changed
            }
        }
    }
}

/// A log and databases that go away with this value.
pub struct Installation {
    /// What consumers work on.
    pub engine: Engine,
    pub databases: Databases,
    topics: Option<OwnTopics>,
}

impl Installation {
    /// A new, empty one.
    pub async fn new(engines: Engines) -> Self {
        let databases = Databases::new(engines.store).await;
        let topics = match engines.log {
            Log::Embedded => None,
            Log::Kafka => Some(OwnTopics::make().await),
        };
        let engine = open(&databases, topics.as_ref()).await;
        Self { engine, databases, topics }
    }

    /// What the consumers of another process work on: with a log and connections of its own.
    pub async fn process(&self) -> Engine {
        open(&self.databases, self.topics.as_ref()).await
    }

    /// The topics of a log on Kafka.
    pub fn topics(&self) -> &OwnTopics {
        self.topics.as_ref().unwrap()
    }

    /// Changes the active generation of a view by hand.
    pub async fn change_view<V: View>(&self, sql: &str) -> u64 {
        let generation = crate::active::<V>(&self.engine).await;
        self.databases.change_view::<V>(generation, sql).await
    }

    /// Changes the embedded log by hand.
    pub async fn change_log(&self, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(self.databases.directory().log_db());
        let mut connection = options.connect().await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

async fn open(databases: &Databases, topics: Option<&OwnTopics>) -> Engine {
    let control = databases.database.control().await.unwrap();
    let bus: Arc<dyn Bus> = match topics {
        None => {
            let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
            Arc::new(EmbeddedBus::open(&databases.directory(), &topics).await.unwrap())
        }
        Some(topics) => Arc::new(KafkaBus::open(&topics.settings, &kafka::topics()).await.unwrap()),
    };
    Engine { database: databases.database.clone(), control, bus, registry: None }
}
