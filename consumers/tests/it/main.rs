//! Tests of the consumers on every pair of engines: real logs, real databases.
#![expect(clippy::unwrap_used, reason = "tests")]

mod bulk;
mod copy;
mod dump;
mod engines;
mod events;
mod filters;
mod fold;
mod hooked;
mod kafka;
mod lost_file;
mod lost_log;
mod lost_topics;
mod projector;
mod rebuild;
mod registry;
mod relays;
mod same_rows;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_consumers::{Engine, Projector, Status, StopSignal};
use annals_producers::Publisher;
use annals_producers::fleet::Fleet;
use annals_schemas::Event;
use annals_store::error::Context;
use annals_store::generations::{self, State};
use annals_store::sql::{Row, sql};
use annals_store::{Partition, Pool, StoreError};
use annals_views::View;
use chrono::Utc;
use tokio::task::JoinHandle;

/// Deadline of everything that should take a moment.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How often conditions are looked at.
const POLL: Duration = Duration::from_millis(5);

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "after {} s still not: {what}", SOON.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

/// The number of a view's active generation.
pub(crate) async fn active<V: View>(engine: &Engine) -> i64 {
    generations::find(&engine.control, V::NAME, State::Active).await.unwrap().unwrap().number
}

/// Every row of a view's active generation, sorted.
pub(crate) async fn rows<V: dump::Dump>(engine: &Engine) -> Vec<String> {
    dump::rows::<V>(&engine.database, active::<V>(engine).await).await
}

/// As [`rows`], without where and when the records stand in the log.
pub(crate) async fn shown<V: dump::Dump>(engine: &Engine) -> Vec<String> {
    dump::shown::<V>(&engine.database, active::<V>(engine).await).await
}

/// Waits until the active generation has folded all that is in the log now.
pub(crate) async fn caught_up<V: View>(engine: &Engine) {
    let topics: Vec<&str> = V::topics().iter().map(|topic| topic.name).collect();
    let ends = engine.bus.end_positions(&topics).await.unwrap();
    let mut reader: Option<(i64, Pool)> = None;
    until(&format!("{} reaches {ends:?}", V::NAME), async || {
        let Some(active) = generations::find(&engine.control, V::NAME, State::Active).await.unwrap() else {
            return false;
        };
        if reader.as_ref().is_none_or(|(number, _)| *number != active.number) {
            reader = open_when_there::<V>(engine, active.number).await;
        }
        let Some((number, pool)) = &reader else { return false };
        let place = engine.database.place(V::NAME, *number);
        let Some(positions) = there(positions(pool).await.during(place, "look")) else { return false };
        ends.iter()
            .all(|(partition, end)| *end == 0 || positions.iter().any(|(p, at)| p == partition && at >= end))
    })
    .await;
    if let Some((_, pool)) = reader {
        pool.close().await;
    }
}

/// What a generation gives, unless somebody is still laying it out.
fn there<T>(answer: Result<T, StoreError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(StoreError::Gone(_)) => None,
        Err(error) => panic!("{error:?}"),
    }
}

async fn open_when_there<V: View>(engine: &Engine, generation: i64) -> Option<(i64, Pool)> {
    there(engine.database.readers(V::NAME, generation).await).map(|pool| (generation, pool))
}

async fn positions(pool: &Pool) -> Result<Vec<(Partition, u64)>, sqlx::Error> {
    let rows = sql("SELECT topic, partition, next_offset FROM positions").fetch_all(pool).await?;
    let read = |row: &Row| Ok((Partition::new(&row.get::<String>(0)?, row.get(1)?), row.get(2)?));
    rows.iter().map(read).collect()
}

/// Publishes so many events of a fleet, and gives them.
pub(crate) async fn publish(engine: &Engine, fleet: &mut Fleet, count: usize) -> Vec<Event> {
    let events: Vec<_> = (0..count).map(|_| fleet.next(Utc::now())).collect();
    let publisher = Publisher::new(Arc::clone(&engine.bus));
    for some in events.chunks(100) {
        publisher.publish(some).await.unwrap();
    }
    events
}

/// A projector at work.
pub(crate) struct AtWork {
    pub(crate) status: Status,
    signal: StopSignal,
    task: JoinHandle<()>,
}

impl AtWork {
    pub(crate) fn start<V: View>(engine: &Engine) -> Self {
        let (signal, stop) = StopSignal::new();
        let (status, task) = Projector::<V>::spawn(engine.clone(), stop);
        Self { status, signal, task }
    }

    /// Waits until it stops for good, and gives the reason.
    pub(crate) async fn stopped(&mut self) -> String {
        let is_stopped =
            |state: &annals_consumers::State| matches!(state, annals_consumers::State::Stopped(_));
        let state = tokio::time::timeout(SOON, self.status.wait_for(is_stopped)).await;
        let Ok(Some(annals_consumers::State::Stopped(reason))) = state else {
            panic!("it goes on: {}", self.status.shown());
        };
        reason
    }

    /// Waits until it works.
    pub(crate) async fn running(&mut self) {
        let is_running = |state: &annals_consumers::State| *state == annals_consumers::State::Running;
        let state = tokio::time::timeout(SOON, self.status.wait_for(is_running)).await;
        assert!(matches!(state, Ok(Some(_))), "it does not work: {}", self.status.shown());
    }

    /// Tells it to end, and waits until it has.
    pub(crate) async fn end(self) -> Status {
        self.signal.stop();
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap();
        self.status
    }

    /// Drops it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// Keeps a view until it has folded all there is.
pub(crate) async fn keep<V: View>(engine: &Engine) {
    let projector = AtWork::start::<V>(engine);
    caught_up::<V>(engine).await;
    projector.end().await;
}
