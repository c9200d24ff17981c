//! The engine on Apache Kafka: the contract, and what is its own. Every case has topics of its own, by their prefix.

mod foreign;
mod group;
mod offsets;
mod reach;
mod topics;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use annals_bus::{Bus, BusError, Consumer, Delivery, KafkaBus, KafkaSettings, Partition};
use uuid::Uuid;

use crate::contract::{self, Log};
use crate::{SOON, Starts};

pub const TOPICS: [(&str, u32); 2] = [("alpha", 3), ("beta", 1)];

/// An address of the Kafka that the tests use, as `deploy/dev/servers start --secure` prints it.
pub fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("set {variable}: `deploy/dev/servers start --only kafka --secure` prints what to set")
    })
}

/// The address of a log that nobody else uses; `parameters` begin with `&`.
pub fn address(parameters: &str) -> String {
    let prefix = Uuid::new_v4().simple();
    format!("kafka://{}?topic_prefix=t-{prefix}.{parameters}", server("ANNALS_KAFKA"))
}

/// A log that nobody else uses.
pub fn settings() -> KafkaSettings {
    KafkaSettings::parse(&address("")).unwrap()
}

/// A fresh log with the topics.
pub async fn prepared() -> (KafkaSettings, KafkaBus) {
    let settings = settings();
    KafkaBus::ensure_topics(&settings, &TOPICS, None).await.unwrap();
    let bus = KafkaBus::open(&settings, &TOPICS).await.unwrap();
    (settings, bus)
}

async fn fresh() -> Log {
    Log { bus: Arc::new(prepared().await.1), _keep: Box::new(()) }
}

contract::suite!(fresh);

/// Waits, but not for ever.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

/// Asks again and again until the answer is yes.
pub async fn until<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    soon(async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A consumer of `alpha` or `beta` that starts there.
pub async fn member(
    bus: &KafkaBus,
    group: &str,
    topic: &str,
    starts: Vec<(Partition, u64)>,
) -> Box<dyn Consumer> {
    bus.consumer(group, &[topic], Arc::new(Starts(starts)), Default::default()).await.unwrap()
}

/// The next assignment; asserts that it comes next.
pub async fn assigned(consumer: &mut dyn Consumer) -> Vec<(Partition, u64)> {
    match soon(consumer.next()).await.unwrap() {
        Delivery::Assigned(assigned) => assigned,
        other => panic!("expected an assignment, got {other:?}"),
    }
}

/// Goes on until the consumer fails.
pub async fn failure(consumer: &mut dyn Consumer) -> BusError {
    soon(async {
        loop {
            if let Err(error) = consumer.next().await {
                return error;
            }
        }
    })
    .await
}
