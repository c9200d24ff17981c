//! Servers in containers, where a Docker engine of this machine answers.
//!
//! A container ends with the test process: the `docker` command removes it then. What fails here is said, and the
//! server is started as a local process instead. There is no image of the schema registry in use.

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use sqlx::{Connection, PgConnection};
use testcontainers::core::{ContainerRequest, IntoContainerPort};
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};

use super::{Lines, Server};

/// Where a Docker engine listens unless `DOCKER_HOST` says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// Time for fetching an image and for its server's first answer.
const START: Duration = Duration::from_secs(300);

/// How often a server that starts is asked.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A Metadata request of Kafka's protocol, version 1, for no topic, behind its length.
const METADATA: [u8; 19] = [0, 0, 0, 15, 0, 3, 0, 1, 0, 0, 0, 7, 0, 1, b't', 0, 0, 0, 0];

/// The address lines of a server in a container; none where there is no engine, or it fails.
pub(super) fn start(server: Server) -> Option<Lines> {
    if !engine_answers() {
        return None;
    }
    // The caller may be inside a runtime already.
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match server {
                Server::Kafka | Server::Broker(_) => kafka().await.map(Some),
                Server::Postgres => postgres().await.map(Some),
                Server::Registry => Ok(None),
            }
        })
    });
    match started.join() {
        Ok(Ok(lines)) => lines,
        Ok(Err(error)) => say(&format!("no container for {server:?}: {error}")),
        Err(_) => say(&format!("no container for {server:?}")),
    }
}

fn say(what: &dyn Display) -> Option<Lines> {
    eprintln!("{what}; a local process is used instead");
    None
}

/// Asks the engine for a sign of life. One on another machine does not count: tests reach for loopback addresses.
fn engine_answers() -> bool {
    let named = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let Some(path) = named.as_deref().map_or(Some(SOCKET), |host| host.strip_prefix("unix://")) else {
        return false;
    };
    let ask = || -> std::io::Result<bool> {
        let mut engine = UnixStream::connect(path)?;
        engine.set_read_timeout(Some(Duration::from_secs(2)))?;
        engine.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = [0; 12];
        engine.read_exact(&mut answer)?;
        Ok(answer.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn postgres() -> Result<Lines, Failure> {
    let port = free_port()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let password = format!("{:x}", now.as_nanos());
    let image = GenericImage::new("postgres", "15")
        .with_env_var("POSTGRES_USER", "annals")
        .with_env_var("POSTGRES_DB", "annals")
        .with_env_var("POSTGRES_PASSWORD", password.clone())
        .with_cmd(["postgres", "-c", "max_connections=200"]);
    run(image, port, 5432).await?;
    let url = format!("postgres://annals:{password}@127.0.0.1:{port}/annals");
    let deadline = Instant::now() + START;
    while let Err(error) = PgConnection::connect(&url).await {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(Lines::from([("ANNALS_POSTGRES".into(), url)]))
}

async fn kafka() -> Result<Lines, Failure> {
    let port = free_port()?;
    let mut image = ContainerRequest::from(GenericImage::new("apache/kafka", "4.3.1"));
    for (name, value) in [
        ("NODE_ID", "1"),
        ("PROCESS_ROLES", "broker,controller"),
        ("CONTROLLER_QUORUM_VOTERS", "1@localhost:9093"),
        ("LISTENERS", "OUTSIDE://:9092,CONTROLLER://:9093,INSIDE://:9094"),
        ("ADVERTISED_LISTENERS", &format!("OUTSIDE://127.0.0.1:{port},INSIDE://localhost:9094")),
        ("LISTENER_SECURITY_PROTOCOL_MAP", "OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT"),
        ("CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("INTER_BROKER_LISTENER_NAME", "INSIDE"),
        ("AUTO_CREATE_TOPICS_ENABLE", "false"),
        ("OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("OFFSETS_TOPIC_NUM_PARTITIONS", "4"),
        ("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "1"),
        ("SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "1"),
        ("GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ] {
        image = image.with_env_var(format!("KAFKA_{name}"), value);
    }
    run(image, port, 9092).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + START;
    while let Err(error) = ask_kafka(address) {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(Lines::from([("ANNALS_KAFKA".into(), address.to_string())]))
}

fn ask_kafka(address: SocketAddr) -> std::io::Result<()> {
    let mut broker = TcpStream::connect(address)?;
    broker.set_read_timeout(Some(Duration::from_secs(5)))?;
    broker.write_all(&METADATA)?;
    broker.read_exact(&mut [0; 8])
}

/// Starts a container whose port is reached at 127.0.0.1 only, and which goes away with this process.
async fn run(
    image: impl Into<ContainerRequest<GenericImage>>,
    port: u16,
    inside: u16,
) -> Result<(), Failure> {
    let container = image
        .into()
        .with_mapped_port(port, inside.tcp())
        .with_host_config_modifier(|host| {
            for binding in
                host.port_bindings.iter_mut().flat_map(|ports| ports.values_mut()).flatten().flatten()
            {
                binding.host_ip = Some("127.0.0.1".into());
            }
        })
        .with_startup_timeout(START)
        .start()
        .await?;
    let removes = "while kill -0 \"$0\"; do sleep 1; done; docker rm --force --volumes \"$1\"";
    Command::new("sh")
        .args(["-c", removes, &std::process::id().to_string(), container.id()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Dropped, it would be removed now.
    std::mem::forget(container);
    Ok(())
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
