//! Removes retired generations, once nobody reads them.

use std::collections::HashSet;
use std::time::Duration;

use annals_store::{Role, StoreError, generations};
use annals_views::View;

use crate::error::chain;
use crate::stop::Stop;
use crate::{Engine, Result, for_each_view};

/// How long after a switch other processes may still open the old file: they look 20 times a second, and a request
/// is answered within seconds.
const GRACE: Duration = Duration::from_secs(30);

/// A retired generation.
type Retired = (&'static str, i64);

async fn retired(engine: &Engine) -> Result<HashSet<Retired>> {
    let mut all = HashSet::new();
    macro_rules! collect {
        ($view:ty) => {
            let numbers = generations::retired(&engine.control, <$view>::NAME).await?;
            all.extend(numbers.into_iter().map(|number| (<$view>::NAME, number)));
        };
    }
    for_each_view!(collect);
    Ok(all)
}

async fn remove(engine: &Engine, generations: Vec<Retired>) -> Result<()> {
    for (view, number) in generations {
        engine.database.remove_generation(view, number).await?;
        generations::forget(&engine.control, view, number).await?;
    }
    Ok(())
}

/// Sweeps when no server is at work on the databases; a server does it itself. Of shared ones nobody can know.
///
/// # Errors
/// When a generation cannot be removed.
pub async fn sweep_unattended(engine: &Engine) -> Result<()> {
    if engine.database.is_shared() {
        return Ok(());
    }
    match engine.database.take_role(Role::Projector).await {
        Ok(_role) => remove(engine, retired(engine).await?.into_iter().collect()).await,
        Err(StoreError::InUse { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sweeps now and then, for as long as a server runs. Only what was retired a whole grace ago is removed.
pub async fn run(engine: Engine, mut stop: Stop) {
    let mut before = HashSet::new();
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(GRACE) => {}
        }
        let swept = async {
            let now = retired(&engine).await?;
            let old: Vec<Retired> = now.iter().filter(|one| before.contains(*one)).copied().collect();
            remove(&engine, old).await?;
            Ok::<_, crate::ConsumerError>(now)
        };
        match swept.await {
            Ok(now) => before = now,
            Err(error) => tracing::warn!(reason = chain(&error), "retired generations cannot be removed"),
        }
    }
}
