//! A log that cannot be reached, or refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_bus::{Bus, BusError, Delivery, KafkaBus, KafkaSettings};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{TOPICS, assigned, member, server, soon, until};
use crate::{record, records};

const TOO_LONG: Duration = Duration::from_secs(20);

async fn refusal(address: &str) -> BusError {
    let begun = Instant::now();
    let settings = KafkaSettings::parse(address).unwrap().with_timeout(Duration::from_secs(4));
    let error = KafkaBus::open(&settings, &TOPICS).await.err().unwrap();
    assert!(begun.elapsed() < TOO_LONG, "{:?}", begun.elapsed());
    error
}

#[tokio::test]
async fn nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refusal(&format!("kafka://{free}")).await;
    assert!(matches!(error, BusError::Unavailable { .. }) && error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&free.to_string()) && text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_name_that_nobody_knows() {
    let error = refusal("kafka://nowhere.invalid:9092").await;
    assert!(error.to_string().contains("resolve"), "{error}");
}

fn secure(login: &str, parameters: &str) -> String {
    let at = server("ANNALS_KAFKA_SECURE");
    format!("kafka://{login}@{at}?tls=true&ca={}{parameters}", server("ANNALS_KAFKA_CA"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_by_every_mechanism_and_tls_work() {
    let (user, password) = (server("ANNALS_KAFKA_USER"), server("ANNALS_KAFKA_PASSWORD"));
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let prefix = Uuid::new_v4().simple();
        let address =
            secure(&format!("{user}:{password}"), &format!("&sasl={mechanism}&topic_prefix=t-{prefix}."));
        let settings = KafkaSettings::parse(&address).unwrap();
        KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
        let bus = KafkaBus::open(&settings, &TOPICS).await.unwrap();
        bus.append("beta", vec![record("k", "x")]).await.unwrap();
        let mut consumer = member(&bus, "g", "beta", Vec::new()).await;
        assigned(&mut *consumer).await;
        assert_eq!(soon(records(&mut *consumer)).await[0].records.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_the_reason_and_the_setting() {
    let (user, password) = (server("ANNALS_KAFKA_USER"), server("ANNALS_KAFKA_PASSWORD"));
    let without_rights = server("ANNALS_KAFKA_USER_WITHOUT_RIGHTS");
    let secure_at = server("ANNALS_KAFKA_SECURE");
    for (address, reason) in [
        (secure(&format!("{user}:wrong"), "&sasl=plain"), "uthentication"),
        (secure(&format!("{user}:wrong"), "&sasl=scram-sha-512"), "uthentication"),
        (secure(&format!("{without_rights}:{password}"), "&sasl=scram-sha-256"), "uthorization"),
        // The certificate of a server that nobody has vouched for.
        (format!("kafka://{user}:{password}@{secure_at}?tls=true&sasl=plain"), "certificate"),
    ] {
        let error = refusal(&address).await;
        let text = error.to_string();
        assert!(matches!(error, BusError::Refused { .. }), "{address}: {text}");
        assert!(
            text.contains(reason) && text.contains("`--bus`") && !text.contains(&password),
            "{address}: {text}"
        );
    }
}

#[tokio::test]
async fn tls_on_one_side_only_is_told_as_that() {
    let error = refusal(&format!("kafka://{}", server("ANNALS_KAFKA_SECURE"))).await;
    assert!(error.to_string().contains("does it want `tls=true`?"), "{error}");
    let error = refusal(&format!("kafka://{}?tls=true", server("ANNALS_KAFKA"))).await;
    assert!(error.to_string().contains("connecting to a PLAINTEXT broker listener?"), "{error}");
}

/// Passes connections on for as long as it lives; a drop cuts them all.
struct Line(JoinHandle<()>);

impl Line {
    async fn open() -> Self {
        let (advertised, behind) = (server("ANNALS_KAFKA_PROXIED"), server("ANNALS_KAFKA_BEHIND_PROXY"));
        let listener = loop {
            match TcpListener::bind(&advertised).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Self(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let behind = behind.clone();
                connections.spawn(async move {
                    let mut server = TcpStream::connect(behind).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        }))
    }

    async fn cut(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_waited_for_and_over_by_itself() {
    let line = Line::open().await;
    let prefix = Uuid::new_v4().simple();
    let address = format!("kafka://{}?topic_prefix=t-{prefix}.", server("ANNALS_KAFKA_PROXIED"));
    let settings = KafkaSettings::parse(&address).unwrap().with_timeout(Duration::from_secs(2));
    KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    let bus = Arc::new(KafkaBus::open(&settings, &TOPICS).await.unwrap());
    bus.append("beta", vec![record("k", "before")]).await.unwrap();
    let mut consumer = member(&bus, "g", "beta", Vec::new()).await;
    assigned(&mut *consumer).await;
    soon(records(&mut *consumer)).await;
    assert_eq!(bus.trouble(), None);

    line.cut().await;
    until(|| async { bus.trouble().is_some() }).await;
    let trouble = bus.trouble().unwrap();
    assert!(trouble.contains("cannot be reached"), "{trouble}");
    let error = soon(bus.append("beta", vec![record("k", "during")])).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let error = soon(bus.end_positions(&["beta"])).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    // A consumer waits. The group may have missed it by now, and then it is told, but it does not fail.
    let waiting = tokio::time::timeout(Duration::from_millis(200), consumer.next()).await;
    assert!(matches!(waiting, Err(_) | Ok(Ok(Delivery::Revoked(..)))), "{waiting:?}");
    drop(waiting);

    let line = Line::open().await;
    until(|| async { bus.trouble().is_none() }).await;
    bus.append("beta", vec![record("k", "after")]).await.unwrap();
    let mut last = None;
    while last.as_deref() != Some(&b"after"[..]) {
        if let Delivery::Records(parts) = soon(consumer.next()).await.unwrap() {
            last = parts.into_iter().flat_map(|part| part.records).last().map(|record| record.value);
        }
    }
    line.cut().await;
}
