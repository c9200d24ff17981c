//! Ids of imported events and repeated requests that are durably in the log.

use std::collections::HashSet;

use annals_store::error::Context;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::access::Access;
use crate::error::AccessError;

/// Ids of one statement. They travel as one text, so that there is one statement to prepare, whatever their number.
const MAX_IDS: usize = 5_000;

impl Access {
    /// Says which log is in use. Known ids speak of one log: when it is another one than before, because the old one was
    /// lost or replaced, they are forgotten, and everything can be imported again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bind_log(&self, incarnation: Uuid) -> Result<(), AccessError> {
        const DOING: &str = "note which log is in use";
        let path = self.control().path();
        // Looked at first without a lock, since it nearly always is the same log; decided under the lock.
        if self.bound_log(&mut *self.reader().await?).await? == Some(incarnation) {
            return Ok(());
        }
        let mut change = self.begin().await?;
        let bound = self.bound_log(change.connection()).await?;
        if bound == Some(incarnation) {
            return Ok(());
        }
        if bound.is_some() {
            tracing::warn!(%incarnation, "this is another log than before: known ids are forgotten");
            sqlx::query("DELETE FROM known_ids").execute(change.connection()).await.during(path, DOING)?;
        }
        sqlx::query("UPDATE installation SET log = ? WHERE one = 1")
            .bind(incarnation)
            .execute(change.connection())
            .await
            .during(path, DOING)?;
        change.commit().await
    }

    async fn bound_log(&self, connection: &mut SqliteConnection) -> Result<Option<Uuid>, AccessError> {
        let bound: Option<Uuid> = sqlx::query_scalar("SELECT log FROM installation WHERE one = 1")
            .fetch_one(connection)
            .await
            .during(self.control().path(), "look which log is in use")?;
        Ok(bound)
    }

    /// Which of `ids` are known for `customer`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_ids(&self, customer: Uuid, ids: &[Uuid]) -> Result<HashSet<Uuid>, AccessError> {
        let mut known = HashSet::new();
        for chunk in ids.chunks(MAX_IDS) {
            let found: Vec<Uuid> = sqlx::query_scalar(
                "SELECT event_id FROM known_ids
                 WHERE customer = ? AND event_id IN (SELECT unhex(value) FROM json_each(?))",
            )
            .bind(customer)
            .bind(list(chunk))
            .fetch_all(self.control().pool())
            .await
            .during(self.control().path(), "look up known ids")?;
            known.extend(found);
        }
        Ok(known)
    }

    /// Remembers ids that are durably in the log: all of them or, when it fails, none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_ids(&self, customer: Uuid, ids: &[Uuid]) -> Result<(), AccessError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut change = self.begin().await?;
        for chunk in ids.chunks(MAX_IDS) {
            sqlx::query(
                "INSERT INTO known_ids (customer, event_id) SELECT ?, unhex(value) FROM json_each(?) WHERE true
                 ON CONFLICT DO NOTHING",
            )
            .bind(customer)
            .bind(list(chunk))
            .execute(change.connection())
            .await
            .during(self.control().path(), "remember ids")?;
        }
        change.commit().await
    }
}

fn list(ids: &[Uuid]) -> String {
    let digits: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", digits.join(","))
}
