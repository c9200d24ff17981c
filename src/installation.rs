//! An open installation on the embedded engines: the wiring that every command shares.

use std::path::Path;
use std::sync::Arc;

use annals_access::Access;
use annals_bus::{Bus, EmbeddedBus};
use annals_consumers::{Engine, relay};
use annals_producers::Publisher;
use annals_schemas::TOPICS;
use annals_store::{ControlDb, DataDir, Role};

/// Everything that is open.
pub struct Installation {
    /// The data directory.
    pub directory: DataDir,
    /// The control tables.
    pub control: ControlDb,
    /// Who may do what.
    pub access: Access,
    /// The log.
    pub bus: Arc<dyn Bus>,
}

impl Installation {
    /// Opens a data directory, making it when it is not there; whoever makes it is told where the operator's first
    /// password is.
    pub async fn create(path: &Path) -> anyhow::Result<Self> {
        Self::of(DataDir::create(path)?).await
    }

    /// Opens a data directory that must be there.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
        Self::of(DataDir::open(path)?).await
    }

    /// Opens what stands in a directory.
    pub async fn of(directory: DataDir) -> anyhow::Result<Self> {
        let control = ControlDb::open(&directory).await?;
        let opened = Access::open(control.clone(), &directory).await?;
        if let Some(file) = opened.operator_password_file {
            eprintln!("annals: made account `operator`; its password is in {}", file.display());
        }
        let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
        let bus = EmbeddedBus::open(&directory, &topics).await?;
        opened.access.bind_log(bus.incarnation().await?).await?;
        Ok(Self { directory, control, access: opened.access, bus: Arc::new(bus) })
    }

    /// What consumers work on.
    pub fn engine(&self) -> Engine {
        Engine {
            directory: self.directory.clone(),
            control: self.control.clone(),
            bus: Arc::clone(&self.bus),
        }
    }

    /// A publisher into the log.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.bus))
    }

    /// Ends a command: brings what it wrote to the outbox into the log, unless a server does, and closes everything.
    pub async fn finish(self) -> anyhow::Result<()> {
        if let Ok(_role) = self.directory.take_role(Role::Relay) {
            relay::drain(&self.access, &*self.bus).await?;
        }
        self.close().await;
        Ok(())
    }

    /// Closes everything.
    pub async fn close(self) {
        self.bus.close().await;
        self.control.close().await;
    }
}
