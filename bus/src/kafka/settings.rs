//! The address of a Kafka log: `kafka://[USER[:PASSWORD]@]HOST[:PORT][,…][?PARAMETER=VALUE&…]`.
//!
//! | parameter | meaning | default |
//! |---|---|---|
//! | `tls` | `true` encrypts, and checks the servers' certificates | `false` |
//! | `ca` | file of trusted certificates (PEM) | the system's |
//! | `certificate`, `key` | files of the client's own certificate and key (PEM) | none |
//! | `sasl` | how the user is told: `plain`, `scram-sha-256`, `scram-sha-512` | none; a user needs one |
//! | `password_file` | file with the password, so that it stands in no command line | none |
//! | `replication` | copies of each record, for topics that annals makes | the cluster's default |
//! | `min_insync` | copies that must be written before a record counts as appended | `replication` − 1, at least 1 |
//! | `compression` | `none`, `lz4`, `snappy`, `zstd` or `gzip` | `lz4` |
//! | `linger_ms` | milliseconds that a record waits for others to be sent with | 2 |
//! | `client_id` | name of this process among the group's members | machine and process id |
//! | `topic_prefix` | put before the name of every topic and group, for clusters that are shared | none |
//! | `timeout_s` | seconds until an unanswered request is an error, at most 300 | 10 |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::{BusError, Result};

/// Kafka's own port.
const DEFAULT_PORT: u16 = 9092;

/// An unanswered request is an error after this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer is waiting for ever: an append takes up to three of it, and librdkafka counts milliseconds in 31 bits.
const MAX_TIMEOUT_S: u64 = 300;

/// Long enough for the records of one append to travel together, and short against the wait for the answer.
const DEFAULT_LINGER_MS: u16 = 2;

/// The longest first wait before a lost server is tried again. Kafka's own 10 s would keep a view waiting.
const RECONNECT_MAX_MS: &str = "2000";

/// A topic that is missing for this long is gone. Topics are made by `annals topics ensure`, which waits for them.
const MISSING_MS: &str = "5000";

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Where a Kafka log is and how it is spoken to. Neither `Display` nor `Debug` shows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    servers: String,
    user: Option<String>,
    password: Option<Secret>,
    /// The parameters as they were given; none of them is secret.
    parameters: String,
    tls: bool,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    sasl: Option<&'static str>,
    pub(super) replication: Option<u16>,
    pub(super) min_insync: Option<u16>,
    pub(super) compression: &'static str,
    pub(super) linger_ms: u16,
    /// As the address says.
    client_id: Option<String>,
    /// The name of this process where the address says none.
    process: String,
    pub(super) topic_prefix: String,
    pub(super) timeout: Duration,
}

impl KafkaSettings {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BusError::Settings`], naming the part that is not understood. A password file is read here.
    pub fn parse(address: &str) -> Result<Self> {
        let Some(rest) = address.strip_prefix("kafka://") else {
            return Err(wrong("it must begin with `kafka://`"));
        };
        let (authority, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (Some(decoded("the user", user)?), decoded("the password", password)?),
            None => (None, String::new()),
        };
        let mut settings = Self {
            servers: servers(hosts)?,
            user,
            password: (!password.is_empty()).then_some(Secret(password)),
            parameters: parameters.to_owned(),
            tls: false,
            ca: None,
            certificate: None,
            key: None,
            sasl: None,
            replication: None,
            min_insync: None,
            compression: "lz4",
            linger_ms: DEFAULT_LINGER_MS,
            client_id: None,
            process: "annals".into(),
            topic_prefix: String::new(),
            timeout: DEFAULT_TIMEOUT,
        };
        let mut seen = Vec::new();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if seen.contains(&name) {
                return Err(wrong(format!("`{name}` is given twice")));
            }
            seen.push(name);
            settings.set(name, decoded(name, value)?)?;
        }
        settings.check()?;
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "tls" => self.tls = one_of(name, &value, &["false", "true"])? == "true",
            "ca" => self.ca = Some(value.into()),
            "certificate" => self.certificate = Some(value.into()),
            "key" => self.key = Some(value.into()),
            "sasl" => {
                self.sasl = Some(match one_of(name, &value, &["plain", "scram-sha-256", "scram-sha-512"])? {
                    "plain" => "PLAIN",
                    "scram-sha-256" => "SCRAM-SHA-256",
                    _ => "SCRAM-SHA-512",
                });
            }
            "password_file" => {
                let text = std::fs::read_to_string(&value)
                    .map_err(|error| wrong(format!("`password_file` `{value}` cannot be read: {error}")))?;
                self.password = Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned()));
            }
            "replication" => self.replication = Some(number(name, &value)?),
            "min_insync" => self.min_insync = Some(number(name, &value)?),
            "compression" => {
                self.compression = one_of(name, &value, &["none", "lz4", "snappy", "zstd", "gzip"])?;
            }
            "linger_ms" => {
                self.linger_ms = value
                    .parse()
                    .map_err(|_| wrong(format!("`{name}` must be a number below 65536, not `{value}`")))?;
            }
            "client_id" => self.client_id = Some(value),
            "topic_prefix" => self.topic_prefix = value,
            "timeout_s" => {
                let seconds = number(name, &value)?;
                if seconds > MAX_TIMEOUT_S {
                    return Err(wrong(format!("`{name}` must be at most {MAX_TIMEOUT_S}, not `{value}`")));
                }
                self.timeout = Duration::from_secs(seconds);
            }
            _ => return Err(wrong(format!("there is no parameter `{name}`"))),
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match (&self.user, &self.password, self.sasl) {
            (Some(_), _, None) => {
                return Err(wrong("a user needs `sasl=plain`, `sasl=scram-sha-256` or `sasl=scram-sha-512`"));
            }
            (None, _, Some(_)) => return Err(wrong("`sasl` needs a user: `kafka://USER@HOST:PORT`")),
            (Some(_), None, Some(_)) => return Err(wrong("the user needs a password or a `password_file`")),
            (None, Some(_), None) => return Err(wrong("a password needs a user")),
            _ => {}
        }
        if !self.tls && (self.ca.is_some() || self.certificate.is_some() || self.key.is_some()) {
            return Err(wrong("`ca`, `certificate` and `key` need `tls=true`"));
        }
        if let (Some(replication), Some(min_insync)) = (self.replication, self.min_insync)
            && min_insync > replication
        {
            return Err(wrong("`min_insync` is larger than `replication`: nothing could be appended"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match self.topic_prefix.chars().find(|c| !allowed(*c)) {
            Some(other) => Err(wrong(format!(
                "`topic_prefix` must be of letters, digits, `.`, `_` and `-`, not `{other}`"
            ))),
            None => Ok(()),
        }
    }

    /// The same log under another name of this process, as `annals status` shows it. A `client_id` of the address goes
    /// before it.
    #[must_use]
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.process = client_id.into();
        self
    }

    /// The same log with another limit of an unanswered request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The servers, without user and parameters: what an error names.
    #[must_use]
    pub fn address(&self) -> String {
        format!("kafka://{}", self.servers)
    }

    /// Whether connections are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls
    }

    /// What is put before the name of every topic and group.
    #[must_use]
    pub fn topic_prefix(&self) -> &str {
        &self.topic_prefix
    }

    /// The name of a topic or group in the cluster.
    pub(super) fn outer_name(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// The name of a topic in annals; `None` for a topic of somebody else.
    pub(super) fn inner_name<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.topic_prefix)
    }

    /// What every client of the log is configured with.
    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        config.set("client.id", self.client_id.as_ref().unwrap_or(&self.process));
        config.set("socket.nagle.disable", "true");
        config.set("socket.keepalive.enable", "true");
        // A server that is gone without a word. librdkafka's own minute is long, and it has limits of its own.
        let answer_ms = self.timeout.as_millis().clamp(5_000, 300_000);
        config.set("socket.timeout.ms", answer_ms.to_string());
        config.set("reconnect.backoff.max.ms", RECONNECT_MAX_MS);
        config.set("topic.metadata.propagation.max.ms", MISSING_MS);
        config.set("allow.auto.create.topics", "false");
        config.set("security.protocol", self.protocol());
        for (name, file) in [
            ("ssl.ca.location", &self.ca),
            ("ssl.certificate.location", &self.certificate),
            ("ssl.key.location", &self.key),
        ] {
            if let Some(file) = file {
                config.set(name, file.to_string_lossy());
            }
        }
        if let (Some(user), Some(Secret(password)), Some(sasl)) = (&self.user, &self.password, self.sasl) {
            config.set("sasl.mechanism", sasl).set("sasl.username", user).set("sasl.password", password);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }

    fn protocol(&self) -> &'static str {
        match (self.tls, self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        }
    }
}

impl FromStr for KafkaSettings {
    type Err = BusError;

    fn from_str(address: &str) -> Result<Self> {
        Self::parse(address)
    }
}

impl fmt::Display for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kafka://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.servers)?;
        if self.parameters.is_empty() { Ok(()) } else { write!(f, "?{}", self.parameters) }
    }
}

fn wrong(reason: impl Into<String>) -> BusError {
    BusError::Settings(reason.into())
}

fn decoded(what: &str, text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| wrong(format!("{what} is not text after percent-decoding")))
}

fn number<T: FromStr + PartialOrd + From<u8>>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .ok()
        .filter(|number| *number >= T::from(1))
        .ok_or_else(|| wrong(format!("`{name}` must be a number of at least 1, not `{value}`")))
}

fn one_of(name: &str, value: &str, allowed: &[&'static str]) -> Result<&'static str> {
    allowed
        .iter()
        .find(|known| **known == value)
        .copied()
        .ok_or_else(|| wrong(format!("`{name}` must be one of {}, not `{value}`", allowed.join(", "))))
}

/// The servers, each with its port.
fn servers(hosts: &str) -> Result<String> {
    let mut servers = Vec::new();
    for host in hosts.split(',') {
        // The colons of an IPv6 address stand within brackets.
        let after_address = host.rfind(']').map_or(0, |bracket| bracket + 1);
        let (name, port) = match host[after_address..].rfind(':') {
            Some(colon) => (&host[..after_address + colon], &host[after_address + colon + 1..]),
            None => (host, ""),
        };
        let port =
            if port.is_empty() && !host.ends_with(':') { Ok(DEFAULT_PORT) } else { port.parse::<u16>() };
        match port {
            Ok(port) if port > 0 && !name.is_empty() && !name.contains(['/', ' ']) => {
                servers.push(format!("{name}:{port}"));
            }
            _ => return Err(wrong(format!("`{host}` is not HOST:PORT"))),
        }
    }
    Ok(servers.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        KafkaSettings::parse(address).unwrap_err().to_string()
    }

    #[test]
    fn an_address_is_read_whole() {
        let settings = KafkaSettings::parse(
            "kafka://ann%40a:p%3Aw%2F%40@one:1,[::1]:2,three?tls=true&ca=/tmp/ca.pem&sasl=scram-sha-512&replication=3&min_insync=2&compression=zstd&client_id=a%20b&topic_prefix=x.&timeout_s=3",
        )
        .unwrap();
        let config = settings.client_config();
        for (name, value) in [
            ("bootstrap.servers", "one:1,[::1]:2,three:9092"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "ann@a"),
            ("sasl.password", "p:w/@"),
            ("ssl.ca.location", "/tmp/ca.pem"),
            ("client.id", "a b"),
        ] {
            assert_eq!(config.get(name), Some(value), "{name}");
        }
        assert_eq!(
            (settings.replication, settings.min_insync, settings.compression),
            (Some(3), Some(2), "zstd")
        );
        assert_eq!(settings.outer_name("alpha"), "x.alpha");
        assert_eq!(settings.inner_name("x.alpha"), Some("alpha"));
        assert_eq!(settings.timeout, Duration::from_secs(3));
    }

    #[test]
    fn the_password_is_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let from_file = format!("kafka://u@h:1?sasl=plain&password_file={}", file.path().display());
        for address in ["kafka://u:hunter2@h:1?sasl=plain", &from_file] {
            let settings = KafkaSettings::parse(address).unwrap();
            assert_eq!(settings.client_config().get("sasl.password"), Some("hunter2"));
            for shown in [settings.to_string(), format!("{settings:?}"), settings.address()] {
                assert!(!shown.contains("hunter2"), "{shown}");
            }
        }
        assert!(!refusal("kafka://u:hunter2@h:1?sasl=nonsense").contains("hunter2"));
        assert!(!refusal("http://u:hunter2@h:1").contains("hunter2"));
    }

    #[test]
    fn the_name_of_a_process_is_that_of_the_address_where_it_has_one() {
        let named = |address: &str| {
            let settings = KafkaSettings::parse(address).unwrap().with_client_id("annals-host-1");
            settings.client_config().get("client.id").map(str::to_owned)
        };
        assert_eq!(named("kafka://h:1").as_deref(), Some("annals-host-1"));
        assert_eq!(named("kafka://h:1?client_id=audit-1").as_deref(), Some("audit-1"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (address, part) in [
            ("http://h:1", "must begin with `kafka://`"),
            ("kafka://", "`` is not HOST:PORT"),
            ("kafka://h:x", "`h:x` is not HOST:PORT"),
            ("kafka://h:1,:2", "`:2` is not HOST:PORT"),
            ("kafka://h:1/topic", "`h:1/topic` is not HOST:PORT"),
            ("kafka://h:1?colour=red", "no parameter `colour`"),
            ("kafka://h:1?tls=yes", "`tls` must be one of false, true"),
            ("kafka://h:1?tls=true&tls=true", "`tls` is given twice"),
            ("kafka://h:1?ca=/x", "need `tls=true`"),
            ("kafka://u:p@h:1", "a user needs `sasl=plain`"),
            ("kafka://u@h:1?sasl=plain", "needs a password"),
            ("kafka://h:1?sasl=plain", "`sasl` needs a user"),
            ("kafka://h:1?linger_ms=-1", "`linger_ms` must be a number"),
            ("kafka://h:1?replication=0", "`replication` must be a number of at least 1"),
            ("kafka://h:1?replication=1&min_insync=2", "larger than `replication`"),
            ("kafka://u@h:1?sasl=plain&password_file=/nowhere/p", "`/nowhere/p` cannot be read"),
            ("kafka://h:1?topic_prefix=a/b", "not `/`"),
            ("kafka://h:1?timeout_s=0", "`timeout_s` must be a number of at least 1"),
            ("kafka://h:1?timeout_s=301", "`timeout_s` must be at most 300"),
            ("kafka://h:1?timeout_s=18446744073709551615", "`timeout_s` must be at most 300"),
        ] {
            let error = refusal(address);
            assert!(error.contains(part) && error.contains("`--bus`"), "{address}: {error}");
        }
    }
}
