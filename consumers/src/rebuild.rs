//! Rebuild: the log from position 0 into a new generation, and one atomic switch.
//!
//! The switch is exact. The rebuild takes the write lock of the old generation, so that its projector cannot move;
//! folds the rest up to the old positions; makes the new generation the active one in one transaction of the control
//! tables, together with the audit event that tells of it; and marks the old generation as retired before it lets the
//! lock go. A crash at any point leaves either the old or the new one active, whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_access::{Access, Author};
use annals_bus::{Bus, Partition, PartitionRecords, ReadLimit};
use annals_schemas::Registry;
use annals_store::generations::{self, State};
use annals_store::{Role, RoleGuard, StoreError, ViewStore, ViewTransaction, crash};
use annals_views::View;
use chrono::Utc;

use crate::bulk::{self, Bulk};
use crate::error::chain;
use crate::folder::{self, Folder};
use crate::{Engine, Result, projector, sweep};

/// Records of one transaction.
const BATCH: ReadLimit = ReadLimit { records: 20_000, bytes: 16 * 1024 * 1024 };

/// How close to the end of the log the new generation must be before the old one is held up for the switch.
const CLOSE_ENOUGH_RECORDS: u64 = 2_000;

/// How often a process looks whether another one has finished the rebuild that it needs as well.
const REBUILT_ELSEWHERE: Duration = Duration::from_millis(500);

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The view.
    pub view: &'static str,
    /// Number of the new generation.
    pub generation: i64,
    /// Records folded.
    pub records: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records folded.
    pub done: u64,
    /// Records in the log.
    pub total: u64,
}

/// Rebuilds a view. `author` is told in the audit log when it is given.
///
/// # Errors
/// When another rebuild is under way on this data directory, or the log or a database fails. The old generation stays
/// as it was.
pub async fn rebuild<V: View>(
    engine: &Engine,
    author: Option<(&Access, &Author)>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report> {
    let role = engine.database.take_role(Role::Rebuild).await?;
    rebuild_as::<V>(engine, &role, author, progress).await
}

async fn rebuild_as<V: View>(
    engine: &Engine,
    _role: &RoleGuard,
    author: Option<(&Access, &Author)>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report> {
    let started = Instant::now();
    generations::active_or_first(&engine.control, V::NAME, V::VERSION).await?;
    let new = generations::begin_building(&engine.control, V::NAME, V::VERSION).await?;
    engine.database.remove_generation(V::NAME, new.number).await?;
    let store = engine.database.view_store(V::NAME, new.number, V::tables()).await?;
    projector::verify::<V>(engine, &store).await?;
    // Nobody reads it yet.
    let bulk = Bulk::begin::<V>(&*engine.bus, &*store, 0).await?;
    crash::point("rebuild:indexes-aside");
    let mut builder = Builder::<V> {
        bus: &*engine.bus,
        registry: engine.registry.as_deref(),
        folder: Folder::new(Arc::clone(&store)),
        done: 0,
        progress,
    };
    builder.catch_up().await?;
    if let Some(bulk) = bulk {
        crash::point("rebuild:before-indexes");
        bulk.end::<V>(&*store).await?;
        // The log went on meanwhile.
        builder.catch_up().await?;
    }
    builder.switch(engine, new.number, author).await?;
    let records = builder.done;
    store.close().await;
    sweep::sweep_unattended(engine).await?;
    Ok(Report { view: V::NAME, generation: new.number, records, elapsed: started.elapsed() })
}

/// Folds the view anew when its active generation is of an older version than this program's. Before that, its tables
/// are not those that the queries know.
///
/// # Errors
/// [`StoreError::NewerVersion`] when it is of a newer one; else as [`rebuild`].
pub async fn bring_to_version<V: View>(engine: &Engine) -> Result<()> {
    loop {
        let active = generations::active_or_first(&engine.control, V::NAME, V::VERSION).await?;
        if active.version > V::VERSION {
            return Err(StoreError::NewerVersion(engine.database.place(V::NAME, active.number)).into());
        }
        if active.version == V::VERSION {
            return Ok(());
        }
        let role = match engine.database.take_role(Role::Rebuild).await {
            // Another process does it already.
            Err(StoreError::InUse { .. }) => {
                tokio::time::sleep(REBUILT_ELSEWHERE).await;
                continue;
            }
            role => role?,
        };
        // It may have done it just now.
        if generations::active_or_first(&engine.control, V::NAME, V::VERSION).await? != active {
            continue;
        }
        tracing::info!(
            view = V::NAME,
            from = active.version,
            to = V::VERSION,
            "folding the changed view anew"
        );
        return rebuild_as::<V>(engine, &role, None, &mut |_| {}).await.map(drop);
    }
}

struct Builder<'a, V> {
    bus: &'a dyn Bus,
    registry: Option<&'a Registry>,
    folder: Folder<V>,
    done: u64,
    progress: &'a mut (dyn FnMut(Progress) + Send),
}

impl<V: View> Builder<'_, V> {
    /// Folds until the end of the log is near, while the old generation goes on.
    async fn catch_up(&mut self) -> Result<()> {
        let topics: Vec<&str> = V::topics().iter().map(|topic| topic.name).collect();
        loop {
            let ends = self.bus.end_positions(&topics).await?;
            let before = self.done;
            self.fold_until(&ends).await?;
            // What the view's own index is fed by may be aside as well.
            if !self.folder.store().are_indexes_aside().await? {
                projector::feed_index::<V>(self.folder.store()).await?;
            }
            if self.done - before < CLOSE_ENOUGH_RECORDS {
                return Ok(());
            }
        }
    }

    /// Folds every partition up to the given offsets.
    async fn fold_until(&mut self, ends: &[(Partition, u64)]) -> Result<()> {
        let positions = self.folder.store().positions().await?;
        let total = self.done + bulk::behind(ends, &positions);
        for (partition, end) in ends {
            let mut from = bulk::next(&positions, partition);
            while from < *end {
                let records = self.bus.read(partition, from, BATCH).await?;
                let part = PartitionRecords { partition: partition.clone(), from, records };
                if part.records.is_empty() {
                    break;
                }
                from = part.next_offset();
                self.done += part.records.len() as u64;
                self.folder.fold(folder::decode(vec![part], self.registry).await?).await?;
                (self.progress)(Progress { done: self.done, total: total.max(self.done) });
            }
        }
        Ok(())
    }

    async fn switch(&mut self, engine: &Engine, new: i64, author: Option<(&Access, &Author)>) -> Result<()> {
        let old = generations::find(&engine.control, V::NAME, State::Active).await?;
        let Some(old) = old else {
            return Self::activate(engine, new, author).await;
        };
        let (old_store, mut fence, reached) = match fence::<V>(engine, old.number).await {
            // A generation that cannot be read has nothing that the new one must reach: it is why people rebuild.
            Err(StoreError::Damaged(place)) => {
                tracing::warn!(view = V::NAME, %place, "replacing the old generation, which is damaged");
                return Self::activate(engine, new, author).await;
            }
            fenced => fenced?,
        };
        self.fold_until(&reached).await?;
        crash::point("rebuild:before-switch");
        // Folding can take longer than the connection lives that keeps the writers out. Without it the old generation may
        // have moved on meanwhile, and the switch would show less than before.
        fence.positions().await?;
        Self::activate(engine, new, author).await?;
        crash::point("rebuild:after-switch");
        // The switch is durable: what fails here fails for a generation that nobody reads any more.
        let retired = match fence.retire().await {
            Ok(()) => fence.commit().await,
            Err(error) => Err(error),
        };
        if let Err(error) = retired {
            tracing::warn!(view = V::NAME, reason = chain(&error), "the old generation could not be retired");
        }
        old_store.close().await;
        Ok(())
    }

    async fn activate(engine: &Engine, new: i64, author: Option<(&Access, &Author)>) -> Result<()> {
        let mut tx = engine.control.begin().await?;
        generations::switch(tx.connection(), &engine.control, V::NAME, new).await?;
        if let Some((access, author)) = author {
            let text = format!("View {} was rebuilt from the log as generation {new}.", V::NAME);
            let event = author.operation("VIEW_REBUILT", "view", V::NAME, text, Utc::now());
            access.tell_within(tx.connection(), &event).await?;
        }
        tx.commit()
            .await
            .map_err(|source| StoreError::database(engine.control.place(), "switch generations", source))?;
        Ok(())
    }
}

/// A generation that cannot move while this is held, and how far it is.
type Fence = (Arc<dyn ViewStore>, Box<dyn ViewTransaction>, Vec<(Partition, u64)>);

/// Keeps the writers of a generation out.
async fn fence<V: View>(engine: &Engine, generation: i64) -> Result<Fence, StoreError> {
    let store = engine.database.view_store(V::NAME, generation, V::tables()).await?;
    let mut fence = store.fence().await?;
    let reached = fence.positions().await?.into_iter().map(|p| (p.partition, p.next_offset)).collect();
    Ok((store, fence, reached))
}
