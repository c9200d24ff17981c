//! The feed: every event in the order of the log, partition by partition, from any position on.

use annals_store::{GenerationReader, Transaction};

use super::condition::AuditField;
use super::query::{
    AuditEvent, Fields, LogPositions, READING, Scope, failed, log_positions, partition_ids, read_event,
};
use super::resolve::Resolved;
use super::statement::Statement;
use crate::Result;
use crate::filter::Filter;

/// Offsets of one partition that one look goes through: a caller who sees few of many events gets an answer in time, and
/// goes on.
const MAX_OFFSETS: u64 = 50_000;

/// A stretch of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The events, in log order within each partition.
    pub events: Vec<AuditEvent>,
    /// Where the feed goes on.
    pub next: LogPositions,
    /// Whether nothing more is there now. The feed may go on without an event in between: much was looked through.
    pub complete: bool,
}

/// The events from these positions on, at most `limit`. A partition that is not among the positions is read from its
/// beginning.
///
/// # Errors
/// When the view cannot be read.
pub async fn feed(
    reader: &GenerationReader,
    scope: &Scope,
    filter: &Filter<AuditField>,
    from: &LogPositions,
    limit: u32,
) -> Result<Feed> {
    let read = async {
        let mut tx = reader.pool.snapshot().await?;
        read(&mut tx, scope, filter, from, limit).await
    };
    read.await.map_err(|error| failed(READING, error))
}

async fn read(
    tx: &mut Transaction,
    scope: &Scope,
    filter: &Filter<AuditField>,
    from: &LogPositions,
    limit: u32,
) -> Result<Feed, sqlx::Error> {
    let folded = log_positions(tx).await?;
    let ids = partition_ids(tx).await?;
    let found = Resolved::of(tx, scope, filter).await?;
    let mut feed = Feed { events: Vec::new(), next: Vec::new(), complete: true };
    for (partition, end) in folded {
        let start = from.iter().find(|(known, _)| *known == partition).map_or(0, |(_, next)| *next);
        // Positions of a partition can be ahead of this snapshot when another process gave them.
        let to = end.min(start.saturating_add(MAX_OFFSETS)).max(start);
        let id = ids.iter().find(|(known, _)| *known == partition).map(|(_, id)| *id);
        let room = limit.saturating_sub(u32::try_from(feed.events.len()).unwrap_or(u32::MAX));
        let mut next = to;
        if let (Some(found), Some(id)) = (&found, id)
            && start < to
        {
            if room == 0 {
                next = start;
            } else {
                let range = (start.cast_signed(), to.cast_signed());
                let dialect = tx.connection().dialect();
                let rows =
                    Statement::feed(dialect, found, id, range, room).into_sql().fetch_all(&mut *tx).await?;
                for row in &rows {
                    feed.events.push(read_event(row, Fields::All)?);
                }
                if rows.len() == room as usize {
                    next = feed.events.last().map_or(to, |event| event.offset + 1);
                }
            }
        }
        feed.complete &= next >= end;
        feed.next.push((partition, next));
    }
    // Partitions that this snapshot has not begun.
    for (partition, next) in from {
        if !feed.next.iter().any(|(known, _)| known == partition) {
            feed.next.push((partition.clone(), *next));
        }
    }
    Ok(feed)
}
