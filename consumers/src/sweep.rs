//! Removes the files of retired generations, once nobody reads them.

use std::path::Path;
use std::time::Duration;

use annals_store::{Role, StoreError, generations};
use annals_views::View;

use crate::error::chain;
use crate::stop::Stop;
use crate::{Engine, Result, for_each_view};

/// How long after a switch other processes may still open the old file: they look 20 times a second, and a request
/// is answered within seconds.
const GRACE: Duration = Duration::from_secs(30);

/// Removes a generation's file with what belongs to it. What is not there is fine; open files stay readable.
///
/// # Errors
/// When a file cannot be removed.
pub fn remove_files(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Open { path: file.into(), source }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

async fn sweep_view<V: View>(engine: &Engine) -> Result<()> {
    for number in generations::retired(&engine.control, V::NAME).await? {
        remove_files(&engine.directory.view_db(V::NAME, number))?;
        generations::forget(&engine.control, V::NAME, number).await?;
    }
    Ok(())
}

async fn sweep(engine: &Engine) -> Result<()> {
    macro_rules! sweep_one {
        ($view:ty) => {
            sweep_view::<$view>(engine).await?
        };
    }
    for_each_view!(sweep_one);
    Ok(())
}

/// Sweeps when no server is at work on the data directory; a server does it itself.
///
/// # Errors
/// When a file or row cannot be removed.
pub async fn sweep_unattended(engine: &Engine) -> Result<()> {
    match engine.directory.take_role(Role::Projector) {
        Ok(_role) => sweep(engine).await,
        Err(StoreError::InUse { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sweeps now and then, for as long as a server runs.
pub async fn run(engine: Engine, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(GRACE) => {}
        }
        if let Err(error) = sweep(&engine).await {
            tracing::warn!(reason = chain(&error), "retired generations cannot be removed");
        }
    }
}
