//! `annals check-config`.

use std::path::Path;
use std::process::ExitCode;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_schemas::{Registry, TOPICS};
use annals_store::{ControlDb, DataDir, Database};

use crate::config::Config;
use crate::output;

/// Prints the settings, and looks whether what they name answers. Nothing is made.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let file = config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    let bus = config.bus().map(KafkaSettings::parse).transpose()?;
    let store = config.store().map(Database::at).transpose()?;
    let needs_directory = bus.is_none() || store.is_none();
    let data = if needs_directory { Some(config.data()?) } else { None };
    let shown = |address: Option<String>| address.unwrap_or_else(|| "embedded".to_owned());
    let roles: Vec<&str> = config.roles(&[]).iter().map(|role| role.name()).collect();
    output::table(&[
        vec!["configuration file".into(), file],
        vec!["data".into(), data.map_or("not used".into(), |data| data.display().to_string())],
        vec!["bus".into(), shown(bus.as_ref().map(KafkaSettings::address))],
        vec!["store".into(), shown(store.as_ref().map(|store| store.address().to_string()))],
        vec!["registry".into(), if config.registry.is_some() { "set".into() } else { "none".to_owned() }],
        vec!["master key".into(), config.master_key_place()],
        vec!["roles".into(), roles.join(",")],
        vec!["listen".into(), config.listen(listen_from_environment()?).to_string()],
        vec!["log".into(), config.log.clone().unwrap_or_else(|| "default".into())],
        vec!["log format".into(), format!("{:?}", config.log_format).to_lowercase()],
        vec!["request timeout".into(), format!("{} s", config.request_timeout.as_secs())],
        vec!["secure cookies".into(), config.secure_cookies.to_string()],
    ])?;
    let directory = match data {
        Some(data) => check_directory(data, store.is_none()).await?,
        None => None,
    };
    if let Some(id) = config.vault(directory.as_ref())?.key_id() {
        output::line(format!("the master key `{id}` can be used"))?;
    }
    if let Some(settings) = bus {
        let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
        KafkaBus::open(&settings, &topics).await?;
        output::line("the bus answers, and has the topics")?;
    }
    if let Some(store) = store {
        store.check().await?;
        output::line("the store answers")?;
    }
    if let Some(registry) = &config.registry {
        Registry::connect(registry).await?;
        output::line("the registry answers")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks whether the directory can be used, where it is there.
async fn check_directory(data: &Path, has_control_tables: bool) -> anyhow::Result<Option<DataDir>> {
    // A log beside another store is there without control tables.
    let is_control_there = has_control_tables && data.join("control.db").is_file();
    if !is_control_there && !data.join("log.db").is_file() {
        output::line("the data directory is not there yet; the first command that writes makes it")?;
        return Ok(None);
    }
    let directory = DataDir::open(data)?;
    if is_control_there {
        ControlDb::open(&directory).await?.close().await;
    }
    output::line("the data directory can be used")?;
    Ok(Some(directory))
}

/// `serve` and `demo` take this variable by their flag; here there is no such flag.
fn listen_from_environment() -> anyhow::Result<Option<std::net::SocketAddr>> {
    match std::env::var("ANNALS_LISTEN") {
        Ok(text) => Ok(Some(
            text.parse()
                .map_err(|_| anyhow::anyhow!("`ANNALS_LISTEN` is `{text}`, not an address with a port"))?,
        )),
        Err(_) => Ok(None),
    }
}
