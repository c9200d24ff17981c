//! Several relays on one outbox: a lease lets one at a time bring it into the log, and what a stopped one repeats shows
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annals_access::Access;
use annals_bus::{
    Bus, BusError, Consumer, GroupMember, Partition, Position, ReadLimit, Record, StartPositions,
    StoredRecord,
};
use annals_consumers::relay::Relay;
use annals_consumers::{Engine, State, StopSignal};
use annals_producers::fleet::Fleet;
use annals_schemas::{Encoder, Event, TOPICS, codec};
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::engines::{Engines, Installation, on};
use crate::events::{logoff, logon};
use crate::shared::assert_once;
use crate::{keep, rows, until};

on!(embedded_postgres: EMBEDDED_POSTGRES;
    two_relays_bring_everything_that_was_told,
    a_relay_that_stops_between_append_and_acknowledgement_makes_no_second_row,
);
on!(kafka_postgres: KAFKA_POSTGRES;
    two_relays_bring_everything_that_was_told,
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

/// A log whose appends are durable some time before whoever appends hears of it.
struct Held {
    log: Arc<dyn Bus>,
    appended: AtomicUsize,
    go_on: Semaphore,
}

#[async_trait]
impl Bus for Held {
    async fn append(&self, topic: &str, records: Vec<Record>) -> Result<Vec<Position>, BusError> {
        let positions = self.log.append(topic, records).await?;
        self.appended.fetch_add(positions.len(), Ordering::SeqCst);
        self.go_on.acquire().await.unwrap().forget();
        Ok(positions)
    }

    async fn incarnation(&self, topic: &str) -> Result<Uuid, BusError> {
        self.log.incarnation(topic).await
    }

    fn trouble(&self) -> Option<String> {
        self.log.trouble()
    }

    async fn partitions(&self, topic: &str) -> Result<Vec<Partition>, BusError> {
        self.log.partitions(topic).await
    }

    async fn read(
        &self,
        partition: &Partition,
        from: u64,
        limit: ReadLimit,
    ) -> Result<Vec<StoredRecord>, BusError> {
        self.log.read(partition, from, limit).await
    }

    async fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Box<dyn Consumer>, BusError> {
        self.log.consumer(group, topics, starts, limit).await
    }

    async fn group_members(&self, group: &str) -> Result<Vec<GroupMember>, BusError> {
        self.log.group_members(group).await
    }

    async fn first_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>, BusError> {
        self.log.first_positions(topics).await
    }

    async fn end_positions(&self, topics: &[&str]) -> Result<Vec<(Partition, u64)>, BusError> {
        self.log.end_positions(topics).await
    }

    async fn position_at(&self, partition: &Partition, time: DateTime<Utc>) -> Result<u64, BusError> {
        self.log.position_at(partition, time).await
    }

    async fn note(&self, key: &str) -> Result<Option<String>, BusError> {
        self.log.note(key).await
    }

    async fn set_note(&self, key: &str, text: &str) -> Result<(), BusError> {
        self.log.set_note(key, text).await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

async fn a_relay_that_stops_between_append_and_acknowledgement_makes_no_second_row(engines: Engines) {
    let here = Installation::new(engines).await;
    let held = Arc::new(Held {
        log: Arc::clone(&here.engine.bus),
        appended: AtomicUsize::new(0),
        go_on: Semaphore::new(0),
    });
    let stopped = Relay { bus: Arc::clone(&held) as Arc<dyn Bus>, ..relay(&here.engine).await };
    let access = stopped.access.clone();
    // All of one topic: one append.
    tell(&access, &[logon(1), logoff(1)]).await;
    let made = waiting(&access).await;
    let (first, later): (Vec<Event>, Vec<Event>) = (made, vec![logon(2), logoff(2)]);
    let (stop_one, stop) = StopSignal::new();
    let (_status, stopped) = stopped.spawn(stop);
    until("the first relay has appended", async || held.appended.load(Ordering::SeqCst) > 0).await;
    let appended = held.appended.load(Ordering::SeqCst) as u64;
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
    held.go_on.add_permits(Semaphore::MAX_PERMITS / 2);
    until("the first relay goes on", async || access.outbox_len().await.unwrap() == 0).await;
    stop_one.stop();
    stopped.await.unwrap();
    keep::<AuditLog>(&here.engine).await;
    let all: Vec<Event> = first.into_iter().chain(later).chain([logon(3)]).collect();
    assert_once(&here.engine, &all).await;
    keep::<LoggedOnUsers>(&here.engine).await;
    let logons = rows::<LoggedOnUsers>(&here.engine).await;
    assert_eq!(logons.iter().filter(|row| row.starts_with("off|")).count(), 2);
    assert_eq!(logons.iter().filter(|row| !row.starts_with("off|")).count(), 3);
}
