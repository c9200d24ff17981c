//! Catching up from far behind: the indexes of a new generation are put aside, and made once its rows are there.
//!
//! Most of what a row costs is its indexes. One that is made from all rows at once is sorted, not searched for its place
//! row by row.

use std::time::{Duration, Instant};

use annals_bus::{Bus, Partition};
use annals_store::{StoredPosition, ViewStore};
use annals_views::View;

use crate::Result;

/// Records from which on indexes are put aside. Fewer are folded within seconds.
pub const WORTH_IT_RECORDS: u64 = 100_000;

/// How close to the end of the log indexes are made.
const CLOSE_ENOUGH_RECORDS: u64 = 20_000;

/// After this long without any progress indexes are made all the same: what is missing may have been removed from the
/// log, or be somebody else's who is stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A generation whose indexes are aside.
pub struct Bulk {
    /// Where the log ended when this began. A log that grows faster than it is folded has no other end.
    ends: Vec<(Partition, u64)>,
    behind: u64,
    moved_at: Instant,
}

impl Bulk {
    /// Puts the indexes aside when the generation is empty and at least `worth_it` records wait for it. `None` when they
    /// are not aside after that.
    ///
    /// # Errors
    /// What log and database say.
    pub async fn begin<V: View>(bus: &dyn Bus, store: &dyn ViewStore, worth_it: u64) -> Result<Option<Self>> {
        let topics: Vec<&str> = V::topics().iter().map(|topic| topic.name).collect();
        let ends = bus.end_positions(&topics).await?;
        let records = behind(&ends, &store.positions().await?);
        let aside = if records < worth_it {
            store.are_indexes_aside().await?
        } else {
            store.put_indexes_aside().await?
        };
        if !aside {
            return Ok(None);
        }
        tracing::info!(view = V::NAME, records, "catching up; indexes are made after that");
        Ok(Some(Self { ends, behind: records, moved_at: Instant::now() }))
    }

    /// Whether indexes should be made now: the generation is near the end that the log had, or comes no nearer.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_over(&mut self, store: &dyn ViewStore) -> Result<bool> {
        let before = std::mem::replace(&mut self.behind, behind(&self.ends, &store.positions().await?));
        if self.behind != before {
            self.moved_at = Instant::now();
        }
        Ok(self.behind <= CLOSE_ENOUGH_RECORDS || self.moved_at.elapsed() >= PATIENCE)
    }

    /// Makes the indexes.
    ///
    /// # Errors
    /// What the database says; they are still aside then.
    pub async fn end<V: View>(&self, store: &dyn ViewStore) -> Result<()> {
        let started = Instant::now();
        store.make_indexes().await?;
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(view = V::NAME, seconds, "indexes are made");
        Ok(())
    }
}

/// Records up to the given ends that are not folded yet.
pub fn behind(ends: &[(Partition, u64)], positions: &[StoredPosition]) -> u64 {
    ends.iter().map(|(partition, end)| end.saturating_sub(next(positions, partition))).sum()
}

/// Offset of the next record of a partition to fold.
pub fn next(positions: &[StoredPosition], partition: &Partition) -> u64 {
    positions.iter().find(|known| known.partition == *partition).map_or(0, |known| known.next_offset)
}
