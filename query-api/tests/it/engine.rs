//! Where a server's control tables and views are. A case is written once, and runs on each engine.

use annals_store::{DataDir, Database, PostgresDb};
use annals_testing::postgres::{FreshDatabase, fresh_database};
use annals_testing::servers;
use tempfile::TempDir;

/// An engine of the databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Embedded,
    Postgres,
}

/// Runs each of these cases on every engine. Their connections are made beside the case: the server removes a database
/// only after whoever is signing in to it has come to an end.
macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::engine::Engine::Embedded).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::engine::Engine::Postgres).await;
            })+
        }
    };
}
pub(crate) use suite;

/// An empty place for databases and an embedded log. It goes away with this value.
pub(crate) struct Place {
    pub(crate) directory: DataDir,
    pub(crate) database: Database,
    _fresh: Option<FreshDatabase>,
    _folder: TempDir,
}

impl Place {
    pub(crate) async fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = DataDir::create(folder.path()).unwrap();
        let (database, fresh) = match engine {
            Engine::Embedded => (Database::Embedded(directory.clone()), None),
            Engine::Postgres => {
                let server = tokio::task::spawn_blocking(servers::postgres).await.unwrap();
                let fresh = fresh_database(&server).await;
                (Database::Postgres(PostgresDb::parse(&fresh.url).unwrap()), Some(fresh))
            }
        };
        Self { directory, database, _fresh: fresh, _folder: folder }
    }
}
