//! Leases: work that one process does at a time, for as long as it goes on saying so. Needed where several machines
//! share the control tables, so that no locked file tells who is alive.

use annals_store::error::Context;
use annals_store::sql::sql;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::error::AccessError;

impl Access {
    /// Takes the lease `name` for `holder`, or prolongs it, unless another one has it: until `lasts` from now, by the
    /// database's clock where it has one. A holder must leave the work alone some time before the lease ends, since
    /// nobody tells it that another one has it now.
    ///
    /// # Errors
    /// When the database fails; who has the lease is unknown then.
    pub async fn take_lease(&self, name: &str, holder: Uuid, lasts: TimeDelta) -> Result<bool, AccessError> {
        let mut change = self.begin_shared().await?;
        let now = self.common_now(change.on()).await?;
        // The row's lock decides between two that come at once: the second one sees what the first one wrote.
        let taken = sql("INSERT INTO leases (name, holder, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
             WHERE leases.holder = excluded.holder OR leases.until <= ?4")
        .bind(name)
        .bind(holder)
        .bind(now.checked_add_signed(lasts).unwrap_or(DateTime::<Utc>::MAX_UTC))
        .bind(now)
        .execute(change.on())
        .await
        .during(self.control().place(), "take a lease")?;
        change.commit().await?;
        Ok(taken == 1)
    }

    /// Gives the lease `name` back, so that another one need not wait for its end. Not having it is fine.
    ///
    /// # Errors
    /// When the database fails; the lease ends by itself then.
    pub async fn release_lease(&self, name: &str, holder: Uuid) -> Result<(), AccessError> {
        let mut change = self.begin_shared().await?;
        sql("DELETE FROM leases WHERE name = ? AND holder = ?")
            .bind(name)
            .bind(holder)
            .execute(change.on())
            .await
            .during(self.control().place(), "give a lease back")?;
        change.commit().await
    }
}
