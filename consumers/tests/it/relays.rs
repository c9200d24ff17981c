//! Several relays on one outbox: a lease lets one at a time bring it into the log, and what a stopped one repeats shows
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annals_access::Access;
use annals_consumers::relay::Relay;
use annals_consumers::{Engine, State, StopSignal};
use annals_producers::fleet::Fleet;
use annals_schemas::{Encoder, Event, TOPICS, codec};
use annals_store::sql::sql;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::engines::{Engines, Installation, on};
use crate::events::{logoff, logon};
use crate::hooked::{Hook, Hooked};
use crate::shared::assert_once;
use crate::{keep, rows, until};

/// How often an append that is held looks whether it may go on.
const HELD_POLL: Duration = Duration::from_millis(10);

on!(embedded_postgres: EMBEDDED_POSTGRES;
    two_relays_bring_everything_that_was_told,
    a_relay_whose_log_is_slow_keeps_its_lease,
    a_relay_that_stops_between_append_and_acknowledgement_makes_no_second_row,
);
on!(kafka_postgres: KAFKA_POSTGRES;
    two_relays_bring_everything_that_was_told,
    a_relay_whose_log_is_slow_keeps_its_lease,
    a_relay_that_stops_between_append_and_acknowledgement_makes_no_second_row,
);

/// A relay in a process of its own.
async fn relay(engine: &Engine) -> Relay {
    let access = Access::open(engine.control.clone(), &engine.database).await.unwrap().access;
    Relay {
        access,
        control: engine.control.clone(),
        bus: Arc::clone(&engine.bus),
        encoder: Encoder::default(),
        lease: Some(Uuid::now_v7()),
    }
}

async fn tell(access: &Access, events: &[Event]) {
    let mut tx = access.control().begin().await.unwrap();
    for event in events {
        access.tell_within(tx.connection(), event).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// What is in the outbox.
async fn waiting(access: &Access) -> Vec<Event> {
    let entries = access.outbox(1_000).await.unwrap();
    entries.iter().map(|entry| codec::decode(&entry.value, &codec::NoRegistry).unwrap()).collect()
}

/// How many records the log has.
async fn records(engine: &Engine) -> u64 {
    let ends = engine.bus.end_positions(&TOPICS.map(|topic| topic.name)).await.unwrap();
    ends.iter().map(|(_, end)| end).sum()
}

async fn two_relays_bring_everything_that_was_told(engines: Engines) {
    let here = Installation::new(engines).await;
    let relays = [relay(&here.engine).await, relay(&here.process().await).await];
    let teller = relay(&here.process().await).await.access;
    // The first opening tells what it made.
    let mut told = waiting(&teller).await;
    assert!(!told.is_empty());
    let (signal, stop) = StopSignal::new();
    let (mut statuses, tasks): (Vec<_>, Vec<_>) =
        relays.map(|relay| relay.spawn(stop.clone())).into_iter().unzip();
    for status in &mut statuses {
        status.wait_for(|state| *state == State::Running).await.unwrap();
    }
    let mut fleet = Fleet::new(31, true);
    for _ in 0..30 {
        // A repetition of the fleet's would be told under the same id twice; the outbox takes each once.
        let before = told.len();
        for event in (0..10).map(|_| fleet.next(Utc::now())) {
            if !told.contains(&event) {
                told.push(event);
            }
        }
        tell(&teller, &told[before..]).await;
    }
    until("the outbox is empty", async || teller.outbox_len().await.unwrap() == 0).await;
    signal.stop();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(records(&here.engine).await >= told.len() as u64);
    keep::<AuditLog>(&here.engine).await;
    assert_once(&here.engine, &told).await;
}

/// Appends that are durable some time before whoever appends hears of it.
struct Held {
    appended: AtomicUsize,
    go_on: AtomicBool,
    /// Whether the whole process stands still meanwhile, and not only the log.
    stopped: bool,
}

impl Held {
    fn new(stopped: bool) -> Arc<Self> {
        Arc::new(Self { appended: AtomicUsize::new(0), go_on: AtomicBool::new(false), stopped })
    }
}

#[async_trait]
impl Hook for Held {
    async fn appended(&self, records: usize) {
        self.appended.fetch_add(records, Ordering::SeqCst);
        while !self.go_on.load(Ordering::SeqCst) {
            if self.stopped {
                std::thread::sleep(HELD_POLL);
            } else {
                tokio::time::sleep(HELD_POLL).await;
            }
        }
    }
}

/// A relay whose appends are held.
async fn held(engine: &Engine, hook: &Arc<Held>) -> Relay {
    let bus = Arc::new(Hooked { log: Arc::clone(&engine.bus), hook: Arc::clone(hook) });
    Relay { bus, ..relay(engine).await }
}

/// When the lease ends.
async fn leased_until(engine: &Engine) -> DateTime<Utc> {
    sql("SELECT until FROM leases WHERE name = 'relay'").fetch_scalar(engine.control.pool()).await.unwrap()
}

async fn a_relay_whose_log_is_slow_keeps_its_lease(engines: Engines) {
    let here = Installation::new(engines).await;
    let hook = Held::new(false);
    let slow = held(&here.engine, &hook).await;
    let access = slow.access.clone();
    tell(&access, &[logon(1), logoff(1)]).await;
    let told = waiting(&access).await;
    let (stop_one, stop) = StopSignal::new();
    let (_status, slow) = slow.spawn(stop);
    until("the first relay has appended", async || hook.appended.load(Ordering::SeqCst) > 0).await;
    let at_first = leased_until(&here.engine).await;
    let (stop_two, stop) = StopSignal::new();
    let (_status, other) = relay(&here.process().await).await.spawn(stop);
    until("the lease is prolonged past its first end", async || Utc::now() > at_first).await;
    assert!(leased_until(&here.engine).await > at_first);
    assert_eq!(records(&here.engine).await, hook.appended.load(Ordering::SeqCst) as u64);
    hook.go_on.store(true, Ordering::SeqCst);
    until("the outbox is empty", async || access.outbox_len().await.unwrap() == 0).await;
    assert_eq!(records(&here.engine).await, told.len() as u64, "nothing is there twice");
    for (signal, task) in [(stop_one, slow), (stop_two, other)] {
        signal.stop();
        task.await.unwrap();
    }
}

async fn a_relay_that_stops_between_append_and_acknowledgement_makes_no_second_row(engines: Engines) {
    let here = Installation::new(engines).await;
    let hook = Held::new(true);
    let stopped = held(&here.process().await, &hook).await;
    let access = relay(&here.engine).await.access;
    // All of one topic: one append.
    tell(&access, &[logon(1), logoff(1)]).await;
    let made = waiting(&access).await;
    let (first, later): (Vec<Event>, Vec<Event>) = (made, vec![logon(2), logoff(2)]);
    let (stop_one, stop) = StopSignal::new();
    // A thread and a runtime of its own, which stand still as a process does that was stopped.
    let stopped = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { stopped.spawn(stop).1.await.unwrap() });
    });
    until("the first relay has appended", async || hook.appended.load(Ordering::SeqCst) > 0).await;
    let appended = hook.appended.load(Ordering::SeqCst) as u64;
    assert_eq!(records(&here.engine).await, appended);
    assert_eq!(access.outbox_len().await.unwrap(), first.len() as u64, "nothing is acknowledged");
    // The other one waits for the end of the lease, then brings everything, what is there already too.
    let (stop_two, stop) = StopSignal::new();
    let (_status, other) = relay(&here.process().await).await.spawn(stop);
    until("the second relay has done its work", async || access.outbox_len().await.unwrap() == 0).await;
    assert_eq!(records(&here.engine).await, appended + first.len() as u64);
    tell(&access, &later).await;
    until("it goes on", async || access.outbox_len().await.unwrap() == 0).await;
    // The first one wakes up: it must take away nothing that was told since, and go on.
    stop_two.stop();
    other.await.unwrap();
    tell(&access, &[logon(3)]).await;
    hook.go_on.store(true, Ordering::SeqCst);
    until("the first relay goes on", async || access.outbox_len().await.unwrap() == 0).await;
    stop_one.stop();
    tokio::task::spawn_blocking(move || stopped.join().unwrap()).await.unwrap();
    keep::<AuditLog>(&here.engine).await;
    let all: Vec<Event> = first.into_iter().chain(later).chain([logon(3)]).collect();
    assert_once(&here.engine, &all).await;
    keep::<LoggedOnUsers>(&here.engine).await;
    let logons = rows::<LoggedOnUsers>(&here.engine).await;
    assert_eq!(logons.iter().filter(|row| row.starts_with("off|")).count(), 2);
    assert_eq!(logons.iter().filter(|row| !row.starts_with("off|")).count(), 3);
}
