//! An installation on each engine, processes on it, and what they told.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use annals_access::{
    Access, Author, Client, Clock, CredentialKind, IssuedCredential, Opened, Permission, Principal, Secret,
    SignInError, Vault,
};
use annals_schemas::codec::{NoRegistry, decode};
use annals_schemas::{Event, Personal};
use annals_store::{DataDir, Database, PostgresDb};
use annals_testing::postgres::{FreshDatabase, fresh_database};
use annals_testing::{SOON, servers};
use tempfile::TempDir;
use tokio::sync::Barrier;

/// The password of [`Home::with_ada`]'s account.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// An engine of the control tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Embedded,
    Postgres,
}

/// Runs each of these tests on both engines.
macro_rules! suite {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Engine::Embedded).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::support::Engine::Postgres).await;
            })+
        }
    };
}
pub(crate) use suite;

/// Does with a request what a server does when the client hangs up: what one poll started is dropped.
///
/// Work that the poll did itself ends there. Work that goes on elsewhere may even be done already: a waiting caller
/// would have been answered, which is no fault.
pub(crate) async fn hang_up(request: impl Future) {
    let mut request = Box::pin(request);
    poll_fn(|context| {
        let _ = request.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
}

/// Databases of their own with a clock. They go away with this value.
pub(crate) struct Home {
    place: Place,
    /// For the master key where the databases have no directory.
    pub(crate) keys: TempDir,
    pub(crate) clock: Clock,
}

enum Place {
    Embedded(TempDir),
    Postgres(Box<FreshDatabase>),
}

impl Home {
    pub(crate) async fn new(engine: Engine) -> Self {
        let start = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        let place = match engine {
            Engine::Embedded => Place::Embedded(TempDir::new().unwrap()),
            Engine::Postgres => {
                let server = tokio::task::spawn_blocking(servers::postgres).await.unwrap();
                Place::Postgres(Box::new(fresh_database(&server).await))
            }
        };
        Self { place, keys: TempDir::new().unwrap(), clock: Clock::manual(start) }
    }

    pub(crate) fn database(&self) -> Database {
        match &self.place {
            Place::Embedded(folder) => Database::Embedded(DataDir::create(folder.path()).unwrap()),
            Place::Postgres(fresh) => Database::Postgres(PostgresDb::parse(&fresh.url).unwrap()),
        }
    }

    /// Opens the databases as a process of its own would: with its own connections and memory.
    pub(crate) async fn process(&self) -> Access {
        self.opened().await.access
    }

    pub(crate) async fn opened(&self) -> Opened {
        let database = self.database();
        let control = database.control().await.unwrap();
        let opened = Access::open_with_clock(control, &database, self.clock.clone()).await.unwrap();
        match database.master_key() {
            Some(_) => opened,
            None => Opened { access: opened.access.with_vault(Vault::made_in(self.master_key())), ..opened },
        }
    }

    /// The file with the master key.
    pub(crate) fn master_key(&self) -> PathBuf {
        self.database().master_key().unwrap_or_else(|| self.keys.path().join("master.key"))
    }

    /// A process on an installation with the customer `acme` and its account `ada@example.com`, and an empty outbox.
    pub(crate) async fn with_ada(engine: Engine) -> (Self, Access) {
        let home = Self::new(engine).await;
        let access = home.process().await;
        let by = Author::command_line();
        access.add_customer("acme", "Europe/Zurich", &by).await.unwrap();
        access
            .add_account("ada@example.com", "acme", &[Permission::ViewAuditLog], Secret::new(PASSWORD), &by)
            .await
            .unwrap();
        told(&access).await;
        (home, access)
    }
}

/// A client at an address.
pub(crate) fn client(address: &str) -> Client {
    Client::new(Some(address.parse().unwrap()), Some("curl/8.0"))
}

/// Adds a credential of Ada's for ever.
pub(crate) async fn issued(access: &Access, kind: CredentialKind, name: &str) -> IssuedCredential {
    access.add_credential("ada@example.com", kind, name, None, &Author::command_line()).await.unwrap()
}

/// Shows a credential, as a client of its kind does.
pub(crate) async fn show(
    access: &Access,
    kind: CredentialKind,
    credential: &IssuedCredential,
) -> Result<Principal, SignInError> {
    let (client, key) = (client("10.0.0.7"), credential.secret.expose().to_owned());
    match &credential.access_id {
        Some(access_id) => {
            // In place of a signature: whoever has the key can tell it.
            access.authenticate_signed(access_id, &client, "santaba", move |stored| stored == key).await
        }
        None => access.authenticate_token(kind, &key, &client, "santaba").await,
    }
}

/// Polls until `look` gives `expected`: something is written that nobody waits for.
pub(crate) async fn until<T: PartialEq + std::fmt::Debug>(expected: T, look: impl AsyncFn() -> T) {
    let reached = async {
        while look().await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(SOON, reached).await.is_err() {
        assert_eq!(look().await, expected);
    }
}

/// Empties the outbox and returns its events.
pub(crate) async fn told(access: &Access) -> Vec<Event> {
    let entries = access.outbox(10_000).await.unwrap();
    let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
    access.outbox_done(&sequences).await.unwrap();
    entries
        .iter()
        .map(|entry| {
            let event = decode(&entry.value, &NoRegistry).unwrap();
            assert_eq!(event.meta().event_id, entry.event_id);
            assert_eq!(event.event_type().topic().name, entry.topic);
            assert_eq!(event.key(), entry.key);
            assert_eq!(event.meta().event_id.get_version_num(), 7);
            event
        })
        .collect()
}

/// Empties the outbox, which must hold one event.
pub(crate) async fn told_one(access: &Access) -> Event {
    let mut events = told(access).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

pub(crate) fn personal(event: &Event) -> &Personal {
    event.personal().unwrap()
}

/// A process for each call, and all calls at the same moment. Gives the results in the order of the calls.
pub(crate) async fn at_once<T, F>(home: &Home, calls: usize, call: impl Fn(Access, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut processes = Vec::new();
    for _ in 0..calls {
        let process = home.process().await;
        // Its connection is there already when it begins.
        process.outbox_len().await.unwrap();
        processes.push(process);
    }
    let start = Arc::new(Barrier::new(calls));
    let tasks = processes.into_iter().enumerate().map(|(number, process)| {
        let (start, call) = (Arc::clone(&start), call(process, number));
        tokio::spawn(async move {
            start.wait().await;
            call.await
        })
    });
    let mut results = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        results.push(task.await.unwrap());
    }
    results
}
