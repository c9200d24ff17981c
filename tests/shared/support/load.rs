//! Events that this process publishes itself, so that what was sent and what was acknowledged is known whatever happens to
//! others.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals_bus::Bus;
use annals_producers::fleet::Fleet;
use annals_producers::{Publisher, publisher};
use annals_schemas::{Encoder, Event};
use chrono::Utc;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::{Home, Ledger, block_on, spawn, until};

/// Events per second, unless a test says otherwise.
const RATE: u32 = 1_000;

/// How often events are published.
const TICK: Duration = Duration::from_millis(20);

/// Appends under way at most: while the log is away, events are not made without an end.
const UNDER_WAY: usize = 400;

/// Pause before a failed append is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Said {
    sent: HashMap<Uuid, Vec<u8>>,
    acknowledged: HashSet<Uuid>,
    /// Why an append failed for good.
    failure: Option<String>,
}

#[derive(Default)]
struct Shared {
    said: Mutex<Said>,
    stopping: AtomicBool,
}

impl Shared {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load under way.
pub struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Load {
    /// A thousand events per second until it is stopped.
    pub fn start(home: &Home, seed: u64) -> Self {
        Self::at_rate(home, seed, RATE)
    }

    /// So many events per second until it is stopped.
    pub fn at_rate(home: &Home, seed: u64, per_second: u32) -> Self {
        let bus: Arc<dyn Bus> = Arc::new(block_on(home.bus()));
        let shared = Arc::<Shared>::default();
        let task = spawn(publish(
            bus,
            Arc::clone(&shared),
            Fleet::of_customers(seed, vec![home.customer], true),
            per_second,
        ));
        Self { shared, task }
    }

    /// So many events, all of them acknowledged.
    #[track_caller]
    pub fn of(home: &Home, seed: u64, count: usize, ledger: &mut Ledger) {
        let mut fleet = Fleet::of_customers(seed, vec![home.customer], true);
        let events: Vec<Event> = (0..count).map(|_| fleet.next(Utc::now())).collect();
        Self::these(home, events, ledger);
    }

    /// These events, all of them acknowledged.
    #[track_caller]
    pub fn these(home: &Home, events: Vec<Event>, ledger: &mut Ledger) {
        let shared = Arc::<Shared>::default();
        block_on(async {
            let bus: Arc<dyn Bus> = Arc::new(home.bus().await);
            append(&publisher(&bus), &shared, events).await;
            bus.close().await;
        });
        enter(&shared, ledger);
    }

    /// Events that were acknowledged so far.
    #[track_caller]
    pub fn acknowledged(&self) -> usize {
        let said = self.shared.said();
        assert_eq!(said.failure, None, "the load goes on");
        said.acknowledged.len()
    }

    /// Waits until so many more events are acknowledged.
    #[track_caller]
    pub fn more(&self, count: usize) {
        let wanted = self.acknowledged() + count;
        until("events are acknowledged", || (self.acknowledged() >= wanted).then_some(()));
    }

    /// Ends it, once every event under way is acknowledged, and enters what it did.
    #[track_caller]
    pub fn stop(self, ledger: &mut Ledger) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        block_on(self.task).unwrap();
        enter(&self.shared, ledger);
    }
}

#[track_caller]
fn enter(shared: &Shared, ledger: &mut Ledger) {
    let mut said = shared.said();
    assert_eq!(said.failure, None, "the load went on to its end");
    ledger.sent.extend(said.sent.drain());
    ledger.acknowledged.extend(said.acknowledged.drain());
}

/// As the program itself writes into Kafka.
fn publisher(bus: &Arc<dyn Bus>) -> Publisher {
    Publisher::with_encoder(Arc::clone(bus), Encoder::default().with_headers(true))
}

async fn publish(bus: Arc<dyn Bus>, shared: Arc<Shared>, mut fleet: Fleet, per_second: u32) {
    let publisher = publisher(&bus);
    let started = Instant::now();
    let mut made = 0_u64;
    let mut appends = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    while !shared.stopping.load(Ordering::SeqCst) {
        tick.tick().await;
        while appends.try_join_next().is_some() {}
        let due =
            u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) * u64::from(per_second) / 1_000;
        if appends.len() < UNDER_WAY {
            // What was not published during an outage is not made up for.
            let events: Vec<Event> = (made..due.min(made + u64::from(per_second) / 10 + 1))
                .map(|_| fleet.next(Utc::now()))
                .collect();
            let (publisher, shared) = (publisher.clone(), Arc::clone(&shared));
            appends.spawn(async move { append(&publisher, &shared, events).await });
        }
        made = due;
    }
    appends.join_all().await;
    bus.close().await;
}

/// Appends events, again and again under their ids while the log is away.
async fn append(publisher: &Publisher, shared: &Shared, events: Vec<Event>) {
    for event in &events {
        let bytes = publisher::record(event).unwrap().value.to_vec();
        shared.said().sent.insert(event.meta().event_id, bytes);
    }
    loop {
        match publisher.publish(&events).await {
            Ok(_) => {
                shared.said().acknowledged.extend(events.iter().map(|event| event.meta().event_id));
                return;
            }
            Err(error) if error.is_transient() => tokio::time::sleep(RETRY_AFTER).await,
            Err(error) => {
                shared.said().failure = Some(error.to_string());
                return;
            }
        }
    }
}
