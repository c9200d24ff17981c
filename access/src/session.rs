//! Sign-ins that go on: resumed by their cookie, ended by their owner or by time.

use annals_store::error::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use crate::access::{Access, to_the_end};
use crate::audit;
use crate::clock::from_micros;
use crate::error::{AccessError, SignInError};
use crate::principal::{Client, Principal};
use crate::secret::KeyedHash;

/// A sign-in ends after this time without use.
pub const SIGN_IN_ENDS_UNUSED_AFTER: TimeDelta = TimeDelta::minutes(30);

/// A sign-in ends after this time, however much it is used.
pub const SIGN_IN_ENDS_AFTER: TimeDelta = TimeDelta::hours(12);

/// How exactly the last use is known. A write per request would cost a sync per request.
const USE_IS_WRITTEN_AFTER: TimeDelta = TimeDelta::minutes(1);

/// Longest cookie that is looked at; ours are shorter.
const MAX_COOKIE_BYTES: usize = 256;

struct Session {
    public_id: String,
    account: Uuid,
    account_version: i64,
    created_at: DateTime<Utc>,
    used_at: DateTime<Utc>,
}

impl Session {
    fn is_over(&self, now: DateTime<Utc>) -> bool {
        now - self.used_at >= SIGN_IN_ENDS_UNUSED_AFTER || now - self.created_at >= SIGN_IN_ENDS_AFTER
    }
}

impl Access {
    /// Whose sign-in this cookie is, with permissions as they are now.
    ///
    /// # Errors
    /// [`SignInError::Refused`] when the cookie is unknown, the sign-in has ended, or the account was disabled or got
    /// another password since.
    pub async fn resume(&self, cookie: &str) -> Result<Principal, SignInError> {
        if cookie.is_empty() || cookie.len() > MAX_COOKIE_BYTES {
            return Err(SignInError::Refused);
        }
        let token = self.token_of(cookie);
        let now = self.clock().now();
        let mut connection = self.reader().await?;
        let session = self.session(&mut connection, token).await?;
        let session = session.filter(|session| !session.is_over(now)).ok_or(SignInError::Refused)?;
        let account = self.account_by_id(&mut connection, session.account).await?;
        let account = account
            .filter(|account| !account.disabled && account.version == session.account_version)
            .ok_or(SignInError::Refused)?;
        let principal = self.principal(&mut connection, account, Some(session.public_id)).await?;
        drop(connection);
        if now - session.used_at >= USE_IS_WRITTEN_AFTER {
            // Whoever may read still may when nothing can be written; the sign-in only ends earlier.
            if let Err(error) = self.write_use(token, now).await {
                tracing::warn!(%error, "the use of a sign-in could not be noted");
            }
        }
        Ok(principal)
    }

    /// Ends the sign-in of `principal`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sign_out(
        &self,
        principal: &Principal,
        client: &Client,
        dialect: &str,
    ) -> Result<(), AccessError> {
        let event = audit::logged_out(principal, client, dialect, self.clock().now());
        let (access, principal) = (self.clone(), principal.clone());
        to_the_end(async move {
            let mut change = access.begin().await?;
            if let Some(public_id) = &principal.sign_in_id {
                sqlx::query("DELETE FROM sign_ins WHERE public_id = ? AND account = ?")
                    .bind(public_id)
                    .bind(principal.account)
                    .execute(change.connection())
                    .await
                    .during(access.control().path(), "end a sign-in")?;
            }
            change.tell(&event).await?;
            change.commit().await
        })
        .await
    }

    /// What stands in the database for a cookie.
    pub(crate) fn token_of(&self, cookie: &str) -> KeyedHash {
        self.key().hash("cookie", &[cookie.as_bytes()])
    }

    async fn session(
        &self,
        connection: &mut SqliteConnection,
        token: KeyedHash,
    ) -> Result<Option<Session>, AccessError> {
        let row = sqlx::query(
            "SELECT public_id, account, account_version, created_at, used_at FROM sign_ins WHERE token_hash = ?",
        )
        .bind(token.as_slice())
        .fetch_optional(connection)
        .await
        .during(self.control().path(), "read a sign-in")?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<Session, sqlx::Error> {
            Ok(Session {
                public_id: row.try_get("public_id")?,
                account: row.try_get("account")?,
                account_version: row.try_get("account_version")?,
                created_at: from_micros(row.try_get("created_at")?),
                used_at: from_micros(row.try_get("used_at")?),
            })
        };
        Ok(Some(read().during(self.control().path(), "read a sign-in")?))
    }

    async fn write_use(&self, token: KeyedHash, now: DateTime<Utc>) -> Result<(), AccessError> {
        let mut change = self.begin().await?;
        // Another process may have written a later use.
        sqlx::query("UPDATE sign_ins SET used_at = ?1 WHERE token_hash = ?2 AND used_at < ?1")
            .bind(now.timestamp_micros())
            .bind(token.as_slice())
            .execute(change.connection())
            .await
            .during(self.control().path(), "note the use of a sign-in")?;
        change.commit().await
    }
}
