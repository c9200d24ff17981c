//! Ids of imported events and repeated requests that are durably in the log.

use std::collections::HashSet;

use annals_store::error::Context;
use annals_store::sql::{On, Row, Sql, sql, sql_for};
use uuid::Uuid;

use crate::access::Access;
use crate::error::AccessError;

/// Ids of one statement. They travel as one value, so that there is one statement to prepare, whatever their number.
const MAX_IDS: usize = 5_000;

const LOG_TOPICS: &str = "SELECT topic, incarnation FROM log_topics ORDER BY topic";

/// A topic and its incarnation.
type Bound = (String, Uuid);

impl Access {
    /// Says which topics this process publishes to, and in which incarnations. Known ids speak of these: when a topic
    /// is another one than before, because the old one was lost or replaced, they are forgotten, and everything can be
    /// imported again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bind_log<T: AsRef<str>>(&self, topics: &[(T, Uuid)]) -> Result<(), AccessError> {
        let topics: Vec<Bound> =
            topics.iter().map(|(topic, incarnation)| (topic.as_ref().to_owned(), *incarnation)).collect();
        // Looked at first without a lock, since it nearly always is the same log; decided under the lock.
        let stored = self.log_topics(sql(LOG_TOPICS), self.reads()).await?;
        if !topics.iter().all(|topic| stored.contains(topic)) {
            self.change_log(&topics).await?;
        }
        *self.bound() = topics;
        Ok(())
    }

    /// The first of these topics that is another one than the control tables were used with; `None` when all of them are
    /// the same, or new. For whoever only reads, and must not decide which is the right one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn other_log<T: AsRef<str>>(
        &self,
        topics: &[(T, Uuid)],
    ) -> Result<Option<String>, AccessError> {
        let stored = self.log_topics(sql(LOG_TOPICS), self.reads()).await?;
        let is_other = |(topic, incarnation): &&(T, Uuid)| {
            stored.iter().any(|(name, stored)| name == topic.as_ref() && stored != incarnation)
        };
        Ok(topics.iter().find(is_other).map(|(topic, _)| topic.as_ref().to_owned()))
    }

    async fn change_log(&self, topics: &[Bound]) -> Result<(), AccessError> {
        const DOING: &str = "note which log is in use";
        let place = self.control().place();
        let mut change = self.begin().await?;
        // Waits for those who are remembering ids of the old one.
        let locked =
            sql_for(LOG_TOPICS, "SELECT topic, incarnation FROM log_topics ORDER BY topic FOR UPDATE");
        let stored = self.log_topics(locked, change.on()).await?;
        let is_other = |(topic, incarnation): &&Bound| {
            stored.iter().any(|(name, stored)| name == topic && stored != incarnation)
        };
        if let Some((topic, incarnation)) = topics.iter().find(is_other) {
            tracing::warn!(topic, %incarnation, "this is another log than before: known ids are forgotten");
            sql("DELETE FROM known_ids").execute(change.on()).await.during(place, DOING)?;
        }
        for (topic, incarnation) in topics {
            sql("INSERT INTO log_topics (topic, incarnation) VALUES (?, ?)
                 ON CONFLICT (topic) DO UPDATE SET incarnation = excluded.incarnation")
            .bind(topic)
            .bind(*incarnation)
            .execute(change.on())
            .await
            .during(place, DOING)?;
        }
        change.commit().await
    }

    async fn log_topics(&self, statement: Sql, on: On<'_>) -> Result<Vec<Bound>, AccessError> {
        const DOING: &str = "look which log is in use";
        let rows = statement.fetch_all(on).await.during(self.control().place(), DOING)?;
        let topics = rows.iter().map(|row: &Row| Ok((row.get(0)?, row.get(1)?)));
        Ok(topics.collect::<Result<_, sqlx::Error>>().during(self.control().place(), DOING)?)
    }

    /// Which of `ids` are known for `customer`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_ids(&self, customer: Uuid, ids: &[Uuid]) -> Result<HashSet<Uuid>, AccessError> {
        let mut known = HashSet::new();
        for chunk in ids.chunks(MAX_IDS) {
            let found: Vec<Uuid> =
                sql("SELECT event_id FROM known_ids WHERE customer = ? AND event_id = ANY(?)")
                    .bind(customer)
                    .bind(chunk.to_vec())
                    .fetch_scalars(self.reads())
                    .await
                    .during(self.control().place(), "look up known ids")?;
            known.extend(found);
        }
        Ok(known)
    }

    /// Remembers ids that are durably in the log: all of them or, when it fails, none. When another process has found
    /// another log than the one that this process bound, nothing is remembered: the ids may be those of the old one.
    /// (A process that bound none is believed.)
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remember_ids(&self, customer: Uuid, ids: &[Uuid]) -> Result<(), AccessError> {
        if ids.is_empty() {
            return Ok(());
        }
        // In one order: two processes that remember the same ids must not wait for each other.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let mut change = self.begin_shared().await?;
        let bound = self.bound().clone();
        if !bound.is_empty() {
            let kept =
                sql_for(LOG_TOPICS, "SELECT topic, incarnation FROM log_topics ORDER BY topic FOR SHARE");
            let stored = self.log_topics(kept, change.on()).await?;
            if let Some((topic, _)) = bound.iter().find(|topic| !stored.contains(topic)) {
                tracing::warn!(
                    topic,
                    ids = ids.len(),
                    "another process uses another log: ids are not remembered"
                );
                return Ok(());
            }
        }
        for chunk in ids.chunks(MAX_IDS) {
            sql_for(
                "INSERT INTO known_ids (customer, event_id) SELECT ?, unhex(value) FROM json_each(?) WHERE true
                 ON CONFLICT DO NOTHING",
                "INSERT INTO known_ids (customer, event_id) SELECT ?, unnest(?::uuid[]) ON CONFLICT DO NOTHING",
            )
            .bind(customer)
            .bind(chunk.to_vec())
            .execute(change.on())
            .await
            .during(self.control().place(), "remember ids")?;
        }
        change.commit().await
    }
}
