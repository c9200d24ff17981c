//! Dead letters: records that a view could not decode. Retry is a rebuild with a program that can read them.

use annals_store::DeadLetter;
use annals_store::generations;
use annals_views::View;

use crate::{Engine, Result};

/// Dead letters that one listing gives.
pub const MAX_LISTED: u32 = 10_000;

/// The dead letters of a view's active generation, in log order.
///
/// # Errors
/// When the view cannot be read.
pub async fn list<V: View>(engine: &Engine) -> Result<Vec<DeadLetter>> {
    let active = generations::active_or_first(&engine.control, V::NAME, V::VERSION).await?;
    let store = engine.database.view_store(V::NAME, active.number, V::tables()).await?;
    let letters = store.dead_letters(MAX_LISTED).await?;
    store.close().await;
    Ok(letters)
}
