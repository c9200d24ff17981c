//! Programs that show a credential with each request. There is no sign-in, and a success leaves no event; permissions
//! are those of now.

use annals_store::error::Context;
use annals_store::sql::{Row, Sql, sql};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::{Access, to_the_end};
use crate::accounts::{Account, select_account};
use crate::attempt::{ACCOUNT_IS_DISABLED, Attempt, Presented};
use crate::credentials::{CredentialKind, CredentialState};
use crate::error::{AccessError, SignInError};
use crate::principal::{Client, Principal};
use crate::secret::Secret;
use crate::session::USE_IS_WRITTEN_AFTER;
use crate::vault::Sealed;

/// Longest token or access id that is looked at; ours are shorter.
const MAX_PRESENTED_BYTES: usize = 256;

const UNKNOWN_CREDENTIAL: &str = "unknown credential";
const CREDENTIAL_WAS_REVOKED: &str = "credential was revoked";
const CREDENTIAL_HAS_EXPIRED: &str = "credential has expired";
const WRONG_SIGNATURE: &str = "wrong signature";

/// What is being done, in errors.
const READING: &str = "read a credential";

/// A credential with its account and, a row each, the account's grants. One statement, so that all of it is of one
/// moment.
macro_rules! select_credential {
    ($condition:literal) => {
        concat!(
            select_account!(
                ", cr.id AS credential, cr.sealed, cr.key_id, cr.expires_at, cr.revoked_at, cr.used_at,
                 g.customer AS granted_at, g.permission
                 FROM credentials cr JOIN accounts a ON a.id = cr.account JOIN customers c ON c.id = a.customer
                 LEFT JOIN grants g ON g.account = a.id WHERE "
            ),
            $condition
        )
    };
}

/// A credential that was found.
struct Found {
    id: Uuid,
    account: Account,
    state: CredentialState,
    sealed: Option<Sealed>,
    used_at: Option<DateTime<Utc>>,
    /// Where the grants stand.
    rows: Vec<Row>,
}

impl Found {
    /// Why it is refused, whatever was signed with it.
    fn refusal(&self) -> Option<&'static str> {
        match self.state {
            CredentialState::InUse => None,
            CredentialState::Expired => Some(CREDENTIAL_HAS_EXPIRED),
            CredentialState::Disabled => Some(ACCOUNT_IS_DISABLED),
            CredentialState::Revoked => Some(CREDENTIAL_WAS_REVOKED),
        }
    }
}

impl Access {
    /// Whose bearer token or API key this is. A failure leaves one audit event, also when the caller stops waiting;
    /// beyond the limits failures are counted.
    ///
    /// # Errors
    /// [`SignInError::Refused`] when the token is unknown, revoked, expired or of another kind, or its account is
    /// disabled; or when the database fails.
    pub async fn authenticate_token(
        &self,
        kind: CredentialKind,
        token: &str,
        client: &Client,
        dialect: &str,
    ) -> Result<Principal, SignInError> {
        let attempt = Attempt::new(Presented::Token(kind), client, dialect);
        let hash = is_possible(token).then(|| self.hash_of_token(kind, token));
        let access = self.clone();
        to_the_end(async move {
            let found = match hash {
                Some(hash) => {
                    let query = sql(select_credential!("cr.token_hash = ?")).bind(hash.as_slice());
                    access.find_credential(query).await?
                }
                None => None,
            };
            access.admit(found, true, &attempt).await
        })
        .await
    }

    /// Whose access id this is, when `verify` says of its access key that the request was signed with it. `verify` is
    /// called once, whatever the access id: how long the answer takes does not tell which there are. Failures are
    /// recorded as those of [`authenticate_token`](Self::authenticate_token).
    ///
    /// # Errors
    /// [`SignInError::Refused`] when the access id is unknown, revoked or expired, its account is disabled, or the
    /// signature is wrong; or when the database fails or a master key is missing.
    pub async fn authenticate_signed(
        &self,
        access_id: &str,
        client: &Client,
        dialect: &str,
        verify: impl FnOnce(&str) -> bool + Send + 'static,
    ) -> Result<Principal, SignInError> {
        let attempt = Attempt::new(Presented::AccessId(access_id.to_owned()), client, dialect);
        let (access, access_id) = (self.clone(), access_id.to_owned());
        to_the_end(async move {
            let found = if is_possible(&access_id) {
                let query = sql(select_credential!("cr.access_id = ?")).bind(&access_id);
                access.find_credential(query).await?
            } else {
                None
            };
            let usable = found.as_ref().filter(|found| found.refusal().is_none());
            let key = match usable.and_then(|found| found.sealed.as_ref().map(|sealed| (found.id, sealed))) {
                Some((id, sealed)) => access.unseal(id, sealed).await?,
                None => access.key_of_nobody(&access_id),
            };
            let is_signed = verify(key.expose());
            access.admit(found, is_signed, &attempt).await
        })
        .await
    }

    /// Lets somebody in with what they may do, or records why not.
    async fn admit(
        &self,
        found: Option<Found>,
        is_signed: bool,
        attempt: &Attempt,
    ) -> Result<Principal, SignInError> {
        let Some(found) = found else {
            return Err(self.refused_stranger(attempt, UNKNOWN_CREDENTIAL).await);
        };
        if let Some(reason) = found.refusal().or((!is_signed).then_some(WRONG_SIGNATURE)) {
            return Err(self.refused(attempt, &found.account, reason).await);
        }
        self.note_use(&found);
        let principal = Principal::of(found.account, &found.rows, None);
        Ok(principal.during(self.control().place(), READING)?)
    }

    async fn find_credential(&self, query: Sql) -> Result<Option<Found>, AccessError> {
        let rows = query.fetch_all(self.reads()).await.during(self.control().place(), READING)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let account = self.account_of(first)?;
        let now = self.clock().now();
        let read = || -> Result<_, sqlx::Error> {
            let (key_id, bytes): (Option<String>, Option<Vec<u8>>) =
                (first.get("key_id")?, first.get("sealed")?);
            let sealed = key_id.zip(bytes).map(|(key_id, bytes)| Sealed { key_id, bytes });
            let (revoked_at, expires_at) = (first.get("revoked_at")?, first.get("expires_at")?);
            let state = CredentialState::of(revoked_at, account.disabled, expires_at, now);
            Ok((first.get("credential")?, state, sealed, first.get("used_at")?))
        };
        let (id, state, sealed, used_at) = read().during(self.control().place(), READING)?;
        Ok(Some(Found { id, account, state, sealed, used_at, rows }))
    }

    /// A key as long as any, which nobody has.
    fn key_of_nobody(&self, access_id: &str) -> Secret {
        Secret::new(hex::encode(self.key().hash("key of nobody", &[access_id.as_bytes()])))
    }

    /// Writes down that a credential is used, when the last time was a minute ago. Nobody waits for it: whoever may read
    /// still may when nothing can be written, and as fast.
    fn note_use(&self, found: &Found) {
        let (id, now) = (found.id, self.clock().now());
        if found.used_at.is_some_and(|at| now - at < USE_IS_WRITTEN_AFTER) || !self.noting().insert(id) {
            return;
        }
        let access = self.clone();
        tokio::spawn(async move {
            if let Err(error) = access.write_use_of_credential(id, now).await {
                tracing::warn!(%error, "the use of a credential could not be noted");
            }
            access.noting().remove(&id);
        });
    }

    async fn write_use_of_credential(&self, id: Uuid, now: DateTime<Utc>) -> Result<(), AccessError> {
        let mut change = self.begin_shared().await?;
        // Another process may have written a later use.
        sql("UPDATE credentials SET used_at = ?1 WHERE id = ?2 AND (used_at IS NULL OR used_at <= ?3)")
            .bind(now)
            .bind(id)
            .bind(now - USE_IS_WRITTEN_AFTER)
            .execute(change.on())
            .await
            .during(self.control().place(), "note the use of a credential")?;
        change.commit().await
    }
}

/// Whether anything stored can be this. PostgreSQL knows no NUL.
fn is_possible(presented: &str) -> bool {
    !presented.is_empty() && presented.len() <= MAX_PRESENTED_BYTES && !presented.contains('\0')
}
