//! The relay: brings the outbox into the log. An entry is appended under its own event id and removed afterwards; a
//! crash between the two appends it again, and the views absorb it.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_access::{Access, OutboxEntry};
use annals_bus::{Bus, Record};
use annals_store::{ControlDb, crash, follow};
use tokio::sync::watch;

use crate::Result;
use crate::backoff::Backoff;
use crate::error::chain;
use crate::status::{State, Status};
use crate::stop::Stop;

/// Entries that one append takes.
const BATCH: u32 = 1_000;

/// Appends everything that waits. Gives the number of entries.
///
/// # Errors
/// When the outbox or the log fails; what was not removed stays for the next time.
pub async fn drain(access: &Access, bus: &dyn Bus) -> Result<usize> {
    let mut count = 0;
    loop {
        let entries = access.outbox(BATCH).await?;
        if entries.is_empty() {
            return Ok(count);
        }
        let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
        count += entries.len();
        let mut by_topic: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for OutboxEntry { topic, key, value, .. } in entries {
            let record = Record { key: Some(key.into()), value: value.into(), ..Record::default() };
            by_topic.entry(topic).or_default().push(record);
        }
        for (topic, records) in by_topic {
            bus.append(&topic, records).await?;
        }
        crash::point("relay:after-append");
        access.outbox_done(&sequences).await?;
    }
}

/// Keeps the outbox empty until `stop` is given, and empties it once more then.
pub fn spawn(
    access: Access,
    control: ControlDb,
    bus: Arc<dyn Bus>,
    stop: Stop,
) -> (Status, tokio::task::JoinHandle<()>) {
    let (state, status) = Status::new("relay");
    (status, tokio::spawn(run(access, control, bus, stop, state)))
}

async fn run(
    access: Access,
    control: ControlDb,
    bus: Arc<dyn Bus>,
    mut stop: Stop,
    state: watch::Sender<State>,
) {
    let mut own = access.outbox_changed();
    // Other processes write to the outbox too: a command that adds an account while this server runs.
    let mut others = match follow::watch_control(&control).await {
        Ok(changes) => changes,
        Err(error) => {
            state.send_replace(State::Stopped(chain(&error)));
            return;
        }
    };
    let mut pause = Backoff::default();
    while !stop.is_given() {
        own.mark_unchanged();
        others.mark_unchanged();
        let wait = match drain(&access, &*bus).await {
            Ok(_) => {
                pause.reset();
                state.send_if_modified(|state| std::mem::replace(state, State::Running) != State::Running);
                None
            }
            Err(error) => {
                let reason = chain(&error);
                tracing::warn!(reason, "the relay is waiting to try again");
                state.send_replace(State::Waiting(reason));
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
    if let Err(error) = drain(&access, &*bus).await {
        tracing::warn!(reason = chain(&error), "events stay in the outbox until the next start");
    }
    state.send_replace(State::Ended);
}
