//! Sign-ins that go on: resumed by their cookie, ended by their owner or by time.

use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use chrono::{DateTime, TimeDelta, Utc};

use crate::access::{Access, to_the_end};
use crate::accounts::select_account;
use crate::audit;
use crate::error::{AccessError, SignInError};
use crate::principal::{Client, Principal};
use crate::secret::KeyedHash;

/// A sign-in ends after this time without use.
pub const SIGN_IN_ENDS_UNUSED_AFTER: TimeDelta = TimeDelta::minutes(30);

/// A sign-in ends after this time, however much it is used.
pub const SIGN_IN_ENDS_AFTER: TimeDelta = TimeDelta::hours(12);

/// How exactly the last use is known. A write per request would cost a sync per request.
pub(crate) const USE_IS_WRITTEN_AFTER: TimeDelta = TimeDelta::minutes(1);

/// Longest cookie that is looked at; ours are shorter.
const MAX_COOKIE_BYTES: usize = 256;

/// What is being done, in errors.
const READING: &str = "read a sign-in";

struct Session {
    public_id: String,
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
        let rows = self.sign_in_rows(token).await?;
        let first = rows.first().ok_or(SignInError::Refused)?;
        let session = session_of(first).during(self.control().place(), READING)?;
        let account = self.account_of(first)?;
        if session.is_over(now) || account.disabled || account.version != session.account_version {
            return Err(SignInError::Refused);
        }
        let principal = Principal::of(account, &rows, Some(session.public_id));
        let principal = principal.during(self.control().place(), READING)?;
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
            let mut change = access.begin_shared().await?;
            if let Some(public_id) = &principal.sign_in_id {
                sql("DELETE FROM sign_ins WHERE public_id = ? AND account = ?")
                    .bind(public_id)
                    .bind(principal.account)
                    .execute(change.on())
                    .await
                    .during(access.control().place(), "end a sign-in")?;
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

    /// The sign-in of a cookie with its account and, a row each, its grants. One statement, so that all of it is of one
    /// moment.
    async fn sign_in_rows(&self, token: KeyedHash) -> Result<Vec<Row>, AccessError> {
        let rows = sql(select_account!(
            ", s.public_id, s.account_version, s.created_at, s.used_at, g.customer AS granted_at, g.permission
             FROM sign_ins s JOIN accounts a ON a.id = s.account JOIN customers c ON c.id = a.customer
             LEFT JOIN grants g ON g.account = a.id WHERE s.token_hash = ?"
        ))
        .bind(token.as_slice())
        .fetch_all(self.reads())
        .await;
        Ok(rows.during(self.control().place(), READING)?)
    }

    async fn write_use(&self, token: KeyedHash, now: DateTime<Utc>) -> Result<(), AccessError> {
        let mut change = self.begin_shared().await?;
        // Another process may have written a later use.
        sql("UPDATE sign_ins SET used_at = ?1 WHERE token_hash = ?2 AND used_at < ?1")
            .bind(now)
            .bind(token.as_slice())
            .execute(change.on())
            .await
            .during(self.control().place(), "note the use of a sign-in")?;
        change.commit().await
    }
}

fn session_of(row: &Row) -> Result<Session, sqlx::Error> {
    Ok(Session {
        public_id: row.get("public_id")?,
        account_version: row.get("account_version")?,
        created_at: row.get("created_at")?,
        used_at: row.get("used_at")?,
    })
}
