//! Settings that cannot work: the program ends with status 1 and says which setting it is, without a panic and without
//! a password.

use std::io::Write;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_testing::servers::{self, Options, Server as Kind};

use crate::support::servers::own;
use crate::support::{Home, Process, Server, at_once, block_on, http};

/// A password that nobody has.
const WRONG: &str = "geheim-4711";

/// A case: what is set instead, and what must be told.
struct Bad {
    bus: Option<String>,
    store: Option<String>,
    registry: Option<String>,
    says: Vec<&'static str>,
}

fn bus(address: impl Into<String>, says: &[&'static str]) -> Bad {
    Bad { bus: Some(address.into()), store: None, registry: None, says: says.to_vec() }
}

fn store(address: impl Into<String>, says: &[&'static str]) -> Bad {
    Bad { bus: None, store: Some(address.into()), registry: None, says: says.to_vec() }
}

fn registry(address: impl Into<String>, says: &[&'static str]) -> Bad {
    Bad { bus: None, store: None, registry: Some(address.into()), says: says.to_vec() }
}

/// A database without TLS, as far as a client that wants it sees one: the servers of a test run may have it.
fn without_tls() -> std::net::SocketAddr {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = [0; 8];
            if stream.read_exact(&mut question).is_ok() {
                stream.write_all(b"N").unwrap();
            }
        }
    });
    address
}

/// Every case must be refused by a server and by a command that only looks.
fn refused(home: &Home, cases: Vec<Bad>, secrets: &[&str]) {
    let commands: [&[&str]; 2] = [&["serve", "--listen", "127.0.0.1:0"], &["status"]];
    at_once(cases, |bad| {
        for arguments in commands {
            let mut command = home.command(arguments);
            for (name, value) in
                [("ANNALS_BUS", &bad.bus), ("ANNALS_STORE", &bad.store), ("ANNALS_REGISTRY", &bad.registry)]
            {
                if let Some(value) = value {
                    command.env(name, value);
                }
            }
            let told = Process::start(&mut command).finish();
            let what = (&bad.bus, &bad.store, &bad.registry);
            assert_eq!(told.code, Some(1), "{what:?}: {told:#?}");
            let last = told.stderr.lines().last().unwrap();
            for part in &bad.says {
                assert!(last.contains(part), "{what:?} does not tell `{part}`: {told:#?}");
            }
            for secret in secrets.iter().chain([&WRONG]) {
                assert!(!told.stderr.contains(secret), "{told:#?}");
            }
            assert!(last.starts_with("annals: ") && !told.stderr.contains("panicked"), "{told:#?}");
            assert_eq!(told.stdout, "");
        }
    });
}

#[test]
fn wrong_addresses_are_told_with_their_setting() {
    let home = Home::new();
    let postgres = servers::postgres().url;
    let (_, place) = postgres.split_once('@').unwrap();
    let (server, _) = home.database.url.rsplit_once('/').unwrap();
    let kafka = servers::kafka().bootstrap;
    refused(
        &home,
        vec![
            bus("kafka://127.0.0.1:1?timeout_s=2", &["--bus", "kafka://127.0.0.1:1", "refused"]),
            bus("kafka://nowhere.invalid?timeout_s=2", &["--bus", "kafka://nowhere.invalid:9092", "resolve"]),
            bus("http://127.0.0.1:1", &["--bus", "kafka://"]),
            bus(format!("kafka://u:{WRONG}@127.0.0.1:x"), &["--bus", "127.0.0.1:x"]),
            bus(format!("kafka://{kafka}?topic_prefix=nobody."), &["nobody.annals.", "annals topics ensure"]),
            store(
                format!("postgres://u:{WRONG}@127.0.0.1:1/x"),
                &["--store", "postgres://127.0.0.1:1/x", "refused"],
            ),
            store(format!("postgres://u:{WRONG}@nowhere.invalid/x"), &["--store", "nowhere.invalid:5432"]),
            store(format!("mysql://u:{WRONG}@127.0.0.1/x"), &["--store", "postgres://"]),
            store(
                format!("postgres://annals:{WRONG}@{place}"),
                &["--store", "password authentication failed"],
            ),
            store(format!("postgres://nobody:{WRONG}@{place}"), &["--store", "nobody"]),
            store(format!("{server}/nowhere"), &["--store", "\"nowhere\" does not exist"]),
            store(format!("postgres://u:{WRONG}@{}/x?sslmode=require", without_tls()), &["--store", "TLS"]),
            store(format!("{}?sslmod=require", home.database.url), &["--store", "sslmod"]),
            store(format!("{}?password_file=/nowhere/p", home.database.url), &["--store", "/nowhere/p"]),
            registry("http://127.0.0.1:1", &["--registry", "http://127.0.0.1:1", "refused"]),
            registry(format!("ftp://u:{WRONG}@127.0.0.1"), &["--registry", "http://"]),
            registry(format!("http://u:{WRONG}@{kafka}"), &["--registry", "http://"]),
        ],
        &[],
    );
}

#[test]
fn refused_logins_and_unknown_authorities_are_told_with_their_setting() {
    let own = own(Options { servers: vec![Kind::Kafka, Kind::Postgres], secure: true, ..Options::default() });
    let (kafka, postgres) = (own.servers.kafka(), own.servers.postgres());
    let secure = kafka.secure.unwrap();
    let (place, ca, password) = (&secure.bootstrap, secure.ca.display(), &secure.password);
    let may_all = format!("kafka://{}:{password}@{place}?timeout_s=5", secure.user);
    let tls = format!("&tls=true&ca={ca}");
    let mut home = Home::without_topics(&kafka.bootstrap, "", &postgres);
    home.bus = format!("{may_all}&sasl=scram-sha-256{tls}");
    home.run(&["topics", "ensure"]).expect(0);
    let wrong = format!("kafka://{}:{WRONG}@{place}?timeout_s=5{tls}", secure.user);
    let without_rights =
        format!("kafka://{}:{password}@{place}?timeout_s=5&sasl=plain{tls}", secure.user_without_rights);
    let url = &home.database.url;
    let (_, database) = url.split_once('@').unwrap();
    refused(
        &home,
        vec![
            bus(format!("{wrong}&sasl=plain"), &["--bus", "uthentication"]),
            bus(format!("{wrong}&sasl=scram-sha-512"), &["--bus", "uthentication"]),
            bus(format!("{may_all}&sasl=plain&tls=true"), &["--bus", "certificate"]),
            bus(format!("{may_all}&sasl=plain&tls=true&ca=/nowhere/ca"), &["--bus", "ca"]),
            bus(format!("{may_all}&sasl=plain"), &["--bus"]),
            bus(without_rights, &["--bus", "authorization failed"]),
            store(format!("{url}?sslmode=verify-full"), &["--store", "certificate"]),
            store(format!("{url}?sslmode=verify-full&sslrootcert=/nowhere/ca"), &["--store"]),
            store(format!("postgres://annals:{WRONG}@{database}?sslmode=require"), &["--store", "password"]),
        ],
        &[password],
    );
    // With the authority they work.
    let store = format!("{url}?sslmode=verify-full&sslrootcert={}", postgres.ca.unwrap().display());
    for arguments in [&["customer", "add", "acme"][..], &["customer", "list"]] {
        let told = Process::start(home.command(arguments).env("ANNALS_STORE", &store)).finish().expect(0);
        assert!(!told.stderr.contains(password), "{told:#?}");
    }
}

#[test]
fn commands_that_only_read_make_no_installation() {
    let home = Home::new();
    let place = home.database.url.rsplit_once('@').unwrap().1;
    for arguments in [&["status"][..], &["customer", "list"], &["account", "list"], &["dead-letters", "list"]]
    {
        home.run(arguments).expect(1).says(&["--store", "there is no installation in `postgres://", place]);
    }
    home.run(&["log", "dump"]).expect(0);
    let made: i64 = block_on(
        sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'annals%'")
            .fetch_one(home.pool()),
    )
    .unwrap();
    assert_eq!(made, 0);
}

#[test]
fn a_log_of_somebody_else_is_told_by_readers_and_taken_by_writers() {
    let (home, other) = (Home::with_account(), Home::new());
    let known = || -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM annals.known_ids").fetch_one(home.pool());
        block_on(count).unwrap()
    };
    home.execute(
        "INSERT INTO annals.known_ids (customer, event_id) SELECT gen_random_uuid(), gen_random_uuid()",
    );
    for arguments in [&["status"][..], &["customer", "list"]] {
        let mut command = home.command(arguments);
        let told = Process::start(command.env("ANNALS_BUS", &other.bus)).finish().expect(0);
        told.says(&["do --bus and --store belong together?"]);
        assert_eq!(known(), 1, "{arguments:?}");
        let quiet = home.run(arguments).expect(0);
        assert!(!quiet.stderr.contains("belong together"), "{quiet:#?}");
    }
    let mut command = home.command(&["customer", "add", "late"]);
    let told = Process::start(command.env("ANNALS_BUS", &other.bus)).finish().expect(0);
    told.says(&["this is another log than before"]);
    assert_eq!(known(), 0);
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    home.run(&["customer", "add", "acme"]).expect(0);
    home.execute(
        "INSERT INTO annals._sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (4711, 'from the future', true, '\\x00', 0)",
    );
    let place = home.database.url.rsplit_once('@').unwrap().1;
    for arguments in
        [vec!["serve", "--listen", "127.0.0.1:0"], vec!["status"], vec!["store", "grant-query", "annals"]]
    {
        home.run(&arguments).expect(1).says(&["newer version of annals", place]);
    }
    home.execute("DELETE FROM annals._sqlx_migrations WHERE version = 4711");
    home.execute(
        "INSERT INTO annals.generations (view, generation, version, state, created_at)
         VALUES ('audit_log', 7, 4711, 'active', now())",
    );
    for roles in ["projector", "projector,query,relay"] {
        Process::start(&mut home.serve(roles))
            .finish()
            .expect(1)
            .says(&["newer version of annals", "annals_audit_log_7"]);
    }
    // The one that only queries may be older than the projectors for a while.
    let mut query = Server::start_command(&mut home.serve("query"));
    query.process.stderr_line(|line| line.contains("newer version of annals"));
    assert_eq!(query.get("/readyz").status, 503);
    query.stop();
}

#[test]
fn topics_with_another_partition_count_are_left_alone() {
    let home = Home::without_topics(&servers::kafka().bootstrap, "", &servers::postgres());
    let settings = KafkaSettings::parse(&home.direct_bus).unwrap();
    let topics = [("annals.audit", 3), ("annals.host-logons", 4)];
    block_on(KafkaBus::ensure_topics(&settings, &topics, None)).unwrap();
    let audit = home.topic("annals.audit");
    for arguments in [vec!["topics", "ensure"], vec!["serve", "--listen", "127.0.0.1:0"], vec!["status"]] {
        home.run(&arguments).expect(1).says(&[&audit, "3 partitions, not 4", "annals log copy"]);
    }
}

#[test]
fn somebody_elses_schema_in_the_registry_is_told() {
    let home = Home::new();
    let registry = servers::registry().url;
    let subject = annals_schemas::registry::subject(&home.prefix, annals_schemas::EventType::LoginSucceeded);
    let (address, path) = registry.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let schema = r#"{\"type\":\"record\",\"name\":\"LoginSucceeded\",\"namespace\":\"annals\",\"fields\":[{\"name\":\"mine\",\"type\":\"long\"}]}"#;
    let body = format!(r#"{{"schema":"{schema}"}}"#);
    let mut stream = http::connect(address.parse().unwrap()).unwrap();
    write!(
        stream,
        "POST /{path}/subjects/{subject}/versions HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
         Content-Type: application/vnd.schemaregistry.v1+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let answer = http::read_answer(&mut stream).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let mut serve = home.serve("relay");
    let told = Process::start(serve.env("ANNALS_REGISTRY", &registry)).finish().expect(1);
    told.says(&["--registry", &subject]);
}
