//! The servers themselves: found or started, taken down and up again, and reached through a proxy.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use annals_testing::SOON;
use annals_testing::postgres::fresh_database;
use annals_testing::proxy::Proxy;
use annals_testing::servers::{self, KafkaServer, Options, Server, private};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

/// Longer than a server that runs ever takes for nothing.
const HALTED: Duration = Duration::from_millis(500);

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn each_test_has_a_database_that_goes_away_with_it() {
    let server = servers::postgres();
    let (one, other) = tokio::join!(fresh_database(&server), fresh_database(&server));
    let mut connected = connect(&one.url).await;
    connected.execute("CREATE TABLE mine (number INT)").await.unwrap();
    assert!(connect(&other.url).await.execute("SELECT * FROM mine").await.is_err());
    let (name, mut outside) = (one.name.clone(), connect(&server.url).await);
    drop(one);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut outside)
        .await
        .unwrap();
    assert_eq!(left, 0, "although somebody was connected");
}

#[tokio::test]
async fn the_user_of_postgres_makes_databases_and_roles_and_writes_are_synchronous() {
    let database = fresh_database(&servers::postgres()).await;
    let mut connection = connect(&database.url).await;
    let may = "SELECT count(*) FROM pg_roles WHERE rolname = current_user AND rolcreatedb AND rolcreaterole";
    assert_eq!(number(&mut connection, may).await, 1);
    let synchronous =
        "SELECT count(*) FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'on'";
    assert_eq!(number(&mut connection, synchronous).await, 2);
}

#[tokio::test]
async fn a_private_postgres_keeps_what_it_acknowledged_when_it_is_killed() {
    let options = Options {
        servers: vec![Server::Postgres],
        postgres: vec![("shared_buffers", "16MB".into())],
        ..Options::default()
    };
    let own = private(options).await;
    let url = own.postgres().url;
    let mut before = connect(&url).await;
    assert_eq!(
        number(&mut before, "SELECT setting::BIGINT FROM pg_settings WHERE name = 'shared_buffers'").await,
        2048
    );
    before.execute("CREATE TABLE kept (number INT)").await.unwrap();
    before.execute("INSERT INTO kept VALUES (1)").await.unwrap();

    own.kill(Server::Postgres).await;
    assert!(before.execute("SELECT 1").await.is_err());
    assert!(PgConnection::connect(&url).await.is_err());
    own.start(Server::Postgres).await;
    let mut after = connect(&url).await;
    assert_eq!(number(&mut after, "SELECT count(*) FROM kept").await, 1);

    own.pause(Server::Postgres).await;
    let asked = tokio::time::timeout(HALTED, after.execute("SELECT 1")).await;
    assert!(asked.is_err(), "a halted server answers nothing");
    own.resume(Server::Postgres).await;
    assert_eq!(number(&mut connect(&url).await, "SELECT count(*) FROM kept").await, 1);

    own.stop(Server::Postgres).await;
    assert!(PgConnection::connect(&url).await.is_err());
    let directory = own.directory().to_owned();
    drop(own);
    assert!(!directory.try_exists().unwrap());
}

#[tokio::test]
async fn a_copy_that_is_cut_in_the_middle_leaves_nothing() {
    let database = fresh_database(&servers::postgres()).await;
    let direct: PgConnectOptions = database.url.parse().unwrap();
    let upstream: SocketAddr = format!("{}:{}", direct.get_host(), direct.get_port()).parse().unwrap();
    let proxy = Proxy::start(None, upstream).unwrap();
    let through = direct.clone().host("127.0.0.1").port(proxy.address().port());
    let mut connection = through.connect().await.unwrap();
    connection.execute("CREATE TABLE copied (number INT)").await.unwrap();

    proxy.cut_after(100_000);
    let before = proxy.bytes_to_server();
    let cut = copy_numbers(&mut connection).await;
    assert!(cut.is_err());
    assert_eq!(proxy.bytes_to_server() - before, 100_000);
    assert!(through.connect().await.is_err(), "cut off until it is restored");

    proxy.restore();
    let mut connection = through.connect().await.unwrap();
    assert_eq!(number(&mut connection, "SELECT count(*) FROM copied").await, 0);
    assert_eq!(copy_numbers(&mut connection).await.unwrap(), 100_000);
}

async fn copy_numbers(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let mut copy = connection.copy_in_raw("COPY copied FROM STDIN").await?;
    copy.send("1234567\n".repeat(100_000).as_bytes()).await?;
    copy.finish().await
}

#[test]
fn the_registry_answers() {
    let url = servers::registry().url;
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    write!(connection, "GET /{path}/subjects HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// A Metadata request of version 1 for no topic; the answer names every broker's address.
fn brokers_seen_at(address: SocketAddr) -> Vec<u8> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    let request = [0, 3, 0, 1, 0, 0, 0, 7, 0, 1, b't', 0, 0, 0, 0];
    connection.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    connection.write_all(&request).unwrap();
    let mut length = [0; 4];
    connection.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    connection.read_exact(&mut answer).unwrap();
    answer
}

fn names(answer: &[u8], address: SocketAddr) -> bool {
    let wanted = [b"127.0.0.1".as_slice(), &u32::from(address.port()).to_be_bytes()].concat();
    answer.windows(wanted.len()).any(|found| found == wanted)
}

fn bootstrap(kafka: &KafkaServer) -> SocketAddr {
    kafka.bootstrap.split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn clients_of_kafka_that_come_through_a_proxy_stay_with_it() {
    let own = private(Options { servers: vec![Server::Kafka], ..Options::default() }).await;
    let kafka = own.kafka();
    assert!(names(&brokers_seen_at(bootstrap(&kafka)), bootstrap(&kafka)));

    let [proxied] = kafka.proxied[..] else { panic!("one broker") };
    assert!(TcpStream::connect(proxied.advertised).is_err(), "nobody listens there");
    let proxy = Proxy::start(Some(proxied.advertised), proxied.behind).unwrap();
    let seen = brokers_seen_at(proxy.address());
    assert!(names(&seen, proxied.advertised));
    assert!(!names(&seen, bootstrap(&kafka)) && !names(&seen, proxied.behind));

    own.kill(Server::Broker(1)).await;
    assert!(TcpStream::connect(bootstrap(&kafka)).is_err());
    own.start(Server::Kafka).await;
    assert!(names(&brokers_seen_at(proxy.address()), proxied.advertised));
}
