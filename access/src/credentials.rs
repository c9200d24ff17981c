//! Credentials of programs: LMv1 pairs, bearer tokens and API keys. Each belongs to an account and opens what the account
//! may do now; its secret is given out once, when it is made.

use std::fmt;
use std::str::FromStr;

use annals_store::error::Context;
use annals_store::sql::{On, Row, sql};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::accounts::Account;
use crate::audit::{self, Told};
use crate::author::Author;
use crate::change::Change;
use crate::error::AccessError;
use crate::names;
use crate::secret::{KeyedHash, Secret, random_access_id, random_token};
use crate::vault::Sealed;

/// How long it is known of a revoked credential whose it was. Whoever goes on using it is told by name so long.
const REVOKED_IS_KNOWN_FOR: TimeDelta = TimeDelta::days(90);

/// What a credential is, and so how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// An access id and an access key that signs requests (LogicMonitor's LMv1).
    Lmv1,
    /// A token for the header `Authorization: Bearer`.
    Bearer,
    /// A key in a header of its own.
    ApiKey,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Lmv1, Self::Bearer, Self::ApiKey];

    /// The name, as commands and tables write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lmv1 => "lmv1",
            Self::Bearer => "bearer",
            Self::ApiKey => "api-key",
        }
    }

    /// What secrets begin with: clients of LogicMonitor know a bearer token by it, and people see what they found.
    fn prefix(self) -> &'static str {
        match self {
            Self::Lmv1 => "",
            Self::Bearer => "lmb_",
            Self::ApiKey => "ak_",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Not the name of a kind of credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a kind of credentials; there are lmv1, bearer, api-key", .0.escape_debug())]
pub struct UnknownCredentialKind(pub String);

impl FromStr for CredentialKind {
    type Err = UnknownCredentialKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownCredentialKind(name.to_owned()))
    }
}

/// A new credential. Nobody is told its secret a second time.
#[derive(Debug)]
pub struct IssuedCredential {
    /// Its id.
    pub id: Uuid,
    /// The name that stands in requests instead of an account's, for a pair.
    pub access_id: Option<String>,
    /// The access key or token.
    pub secret: Secret,
}

/// A credential as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSummary {
    /// Its id.
    pub id: Uuid,
    /// E-mail of its account.
    pub account: String,
    /// What it is.
    pub kind: CredentialKind,
    /// Its name. Of an account's credentials in use none has the name of another.
    pub name: String,
    /// The access id, for a pair.
    pub access_id: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub used_at: Option<DateTime<Utc>>,
    /// Whether it is taken.
    pub state: CredentialState,
}

/// Whether a credential is taken, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// It is.
    InUse,
    /// Its time is over.
    Expired,
    /// Its account is disabled.
    Disabled,
    /// It was revoked, or replaced by another.
    Revoked,
}

impl CredentialState {
    /// The state, as lists write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InUse => "in use",
            Self::Expired => "expired",
            Self::Disabled => "account disabled",
            Self::Revoked => "revoked",
        }
    }

    pub(crate) fn of(
        revoked_at: Option<DateTime<Utc>>,
        disabled: bool,
        expires_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        if revoked_at.is_some() {
            Self::Revoked
        } else if disabled {
            Self::Disabled
        } else if expires_at.is_some_and(|end| end <= now) {
            Self::Expired
        } else {
            Self::InUse
        }
    }
}

/// A secret that was made and is not written yet.
struct New {
    id: Uuid,
    kind: CredentialKind,
    secret: Secret,
    access_id: Option<String>,
    token_hash: Option<KeyedHash>,
    sealed: Option<Sealed>,
}

/// A credential in use, as a change finds it.
struct Present {
    id: Uuid,
    kind: CredentialKind,
    name: String,
    expires_at: Option<DateTime<Utc>>,
}

/// Selects what [`Access::summary_of`] reads.
macro_rules! select_credentials {
    ($condition:literal) => {
        concat!(
            "SELECT cr.id, a.email, a.disabled_at, cr.kind, cr.name, cr.access_id, cr.created_at, cr.expires_at,
             cr.used_at, cr.revoked_at FROM credentials cr JOIN accounts a ON a.id = cr.account ",
            $condition,
            " ORDER BY a.email_key, cr.name_key, cr.created_at, cr.id"
        )
    };
}

impl Access {
    /// Makes a credential of an account, until `expires_at` or for ever.
    ///
    /// # Errors
    /// When the account is unknown or disabled, the name cannot be one or is taken, `expires_at` has passed, there is no
    /// master key for a pair, or the database fails.
    pub async fn add_credential(
        &self,
        account: &str,
        kind: CredentialKind,
        name: &str,
        expires_at: Option<DateTime<Utc>>,
        by: &Author,
    ) -> Result<IssuedCredential, AccessError> {
        names::check_words(name)?;
        if expires_at.is_some_and(|end| end <= self.clock().now()) {
            return Err(AccessError::Expired(name.to_owned()));
        }
        let new = self.new_secret(kind).await?;
        let mut change = self.begin().await?;
        let account = self.require_enabled_account(change.on(), account).await?;
        if self.credential_in_use(change.on(), &account, name).await?.is_some() {
            return Err(AccessError::CredentialExists { account: account.email, name: name.to_owned() });
        }
        self.insert_credential(&mut change, &account, &new, name, expires_at).await?;
        let end = expires_at.map_or(String::new(), |end| {
            format!(" It expires at {}.", end.to_rfc3339_opts(SecondsFormat::Secs, true))
        });
        // Marked: a name may hold words that would read as if they were the program's.
        let text = format!("The {kind} credential `{name}` of {} was added.{end}", account.email);
        self.tell_of_credential(&mut change, "CREDENTIAL_ADDED", &account, name, text, by).await?;
        change.commit().await?;
        Ok(new.issued())
    }

    /// Every credential, or those of one account, by account and name. Revoked ones are among them for 90 days.
    ///
    /// # Errors
    /// When the account is unknown, or the database fails.
    pub async fn credentials(&self, account: Option<&str>) -> Result<Vec<CredentialSummary>, AccessError> {
        let query = match account {
            Some(email) => {
                let account = self.require_account(self.reads(), email).await?;
                sql(select_credentials!("WHERE a.id = ?")).bind(account.id)
            }
            None => sql(select_credentials!("")),
        };
        let rows = query.fetch_all(self.reads()).await.during(self.control().place(), "read credentials")?;
        rows.iter().map(|row| self.summary_of(row)).collect()
    }

    /// Revokes a credential: it is refused from now on, and its name is free again.
    ///
    /// # Errors
    /// When the account is unknown or has no such credential in use, or the database fails.
    pub async fn revoke_credential(&self, account: &str, name: &str, by: &Author) -> Result<(), AccessError> {
        let mut change = self.begin().await?;
        let account = self.require_account(change.on(), account).await?;
        let credential = self.require_credential(change.on(), &account, name).await?;
        self.end_credential(&mut change, credential.id).await?;
        let (kind, name) = (credential.kind, credential.name);
        let text = format!("The {kind} credential `{name}` of {} was revoked.", account.email);
        self.tell_of_credential(&mut change, "CREDENTIAL_REVOKED", &account, &name, text, by).await?;
        change.commit().await
    }

    /// Replaces a credential by a new one with its kind, name and expiry. The old one is refused from now on.
    ///
    /// # Errors
    /// When the account is unknown or disabled, it has no such credential in use, the credential has expired, there is no
    /// master key for a pair, or the database fails.
    pub async fn rotate_credential(
        &self,
        account: &str,
        name: &str,
        by: &Author,
    ) -> Result<IssuedCredential, AccessError> {
        // The new secret is made before the change begins, since a master key may have to be read or made for it.
        let seen = self.require_enabled_account(self.reads(), account).await?;
        let seen = self.require_credential(self.reads(), &seen, name).await?;
        let new = self.new_secret(seen.kind).await?;
        let mut change = self.begin().await?;
        let account = self.require_enabled_account(change.on(), account).await?;
        let old = self.require_credential(change.on(), &account, name).await?;
        if old.kind != new.kind {
            // Somebody put another one in its place meanwhile.
            return Err(AccessError::UnknownCredential { account: account.email, name: names::shown(name) });
        }
        if old.expires_at.is_some_and(|end| end <= self.clock().now()) {
            return Err(AccessError::Expired(old.name));
        }
        self.end_credential(&mut change, old.id).await?;
        self.insert_credential(&mut change, &account, &new, &old.name, old.expires_at).await?;
        let text = format!("The {} credential `{}` of {} was rotated.", old.kind, old.name, account.email);
        self.tell_of_credential(&mut change, "CREDENTIAL_ROTATED", &account, &old.name, text, by).await?;
        change.commit().await?;
        Ok(new.issued())
    }

    /// What stands in the database for a token.
    pub(crate) fn hash_of_token(&self, kind: CredentialKind, token: &str) -> KeyedHash {
        self.key().hash("token", &[kind.name().as_bytes(), token.as_bytes()])
    }

    async fn new_secret(&self, kind: CredentialKind) -> Result<New, AccessError> {
        let (id, secret) = (Uuid::now_v7(), random_token(kind.prefix())?);
        Ok(match kind {
            CredentialKind::Lmv1 => New {
                access_id: Some(random_access_id()?),
                sealed: Some(self.seal(id, &secret).await?),
                token_hash: None,
                id,
                kind,
                secret,
            },
            CredentialKind::Bearer | CredentialKind::ApiKey => New {
                access_id: None,
                sealed: None,
                token_hash: Some(self.hash_of_token(kind, secret.expose())),
                id,
                kind,
                secret,
            },
        })
    }

    async fn require_enabled_account(&self, on: On<'_>, email: &str) -> Result<Account, AccessError> {
        let account = self.require_account(on, email).await?;
        if account.disabled { Err(AccessError::AlreadyDisabled(account.email)) } else { Ok(account) }
    }

    async fn require_credential(
        &self,
        on: On<'_>,
        account: &Account,
        name: &str,
    ) -> Result<Present, AccessError> {
        let credential = self.credential_in_use(on, account, name).await?;
        credential.ok_or_else(|| AccessError::UnknownCredential {
            account: account.email.clone(),
            name: names::shown(name),
        })
    }

    async fn credential_in_use(
        &self,
        on: On<'_>,
        account: &Account,
        name: &str,
    ) -> Result<Option<Present>, AccessError> {
        const READING: &str = "read a credential";
        let Some(key) = names::stored_key(name) else { return Ok(None) };
        let row = sql("SELECT id, kind, name, expires_at FROM credentials
             WHERE account = ? AND name_key = ? AND revoked_at IS NULL")
        .bind(account.id)
        .bind(key)
        .fetch_optional(on)
        .await
        .during(self.control().place(), READING)?;
        let Some(row) = row else { return Ok(None) };
        let kind = self.kind_of(&row)?;
        let read = || -> Result<Present, sqlx::Error> {
            Ok(Present {
                id: row.get("id")?,
                kind,
                name: row.get("name")?,
                expires_at: row.get("expires_at")?,
            })
        };
        Ok(Some(read().during(self.control().place(), READING)?))
    }

    async fn insert_credential(
        &self,
        change: &mut Change<'_>,
        account: &Account,
        new: &New,
        name: &str,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), AccessError> {
        sql("INSERT INTO credentials (id, account, kind, name, name_key, access_id, token_hash, sealed, key_id,
             expires_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(new.id)
        .bind(account.id)
        .bind(new.kind.name())
        .bind(name)
        .bind(names::key(name))
        .bind(new.access_id.as_ref())
        .bind(new.token_hash.as_ref().map(|hash| hash.as_slice()))
        .bind(new.sealed.as_ref().map(|sealed| sealed.bytes.as_slice()))
        .bind(new.sealed.as_ref().map(|sealed| &sealed.key_id))
        .bind(expires_at)
        .bind(self.clock().now())
        .execute(change.on())
        .await
        .during(self.control().place(), "add a credential")?;
        Ok(())
    }

    /// Ends a credential, and forgets those that ended long ago.
    async fn end_credential(&self, change: &mut Change<'_>, id: Uuid) -> Result<(), AccessError> {
        const DOING: &str = "revoke a credential";
        let now = self.clock().now();
        sql("UPDATE credentials SET revoked_at = ?, sealed = NULL, key_id = NULL WHERE id = ?")
            .bind(now)
            .bind(id)
            .execute(change.on())
            .await
            .during(self.control().place(), DOING)?;
        sql("DELETE FROM credentials WHERE revoked_at <= ?")
            .bind(now - REVOKED_IS_KNOWN_FOR)
            .execute(change.on())
            .await
            .during(self.control().place(), DOING)?;
        Ok(())
    }

    async fn tell_of_credential(
        &self,
        change: &mut Change<'_>,
        action: &'static str,
        account: &Account,
        name: &str,
        text: String,
        by: &Author,
    ) -> Result<(), AccessError> {
        let told =
            Told { action, customer: account.customer.id, entity_type: "credential", entity_id: name, text };
        change.tell(&audit::configuration_changed(by, told, self.clock().now())).await
    }

    fn kind_of(&self, row: &Row) -> Result<CredentialKind, AccessError> {
        let kind: String = row.get("kind").during(self.control().place(), "read a credential")?;
        kind.parse().map_err(|_| self.damaged("the kind of a credential"))
    }

    fn summary_of(&self, row: &Row) -> Result<CredentialSummary, AccessError> {
        let (kind, now) = (self.kind_of(row)?, self.clock().now());
        let read = || -> Result<CredentialSummary, sqlx::Error> {
            let disabled = row.get::<Option<DateTime<Utc>>>("disabled_at")?.is_some();
            let expires_at = row.get("expires_at")?;
            Ok(CredentialSummary {
                id: row.get("id")?,
                account: row.get("email")?,
                kind,
                name: row.get("name")?,
                access_id: row.get("access_id")?,
                created_at: row.get("created_at")?,
                expires_at,
                used_at: row.get("used_at")?,
                state: CredentialState::of(row.get("revoked_at")?, disabled, expires_at, now),
            })
        };
        Ok(read().during(self.control().place(), "read a credential")?)
    }
}

impl New {
    fn issued(self) -> IssuedCredential {
        IssuedCredential { id: self.id, access_id: self.access_id, secret: self.secret }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_own_name_only() {
        for kind in CredentialKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let error = "LMv1".parse::<CredentialKind>().unwrap_err().to_string();
        assert_eq!(error, "`LMv1` is not a kind of credentials; there are lmv1, bearer, api-key");
        assert!("".parse::<CredentialKind>().is_err());
    }

    #[test]
    fn a_credential_ends_at_its_last_moment_and_revocation_goes_before_all_else() {
        let (now, later) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::microseconds(1));
        let state = |revoked, disabled, end| CredentialState::of(revoked, disabled, end, now);
        assert_eq!(state(None, false, None), CredentialState::InUse);
        assert_eq!(state(None, false, Some(later)), CredentialState::InUse);
        assert_eq!(state(None, false, Some(now)), CredentialState::Expired);
        assert_eq!(state(None, true, Some(now)), CredentialState::Disabled);
        assert_eq!(state(Some(now), true, Some(now)), CredentialState::Revoked);
    }
}
