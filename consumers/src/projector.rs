//! The projector: keeps the active generation of one view at the end of the log.
//!
//! Two halves run side by side: one reads and decodes the next batch while the other folds and writes this one. A
//! database or log that is down is not a bad record: the projector waits, with backoff, and says so. A log that is
//! not the one it folded stops it, with the reason.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use annals_bus::{BusError, Consumer, Delivery, Partition, ReadLimit, RevocationGuard, StartPositions};
use annals_schemas::codec::{self, NoRegistry};
use annals_store::generations::{self, Generation, State as GenerationState};
use annals_store::sqlite::SqliteViewStore;
use annals_store::{ViewStore, follow};
use annals_views::View;
use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::backoff::Backoff;
use crate::error::chain;
use crate::folder::{self, Batch, Folder};
use crate::rebuild;
use crate::status::{State, Status};
use crate::stop::Stop;
use crate::{ConsumerError, Engine, Result};

/// Records of one transaction while catching up. Large transactions touch each index page once for many rows.
const BATCH: ReadLimit = ReadLimit { records: 20_000, bytes: 16 * 1024 * 1024 };

/// Batches that may wait, decoded, for the writing half.
const DECODED_AHEAD: usize = 1;

/// Without records for this long, the memory that catching up needed is given back.
const SETTLE_AFTER: Duration = Duration::from_secs(2);

/// Keeps one view.
pub struct Projector<V> {
    engine: Engine,
    state: watch::Sender<State>,
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
    Batch(Batch<V>),
    Revoked(RevocationGuard),
}

impl<V: View> Projector<V> {
    /// Starts a projector. It ends when `stop` is given, after the batch under way.
    #[must_use]
    pub fn spawn(engine: Engine, stop: Stop) -> (Status, tokio::task::JoinHandle<()>) {
        let (state, status) = Status::new(format!("projector of {}", V::NAME));
        let projector = Self { engine, state, stop, working_on: None, view: PhantomData };
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
                    self.state.send_replace(State::Waiting(reason));
                    pause.next()
                }
                Err(error) => {
                    let reason = chain(&error);
                    tracing::error!(view = V::NAME, reason, "the projector stopped");
                    self.state.send_replace(State::Stopped(reason));
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
        self.state.send_replace(State::Ended);
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
        let mut changes = follow::watch_control(&engine.control).await?;
        changes.mark_unchanged();
        let active = self.active().await?;
        self.working_on = Some(active);
        let path = engine.directory.view_db(V::NAME, active.number);
        let store: Arc<dyn ViewStore> = Arc::new(SqliteViewStore::open(&path, V::tables()).await?);
        let result = self.follow_log(&store, active, &mut changes, pause).await;
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
        let group = format!("annals.{}.{}", V::NAME, active.number);
        let consumer = self.engine.bus.consumer(&group, &topics, starts, BATCH).await?;
        let (sender, mut steps) = mpsc::channel(DECODED_AHEAD);
        let mut reading = AbortOnDrop(tokio::spawn(read_ahead::<V>(consumer, sender)));
        let folder = Folder::<V>::new(Arc::clone(store));
        let settle = tokio::time::sleep(SETTLE_AFTER);
        tokio::pin!(settle);
        let mut settled = false;
        self.state.send_replace(State::Running);
        loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => return Ok(Exit::Stopped),
                step = steps.recv() => match step {
                    Some(Step::Batch(batch)) => {
                        folder.fold(batch).await?;
                        settled = false;
                        settle.as_mut().reset(tokio::time::Instant::now() + SETTLE_AFTER);
                        pause.reset();
                        self.state.send_if_modified(|state| std::mem::replace(state, State::Running) != State::Running);
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
                    let now = generations::find(&self.engine.control, V::NAME, GenerationState::Active).await?;
                    if now != Some(active) {
                        return Ok(Exit::Switched);
                    }
                }
                () = &mut settle, if !settled => {
                    store.settle().await?;
                    settled = true;
                }
            }
        }
    }
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
async fn read_ahead<V: View>(mut consumer: Box<dyn Consumer>, steps: mpsc::Sender<Step<V>>) -> ConsumerError {
    loop {
        let step = match consumer.next().await {
            Ok(Delivery::Assigned(_)) => continue,
            Ok(Delivery::Revoked(_, guard)) => Step::Revoked(guard),
            Ok(Delivery::Records(parts)) => match folder::decode(parts).await {
                Ok(batch) => Step::Batch(batch),
                Err(error) => return error,
            },
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
        let next = |p: &Partition| known.iter().find(|k| k.partition == *p).map_or(0, |k| k.next_offset);
        Ok(partitions.iter().map(next).collect())
    }
}

/// Whether this log is the one that the generation was folded from.
///
/// # Errors
/// [`ConsumerError::OtherLog`], [`ConsumerError::OtherRecord`] or [`ConsumerError::Truncated`] when it is not.
pub async fn verify<V: View>(engine: &Engine, store: &Arc<dyn ViewStore>) -> Result<()> {
    let found = engine.bus.incarnation().await?;
    match store.incarnation().await? {
        Some(folded) if folded != found => {
            return Err(ConsumerError::OtherLog { view: V::NAME, folded, found });
        }
        Some(_) => {}
        None => store.bind_incarnation(found).await?,
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
            Err(error) => return Err(error.into()),
        };
        let Some(record) = record else {
            return Err(ConsumerError::Truncated { view: V::NAME, partition, offset, end: before });
        };
        // A declared retention may have removed the record; then the first one there stands further on.
        if let Some(expected) = position.last_event_id
            && record.offset == before
            && codec::decode(&record.value, &NoRegistry).ok().map(|event| event.meta().event_id)
                != Some(expected)
        {
            return Err(ConsumerError::OtherRecord { view: V::NAME, partition, offset });
        }
    }
    Ok(())
}
