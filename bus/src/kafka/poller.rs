//! The thread that polls librdkafka for one consumer of a group.
//!
//! It never waits for its owner without polling for longer than [`PATIENCE`]: a member that does not poll is thrown out
//! of its group. When the owner does not take what it has (its database is down), the partitions are paused and the
//! polling goes on, for rebalances.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::consumer::Reached;
use super::health::{Health, code_of, is_missing};
use super::rebalance::{GroupContext, Rebalance};
use super::settings::KafkaSettings;
use super::{Shared, record, repair};
use crate::{BusError, Partition, PartitionRecords, ReadLimit, Result, RevocationGuard};

/// How long the thread waits for the owner before it pauses the partitions. Pausing throws away what was fetched ahead,
/// so a batch that takes a moment to be written is no reason.
const PATIENCE: Duration = Duration::from_secs(1);

/// A poll when nothing else is to be done. A message or a callback ends it at once.
const IDLE_POLL: Duration = Duration::from_millis(100);

/// A poll when something besides librdkafka is waited for.
const SHORT_POLL: Duration = Duration::from_millis(5);

/// How long a revocation waits for the owner. The group gives up on a member after [`REBALANCE_TIMEOUT_MS`].
const REVOKE_PATIENCE: Duration = Duration::from_secs(30);

/// How long the group waits for a member that does not poll or let go.
const REBALANCE_TIMEOUT_MS: &str = "60000";

/// How long the group waits for a member that is not heard of.
const SESSION_TIMEOUT_MS: &str = "10000";

/// How soon a member notices that the group changes.
const HEARTBEAT_MS: &str = "1000";

/// How often the owner's progress is written down for lag tools.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// How soon partitions whose offsets were not there are looked at again.
const REPAIR_INTERVAL: Duration = Duration::from_secs(1);

/// Fetched ahead of the owner, in KiB.
const PREFETCH_KIB: &str = "32768";

/// What the thread tells the owner.
pub(super) enum Event {
    Assign(Vec<Partition>, oneshot::Sender<Vec<u64>>),
    Revoked(Vec<Partition>, RevocationGuard),
    Records(Vec<PartitionRecords>),
    /// The last event.
    Failed(BusError),
}

/// What the group waits for.
enum Waiting {
    Nothing,
    /// The start positions of new partitions.
    Starts(Vec<Partition>, oneshot::Receiver<Vec<u64>>),
    /// The owner's leave to give partitions away.
    Release(Vec<Partition>, oneshot::Receiver<()>, Instant),
}

pub(super) struct Poller {
    pub(super) consumer: BaseConsumer<GroupContext>,
    pub(super) health: Arc<Health>,
    pub(super) settings: KafkaSettings,
    /// The partitions of each topic, by its outer name.
    pub(super) topics: HashMap<String, Vec<Partition>>,
    pub(super) runtime: tokio::runtime::Handle,
    /// The next offset of every partition that is ours.
    pub(super) next: HashMap<Partition, u64>,
    /// When partitions whose offset was not there are to be looked at.
    pub(super) repair_at: Option<Instant>,
    limit: ReadLimit,
    events: mpsc::Sender<Event>,
    reached: Arc<Reached>,
    committed_at: Instant,
    /// Events of rebalances that the channel had no place for.
    outbox: VecDeque<Event>,
    batch: Batch,
    waiting: Waiting,
    announced: bool,
    /// Since when the owner has not taken a full batch.
    blocked_since: Option<Instant>,
    paused: bool,
}

impl Poller {
    pub(super) fn new(
        shared: &Shared,
        group: &str,
        topics: HashMap<String, Vec<Partition>>,
        limit: ReadLimit,
        reached: Arc<Reached>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self> {
        let settings = shared.settings.clone();
        let mut config = settings.client_config();
        config
            .set("group.id", settings.outer_name(group))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", HEARTBEAT_MS)
            .set("max.poll.interval.ms", REBALANCE_TIMEOUT_MS)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", PREFETCH_KIB)
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.error.backoff.ms", "100");
        let health = Arc::clone(&shared.health);
        let consumer = BaseConsumer::from_config_and_context(&config, GroupContext::new(Arc::clone(&health)))
            .map_err(|error| BusError::Settings(error.to_string()))?;
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(|error| health.explain("be subscribed to", None, &error))?;
        Ok(Self {
            consumer,
            health,
            settings,
            topics,
            runtime: tokio::runtime::Handle::current(),
            next: HashMap::new(),
            repair_at: None,
            limit,
            events,
            reached,
            committed_at: Instant::now(),
            outbox: VecDeque::new(),
            batch: Batch::default(),
            waiting: Waiting::Nothing,
            announced: false,
            blocked_since: None,
            paused: false,
        })
    }

    /// Polls until the owner is gone or something cannot be mended.
    pub(super) fn run(mut self) {
        while !self.events.is_closed() {
            if let Err(error) = self.round() {
                self.end_with(error);
                break;
            }
        }
        self.commit();
        self.leave();
    }

    fn round(&mut self) -> Result<()> {
        self.decide()?;
        self.settle()?;
        self.hand_over();
        // A partition that is on its way, here or elsewhere, must not be put back by the repair.
        if self.repair_at.is_some_and(|at| at <= Instant::now()) && matches!(self.waiting, Waiting::Nothing) {
            self.repair_at = None;
            repair::repair(self)?;
        }
        if self.committed_at.elapsed() >= COMMIT_INTERVAL {
            self.commit();
        }
        if self.wait_for_owner()? {
            return Ok(());
        }
        let busy =
            !self.outbox.is_empty() || !self.batch.is_empty() || !matches!(self.waiting, Waiting::Nothing);
        let mut wait = if busy { SHORT_POLL } else { IDLE_POLL };
        // Everything that is there goes into one batch.
        while !self.batch.is_full(self.limit) && self.poll_once(wait)? {
            wait = Duration::ZERO;
        }
        Ok(())
    }

    /// Takes one message or error, if there is one.
    fn poll_once(&mut self, wait: Duration) -> Result<bool> {
        match self.consumer.poll(wait) {
            None => return Ok(false),
            Some(Ok(message)) => {
                Self::take(&mut self.batch, &mut self.next, &self.waiting, &self.topics, &message);
            }
            Some(Err(error)) => self.failed(&error)?,
        }
        Ok(true)
    }

    /// Puts a message into the batch, unless its partition is on its way to somebody else.
    fn take(
        batch: &mut Batch,
        next: &mut HashMap<Partition, u64>,
        waiting: &Waiting,
        topics: &HashMap<String, Vec<Partition>>,
        message: &BorrowedMessage<'_>,
    ) {
        let Some(partition) = find(topics, message.topic(), message.partition()) else { return };
        let going = matches!(waiting, Waiting::Release(going, ..) if going.contains(partition));
        if let Some(next) = next.get_mut(partition)
            && !going
            && message.offset().unsigned_abs() >= *next
        {
            batch.add(partition, *next, record::stored(message));
            *next = message.offset().unsigned_abs() + 1;
        }
    }

    /// Begins what the group decided, one thing after another.
    fn decide(&mut self) -> Result<()> {
        while matches!(self.waiting, Waiting::Nothing)
            && let Some(decision) = self.consumer.context().next()
        {
            match decision {
                Rebalance::Assign(list) => {
                    if let Some(error) = self.more_partitions(&list) {
                        // The group hears an answer before this member leaves.
                        self.waiting = Waiting::Starts(Vec::new(), oneshot::channel().1);
                        return Err(error);
                    }
                    let partitions = self.partitions(&list);
                    if partitions.is_empty() && self.announced {
                        self.assign(&[], &[])?;
                        continue;
                    }
                    self.announced = true;
                    let (reply, starts) = oneshot::channel();
                    self.outbox.push_back(Event::Assign(partitions.clone(), reply));
                    self.waiting = Waiting::Starts(partitions, starts);
                }
                Rebalance::Revoke(list) => {
                    let partitions = self.partitions(&list);
                    if partitions.is_empty() {
                        self.give_away(&[])?;
                        continue;
                    }
                    self.batch.drop_all(&partitions);
                    let (guard, released) = RevocationGuard::new();
                    self.outbox.push_back(Event::Revoked(partitions.clone(), guard));
                    let until = Instant::now() + REVOKE_PATIENCE;
                    self.waiting = Waiting::Release(partitions, released, until);
                }
            }
        }
        Ok(())
    }

    /// Finishes what the group waits for, when the owner has answered.
    fn settle(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Nothing => {}
            Waiting::Starts(partitions, mut starts) => match starts.try_recv() {
                Ok(starts) => self.assign(&partitions, &starts)?,
                Err(oneshot::error::TryRecvError::Empty) => {
                    self.waiting = Waiting::Starts(partitions, starts)
                }
                // The owner is gone: the loop ends by itself.
                Err(oneshot::error::TryRecvError::Closed) => {}
            },
            Waiting::Release(partitions, mut released, until) => {
                let holds = released.try_recv() == Err(oneshot::error::TryRecvError::Empty);
                if holds && Instant::now() < until {
                    self.waiting = Waiting::Release(partitions, released, until);
                } else {
                    if holds {
                        tracing::warn!("partitions are given away although their last batch is not written");
                    }
                    self.commit();
                    self.give_away(&partitions)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn assign(&mut self, partitions: &[Partition], starts: &[u64]) -> Result<()> {
        let list = self.list(partitions.iter().zip(starts.iter().copied()))?;
        let assigned = self.consumer.incremental_assign(&list);
        assigned.map_err(|error| self.start_again(&error))?;
        if self.paused
            && let Err(error) = self.consumer.pause(&list)
        {
            tracing::debug!(%error, "pausing new partitions");
        }
        for (partition, start) in partitions.iter().zip(starts) {
            self.next.entry(partition.clone()).or_insert(*start);
        }
        Ok(())
    }

    fn give_away(&mut self, partitions: &[Partition]) -> Result<()> {
        let list = self.list(partitions.iter().map(|partition| (partition, 0)))?;
        // librdkafka remembers that a partition is paused, also for the time when it comes back.
        if self.paused
            && let Err(error) = self.consumer.resume(&list)
        {
            tracing::debug!(%error, "resuming partitions that go");
        }
        let gone = self.consumer.incremental_unassign(&list);
        gone.map_err(|error| self.start_again(&error))?;
        self.next.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }

    /// Hands over what the channel has a place for: rebalances first, they are older than the batch.
    fn hand_over(&mut self) {
        while let Some(event) = self.outbox.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.outbox.push_front(event);
                return;
            }
        }
        if !self.batch.is_empty()
            && let Ok(place) = self.events.try_reserve()
        {
            place.send(Event::Records(self.batch.take()));
        }
    }

    /// When a full batch is not taken: waits a little without polling, then pauses the partitions. Whether it waited.
    fn wait_for_owner(&mut self) -> Result<bool> {
        if !self.batch.is_full(self.limit) {
            self.blocked_since = None;
            if self.paused {
                self.set_paused(false);
            }
            return Ok(false);
        }
        let since = *self.blocked_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE {
            std::thread::park_timeout(PATIENCE.saturating_sub(since.elapsed()));
            return Ok(true);
        }
        if !self.paused {
            self.set_paused(true);
        }
        // Paused: callbacks come, and what was on its way. It counts as read, so it has to be kept.
        self.poll_once(IDLE_POLL)?;
        Ok(true)
    }

    fn set_paused(&mut self, paused: bool) {
        let result = self
            .consumer
            .assignment()
            .and_then(|list| if paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) });
        match result {
            Ok(()) => self.paused = paused,
            Err(error) => tracing::debug!(%error, paused, "pausing partitions"),
        }
    }

    /// What an error event means. librdkafka mends outages by itself, and the health tells of them.
    fn failed(&mut self, error: &KafkaError) -> Result<()> {
        match code_of(error) {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => {
                self.repair_at.get_or_insert_with(Instant::now);
                Ok(())
            }
            Some(code) if is_missing(code) => repair::missing(self),
            Some(Code::Authentication | Code::SSL | Code::PollExceeded | Code::PartitionEOF) => Ok(()),
            Some(code) => {
                let error = self.health.explain_code("be consumed", None, code);
                if error.is_transient() { Ok(()) } else { Err(error) }
            }
            None => Err(self.health.explain("be consumed", None, error)),
        }
    }

    /// The group and this member do not agree. A new member will.
    pub(super) fn start_again(&self, error: &KafkaError) -> BusError {
        BusError::Unavailable { address: self.settings.address(), reason: format!("in its group: {error}") }
    }

    /// Looks at the partitions again in a while.
    pub(super) fn repair_later(&mut self) {
        self.repair_at = Some(Instant::now() + REPAIR_INTERVAL);
    }

    /// Tells the owner, who may be busy with something else.
    fn end_with(&mut self, error: BusError) {
        self.outbox.push_back(Event::Failed(error));
        while !self.outbox.is_empty() && !self.events.is_closed() {
            self.hand_over();
            std::thread::park_timeout(IDLE_POLL);
        }
    }

    /// Writes down how far the owner is, for lag tools.
    fn commit(&mut self) {
        self.committed_at = Instant::now();
        let reached = self.reached.take();
        let ours = reached.iter().filter(|(partition, _)| self.next.contains_key(partition));
        match self.list(ours.map(|(partition, offset)| (partition, *offset))) {
            Ok(list) if list.count() > 0 => {
                if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
                    tracing::debug!(%error, "offsets were not committed; only lag tools miss them");
                }
            }
            _ => {}
        }
    }

    /// Leaves the group. The consumer's own drop says so to the group, and waits until everything is let go.
    fn leave(self) {
        self.consumer.context().begin_closing();
        let undecided = std::iter::from_fn(|| self.consumer.context().next());
        let waiting = match &self.waiting {
            Waiting::Nothing => None,
            Waiting::Starts(..) => Some((true, Vec::new())),
            Waiting::Release(partitions, ..) => Some((false, partitions.clone())),
        };
        let undecided = undecided.map(|decision| match decision {
            Rebalance::Assign(_) => (true, Vec::new()),
            Rebalance::Revoke(list) => (false, self.partitions(&list)),
        });
        for (assigns, partitions) in waiting.into_iter().chain(undecided) {
            let Ok(list) = self.list(partitions.iter().map(|partition| (partition, 0))) else { continue };
            let result = if assigns {
                self.consumer.incremental_assign(&list)
            } else {
                self.consumer.incremental_unassign(&list)
            };
            if let Err(error) = result {
                tracing::debug!(%error, "leaving a group");
            }
        }
    }

    /// What is wrong with an assignment that names a partition beyond those that were there at the start: somebody gave the
    /// topic more of them, and keys have moved. Passing it over would lose its records without a word.
    fn more_partitions(&self, list: &TopicPartitionList) -> Option<BusError> {
        let elements = list.elements();
        let unknown = elements.iter().find(|at| find(&self.topics, at.topic(), at.partition()).is_none())?;
        let (topic, at_least) = (unknown.topic().to_owned(), unknown.partition().unsigned_abs() + 1);
        let wanted = self.topics.get(&topic).map_or(0, Vec::len);
        let metadata = self.consumer.fetch_metadata(Some(&topic), repair::QUESTION);
        let count = |metadata: &rdkafka::metadata::Metadata| {
            metadata.topics().iter().find(|found| found.name() == topic).map(|found| found.partitions().len())
        };
        let found = metadata.ok().as_ref().and_then(count).and_then(|count| u32::try_from(count).ok());
        let actual = found.unwrap_or_default().max(at_least);
        Some(BusError::PartitionCount { topic, actual, wanted: u32::try_from(wanted).unwrap_or(u32::MAX) })
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let inner = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            find(&self.topics, element.topic(), element.partition()).cloned()
        };
        list.elements().iter().filter_map(inner).collect()
    }

    pub(super) fn list<'a>(
        &self,
        places: impl Iterator<Item = (&'a Partition, u64)>,
    ) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in places {
            let outer = self.settings.outer_name(&partition.topic);
            let offset = Offset::Offset(offset.cast_signed());
            list.add_partition_offset(&outer, partition.number.cast_signed(), offset)
                .map_err(|error| self.health.explain("be consumed", Some(&outer), &error))?;
        }
        Ok(list)
    }
}

/// A partition by its topic's outer name.
fn find<'a>(topics: &'a HashMap<String, Vec<Partition>>, outer: &str, number: i32) -> Option<&'a Partition> {
    topics.get(outer)?.get(usize::try_from(number).ok()?)
}
