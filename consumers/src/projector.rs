//! The projector: keeps the active generation of one view at the end of the log.
//!
//! Two halves run side by side: one reads and decodes the next batch while the other folds and writes this one. A
//! database or log that is down is not a bad record: the projector waits, with backoff, and says so. A log that is
//! not the one it folded stops it, with the reason.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use annals_bus::{
    BusError, Consumer, Delivery, Partition, ReadLimit, RevocationGuard, StartPositions, StoredRecord,
};
use annals_schemas::{DecodeError, Event, Registry, codec, registry};
use annals_store::generations::{self, Generation, State as GenerationState};
use annals_store::{StoreError, ViewStore};
use annals_views::View;
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::bulk::{self, Bulk};
use crate::error::chain;
use crate::folder::{self, Batch, Folder};
use crate::rebuild;
use crate::status::{Reporter, State, Status};
use crate::stop::Stop;
use crate::{ConsumerError, Engine, Result};

/// Records of one transaction while catching up. Large transactions touch each index page once for many rows.
const BATCH: ReadLimit = ReadLimit { records: 20_000, bytes: 16 * 1024 * 1024 };

/// Batches that may wait, decoded, for the writing half.
const DECODED_AHEAD: usize = 1;

/// Without records for this long, the memory that catching up needed is given back.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

/// Rows that a view's index takes at once while no batch waits: the next one may come at any moment.
const INDEXED_BETWEEN: usize = 16_384;

/// Rows that a view's index takes at once before the next batch.
const INDEXED_BEFORE: usize = 65_536;

/// Rows that wait for a view's index before it is worth while. Questions look through fewer of them in little time.
const WORTH_INDEXING: u64 = 8_192;

/// Rows that a view's index may be behind; the next batch waits until it is nearer. Questions look through all of them.
const MAX_BEHIND: u64 = 100_000;

/// How often a projector that reads nothing looks whether the generation came near the end by the work of others.
const BULK_LOOK: Duration = Duration::from_secs(5);

/// Work of the database that takes longer is told: the largest batch takes seconds.
const SLOW: Duration = Duration::from_secs(15);

/// Keeps one view.
pub struct Projector<V> {
    engine: Engine,
    report: Reporter,
    stop: Stop,
    /// The generation that is or was worked on last.
    working_on: Option<Generation>,
    view: PhantomData<fn() -> V>,
}

/// Why the work on one generation ended without an error.
enum Exit {
    Stopped,
    Switched,
}

/// What the reading half hands to the writing half.
enum Step<V: View> {
    Batches(Vec<Batch<V>>),
    Revoked(RevocationGuard),
}

impl<V: View> Projector<V> {
    /// Starts a projector. It ends when `stop` is given, after the batch under way.
    #[must_use]
    pub fn spawn(engine: Engine, stop: Stop) -> (Status, tokio::task::JoinHandle<()>) {
        let (report, status) = Status::new(format!("projector of {}", V::NAME));
        let projector = Self { engine, report, stop, working_on: None, view: PhantomData };
        (status, tokio::spawn(projector.run()))
    }

    async fn run(mut self) {
        let mut pause = Backoff::default();
        loop {
            let result = self.run_generation(&mut pause).await;
            let wait = match result {
                Ok(Exit::Stopped) => break,
                Ok(Exit::Switched) => Duration::ZERO,
                // Somebody else moved the positions or switched the generation: look again, at once.
                Err(error) if error.is_fenced() => {
                    tracing::info!(
                        view = V::NAME,
                        "another writer came first; starting again from its positions"
                    );
                    Backoff::FIRST
                }
                Err(error) if error.is_transient() => {
                    let reason = chain(&error);
                    tracing::warn!(view = V::NAME, reason, "waiting to try again");
                    self.report.set(State::Waiting(reason));
                    pause.next()
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!(view = V::NAME, reason, "the projector stopped");
                    self.report.set(State::Stopped(reason));
                    // What is wrong with this generation is mended by another one: a rebuild.
                    match self.another_generation().await {
                        Exit::Switched => Duration::ZERO,
                        Exit::Stopped => break,
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.wait() => break,
            }
        }
        self.report.set(State::Ended);
    }

    /// Waits until another generation is active than the one that was worked on. Looks now and then: a watch could fail
    /// for the reason that stopped the work.
    async fn another_generation(&mut self) -> Exit {
        loop {
            let active = generations::find(&self.engine.control, V::NAME, GenerationState::Active).await;
            if active.is_ok_and(|active| active.is_some() && active != self.working_on) {
                return Exit::Switched;
            }
            tokio::select! {
                () = self.stop.wait() => return Exit::Stopped,
                () = tokio::time::sleep(Backoff::FIRST) => {}
            }
        }
    }

    /// Works on the active generation until it is another one.
    async fn run_generation(&mut self, pause: &mut Backoff) -> Result<Exit> {
        let engine = self.engine.clone();
        let mut changes = engine.control.watch().await?;
        changes.mark_unchanged();
        let active = self.active().await?;
        self.working_on = Some(active);
        let store = engine.database.view_store(V::NAME, active.number, V::tables()).await?;
        let result = self.follow_log(&store, active, &mut changes, pause).await;
        self.report.all_revoked();
        store.close().await;
        result
    }

    async fn active(&self) -> Result<Generation> {
        rebuild::bring_to_version::<V>(&self.engine).await?;
        let control = &self.engine.control;
        generations::active_or_first(control, V::NAME, V::VERSION).await.map_err(Into::into)
    }

    async fn follow_log(
        &mut self,
        store: &Arc<dyn ViewStore>,
        active: Generation,
        changes: &mut watch::Receiver<u64>,
        pause: &mut Backoff,
    ) -> Result<Exit> {
        verify::<V>(&self.engine, store).await?;
        let topics: Vec<&str> = V::topics().iter().map(|topic| topic.name).collect();
        let starts = Arc::new(StoreStarts(Arc::clone(store)));
        let group = group::<V>(active.number);
        let consumer = self.engine.bus.consumer(&group, &topics, starts, BATCH).await?;
        let progress = consumer.progress();
        let (sender, mut steps) = mpsc::channel(DECODED_AHEAD);
        let registry = self.engine.registry.clone();
        let reading = read_ahead::<V>(consumer, registry, store.lanes(), self.report.clone(), sender);
        let mut reading = AbortOnDrop(tokio::spawn(reading));
        let folder = Folder::<V>::new(Arc::clone(store));
        let settle = tokio::time::sleep(SETTLE_AFTER);
        tokio::pin!(settle);
        let mut settled = false;
        let mut folded: HashMap<Partition, u64> = HashMap::new();
        let index = Index::<V>::new(store);
        let mut behind = self.told_when_slow(index.look()).await?;
        // This generation is read meanwhile.
        let worth_it = if store.answers_without_indexes() { bulk::WORTH_IT_RECORDS } else { u64::MAX };
        let mut bulk = Bulk::begin::<V>(&*self.engine.bus, &**store, worth_it).await?;
        let mut bulk_look = tokio::time::interval(BULK_LOOK);
        self.report.begun();
        loop {
            if let Some(begun) = &mut bulk
                && begun.is_over(&**store).await?
            {
                tokio::select! {
                    // They are made at the next start.
                    () = self.stop.wait() => return Ok(Exit::Stopped),
                    made = begun.end::<V>(&**store) => made?,
                }
                bulk = None;
            }
            tokio::select! {
                biased;
                () = self.stop.wait() => return Ok(Exit::Stopped),
                step = steps.recv() => match step {
                    Some(Step::Batches(batches)) => {
                        // What the index is fed by is aside as well, and made before the end of the log.
                        while behind > MAX_BEHIND && bulk.is_none() {
                            behind = self.told_when_slow(index.feed(INDEXED_BEFORE)).await?;
                        }
                        if V::HAS_INDEX {
                            behind += batches.iter().map(Batch::records).sum::<u64>();
                        }
                        let reached: Vec<_> = batches.iter().flat_map(Batch::reaches).collect();
                        self.told_when_slow(folder.fold_all(batches)).await?;
                        progress.folded(&reached);
                        folded.extend(reached);
                        settled = false;
                        settle.as_mut().reset(tokio::time::Instant::now() + SETTLE_AFTER);
                        pause.reset();
                        self.report.set(State::Running);
                    }
                    Some(Step::Revoked(guard)) => drop(guard),
                    // The reading half ended: its error says why.
                    None => {
                        let error = (&mut reading.0).await.map_err(|_| ConsumerError::Task(V::NAME))?;
                        return Err(explain::<V>(error));
                    }
                },
                changed = changes.changed() => {
                    changed.map_err(|_| ConsumerError::Task(V::NAME))?;
                    if self.told_when_slow(self.look(store, active, &folded)).await? {
                        return Ok(Exit::Switched);
                    }
                }
                () = std::future::ready(()), if behind >= WORTH_INDEXING && bulk.is_none() => {
                    behind = self.told_when_slow(index.feed(INDEXED_BETWEEN)).await?;
                }
                _ = bulk_look.tick(), if bulk.is_some() => {}
                () = &mut settle, if !settled => {
                    store.settle().await?;
                    self.report.set(State::Running);
                    settled = true;
                }
            }
        }
    }
}

impl<V: View> Projector<V> {
    /// Looks whether another generation is active, and whether the database still has what was folded. One that crashed
    /// may have lost its last transactions; where no further record comes, no compare-and-set would notice.
    async fn look(
        &self,
        store: &Arc<dyn ViewStore>,
        active: Generation,
        folded: &HashMap<Partition, u64>,
    ) -> Result<bool> {
        let now = generations::find(&self.engine.control, V::NAME, GenerationState::Active).await?;
        if now != Some(active) {
            return Ok(true);
        }
        let stored = store.positions().await?;
        let stands = |(partition, next): (&Partition, &u64)| {
            stored.iter().any(|position| position.partition == *partition && position.next_offset >= *next)
        };
        if folded.iter().all(stands) {
            return Ok(false);
        }
        tracing::warn!(view = V::NAME, "the database has lost what was folded last; folding it again");
        Err(StoreError::Fenced(self.engine.database.place(V::NAME, active.number)).into())
    }

    /// Waits for the database, and says so when it takes long: one that is gone without a word is noticed late.
    async fn told_when_slow<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(SLOW) => {}
        }
        let reason = format!("no answer of the database for more than {} s", SLOW.as_secs());
        tracing::warn!(view = V::NAME, reason, "waiting");
        self.report.set(State::Waiting(reason));
        let done = work.await?;
        self.report.set(State::Running);
        Ok(done)
    }
}

/// The index that follows a view's rows.
struct Index<'a, V> {
    store: &'a Arc<dyn ViewStore>,
    view: PhantomData<fn() -> V>,
}

impl<'a, V: View> Index<'a, V> {
    fn new(store: &'a Arc<dyn ViewStore>) -> Self {
        Self { store, view: PhantomData }
    }

    /// How many rows wait.
    async fn look(&self) -> Result<u64> {
        self.step(u64::MAX, 0).await
    }

    /// Takes rows when it is worth while. Gives how many wait then.
    async fn feed(&self, at_most: usize) -> Result<u64> {
        self.step(WORTH_INDEXING, at_most).await
    }

    async fn step(&self, at_least: u64, at_most: usize) -> Result<u64> {
        if !V::HAS_INDEX {
            return Ok(0);
        }
        let indexed = V::index(&**self.store, at_least, at_most).await?;
        #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
        let behind = indexed.behind as f64;
        metrics::gauge!("annals_index_behind_rows", "view" => V::NAME).set(behind);
        Ok(indexed.behind)
    }
}

/// Feeds a view's index until questions need to look through few rows beside it.
///
/// # Errors
/// What the database says.
pub async fn feed_index<V: View>(store: &Arc<dyn ViewStore>) -> Result<()> {
    let index = Index::<V>::new(store);
    while index.feed(INDEXED_BEFORE).await? >= WORTH_INDEXING {}
    Ok(())
}

/// The consumer group of a generation.
pub(crate) fn group<V: View>(generation: i64) -> String {
    format!("annals.{}.{generation}", V::NAME)
}

/// An offset beyond the end of the log is told as what it means for this view.
fn explain<V: View>(error: ConsumerError) -> ConsumerError {
    match error {
        ConsumerError::Bus(BusError::OffsetOutOfRange { partition, offset, end }) => {
            ConsumerError::Truncated { view: V::NAME, partition, offset, end }
        }
        other => other,
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The reading half. Ends with an error, or when the writing half is gone.
async fn read_ahead<V: View>(
    mut consumer: Box<dyn Consumer>,
    registry: Option<Arc<Registry>>,
    lanes: usize,
    report: Reporter,
    steps: mpsc::Sender<Step<V>>,
) -> ConsumerError {
    loop {
        let step = match consumer.next().await {
            Ok(Delivery::Assigned(partitions)) => {
                report.assigned(partitions.into_iter().map(|(partition, _)| partition));
                continue;
            }
            Ok(Delivery::Revoked(partitions, guard)) => {
                report.revoked(&partitions);
                Step::Revoked(guard)
            }
            Ok(Delivery::Records(parts)) => {
                match folder::decode_in_lanes(parts, registry.as_deref(), lanes).await {
                    Ok(batches) => Step::Batches(batches),
                    Err(error) => return error,
                }
            }
            Err(error) => return error.into(),
        };
        if steps.send(step).await.is_err() {
            return ConsumerError::Task(V::NAME);
        }
    }
}

/// Starts where the view's own database says.
struct StoreStarts(Arc<dyn ViewStore>);

#[async_trait]
impl StartPositions for StoreStarts {
    async fn start_positions(&self, partitions: &[Partition]) -> Result<Vec<u64>, String> {
        let known = self.0.positions().await.map_err(|error| chain(&error))?;
        Ok(partitions.iter().map(|partition| bulk::next(&known, partition)).collect())
    }
}

/// Whether this log is the one that the generation was folded from.
///
/// # Errors
/// [`ConsumerError::OtherLog`], [`ConsumerError::OtherRecord`] or [`ConsumerError::Truncated`] when it is not;
/// [`ConsumerError::Unreadable`] when its last record cannot tell.
pub async fn verify<V: View>(engine: &Engine, store: &Arc<dyn ViewStore>) -> Result<()> {
    let bound = store.incarnations().await?;
    for topic in V::topics() {
        let found = engine.bus.incarnation(topic.name).await?;
        match bound.iter().find(|(name, _)| name == topic.name) {
            Some((_, folded)) if *folded != found => {
                let topic = topic.name.to_owned();
                return Err(ConsumerError::OtherLog { view: V::NAME, topic, folded: *folded, found });
            }
            Some(_) => {}
            None => store.bind_incarnation(topic.name, found).await?,
        }
    }
    let one = ReadLimit { records: 1, bytes: usize::MAX };
    for position in store.positions().await? {
        let (partition, offset) = (position.partition, position.next_offset);
        let Some(before) = offset.checked_sub(1) else { continue };
        let record = match engine.bus.read(&partition, before, one).await {
            Ok(records) => records.into_iter().next(),
            Err(BusError::OffsetOutOfRange { end, .. }) => {
                return Err(ConsumerError::Truncated { view: V::NAME, partition, offset, end });
            }
            // Somebody removed what was folded, and nothing that was not: the view lacks nothing.
            Err(BusError::Removed { first, .. }) if first <= offset => continue,
            Err(error) => return Err(error.into()),
        };
        let Some(record) = record else {
            // Declared retention may have removed all that there was; the end stays where it is.
            let ends = engine.bus.end_positions(&[&partition.topic]).await?;
            let end = ends.into_iter().find(|(known, _)| *known == partition).map_or(before, |(_, end)| end);
            if end >= offset {
                continue;
            }
            return Err(ConsumerError::Truncated { view: V::NAME, partition, offset, end });
        };
        // A declared retention may have removed the record; then the first one there stands further on.
        if let Some(expected) = position.last_event_id
            && record.offset == before
        {
            match decode(engine, &record).await? {
                Ok(event) if event.meta().event_id == expected => {}
                Ok(_) => return Err(ConsumerError::OtherRecord { view: V::NAME, partition, offset }),
                Err(source) => {
                    return Err(ConsumerError::Unreadable { view: V::NAME, partition, offset, source });
                }
            }
        }
    }
    Ok(())
}

async fn decode(engine: &Engine, record: &StoredRecord) -> Result<Result<Event, DecodeError>> {
    let ids = registry::known_ids(engine.registry.as_deref(), [&*record.value]).await?;
    Ok(codec::decode(&record.value, &ids))
}
