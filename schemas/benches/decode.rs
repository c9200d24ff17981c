//! Decodes per second: straight into the type, and through resolving Avro values. `cargo bench -p annals-schemas`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::time::{Duration, Instant};

use annals_schemas::codec::{self, NoRegistry};
use annals_schemas::{
    Actor, ActorKind, ConfigurationChanged, Event, LoginSucceeded, Meta, Personal, PersonalData,
};
use chrono::DateTime;
use uuid::Uuid;

fn samples() -> Vec<Vec<u8>> {
    let event = |n: u128| -> Event {
        let meta = Meta {
            event_id: Uuid::from_u128(n),
            customer: Uuid::from_u128(7),
            occurred_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            source: "annals:bench".into(),
            actor: Actor::new(ActorKind::PortalAccount, Uuid::from_u128(n % 400)),
        };
        let personal = Personal {
            account: Some(format!("user-{}@example.com", n % 400)),
            address: Some("10.1.2.3".into()),
            entity_id: (n.is_multiple_of(2)).then(|| format!("sw-{n}")),
            text: (n.is_multiple_of(2)).then(|| format!("Update of port {n} to vlan 17 by request")),
            ..Personal::default()
        };
        let personal = PersonalData::Personal(personal);
        if n.is_multiple_of(2) {
            let action = "Update".into();
            let entity_type = Some("device".into());
            ConfigurationChanged { meta, action, category: None, severity: None, entity_type, personal }
                .into()
        } else {
            LoginSucceeded { meta, account_number: Some(7), personal }.into()
        }
    };
    (0..1_000).map(|n| codec::encode(&event(n)).unwrap()).collect()
}

/// Decodes per second over at least the given time.
fn rate(samples: &[Vec<u8>], time: Duration, decode: impl Fn(&[u8]) -> Event) -> f64 {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < time {
        for bytes in samples {
            std::hint::black_box(decode(bytes));
        }
        count += samples.len();
    }
    count as f64 / started.elapsed().as_secs_f64()
}

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let time = Duration::from_millis(if measuring { 2_000 } else { 10 });
    let samples = samples();
    let size: usize = samples.iter().map(Vec::len).sum();
    println!("{} bytes per event", size / samples.len());
    // In turn, so that a noisy machine is noisy for both.
    for _ in 0..3 {
        let direct = rate(&samples, time, |bytes| codec::decode(bytes, &NoRegistry).unwrap());
        let resolving = rate(&samples, time, |bytes| codec::decode_resolving(bytes, &NoRegistry).unwrap());
        println!("direct {direct:>9.0}/s   resolving {resolving:>9.0}/s   ratio {:.2}", direct / resolving);
    }
}
