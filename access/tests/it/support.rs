//! A data directory, processes on it, and what they told.

use annals_access::{Access, Author, Client, Clock, Opened, Permission, Secret};
use annals_schemas::codec::{NoRegistry, decode};
use annals_schemas::{Event, Personal};
use annals_store::{ControlDb, DataDir};
use tempfile::TempDir;

/// The password of [`Home::with_ada`]'s account.
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A data directory with a clock.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    pub(crate) clock: Clock,
}

impl Home {
    pub(crate) fn new() -> Self {
        let start = "2026-03-01T12:00:00.123456Z".parse().unwrap();
        Self { folder: TempDir::new().unwrap(), clock: Clock::manual(start) }
    }

    pub(crate) fn directory(&self) -> DataDir {
        DataDir::create(self.folder.path()).unwrap()
    }

    /// Opens the directory as a process of its own would: with its own connections and memory.
    pub(crate) async fn process(&self) -> Access {
        self.opened().await.access
    }

    pub(crate) async fn opened(&self) -> Opened {
        let directory = self.directory();
        let control = ControlDb::open(&directory).await.unwrap();
        Access::open_with_clock(control, &directory, self.clock.clone()).await.unwrap()
    }

    /// A process on a directory with the customer `acme` and its account `ada@example.com`, and an empty outbox.
    pub(crate) async fn with_ada() -> (Self, Access) {
        let home = Self::new();
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
