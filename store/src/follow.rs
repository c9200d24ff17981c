//! Readers that follow a view through its generations: a switch is seen by every process within a moment, and no
//! request fails over it. A request keeps the generation that it began with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

use crate::error::Context;
use crate::generations::{self, Generation, State};
use crate::sqlite::{self, Durability, SqliteViewStore};
use crate::view_store::StoredPosition;
use crate::{ControlDb, DataDir, Result, StoreError, Table, ViewStore};

/// How often other processes' changes of the control tables are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Connections that read one view in one process.
const READERS: u32 = 4;

/// A receiver that changes whenever any process changed the control database. The task behind it ends with the last
/// receiver.
///
/// # Errors
/// When the control database cannot be opened.
pub async fn watch_control(control: &ControlDb) -> Result<watch::Receiver<u64>> {
    let path = control.path().to_owned();
    let options = sqlite::options(&path, Durability::Full, false).pragma("query_only", "ON");
    let mut connection = options.connect().await.during(&path, "watch it")?;
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        let mut seen = None;
        while !sender.is_closed() {
            match ControlDb::data_version(&mut connection, &path).await {
                Ok(version) if seen != Some(version) => {
                    seen = Some(version);
                    sender.send_modify(|count| *count += 1);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "cannot look for changes of the control tables"),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    Ok(receiver)
}

/// A generation, open for reading.
#[derive(Debug)]
pub struct GenerationReader {
    /// Which one.
    pub generation: Generation,
    /// Connections that cannot write.
    pub pool: SqlitePool,
    path: PathBuf,
}

impl GenerationReader {
    async fn open(directory: &DataDir, view: &str, generation: Generation) -> Result<Self> {
        let path = directory.view_db(view, generation.number);
        let pool = SqliteViewStore::open_readers(&path, READERS).await?;
        Ok(Self { generation, pool, path })
    }

    /// How far this generation has folded the log.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn positions(&self) -> Result<Vec<StoredPosition>> {
        let mut connection = self.pool.acquire().await.during(&self.path, "read positions")?;
        sqlite::read_positions(&mut connection, &self.path).await
    }

    /// Records that this generation could not decode.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn dead_letter_count(&self) -> Result<u64> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
            .fetch_one(&self.pool)
            .await
            .during(&self.path, "count dead letters")?;
        Ok(count.unsigned_abs())
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
    /// Opens the active generation of a view, making an empty first one when there is none, and follows it.
    ///
    /// # Errors
    /// When it cannot be opened, or was made by a newer annals.
    pub async fn start(
        control: &ControlDb,
        directory: &DataDir,
        view: &'static str,
        version: i64,
        tables: &[&'static Table],
    ) -> Result<Self> {
        let active = generations::active_or_first(control, view, version).await?;
        let path = directory.view_db(view, active.number);
        if active.version > version {
            return Err(StoreError::NewerVersion(path));
        }
        // Lays the tables out when no projector did so yet.
        SqliteViewStore::open(&path, tables).await?.close().await;
        let reader = GenerationReader::open(directory, view, active).await?;
        let current = Arc::new(ArcSwap::from_pointee(reader));
        let changes = watch_control(control).await?;
        let task =
            tokio::spawn(follow(control.clone(), directory.clone(), view, Arc::clone(&current), changes));
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
    directory: DataDir,
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
            GenerationReader::open(&directory, view, active).await.map(Some)
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
