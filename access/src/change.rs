//! A change of the control tables together with the outbox rows of its events: all of it is committed, or nothing.

use annals_schemas::{Event, codec};
use annals_store::error::Context;
use sqlx::{Sqlite, SqliteConnection, Transaction};
use tokio::sync::MutexGuard;

use crate::access::Access;
use crate::error::AccessError;

/// A transaction that writes. Dropped without [`Change::commit`] it leaves nothing.
pub(crate) struct Change<'a> {
    access: &'a Access,
    tx: Transaction<'static, Sqlite>,
    _turn: MutexGuard<'a, ()>,
    has_events: bool,
}

impl Access {
    pub(crate) async fn begin(&self) -> Result<Change<'_>, AccessError> {
        let turn = self.turn().lock().await;
        let tx = self.control().begin().await?;
        Ok(Change { access: self, tx, _turn: turn, has_events: false })
    }
}

impl Access {
    /// Writes an event as a part of a transaction on the control database that another room has begun, so that the
    /// event and what it tells of are committed together.
    ///
    /// # Errors
    /// When the event does not fit its schema, or the database fails.
    pub async fn tell_within(
        &self,
        connection: &mut SqliteConnection,
        event: &Event,
    ) -> Result<(), AccessError> {
        let value = codec::encode(event)?;
        sqlx::query("INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(event.meta().event_id)
            .bind(event.event_type().topic().name)
            .bind(event.key())
            .bind(value)
            .bind(self.clock().now().timestamp_micros())
            .execute(connection)
            .await
            .during(self.control().path(), "write an event")?;
        Ok(())
    }
}

impl Change<'_> {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// Writes an event of this change.
    pub(crate) async fn tell(&mut self, event: &Event) -> Result<(), AccessError> {
        self.access.tell_within(&mut self.tx, event).await?;
        self.has_events = true;
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), AccessError> {
        let Self { access, tx, _turn, has_events } = self;
        tx.commit().await.during(access.control().path(), "commit a change")?;
        if has_events {
            access.outbox_sender().send_modify(|writes| *writes = writes.wrapping_add(1));
        }
        Ok(())
    }
}
