//! Signing in with a password.

use std::fmt;

use annals_schemas::ids::{OPERATOR_CUSTOMER, derived};
use annals_schemas::limits::{MAX_NAME_BYTES, cut};
use annals_schemas::{Actor, ActorKind};
use annals_store::error::Context;
use annals_store::sql::{sql, sql_for};
use uuid::Uuid;

use crate::access::{Access, to_the_end};
use crate::accounts::Account;
use crate::audit::{self, Failure};
use crate::change::Change;
use crate::counted::FailureKey;
use crate::error::{AccessError, SignInError};
use crate::names;
use crate::principal::{Client, Principal};
use crate::secret::{Secret, random_cookie};
use crate::session::SIGN_IN_ENDS_UNUSED_AFTER;

/// Ended sign-ins that one sign-in removes at most.
const MAX_REMOVED: i64 = 100;

const WRONG_PASSWORD: &str = "wrong password";
const UNKNOWN_ACCOUNT: &str = "unknown account";
const ACCOUNT_IS_DISABLED: &str = "account is disabled";
const TOO_MANY: &str = "too many sign-ins at once";

/// A successful sign-in.
#[derive(Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Who it is.
    pub principal: Principal,
    /// The cookie that resumes it: 64 hexadecimal digits, given out only here.
    pub cookie: String,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SignIn").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// An attempt to sign in, as the client made it.
struct Attempt {
    email: String,
    client: Client,
    dialect: String,
}

impl Access {
    /// Signs in with a password. Leaves one audit event, whatever comes of it and also when the caller stops waiting;
    /// beyond the limits failures are counted.
    ///
    /// # Errors
    /// [`SignInError::Refused`] without saying why, [`SignInError::Busy`], or when the database fails.
    pub async fn sign_in(
        &self,
        email: &str,
        password: &str,
        client: &Client,
        dialect: &str,
    ) -> Result<SignIn, SignInError> {
        let attempt =
            Attempt { email: email.to_owned(), client: client.clone(), dialect: dialect.to_owned() };
        let (access, password) = (self.clone(), Secret::new(password));
        to_the_end(async move { access.attempt(attempt, password).await }).await
    }

    async fn attempt(&self, attempt: Attempt, password: Secret) -> Result<SignIn, SignInError> {
        let account = self.account_by_email(self.reads(), &attempt.email).await?;
        let verified = match self.verify(account.as_ref(), password).await {
            Ok(verified) => verified,
            Err(AccessError::Busy) => {
                self.record_failure(FailureKey::Busy, attempt.by_stranger(TOO_MANY)).await?;
                return Err(SignInError::Busy);
            }
            Err(error) => return Err(error.into()),
        };
        let (key, failure) = match account {
            None => (attempt.stranger_key(), attempt.by_stranger(UNKNOWN_ACCOUNT)),
            Some(account) => {
                let reason = match (account.disabled, verified) {
                    (true, _) => ACCOUNT_IS_DISABLED,
                    (false, false) => WRONG_PASSWORD,
                    (false, true) => match self.enter(&account, &attempt).await? {
                        Ok(sign_in) => return Ok(sign_in),
                        Err(reason) => reason,
                    },
                };
                (
                    FailureKey::Account(account.id, attempt.client.address),
                    attempt.by_account(&account, reason),
                )
            }
        };
        self.record_failure(key, failure).await?;
        Err(SignInError::Refused)
    }

    /// Whether the password is the account's. Takes as long for an unknown account.
    async fn verify(&self, account: Option<&Account>, password: Secret) -> Result<bool, AccessError> {
        let Some(account) = account else {
            return self.hasher().verify(password, None).await;
        };
        let credential = self.key().hash(
            "credential",
            &[account.id.as_bytes(), &account.version.to_be_bytes(), password.expose().as_bytes()],
        );
        if self.remembered().contains(&credential, self.clock().now()) {
            return Ok(true);
        }
        let verified = self.hasher().verify(password, Some(account.password_hash.clone())).await?;
        if verified {
            self.remembered().insert(credential, self.clock().now());
        }
        Ok(verified)
    }

    /// Writes the sign-in with its event, unless the account was changed since it was read.
    async fn enter(
        &self,
        read: &Account,
        attempt: &Attempt,
    ) -> Result<Result<SignIn, &'static str>, AccessError> {
        let cookie = random_cookie()?;
        let public_id = Uuid::new_v4().simple().to_string();
        let mut change = self.begin_shared().await?;
        let account = match self.account_kept(&mut change, read.id).await? {
            Some(account) if account.disabled => return Ok(Err(ACCOUNT_IS_DISABLED)),
            Some(account) if account.version == read.version => account,
            _ => return Ok(Err(WRONG_PASSWORD)),
        };
        self.remove_ended(&mut change).await?;
        let now = self.clock().now();
        sql("INSERT INTO sign_ins (token_hash, public_id, account, account_version, created_at, used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5)")
        .bind(self.token_of(&cookie).as_slice())
        .bind(&public_id)
        .bind(account.id)
        .bind(account.version)
        .bind(now)
        .execute(change.on())
        .await
        .during(self.control().place(), "write a sign-in")?;
        let principal = self.principal(change.on(), account, Some(public_id)).await?;
        change.tell(&audit::login_succeeded(&principal, &attempt.client, &attempt.dialect, now)).await?;
        change.commit().await?;
        Ok(Ok(SignIn { principal, cookie }))
    }

    /// Removes sign-ins that nobody used for long. One that ends by its age gets here half an hour later.
    async fn remove_ended(&self, change: &mut Change<'_>) -> Result<(), AccessError> {
        sql_for(
            "DELETE FROM sign_ins WHERE token_hash IN
             (SELECT token_hash FROM sign_ins WHERE used_at <= ? ORDER BY used_at LIMIT ?)",
            // What another sign-in is removing is left to it: two that wait for each other's rows would never end.
            "DELETE FROM sign_ins WHERE token_hash = ANY(ARRAY(
             SELECT token_hash FROM sign_ins WHERE used_at <= ? ORDER BY used_at LIMIT ? FOR UPDATE SKIP LOCKED))",
        )
        .bind(self.clock().now() - SIGN_IN_ENDS_UNUSED_AFTER)
        .bind(MAX_REMOVED)
        .execute(change.on())
        .await
        .during(self.control().place(), "remove ended sign-ins")?;
        Ok(())
    }
}

impl Attempt {
    fn by_account(self, account: &Account, reason: &'static str) -> Failure {
        Failure {
            customer: account.customer.id,
            actor: Actor::new(ActorKind::PortalAccount, account.id),
            account: Some(account.email.clone()),
            reason,
            client: self.client,
            dialect: self.dialect,
        }
    }

    /// A name that nobody has, or that was not looked at: the event belongs to the operator.
    fn by_stranger(self, reason: &'static str) -> Failure {
        Failure {
            customer: OPERATOR_CUSTOMER,
            actor: Actor::new(ActorKind::Unknown, self.stranger()),
            account: Some(cut(&self.email, MAX_NAME_BYTES)),
            reason,
            client: self.client,
            dialect: self.dialect,
        }
    }

    fn stranger_key(&self) -> FailureKey {
        FailureKey::Name(self.stranger(), self.client.address)
    }

    fn stranger(&self) -> Uuid {
        derived("unknown-account", &[names::key(&self.email).as_bytes()])
    }
}
