//! Publishes invented events into a data directory, as a program with the producer library does.
//!
//! ```text
//! cargo run --example publish_load -- --data DIR --customer UUID --count 1000 --concurrency 8
//! ```
//!
//! Before each append it prints `sent EVENT_ID BYTES` (the record's value in hexadecimal digits), after the
//! acknowledgement `ok EVENT_ID`. Whoever reads along knows what must be in the log, whenever this process is killed.
//! An append that fails for a reason that may pass (a full disk, say) is repeated under the same event id.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use annals_bus::{Bus, EmbeddedBus};
use annals_producers::fleet::Fleet;
use annals_producers::{Publisher, publisher};
use annals_schemas::{Event, TOPICS};
use annals_store::DataDir;
use annals_store::sqlite::Durability;
use chrono::Utc;
use clap::{Parser, ValueEnum};
use uuid::Uuid;

/// Pause before a failed append is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Parser)]
struct Arguments {
    /// The data directory.
    #[arg(long)]
    data: PathBuf,
    /// Id of the customer that the events belong to.
    #[arg(long)]
    customer: Uuid,
    /// Events to publish; without it there is no end.
    #[arg(long)]
    count: Option<u64>,
    /// Publishers at once.
    #[arg(long, default_value_t = 1)]
    concurrency: u32,
    /// Whether an append is synced before it is acknowledged. `off` breaks annals' promise; a test shows that it does.
    #[arg(long, value_enum, default_value = "full")]
    synchronous: Synchronous,
    /// Seed of the invented fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Synchronous {
    Full,
    Off,
}

/// What the publishers share.
struct Load {
    fleet: Mutex<Fleet>,
    publisher: Publisher,
    left: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let durability = match arguments.synchronous {
        Synchronous::Full => Durability::Full,
        Synchronous::Off => Durability::Off,
    };
    // The producer library needs a directory, the topics, a bus and a publisher; everything else here is the load.
    let directory = DataDir::create(&arguments.data)?;
    let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
    let bus: Arc<dyn Bus> = Arc::new(EmbeddedBus::open_with(&directory, &topics, durability).await?);
    let load = Arc::new(Load {
        fleet: Mutex::new(Fleet::of_customers(arguments.seed, vec![arguments.customer], true)),
        publisher: Publisher::new(Arc::clone(&bus)),
        left: AtomicU64::new(arguments.count.unwrap_or(u64::MAX)),
    });
    let publishers: Vec<_> =
        (0..arguments.concurrency).map(|_| tokio::spawn(Arc::clone(&load).publish())).collect();
    for publisher in publishers {
        publisher.await??;
    }
    bus.close().await;
    Ok(())
}

impl Load {
    /// One publisher: an event after another, until all are published.
    async fn publish(self: Arc<Self>) -> anyhow::Result<()> {
        while self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        {
            let event = self.fleet.lock().unwrap_or_else(PoisonError::into_inner).next(Utc::now());
            let id = event.meta().event_id;
            say(&format!("sent {id} {}", hex(&publisher::record(&event)?.value)))?;
            self.append(event).await?;
            say(&format!("ok {id}"))?;
        }
        Ok(())
    }

    async fn append(&self, event: Event) -> anyhow::Result<()> {
        let events = [event];
        loop {
            match self.publisher.publish(&events).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_transient() => {
                    let error = anyhow::Error::new(error);
                    eprintln!("again in a moment: {error:#}");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A whole line, out of this process before anything else happens.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
