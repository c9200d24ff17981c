//! A change of the control tables together with the outbox rows of its events: all of it is committed, or nothing.
//!
//! SQLite has one writer at a time, whatever the change. PostgreSQL has many, each of which sees what the others have
//! committed, so a change says how much of the others it can bear:
//!
//! | begun with | at the same time in other processes | for |
//! |---|---|---|
//! | [`Access::begin`] | no other one of these | what decides by what it reads (is the name free, is it the last operator): customers, accounts, grants, the installation, another log |
//! | [`Access::begin_shared`] | anything | what only adds or removes rows of its own, or locks the rows it decides by: sign-ins, counted events, the outbox, known ids, leases, members |

use annals_schemas::{Event, codec};
use annals_store::error::Context;
use annals_store::sql::{On, sql};
use annals_store::{Connection, Dialect, Transaction};
use chrono::{DateTime, Utc};
use tokio::sync::MutexGuard;

use crate::access::Access;
use crate::error::AccessError;

/// Key of PostgreSQL's advisory lock that changes take which must not overlap. Those that end in `00…` are of `store`.
const CHANGES_LOCK: i64 = 0x616e_6e61_6c73_0101;

/// A transaction that writes. Dropped without [`Change::commit`] it leaves nothing.
pub(crate) struct Change<'a> {
    access: &'a Access,
    tx: Transaction,
    _turn: Option<MutexGuard<'a, ()>>,
    has_events: bool,
}

impl Access {
    /// Begins a change that no other change begun so overlaps with, in any process.
    pub(crate) async fn begin(&self) -> Result<Change<'_>, AccessError> {
        let turn = self.turn().lock().await;
        let mut tx = self.control().begin().await?;
        if self.control().dialect() == Dialect::Postgres {
            // Each later statement sees what was committed before this one returned.
            sql("SELECT pg_advisory_xact_lock(?)")
                .bind(CHANGES_LOCK)
                .execute(&mut tx)
                .await
                .during(self.control().place(), "wait for another change")?;
        }
        Ok(Change { access: self, tx, _turn: Some(turn), has_events: false })
    }

    /// Begins a change that others may overlap with: it is right whatever they do.
    pub(crate) async fn begin_shared(&self) -> Result<Change<'_>, AccessError> {
        let turn = match self.control().dialect() {
            Dialect::Sqlite => Some(self.turn().lock().await),
            Dialect::Postgres => None,
        };
        let tx = self.control().begin().await?;
        Ok(Change { access: self, tx, _turn: turn, has_events: false })
    }

    /// The time as machines that share the control tables agree on it: the server's, where there is one. In a
    /// transaction it is that of its beginning.
    pub(crate) async fn common_now(&self, on: On<'_>) -> Result<DateTime<Utc>, AccessError> {
        match self.control().dialect() {
            Dialect::Sqlite => Ok(self.clock().now()),
            Dialect::Postgres => {
                let now = sql("SELECT now()").fetch_scalar(on).await;
                Ok(now.during(self.control().place(), "ask what time it is")?)
            }
        }
    }

    /// Writes an event as a part of a transaction on the control database that another room has begun, so that the
    /// event and what it tells of are committed together.
    ///
    /// # Errors
    /// When the event does not fit its schema, or the database fails.
    pub async fn tell_within(&self, connection: Connection<'_>, event: &Event) -> Result<(), AccessError> {
        let value = codec::encode(event)?;
        sql("INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(event.meta().event_id)
            .bind(event.event_type().topic().name)
            .bind(event.key())
            .bind(value)
            .bind(self.clock().now())
            .execute(connection)
            .await
            .during(self.control().place(), "write an event")?;
        Ok(())
    }
}

impl Change<'_> {
    /// Where the statements of this change run.
    pub(crate) fn on(&mut self) -> On<'_> {
        (&mut self.tx).into()
    }

    /// The connection of this change, for several statements in a row.
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        self.tx.connection()
    }

    /// Writes an event of this change.
    pub(crate) async fn tell(&mut self, event: &Event) -> Result<(), AccessError> {
        self.access.tell_within(self.connection(), event).await?;
        self.has_events = true;
        Ok(())
    }

    pub(crate) async fn commit(self) -> Result<(), AccessError> {
        let Self { access, tx, _turn, has_events } = self;
        tx.commit().await.during(access.control().place(), "commit a change")?;
        if has_events {
            access.outbox_sender().send_modify(|writes| *writes = writes.wrapping_add(1));
        }
        Ok(())
    }
}
