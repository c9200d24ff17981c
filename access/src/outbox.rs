//! The outbox, as the relay reads it.

use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use tokio::sync::watch;
use uuid::Uuid;

use crate::access::Access;
use crate::error::AccessError;

/// An event that is to be appended to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its place in the order of writing.
    pub sequence: i64,
    /// Its id.
    pub event_id: Uuid,
    /// The topic.
    pub topic: String,
    /// The record's key.
    pub key: String,
    /// The record's value, in single-object encoding.
    pub value: Vec<u8>,
}

impl Access {
    /// The oldest entries, in the order of writing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox(&self, limit: u32) -> Result<Vec<OutboxEntry>, AccessError> {
        let rows = sql("SELECT sequence, event_id, topic, key, value FROM outbox ORDER BY sequence LIMIT ?")
            .bind(limit)
            .fetch_all(self.reads())
            .await
            .during(self.control().place(), "read the outbox")?;
        let entries: Result<_, sqlx::Error> = rows.iter().map(entry_of).collect();
        Ok(entries.during(self.control().place(), "read the outbox")?)
    }

    /// Removes entries that are durably in the log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_done(&self, sequences: &[i64]) -> Result<(), AccessError> {
        if sequences.is_empty() {
            return Ok(());
        }
        let mut change = self.begin_shared().await?;
        sql("DELETE FROM outbox WHERE sequence = ANY(?)")
            .bind(sequences.to_vec())
            .execute(change.on())
            .await
            .during(self.control().place(), "remove entries of the outbox")?;
        change.commit().await
    }

    /// Changes whenever this process wrote to the outbox. Other processes' writes are seen through
    /// [`ControlDb::watch`](annals_store::ControlDb::watch).
    #[must_use]
    pub fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.outbox_sender().subscribe()
    }

    /// Entries that wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_len(&self) -> Result<u64, AccessError> {
        let count = sql("SELECT count(*) FROM outbox").fetch_scalar(self.reads()).await;
        Ok(count.during(self.control().place(), "count the outbox")?)
    }
}

fn entry_of(row: &Row) -> Result<OutboxEntry, sqlx::Error> {
    Ok(OutboxEntry {
        sequence: row.get(0)?,
        event_id: row.get(1)?,
        topic: row.get(2)?,
        key: row.get(3)?,
        value: row.get(4)?,
    })
}
