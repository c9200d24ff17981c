//! The relay: brings the outbox into the log. An entry is appended under its own event id and removed afterwards; a
//! crash between the two appends it again, and the views absorb it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annals_access::{Access, OutboxEntry};
use annals_bus::{Bus, Record};
use annals_schemas::Encoder;
use annals_store::{ControlDb, crash};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::Result;
use crate::backoff::Backoff;
use crate::error::chain;
use crate::status::{Reporter, State, Status};
use crate::stop::Stop;

/// Entries that one append takes.
const BATCH: u32 = 1_000;

/// Name and length of the lease that a relay has where several processes are relays. One that is stopped while it has
/// the lease loses it; what it appends afterwards is there twice in the log, and the views absorb it.
const LEASE: &str = "relay";
const LEASE_LENGTH: TimeDelta = TimeDelta::seconds(5);

/// How often the lease is prolonged while an append is under way: a log that does not answer keeps one for longer than a
/// lease lasts, and another relay would append the same.
const PROLONG_EVERY: Duration = Duration::from_millis(1_500);

/// How long a relay without the lease waits before it looks whether the other one works.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Brings the outbox into the log.
#[derive(Clone)]
pub struct Relay {
    /// Whose outbox.
    pub access: Access,
    /// The control tables.
    pub control: ControlDb,
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// How events are written into it.
    pub encoder: Encoder,
    /// Who this is, where several processes may be relays.
    pub lease: Option<Uuid>,
}

/// What a turn of the relay found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The outbox is empty.
    Done,
    /// Another process has the lease.
    Another,
}

impl Relay {
    /// Appends everything that waits, unless another process is at it.
    ///
    /// # Errors
    /// When the outbox or the log fails; what was not removed stays for the next time.
    pub async fn drain_once(&self) -> Result<()> {
        self.turn().await?;
        self.give_back().await
    }

    async fn turn(&self) -> Result<Turn> {
        loop {
            // Looked at first: an idle relay takes no lease.
            let entries = self.access.outbox(BATCH).await?;
            if entries.is_empty() {
                return Ok(Turn::Done);
            }
            let entries = match self.lease {
                None => entries,
                Some(holder) if self.access.take_lease(LEASE, holder, LEASE_LENGTH).await? => {
                    // Again: the holder before may have appended what was just read.
                    self.access.outbox(BATCH).await?
                }
                Some(_) => return Ok(Turn::Another),
            };
            self.append(entries).await?;
        }
    }

    async fn append(&self, entries: Vec<OutboxEntry>) -> Result<()> {
        let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
        let mut by_topic: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for OutboxEntry { topic, key, value, .. } in entries {
            by_topic.entry(topic).or_default().push(self.record(key, value));
        }
        for (topic, records) in by_topic {
            self.keeping_lease(self.bus.append(&topic, records)).await?;
        }
        crash::point("relay:after-append");
        self.access.outbox_done(&sequences).await?;
        Ok(())
    }

    /// Waits for work, prolonging the lease meanwhile.
    async fn keeping_lease<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let Some(holder) = self.lease else { return work.await };
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(PROLONG_EVERY) => {}
            }
            let ours = tokio::select! {
                done = &mut work => return done,
                ours = self.access.take_lease(LEASE, holder, LEASE_LENGTH) => ours,
            };
            match ours {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(
                        "another relay took over during an append; the views show each event once"
                    );
                    return work.await;
                }
                // The next attempt may still be in time.
                Err(error) => tracing::debug!(reason = chain(&error), "the lease cannot be prolonged"),
            }
        }
    }

    /// The outbox holds events in single-object encoding, whatever the log is written in.
    fn record(&self, key: String, value: Vec<u8>) -> Record {
        let (value, headers) = self.encoder.forward(value);
        Record {
            key: Some(key.into()),
            value: value.into(),
            headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            ..Record::default()
        }
    }

    async fn give_back(&self) -> Result<()> {
        if let Some(holder) = self.lease {
            self.access.release_lease(LEASE, holder).await?;
        }
        Ok(())
    }

    /// Keeps the outbox empty until `stop` is given, and empties it once more then.
    #[must_use]
    pub fn spawn(self, stop: Stop) -> (Status, tokio::task::JoinHandle<()>) {
        let (state, status) = Status::new("relay");
        (status, tokio::spawn(self.run(stop, state)))
    }

    async fn run(self, mut stop: Stop, state: Reporter) {
        let mut own = self.access.outbox_changed();
        // Other processes write to the outbox too: a command that adds an account while this server runs.
        let mut others = match self.control.watch().await {
            Ok(changes) => changes,
            Err(error) => {
                state.set(State::Stopped(chain(&error)));
                return;
            }
        };
        let mut pause = Backoff::default();
        while !stop.is_given() {
            own.mark_unchanged();
            others.mark_unchanged();
            let wait = match self.turn().await {
                Ok(turn) => {
                    pause.reset();
                    state.set(State::Running);
                    (turn == Turn::Another).then_some(LOOK_AGAIN)
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(reason, "the relay is waiting to try again");
                    state.set(State::Waiting(reason));
                    Some(pause.next())
                }
            };
            tokio::select! {
                () = stop.wait() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
                Ok(()) = own.changed(), if wait.is_none() => {}
                Ok(()) = others.changed(), if wait.is_none() => {}
            }
        }
        if let Err(error) = self.drain_once().await {
            tracing::warn!(reason = chain(&error), "events stay in the outbox until the next start");
        }
        state.set(State::Ended);
    }
}
