//! Configuration: by flag, by environment, by `annals.toml`, in that order. Flag and environment are clap's; this
//! file adds the third and the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use annals_access::{Secret, Vault};
use annals_store::DataDir;
use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

use crate::cli::{Global, LogFormat, ServerRole};

/// The file that is read when none is named.
const DEFAULT_FILE: &str = "annals.toml";

/// Where the server listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8400);

/// How the settings of log and store name the engine in the data directory.
const EMBEDDED: &str = "embedded";

/// The variable with the master key itself.
const MASTER_KEY: &str = "ANNALS_MASTER_KEY";

/// The variable with the files of master keys that were replaced.
const OLD_MASTER_KEYS: &str = "ANNALS_OLD_MASTER_KEYS";

/// What `annals.toml` may hold. An unknown key is an error, so that a misspelt one is not ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    bus: Option<String>,
    store: Option<String>,
    registry: Option<String>,
    master_key_file: Option<PathBuf>,
    roles: Option<Vec<ServerRole>>,
    listen: Option<SocketAddr>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    request_timeout_seconds: Option<u64>,
    rate_limit: Option<u32>,
    audit_page_limit: Option<u64>,
    secure_cookies: Option<bool>,
}

/// Where the master key was configured to be. It is the one setting that is no flag: flags are seen by every user of the
/// machine.
#[derive(Clone, Debug)]
enum MasterKey {
    Text(Secret),
    File(PathBuf),
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Config {
    data: Option<PathBuf>,
    bus: Option<String>,
    store: Option<String>,
    /// The schema registry.
    pub registry: Option<String>,
    master_key: Option<MasterKey>,
    /// Files with master keys that were the current one before.
    old_master_keys: Vec<PathBuf>,
    roles: Option<Vec<ServerRole>>,
    listen: Option<SocketAddr>,
    /// Filter of the log; `None` for the command's own default.
    pub log: Option<String>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// How long a request may take.
    pub request_timeout: std::time::Duration,
    /// Requests of one customer to one endpoint of santaba in a minute; `None` for the default.
    pub rate_limit: Option<u32>,
    /// How far clients of santaba may page in versions 2 and 3; `None` for the default.
    pub audit_page_limit: Option<u64>,
    /// Whether cookies are marked `Secure`: set it when a proxy serves annals over TLS.
    pub secure_cookies: bool,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads the file and lays flags and environment over it.
    pub fn load(global: &Global) -> anyhow::Result<Self> {
        let path = match &global.config {
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
        };
        let file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let timeout = file.request_timeout_seconds.unwrap_or(10);
        if file.rate_limit == Some(0) || file.audit_page_limit == Some(0) {
            bail!("`rate_limit` and `audit_page_limit` must be at least 1");
        }
        if !(1..=600).contains(&timeout) {
            bail!("`request_timeout_seconds` is {timeout}; it must be between 1 and 600");
        }
        Ok(Self {
            data: global.data.clone().or(file.data),
            bus: global.bus.clone().or(file.bus).filter(|bus| bus != EMBEDDED),
            store: global.store.clone().or(file.store).filter(|store| store != EMBEDDED),
            registry: global.registry.clone().or(file.registry),
            master_key: master_key(global.master_key_file.clone(), file.master_key_file)?,
            old_master_keys: old_master_keys(),
            roles: file.roles,
            listen: file.listen,
            log: global.log.clone().or(file.log),
            log_format: global.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            request_timeout: std::time::Duration::from_secs(timeout),
            secure_cookies: file.secure_cookies.unwrap_or(false),
            rate_limit: file.rate_limit,
            audit_page_limit: file.audit_page_limit,
            file: path,
        })
    }

    /// The same with both engines embedded in this directory.
    pub fn embedded_in(&self, data: &Path) -> Self {
        Self { data: Some(data.to_owned()), bus: None, store: None, registry: None, ..self.clone() }
    }

    /// The data directory.
    pub fn data(&self) -> anyhow::Result<&Path> {
        self.data
            .as_deref()
            .context("name the data directory with --data DIR, ANNALS_DATA, or `data` in annals.toml")
    }

    /// The address of the log, when it is not embedded.
    pub fn bus(&self) -> Option<&str> {
        self.bus.as_deref()
    }

    /// The address of the store, when it is not embedded.
    pub fn store(&self) -> Option<&str> {
        self.store.as_deref()
    }

    /// Where the master key is, for people.
    pub fn master_key_place(&self) -> String {
        match &self.master_key {
            Some(MasterKey::Text(_)) => format!("in {MASTER_KEY}"),
            Some(MasterKey::File(path)) => path.display().to_string(),
            None if self.bus.is_none() || self.store.is_none() => "in the data directory".to_owned(),
            None => "none".to_owned(),
        }
    }

    /// The master keys, read: a wrong one is told at the start and not when somebody needs it.
    pub fn vault(&self, directory: Option<&DataDir>) -> anyhow::Result<Vault> {
        let vault = match (&self.master_key, directory) {
            (Some(MasterKey::Text(text)), _) => Vault::of_text(text, MASTER_KEY)?,
            (Some(MasterKey::File(path)), _) => Vault::in_file(path.clone()),
            (None, Some(directory)) => Vault::made_in(directory.master_key()),
            (None, None) => Vault::none(),
        };
        let vault = vault.with_old_files(self.old_master_keys.iter().cloned());
        vault.load()?;
        Ok(vault)
    }

    /// What a server does, unless the flag or the environment said so.
    pub fn roles(&self, flag: &[ServerRole]) -> Vec<ServerRole> {
        match &self.roles {
            _ if !flag.is_empty() => flag.to_vec(),
            Some(roles) if !roles.is_empty() => roles.clone(),
            _ => ServerRole::ALL.to_vec(),
        }
    }

    /// The same with this limit of requests in a minute, where there is one.
    pub fn with_rate_limit(self, flag: Option<u32>) -> Self {
        Self { rate_limit: flag.or(self.rate_limit), ..self }
    }

    /// Where to listen, unless the flag or the environment said so.
    pub fn listen(&self, flag: Option<SocketAddr>) -> SocketAddr {
        flag.or(self.listen).unwrap_or(DEFAULT_LISTEN)
    }
}

/// The master key's setting: of flag and environment one, else the file's.
fn master_key(path: Option<PathBuf>, from_file: Option<PathBuf>) -> anyhow::Result<Option<MasterKey>> {
    let text = std::env::var_os(MASTER_KEY).filter(|text| !text.is_empty());
    let text = text.map(|text| Secret::new(text.to_string_lossy()));
    match (text, path) {
        (Some(_), Some(path)) => {
            bail!("both {MASTER_KEY} and the file `{}` give the master key; give one", path.display())
        }
        (Some(text), None) => Ok(Some(MasterKey::Text(text))),
        (None, path) => Ok(path.or(from_file).map(MasterKey::File)),
    }
}

fn old_master_keys() -> Vec<PathBuf> {
    let files = std::env::var_os(OLD_MASTER_KEYS).unwrap_or_default();
    files.to_string_lossy().split(',').filter(|file| !file.is_empty()).map(PathBuf::from).collect()
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        // Not the error itself: it shows the line, and an address in it may hold a password.
        let (file, message) = (path.display(), error.message());
        match error.span() {
            Some(span) => {
                let (line, column, key) = place(&text, span.start);
                anyhow!("`{file}` is not a valid configuration: line {line}, column {column}{key}: {message}")
            }
            None => anyhow!("`{file}` is not a valid configuration: {message}"),
        }
    })
}

/// Line and column of a byte, as editors count them, and the key in this line, where there is one.
fn place(text: &str, at: usize) -> (usize, usize, String) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let key = if is_key { format!(", `{key}`") } else { String::new() };
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, data: Option<&str>) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("annals.toml");
        std::fs::write(&path, text)?;
        Config::load(&Global {
            data: data.map(Into::into),
            config: Some(path),
            bus: None,
            store: None,
            registry: None,
            master_key_file: None,
            log: None,
            log_format: None,
        })
    }

    #[test]
    fn a_flag_goes_before_the_file() -> anyhow::Result<()> {
        let text = "data = '/from/file'\nlisten = '127.0.0.1:9000'";
        assert_eq!(load(text, None)?.data()?, Path::new("/from/file"));
        let config = load(text, Some("/from/flag"))?;
        assert_eq!(config.data()?, Path::new("/from/flag"));
        assert_eq!(config.listen(None).port(), 9000);
        assert_eq!(config.listen(Some(DEFAULT_LISTEN)).port(), 8400);
        Ok(())
    }

    #[test]
    fn a_misspelt_key_and_an_impossible_value_are_named() {
        let message = |text| format!("{:#}", load(text, None).expect_err("must be refused"));
        assert!(message("lisen = '127.0.0.1:9000'").contains("lisen"));
        assert!(message("request_timeout_seconds = 0").contains("request_timeout_seconds"));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_and_not_shown() {
        for (text, place) in [
            ("data = 'x'\nbus = kafka://ada:geheim@h:1\n", "line 2, column 7"),
            ("store = 'postgres://ada:geheim@h/d'\nstore = 'postgres://ada:geheim@h/d'", "line 2, column 1"),
            ("store = 'postgres://ada:geheim@h/d", "line 1, column"),
            ("\u{e4} = 'kafka://ada:geheim@h:1'", "line 1, column 1"),
            ("request_timeout_seconds = 'kafka://h:1'", "line 1, column 27"),
        ] {
            let message = format!("{:#}", load(text, None).expect_err("must be refused"));
            assert!(message.contains(place) && message.contains("annals.toml"), "{text}: {message}");
            assert!(!message.contains("geheim"), "{text}: {message}");
        }
    }
}
