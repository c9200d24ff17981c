//! Generations: a view is never migrated, it is folded again from the log into a new generation, and one transaction
//! on the control database switches its readers over.

use chrono::Utc;

use crate::error::Context;
use crate::sql::{Connection, Row, sql};
use crate::{ControlDb, Result, StoreError};

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
    /// As the control tables and `annals status` write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
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
    let row = sql(
        "SELECT generation, version FROM generations WHERE view = ? AND state = ? ORDER BY generation DESC LIMIT 1",
    )
    .bind(view)
    .bind(state.as_str())
    .fetch_optional(control.pool())
    .await
    .during(control.place(), "read generations")?;
    row.as_ref().map(generation).transpose().during(control.place(), "read generations")
}

fn generation(row: &Row) -> Result<Generation, sqlx::Error> {
    Ok(Generation { number: row.get(0)?, version: row.get(1)? })
}

/// Every retired generation of `view`.
///
/// # Errors
/// When the control database cannot be read.
pub async fn retired(control: &ControlDb, view: &str) -> Result<Vec<i64>> {
    sql("SELECT generation FROM generations WHERE view = ? AND state = 'retired' ORDER BY generation")
        .bind(view)
        .fetch_scalars(control.pool())
        .await
        .during(control.place(), "read generations")
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
    sql("INSERT INTO generations (view, generation, version, state, created_at, activated_at)
         SELECT ?1, 1 + coalesce(max(generation), 0), ?2, 'active', ?3, ?3 FROM generations WHERE view = ?1
         ON CONFLICT DO NOTHING")
    .bind(view)
    .bind(version)
    .bind(Utc::now())
    .execute(&mut tx)
    .await
    .during(control.place(), "make a generation")?;
    let row = sql("SELECT generation, version FROM generations WHERE view = ? AND state = 'active'")
        .bind(view)
        .fetch_one(&mut tx)
        .await
        .during(control.place(), "make a generation")?;
    tx.commit().await.during(control.place(), "make a generation")?;
    generation(&row).during(control.place(), "make a generation")
}

/// Begins a new generation of `view`. One that was being built before, and was left, is retired.
///
/// # Errors
/// When the control database cannot be written.
pub async fn begin_building(control: &ControlDb, view: &str, version: i64) -> Result<Generation> {
    let mut tx = control.begin().await?;
    sql("UPDATE generations SET state = 'retired' WHERE view = ? AND state = 'building'")
        .bind(view)
        .execute(&mut tx)
        .await
        .during(control.place(), "begin a generation")?;
    let number: i64 = sql("INSERT INTO generations (view, generation, version, state, created_at)
         SELECT ?1, 1 + coalesce(max(generation), 0), ?2, 'building', ?3 FROM generations WHERE view = ?1
         RETURNING generation")
    .bind(view)
    .bind(version)
    .bind(Utc::now())
    .fetch_scalar(&mut tx)
    .await
    .during(control.place(), "begin a generation")?;
    tx.commit().await.during(control.place(), "begin a generation")?;
    Ok(Generation { number, version })
}

/// Makes the generation that is being built the active one, within the caller's transaction. The caller commits it only
/// when this went well.
///
/// # Errors
/// [`StoreError::GivenUp`] when it is not being built any more: the role of the rebuilder can be lost with its connection,
/// and another one begin. Else when the control database cannot be written.
pub async fn switch(
    mut connection: Connection<'_>,
    control: &ControlDb,
    view: &str,
    generation: i64,
) -> Result<()> {
    let retire =
        "UPDATE generations SET state = 'retired' WHERE view = ? AND state = 'active' AND generation <> ?";
    let activate = "UPDATE generations SET state = 'active', activated_at = ?
         WHERE view = ? AND generation = ? AND state = 'building'";
    let mut activated = 0;
    for statement in [sql(retire), sql(activate).bind(Utc::now())] {
        activated = statement
            .bind(view)
            .bind(generation)
            .execute(&mut connection)
            .await
            .during(control.place(), "switch generations")?;
    }
    if activated == 1 {
        return Ok(());
    }
    Err(StoreError::GivenUp { place: control.place().clone(), view: view.to_owned(), generation })
}

/// Forgets a retired generation whose file is gone.
///
/// # Errors
/// When the control database cannot be written.
pub async fn forget(control: &ControlDb, view: &str, generation: i64) -> Result<()> {
    sql("DELETE FROM generations WHERE view = ? AND generation = ? AND state = 'retired'")
        .bind(view)
        .bind(generation)
        .execute(control.pool())
        .await
        .during(control.place(), "forget a generation")?;
    Ok(())
}

/// Every generation of `view` with what it is for, oldest first.
///
/// # Errors
/// When the control database cannot be read.
pub async fn all(control: &ControlDb, view: &str) -> Result<Vec<(Generation, State)>> {
    let rows = sql("SELECT generation, version, state FROM generations WHERE view = ? ORDER BY generation")
        .bind(view)
        .fetch_all(control.pool())
        .await
        .during(control.place(), "read generations")?;
    let read = |row: &Row| {
        let state = match row.get::<String>(2)?.as_str() {
            "active" => State::Active,
            "building" => State::Building,
            _ => State::Retired,
        };
        Ok((generation(row)?, state))
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().during(control.place(), "read generations")
}
