//! Members: the processes that are at work on this installation, as they tell it themselves.

use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::clock::Clock;
use crate::error::AccessError;

/// After this time without a sign a member is forgotten: its process ended without saying so.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(1);

/// A process at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id: a new one with each start.
    pub id: Uuid,
    /// What it does, as `annals status` shows it.
    pub roles: String,
    /// Name of its machine.
    pub host: String,
    /// Its process id there.
    pub process: u32,
    /// Version of annals.
    pub version: String,
    /// What each of its consumers is doing, as JSON.
    pub detail: String,
    /// When it started, by its own clock.
    pub started_at: DateTime<Utc>,
    /// When it gave the last sign, by the database's clock where it has one. Ignored when a member is registered.
    pub seen_at: DateTime<Utc>,
}

impl Member {
    /// This process, starting now.
    #[must_use]
    pub fn this_process(roles: &str, host: &str, version: &str) -> Self {
        let now = Clock::system().now();
        Self {
            id: Uuid::now_v7(),
            roles: roles.to_owned(),
            host: host.to_owned(),
            process: std::process::id(),
            version: version.to_owned(),
            detail: "{}".to_owned(),
            started_at: now,
            seen_at: now,
        }
    }
}

impl Access {
    /// Adds a member, and forgets those that gave no sign for a day.
    ///
    /// # Errors
    /// When the database fails, or the member is there already.
    pub async fn register_member(&self, member: &Member) -> Result<(), AccessError> {
        const DOING: &str = "register this process";
        let place = self.control().place();
        let mut change = self.begin_shared().await?;
        let now = self.common_now(change.on()).await?;
        sql("DELETE FROM members WHERE seen_at < ?")
            .bind(now - FORGOTTEN_AFTER)
            .execute(change.on())
            .await
            .during(place, DOING)?;
        sql("INSERT INTO members (id, roles, host, process, version, detail, started_at, seen_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(member.id)
        .bind(&member.roles)
        .bind(&member.host)
        .bind(member.process)
        .bind(&member.version)
        .bind(&member.detail)
        .bind(member.started_at)
        .bind(now)
        .execute(change.on())
        .await
        .during(place, DOING)?;
        change.commit().await
    }

    /// Says that a member is still at work, and what its consumers are doing. False when nobody knows it (any more): it
    /// is to be registered again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heartbeat(&self, id: Uuid, detail: &str) -> Result<bool, AccessError> {
        let mut change = self.begin_shared().await?;
        let now = self.common_now(change.on()).await?;
        let known = sql("UPDATE members SET detail = ?, seen_at = ? WHERE id = ?")
            .bind(detail)
            .bind(now)
            .bind(id)
            .execute(change.on())
            .await
            .during(self.control().place(), "say that this process is at work")?;
        change.commit().await?;
        Ok(known == 1)
    }

    /// Removes a member that ends. Not being there is fine.
    ///
    /// # Errors
    /// When the database fails; the member is forgotten by itself then.
    pub async fn remove_member(&self, id: Uuid) -> Result<(), AccessError> {
        let mut change = self.begin_shared().await?;
        sql("DELETE FROM members WHERE id = ?")
            .bind(id)
            .execute(change.on())
            .await
            .during(self.control().place(), "say that this process ends")?;
        change.commit().await
    }

    /// The members that gave a sign within this time, the one that started first before the others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn members(&self, seen_within: TimeDelta) -> Result<Vec<Member>, AccessError> {
        const DOING: &str = "read which processes are at work";
        let now = self.common_now(self.reads()).await?;
        let rows = sql("SELECT id, roles, host, process, version, detail, started_at, seen_at FROM members
             WHERE seen_at >= ? ORDER BY started_at, id")
        .bind(now.checked_sub_signed(seen_within).unwrap_or(DateTime::<Utc>::MIN_UTC))
        .fetch_all(self.reads())
        .await
        .during(self.control().place(), DOING)?;
        let members: Result<_, sqlx::Error> = rows.iter().map(member_of).collect();
        Ok(members.during(self.control().place(), DOING)?)
    }
}

fn member_of(row: &Row) -> Result<Member, sqlx::Error> {
    Ok(Member {
        id: row.get(0)?,
        roles: row.get(1)?,
        host: row.get(2)?,
        process: row.get(3)?,
        version: row.get(4)?,
        detail: row.get(5)?,
        started_at: row.get(6)?,
        seen_at: row.get(7)?,
    })
}
