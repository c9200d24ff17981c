//! Readers that follow a view through its generations: a switch is seen by every process within a moment, and no
//! request fails over it. A request keeps the generation that it began with.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::changes::POLL_INTERVAL;
use crate::error::Context;
use crate::generations::{self, Generation, State};
use crate::sql::{Pool, sql};
use crate::view_store::{StoredPosition, stored_incarnations, stored_positions};
use crate::{ControlDb, Database, Place, Result, StoreError, Table};

/// A generation, open for reading.
#[derive(Debug)]
pub struct GenerationReader {
    /// Which one.
    pub generation: Generation,
    /// Connections that cannot write.
    pub pool: Pool,
    place: Place,
}

impl GenerationReader {
    async fn open(database: &Database, view: &str, generation: Generation) -> Result<Self> {
        let pool = database.readers(view, generation.number).await?;
        Ok(Self { generation, pool, place: database.place(view, generation.number) })
    }

    /// How far this generation has folded the log.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn positions(&self) -> Result<Vec<StoredPosition>> {
        stored_positions(&self.pool, &self.place).await
    }

    /// The incarnation of each topic that this generation was folded from.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn incarnations(&self) -> Result<Vec<(String, uuid::Uuid)>> {
        stored_incarnations(&self.pool, &self.place).await
    }

    /// Records that this generation could not decode.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn dead_letter_count(&self) -> Result<u64> {
        sql("SELECT count(*) FROM dead_letters")
            .fetch_scalar(&self.pool)
            .await
            .during(&self.place, "count dead letters")
    }
}

/// The active generation of a view, whichever it is at the moment.
#[derive(Clone, Debug)]
pub struct Followed {
    view: &'static str,
    current: Arc<ArcSwap<GenerationReader>>,
    _task: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Followed {
    /// Opens the active generation of a view and follows it. `make` makes an empty first one when there is none: for a
    /// process that projects as well.
    ///
    /// # Errors
    /// When it cannot be opened, or was made by a newer annals; [`StoreError::Gone`] when nobody has made it yet.
    pub async fn start(
        control: &ControlDb,
        database: &Database,
        view: &'static str,
        version: i64,
        make: Option<&[&'static Table]>,
    ) -> Result<Self> {
        let active = match make {
            Some(tables) => {
                let active = generations::active_or_first(control, view, version).await?;
                if active.version <= version {
                    // Lays the tables out when no projector did so yet.
                    database.view_store(view, active.number, tables).await?.close().await;
                }
                active
            }
            None => generations::find(control, view, State::Active)
                .await?
                .ok_or_else(|| StoreError::Gone(control.place().clone()))?,
        };
        if active.version > version {
            return Err(StoreError::NewerVersion(database.place(view, active.number)));
        }
        if active.version < version {
            return Err(StoreError::Gone(database.place(view, active.number)));
        }
        let reader = GenerationReader::open(database, view, active).await?;
        let current = Arc::new(ArcSwap::from_pointee(reader));
        let changes = control.watch().await?;
        let task =
            tokio::spawn(follow(control.clone(), database.clone(), view, Arc::clone(&current), changes));
        Ok(Self { view, current, _task: Arc::new(AbortOnDrop(task.abort_handle())) })
    }

    /// Name of the view.
    #[must_use]
    pub fn view(&self) -> &'static str {
        self.view
    }

    /// The generation to read now. Hold it for one request.
    #[must_use]
    pub fn current(&self) -> Arc<GenerationReader> {
        self.current.load_full()
    }
}

/// Closes a generation once the last request that began with it is answered: one that has not asked for its
/// connection yet must still get it.
async fn close_when_unused(old: Arc<GenerationReader>) {
    while Arc::strong_count(&old) > 1 {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    old.pool.close().await;
}

async fn follow(
    control: ControlDb,
    database: Database,
    view: &'static str,
    current: Arc<ArcSwap<GenerationReader>>,
    mut changes: watch::Receiver<u64>,
) {
    let mut again = false;
    while again || changes.changed().await.is_ok() {
        again = false;
        let open = async {
            let Some(active) = generations::find(&control, view, State::Active).await? else {
                return Ok(None);
            };
            if active == current.load().generation {
                return Ok(None);
            }
            GenerationReader::open(&database, view, active).await.map(Some)
        };
        match open.await {
            Ok(None) => {}
            Ok(Some(reader)) => {
                tracing::info!(view, generation = reader.generation.number, "reading another generation");
                let old = current.swap(Arc::new(reader));
                tokio::spawn(close_when_unused(old));
            }
            Err(error) => {
                tracing::warn!(view, %error, "cannot open the active generation; reading the old one");
                tokio::time::sleep(POLL_INTERVAL).await;
                again = true;
            }
        }
    }
}
