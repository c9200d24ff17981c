//! An open installation: the wiring that every command shares.

use std::path::Path;
use std::sync::Arc;

use annals_access::{Access, OperatorPassword, Vault};
use annals_bus::{Bus, EmbeddedBus, KafkaBus, KafkaSettings};
use annals_consumers::{Engine, relay};
use annals_producers::Publisher;
use annals_schemas::{Encoder, Registry, TOPICS};
use annals_store::{ControlDb, DataDir, Database, Role, RoleGuard, StoreError};
use anyhow::{Context, bail};
use uuid::Uuid;

use crate::config::Config;

/// Everything that is open.
pub struct Installation {
    /// The data directory, when log or store is embedded.
    pub directory: Option<DataDir>,
    /// Where control tables and views are.
    pub database: Database,
    /// The control tables.
    pub control: ControlDb,
    /// Who may do what.
    pub access: Access,
    /// The master keys that `access` works with.
    pub vault: Vault,
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// The schema registry.
    pub registry: Option<Arc<Registry>>,
    /// How events are written into the log.
    pub encoder: Encoder,
}

/// The engines of a configuration, before anything is opened.
pub struct Engines {
    /// The data directory, when log or store is embedded.
    pub directory: Option<DataDir>,
    /// Where control tables and views are.
    pub database: Database,
}

impl Engines {
    /// Finds the engines, making the data directory when it is not there.
    pub fn create(config: &Config) -> anyhow::Result<Self> {
        Self::of(config, DataDir::create)
    }

    fn of(
        config: &Config,
        open: impl Fn(&Path) -> Result<DataDir, annals_store::StoreError>,
    ) -> anyhow::Result<Self> {
        let needs_directory = config.bus().is_none() || config.store().is_none();
        let directory = if needs_directory { Some(open(config.data()?)?) } else { None };
        let database = match (config.store(), &directory) {
            (Some(address), _) => Database::at(address)?,
            (None, Some(directory)) => Database::Embedded(directory.clone()),
            (None, None) => bail!("there is neither a data directory nor a store"),
        };
        Ok(Self { directory, database })
    }

    /// Takes a role that only one process may have on a data directory. A shared log and store are worked on by several.
    pub async fn take_role(&self, role: Role) -> anyhow::Result<RoleGuard> {
        Ok(match &self.directory {
            Some(directory) => RoleGuard::File(directory.take_role(role)?),
            None => self.database.take_role(role).await?,
        })
    }

    /// Opens everything; whoever makes the installation is told where the operator's first password is.
    pub async fn open(self, config: &Config) -> anyhow::Result<Installation> {
        let Self { directory, database } = self;
        let vault = config.vault(directory.as_ref())?;
        let bus = open_bus(config, directory.as_ref()).await?;
        let control = about_the_store(config, database.control().await)?;
        let opened = Access::open(control.clone(), &database).await?;
        let access = opened.access.with_vault(vault.clone());
        match opened.operator {
            OperatorPassword::AlreadyThere => {}
            OperatorPassword::InFile(file) => {
                eprintln!("annals: made account `operator`; its password is in {}", file.display());
            }
            OperatorPassword::Unset => eprintln!(
                "annals: made account `operator`; set its password with `annals account password operator --password-stdin`"
            ),
        }
        access.bind_log(&incarnations(&*bus).await?).await?;
        let (registry, encoder) = encoding(config).await?;
        Ok(Installation { directory, database, control, access, vault, bus, registry, encoder })
    }

    /// Opens everything for a command that only reads. Nothing is made, and nothing is forgotten: a log that does not belong
    /// to the control tables may be a mistyped setting.
    async fn read(self, config: &Config) -> anyhow::Result<Installation> {
        let Self { directory, database } = self;
        let bus = existing_bus(config, directory.as_ref()).await?;
        let control = about_the_store(config, database.existing_control().await)?;
        let access = Access::open_existing(control.clone()).await?;
        if let Some(topic) = access.other_log(&incarnations(&*bus).await?).await? {
            tracing::warn!(
                topic,
                "this log is not the one that these control tables were used with: do --bus and --store belong together?"
            );
        }
        let registry = open_registry(config).await?;
        let encoder = Encoder::default();
        // Reading needs no master key.
        let vault = Vault::none();
        Ok(Installation { directory, database, control, access, vault, bus, registry, encoder })
    }
}

/// Says which setting an error is about, where it is that of a server.
fn about_the_store(config: &Config, control: Result<ControlDb, StoreError>) -> anyhow::Result<ControlDb> {
    match config.store() {
        Some(_) => control.context("the store (--store) cannot be opened"),
        None => Ok(control?),
    }
}

/// Each topic with its incarnation.
async fn incarnations(bus: &dyn Bus) -> anyhow::Result<Vec<(&'static str, Uuid)>> {
    let mut incarnations = Vec::new();
    for topic in &TOPICS {
        incarnations.push((topic.name, bus.incarnation(topic.name).await?));
    }
    Ok(incarnations)
}

/// Opens the log of a configuration, and nothing else, for a command that only reads it.
pub async fn open_log(config: &Config) -> anyhow::Result<(Arc<dyn Bus>, Option<Arc<Registry>>)> {
    let directory = match config.bus() {
        Some(_) => None,
        None => Some(DataDir::open(config.data()?)?),
    };
    Ok((existing_bus(config, directory.as_ref()).await?, open_registry(config).await?))
}

/// As [`open_bus`], but makes no log.
async fn existing_bus(config: &Config, directory: Option<&DataDir>) -> anyhow::Result<Arc<dyn Bus>> {
    match (config.bus(), directory) {
        (None, Some(directory)) if !directory.log_db().is_file() => {
            bail!("there is no log in `{}`: it is on another engine (--bus)", directory.path().display())
        }
        _ => open_bus(config, directory).await,
    }
}

/// Opens the log of a configuration.
pub async fn open_bus(config: &Config, directory: Option<&DataDir>) -> anyhow::Result<Arc<dyn Bus>> {
    let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
    match (config.bus(), directory) {
        (Some(address), _) => {
            let settings = KafkaSettings::parse(address)?.with_client_id(client_id());
            let bus = KafkaBus::open(&settings, &topics).await;
            Ok(Arc::new(bus.context("the log (--bus) cannot be opened")?))
        }
        (None, Some(directory)) => Ok(Arc::new(EmbeddedBus::open(directory, &topics).await?)),
        (None, None) => bail!("there is neither a data directory nor a bus"),
    }
}

/// How this process is called in the broker's lists.
pub fn client_id() -> String {
    format!("annals-{}-{}", crate::host_name(), std::process::id())
}

/// How events are written: framed by the registry where there is one, with CloudEvents headers where others may read.
async fn encoding(config: &Config) -> anyhow::Result<(Option<Arc<Registry>>, Encoder)> {
    let encoder = Encoder::default().with_headers(config.bus().is_some());
    let Some(registry) = open_registry(config).await? else { return Ok((None, encoder)) };
    // Logs that share a cluster share its registry too.
    let settings = config.bus().map(KafkaSettings::parse).transpose()?;
    let prefix = settings.as_ref().map_or("", KafkaSettings::topic_prefix);
    let encoder = encoder.with_ids(registry.register(prefix).await?);
    Ok((Some(registry), encoder))
}

async fn open_registry(config: &Config) -> anyhow::Result<Option<Arc<Registry>>> {
    let Some(address) = &config.registry else { return Ok(None) };
    Ok(Some(Arc::new(Registry::connect(address).await?)))
}

impl Installation {
    /// Opens an installation, making it when it is not there.
    pub async fn create(config: &Config) -> anyhow::Result<Self> {
        Engines::create(config)?.open(config).await
    }

    /// Opens an installation for a command that only reads.
    pub async fn read(config: &Config) -> anyhow::Result<Self> {
        Engines::of(config, DataDir::open)?.read(config).await
    }

    /// Opens an installation for a command that changes it; a data directory must be there.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        Engines::of(config, DataDir::open)?.open(config).await
    }

    /// What consumers work on.
    pub fn engine(&self) -> Engine {
        Engine {
            database: self.database.clone(),
            control: self.control.clone(),
            bus: Arc::clone(&self.bus),
            registry: self.registry.clone(),
        }
    }

    /// A publisher into the log.
    pub fn publisher(&self) -> Publisher {
        Publisher::with_encoder(Arc::clone(&self.bus), self.encoder.clone())
    }

    /// What a relay works on.
    pub fn relay(&self) -> relay::Relay {
        relay::Relay {
            access: self.access.clone(),
            control: self.control.clone(),
            bus: Arc::clone(&self.bus),
            encoder: self.encoder.clone(),
            // On a data directory a file's lock says who it is.
            lease: self.directory.is_none().then(Uuid::now_v7),
        }
    }

    /// Ends a command: brings what it wrote to the outbox into the log, unless a server does, and closes everything.
    pub async fn finish(self) -> anyhow::Result<()> {
        let role = self.directory.as_ref().map(|directory| directory.take_role(Role::Relay));
        if role.as_ref().is_none_or(Result::is_ok) {
            self.relay().drain_once().await?;
        }
        drop(role);
        self.close().await;
        Ok(())
    }

    /// Closes everything.
    pub async fn close(self) {
        self.bus.close().await;
        self.control.close().await;
    }
}
