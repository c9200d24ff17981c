//! The consumer of a group: the async side. librdkafka is polled by a thread of its own ([`super::poller`]), which hands
//! over through a channel with one place; this side holds the start positions and speaks with the owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::Thread;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Shared;
use super::health::lock;
use super::meta::Meta;
use super::poller::{Event, Poller};
use crate::consumer::Folded;
use crate::{BusError, Consumer, Delivery, Partition, Progress, ReadLimit, Result, StartPositions};

/// Events that may wait for the owner. The thread has one more in its hands.
const EVENTS_AHEAD: usize = 1;

/// How far the owner has folded, until the thread passes it on.
#[derive(Default)]
pub(super) struct Reached(Mutex<HashMap<Partition, u64>>);

impl Reached {
    /// What was reached since the last call.
    pub(super) fn take(&self) -> HashMap<Partition, u64> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Folded for Reached {
    fn folded(&self, positions: &[(Partition, u64)]) {
        lock(&self.0).extend(positions.iter().cloned());
    }
}

/// Partitions that wait for their start positions.
type Pending = (Vec<Partition>, oneshot::Sender<Vec<u64>>);

pub(super) struct KafkaConsumer {
    shared: Arc<Shared>,
    topics: Vec<(String, Uuid)>,
    starts: Arc<dyn StartPositions>,
    events: mpsc::Receiver<Event>,
    thread: Thread,
    reached: Arc<Reached>,
    pending: Option<Pending>,
}

impl KafkaConsumer {
    pub(super) fn start(
        shared: &Arc<Shared>,
        group: &str,
        topics: &[&str],
        starts: Arc<dyn StartPositions>,
        limit: ReadLimit,
    ) -> Result<Self> {
        let mut known = Vec::new();
        let mut partitions = HashMap::new();
        for name in topics {
            let topic = shared.topic(name)?;
            known.push(((*name).to_owned(), topic.incarnation));
            partitions.insert(topic.outer.clone(), topic.partitions(name));
        }
        let (sender, events) = mpsc::channel(EVENTS_AHEAD);
        let reached = Arc::<Reached>::default();
        let poller = Poller::new(shared, group, partitions, limit, Arc::clone(&reached), sender)?;
        let thread = std::thread::Builder::new().name(format!("kafka {group}")).spawn(move || poller.run());
        let thread = thread
            .map_err(|error| BusError::Broker { operation: "start a consumer", reason: error.to_string() })?;
        let thread = thread.thread().clone();
        Ok(Self { shared: Arc::clone(shared), topics: known, starts, events, thread, reached, pending: None })
    }

    /// The partitions that wait, from where the owner's database says.
    async fn assign(&mut self) -> Result<Option<Delivery>> {
        let Some((partitions, _)) = &self.pending else { return Ok(None) };
        self.check_incarnations(partitions).await?;
        let starts = self.starts.start_positions(partitions).await.map_err(BusError::StartPositions)?;
        if starts.len() != partitions.len() {
            let reason = format!("{} positions for {} partitions", starts.len(), partitions.len());
            return Err(BusError::StartPositions(reason));
        }
        // Taken only now: a dropped call begins again.
        let Some((partitions, reply)) = self.pending.take() else { return Ok(None) };
        let assigned = partitions.into_iter().zip(starts.iter().copied()).collect();
        // A thread that ended says why in its last event.
        Ok(reply.send(starts).is_ok().then_some(Delivery::Assigned(assigned)))
    }

    /// A topic that was created again may have got as far as the old one was: its offsets alone do not tell.
    async fn check_incarnations(&self, partitions: &[Partition]) -> Result<()> {
        let meta = Meta::read(&self.shared.readers, &self.shared.settings).await?;
        for (name, incarnation) in &self.topics {
            let outer = self.shared.settings.outer_name(name);
            if partitions.iter().any(|partition| *partition.topic == **name)
                && meta.incarnations(&outer).made != Some(*incarnation)
            {
                return Err(BusError::Recreated(name.clone()));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Delivery> {
        loop {
            if let Some(delivery) = self.assign().await? {
                return Ok(delivery);
            }
            let event = self.events.recv().await;
            // The thread may be waiting for the place that is free now.
            self.thread.unpark();
            match event {
                Some(Event::Assign(partitions, reply)) => self.pending = Some((partitions, reply)),
                Some(Event::Revoked(partitions, guard)) => return Ok(Delivery::Revoked(partitions, guard)),
                Some(Event::Records(parts)) => return Ok(Delivery::Records(parts)),
                Some(Event::Failed(error)) => return Err(error),
                None => return Err(BusError::Closed),
            }
        }
    }

    fn progress(&self) -> Progress {
        Progress::to(Arc::clone(&self.reached) as Arc<dyn Folded>)
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.events.close();
        self.thread.unpark();
    }
}
