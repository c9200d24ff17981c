//! Apache Kafka, a schema registry and PostgreSQL, found or started.
//!
//! [`kafka`], [`registry`] and [`postgres`] give the servers that all tests share. Each is looked for in this order:
//!
//! 1. the environment: `ANNALS_KAFKA`, `ANNALS_REGISTRY`, `ANNALS_POSTGRES` (`scripts/test` sets them);
//! 2. a container, where this crate has its feature `containers` and a Docker engine answers;
//! 3. a process of this machine, started by `deploy/dev/servers` and stopped when the test process is gone.
//!
//! A test that takes a server down needs its own: [`private`].

#[cfg(feature = "containers")]
mod containers;
mod local;
mod private;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use private::{Options, PrivateServers, private};

/// A server that can be started, stopped and halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Apache Kafka: all its brokers.
    Kafka,
    /// One broker of Apache Kafka, counted from 1.
    Broker(u32),
    /// The schema registry.
    Registry,
    /// PostgreSQL.
    Postgres,
}

impl Server {
    /// Its name on the command line of `deploy/dev/servers`.
    fn name(self) -> &'static str {
        match self {
            Self::Kafka | Self::Broker(_) => "kafka",
            Self::Registry => "registry",
            Self::Postgres => "postgres",
        }
    }
}

/// Apache Kafka.
#[derive(Debug, Clone)]
pub struct KafkaServer {
    /// `bootstrap.servers` of a client.
    pub bootstrap: String,
    /// Per broker, the addresses for a test with a proxy. None in a container.
    pub proxied: Vec<Proxied>,
    /// The listener with TLS and logins. Only servers that were started with it have one.
    pub secure: Option<SecureKafka>,
}

/// A broker's second listener, which sends its clients to a place where nobody listens until a test does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// Where clients are sent to: the proxy listens here, and this is the `bootstrap.servers` of its clients.
    pub advertised: SocketAddr,
    /// Where the proxy passes connections on to.
    pub behind: SocketAddr,
}

/// Apache Kafka with TLS (`SASL_SSL`), and logins by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
#[derive(Debug, Clone)]
pub struct SecureKafka {
    /// `bootstrap.servers` of a client.
    pub bootstrap: String,
    /// The certificate of the authority that signed the brokers' certificate.
    pub ca: PathBuf,
    /// Who may do everything.
    pub user: String,
    /// Who may log in and nothing else.
    pub user_without_rights: String,
    /// The password of both.
    pub password: String,
}

/// A schema registry with the API of Confluent's.
#[derive(Debug, Clone)]
pub struct RegistryServer {
    /// What comes before `/subjects`.
    pub url: String,
}

/// PostgreSQL. The user in the address may make databases and roles.
#[derive(Debug, Clone)]
pub struct PostgresServer {
    /// Where it is, with user and password.
    pub url: String,
    /// The certificate of the authority that signed the server's. Only servers that were started with TLS have one.
    pub ca: Option<PathBuf>,
}

/// Apache Kafka, shared by all tests. Blocks while it is started.
pub fn kafka() -> KafkaServer {
    static SHARED: OnceLock<KafkaServer> = OnceLock::new();
    SHARED.get_or_init(|| KafkaServer::read(&shared(Server::Kafka, "ANNALS_KAFKA"))).clone()
}

/// The schema registry, shared by all tests. Blocks while it is started.
pub fn registry() -> RegistryServer {
    static SHARED: OnceLock<RegistryServer> = OnceLock::new();
    SHARED.get_or_init(|| RegistryServer::read(&shared(Server::Registry, "ANNALS_REGISTRY"))).clone()
}

/// PostgreSQL, shared by all tests; see [`fresh_database`](crate::postgres::fresh_database). Blocks while it is
/// started.
pub fn postgres() -> PostgresServer {
    static SHARED: OnceLock<PostgresServer> = OnceLock::new();
    SHARED.get_or_init(|| PostgresServer::read(&shared(Server::Postgres, "ANNALS_POSTGRES"))).clone()
}

/// Address lines by name, such as `ANNALS_KAFKA`.
type Lines = HashMap<String, String>;

/// The lines of a server that all tests share; `variable` names the one that says where it is.
fn shared(server: Server, variable: &str) -> Lines {
    if std::env::var(variable).is_ok_and(|value| !value.is_empty()) {
        return std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
    }
    #[cfg(feature = "containers")]
    if let Some(lines) = containers::start(server) {
        return lines;
    }
    local::start_shared(server)
}

fn required(lines: &Lines, name: &str) -> String {
    lines.get(name).cloned().unwrap_or_else(|| panic!("`{name}` is not among the addresses of the servers"))
}

impl KafkaServer {
    fn read(lines: &Lines) -> Self {
        Self {
            bootstrap: required(lines, "ANNALS_KAFKA"),
            proxied: proxied(lines),
            secure: lines.get("ANNALS_KAFKA_SECURE").map(|bootstrap| SecureKafka {
                bootstrap: bootstrap.clone(),
                ca: required(lines, "ANNALS_KAFKA_CA").into(),
                user: required(lines, "ANNALS_KAFKA_USER"),
                user_without_rights: required(lines, "ANNALS_KAFKA_USER_WITHOUT_RIGHTS"),
                password: required(lines, "ANNALS_KAFKA_PASSWORD"),
            }),
        }
    }
}

fn proxied(lines: &Lines) -> Vec<Proxied> {
    let addresses = |name: &str| -> Vec<SocketAddr> {
        let parts = lines.get(name).into_iter().flat_map(|value| value.split(','));
        parts.map(|part| part.parse().unwrap_or_else(|error| panic!("`{part}` in {name}: {error}"))).collect()
    };
    let behind = addresses("ANNALS_KAFKA_BEHIND_PROXY");
    let advertised = addresses("ANNALS_KAFKA_PROXIED");
    advertised.into_iter().zip(behind).map(|(advertised, behind)| Proxied { advertised, behind }).collect()
}

impl RegistryServer {
    fn read(lines: &Lines) -> Self {
        Self { url: required(lines, "ANNALS_REGISTRY") }
    }
}

impl PostgresServer {
    fn read(lines: &Lines) -> Self {
        Self {
            url: required(lines, "ANNALS_POSTGRES"),
            ca: lines.get("ANNALS_POSTGRES_CA").map(PathBuf::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_each_broker_belong_together() {
        let lines = local::parse(
            "ANNALS_KAFKA=127.0.0.1:1,127.0.0.1:2\nANNALS_KAFKA_PROXIED=127.0.0.1:3,127.0.0.1:4\n\
             ANNALS_KAFKA_BEHIND_PROXY=127.0.0.1:5,127.0.0.1:6\n",
        );
        let kafka = KafkaServer::read(&lines);
        assert_eq!(kafka.bootstrap, "127.0.0.1:1,127.0.0.1:2");
        let ports: Vec<_> =
            kafka.proxied.iter().map(|one| (one.advertised.port(), one.behind.port())).collect();
        assert_eq!(ports, [(3, 5), (4, 6)]);
        assert!(kafka.secure.is_none());
    }

    #[test]
    fn a_server_elsewhere_needs_no_more_than_its_address() {
        let kafka = KafkaServer::read(&local::parse("ANNALS_KAFKA=broker.example:9092\n"));
        assert_eq!((kafka.bootstrap.as_str(), kafka.proxied.len()), ("broker.example:9092", 0));
    }
}
