//! The outbox, as the relay reads it, and the way in for events that other rooms have to tell.

use annals_schemas::Event;
use annals_store::error::Context;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
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
        let rows =
            sqlx::query("SELECT sequence, event_id, topic, key, value FROM outbox ORDER BY sequence LIMIT ?")
                .bind(limit)
                .fetch_all(self.control().pool())
                .await
                .during(self.control().path(), "read the outbox")?;
        let entries: Result<_, sqlx::Error> = rows.iter().map(entry_of).collect();
        Ok(entries.during(self.control().path(), "read the outbox")?)
    }

    /// Removes entries that are durably in the log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_done(&self, sequences: &[i64]) -> Result<(), AccessError> {
        if sequences.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = sequences.iter().map(i64::to_string).collect();
        let mut change = self.begin().await?;
        sqlx::query("DELETE FROM outbox WHERE sequence IN (SELECT value FROM json_each(?))")
            .bind(format!("[{}]", list.join(",")))
            .execute(change.connection())
            .await
            .during(self.control().path(), "remove entries of the outbox")?;
        change.commit().await
    }

    /// Changes whenever this process wrote to the outbox. Other processes' writes are seen by looking now and then.
    #[must_use]
    pub fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.outbox_sender().subscribe()
    }

    /// Entries that wait.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn outbox_len(&self) -> Result<u64, AccessError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox")
            .fetch_one(self.control().pool())
            .await
            .during(self.control().path(), "count the outbox")?;
        Ok(count.unsigned_abs())
    }

    /// Writes an event that concerns annals itself and has no change of these tables to stand beside.
    ///
    /// # Errors
    /// When the event does not fit its schema, or the database fails.
    pub async fn record(&self, event: &Event) -> Result<(), AccessError> {
        let mut change = self.begin().await?;
        change.tell(event).await?;
        change.commit().await
    }
}

fn entry_of(row: &SqliteRow) -> Result<OutboxEntry, sqlx::Error> {
    Ok(OutboxEntry {
        sequence: row.try_get(0)?,
        event_id: row.try_get(1)?,
        topic: row.try_get(2)?,
        key: row.try_get(3)?,
        value: row.try_get(4)?,
    })
}
