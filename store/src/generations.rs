//! Generations: a view is never migrated, it is folded again from the log into a new generation, and one transaction
//! on the control database switches its readers over.

use chrono::Utc;
use sqlx::{Row, SqliteConnection};

use crate::error::Context;
use crate::{ControlDb, Result};

/// One generation of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Number, from 1, never used again.
    pub number: i64,
    /// Version of the view's tables and fold.
    pub version: i64,
}

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being folded from the log; nobody reads it.
    Building,
    /// Read by the queries.
    Active,
    /// To be removed.
    Retired,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

/// The generation of `view` in this state; the newest when there are several retired ones.
///
/// # Errors
/// When the control database cannot be read.
pub async fn find(control: &ControlDb, view: &str, state: State) -> Result<Option<Generation>> {
    let row = sqlx::query(
        "SELECT generation, version FROM generations WHERE view = ? AND state = ? ORDER BY generation DESC LIMIT 1",
    )
    .bind(view)
    .bind(state.as_str())
    .fetch_optional(control.pool())
    .await
    .during(control.path(), "read generations")?;
    row.map(|row| Ok(Generation { number: row.try_get(0)?, version: row.try_get(1)? }))
        .transpose()
        .during(control.path(), "read generations")
}

/// Every retired generation of `view`.
///
/// # Errors
/// When the control database cannot be read.
pub async fn retired(control: &ControlDb, view: &str) -> Result<Vec<i64>> {
    sqlx::query_scalar(
        "SELECT generation FROM generations WHERE view = ? AND state = 'retired' ORDER BY generation",
    )
    .bind(view)
    .fetch_all(control.pool())
    .await
    .during(control.path(), "read generations")
}

/// The active generation of `view`, made (empty, active) when the view has none yet.
///
/// # Errors
/// When the control database cannot be written.
pub async fn active_or_first(control: &ControlDb, view: &str, version: i64) -> Result<Generation> {
    if let Some(active) = find(control, view, State::Active).await? {
        return Ok(active);
    }
    let mut tx = control.begin().await?;
    sqlx::query(
        "INSERT INTO generations (view, generation, version, state, created_at, activated_at)
         SELECT ?1, 1 + coalesce(max(generation), 0), ?2, 'active', ?3, ?3 FROM generations WHERE view = ?1
         ON CONFLICT DO NOTHING",
    )
    .bind(view)
    .bind(version)
    .bind(Utc::now().timestamp_micros())
    .execute(&mut *tx)
    .await
    .during(control.path(), "make a generation")?;
    let row = sqlx::query("SELECT generation, version FROM generations WHERE view = ? AND state = 'active'")
        .bind(view)
        .fetch_one(&mut *tx)
        .await
        .during(control.path(), "make a generation")?;
    tx.commit().await.during(control.path(), "make a generation")?;
    Ok(Generation { number: row.get(0), version: row.get(1) })
}

/// Begins a new generation of `view`. One that was being built before, and was left, is retired.
///
/// # Errors
/// When the control database cannot be written.
pub async fn begin_building(control: &ControlDb, view: &str, version: i64) -> Result<Generation> {
    let mut tx = control.begin().await?;
    sqlx::query("UPDATE generations SET state = 'retired' WHERE view = ? AND state = 'building'")
        .bind(view)
        .execute(&mut *tx)
        .await
        .during(control.path(), "begin a generation")?;
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO generations (view, generation, version, state, created_at)
         SELECT ?1, 1 + coalesce(max(generation), 0), ?2, 'building', ?3 FROM generations WHERE view = ?1
         RETURNING generation",
    )
    .bind(view)
    .bind(version)
    .bind(Utc::now().timestamp_micros())
    .fetch_one(&mut *tx)
    .await
    .during(control.path(), "begin a generation")?;
    tx.commit().await.during(control.path(), "begin a generation")?;
    Ok(Generation { number, version })
}

/// Makes the generation that is being built the active one, within the caller's transaction.
///
/// # Errors
/// When the control database cannot be written.
pub async fn switch(
    connection: &mut SqliteConnection,
    control: &ControlDb,
    view: &str,
    generation: i64,
) -> Result<()> {
    for sql in [
        "UPDATE generations SET state = 'retired' WHERE view = ?1 AND state = 'active' AND generation <> ?2",
        "UPDATE generations SET state = 'active', activated_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
         WHERE view = ?1 AND generation = ?2",
    ] {
        sqlx::query(sql)
            .bind(view)
            .bind(generation)
            .execute(&mut *connection)
            .await
            .during(control.path(), "switch generations")?;
    }
    Ok(())
}

/// Forgets a retired generation whose file is gone.
///
/// # Errors
/// When the control database cannot be written.
pub async fn forget(control: &ControlDb, view: &str, generation: i64) -> Result<()> {
    sqlx::query("DELETE FROM generations WHERE view = ? AND generation = ? AND state = 'retired'")
        .bind(view)
        .bind(generation)
        .execute(control.pool())
        .await
        .during(control.path(), "forget a generation")?;
    Ok(())
}
