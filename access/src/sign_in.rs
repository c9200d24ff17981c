//! Signing in with a password, for a while or for one request.

use std::fmt;

use annals_store::error::Context;
use annals_store::sql::{sql, sql_for};
use uuid::Uuid;

use crate::access::{Access, to_the_end};
use crate::accounts::{Account, select_account};
use crate::attempt::{ACCOUNT_IS_DISABLED, Attempt, Presented};
use crate::change::Change;
use crate::error::{AccessError, SignInError};
use crate::principal::{Client, Principal};
use crate::secret::{Secret, random_cookie};
use crate::session::SIGN_IN_ENDS_UNUSED_AFTER;

/// Ended sign-ins that one sign-in removes at most.
const MAX_REMOVED: i64 = 100;

const WRONG_PASSWORD: &str = "wrong password";
const UNKNOWN_ACCOUNT: &str = "unknown account";
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
        let attempt = Attempt::new(Presented::Email(email.to_owned()), client, dialect);
        let (access, email, password) = (self.clone(), email.to_owned(), Secret::new(password));
        to_the_end(async move {
            let account = access.recognize(&email, password, &attempt).await?;
            match access.enter(&account, &attempt).await? {
                Ok(sign_in) => Ok(sign_in),
                Err(reason) => Err(access.refused(&attempt, &account, reason).await),
            }
        })
        .await
    }

    /// Checks a password for one request, as HTTP Basic needs it: there is no sign-in, and a success leaves no event.
    /// Permissions are those of now. A failure is recorded as that of [`sign_in`](Self::sign_in).
    ///
    /// # Errors
    /// As [`sign_in`](Self::sign_in).
    pub async fn authenticate_password(
        &self,
        email: &str,
        password: &str,
        client: &Client,
        dialect: &str,
    ) -> Result<Principal, SignInError> {
        let attempt = Attempt::new(Presented::Email(email.to_owned()), client, dialect);
        let (access, email, password) = (self.clone(), email.to_owned(), Secret::new(password));
        to_the_end(async move {
            let account = access.recognize(&email, password, &attempt).await?;
            match access.principal_now(&account).await? {
                Ok(principal) => Ok(principal),
                Err(reason) => Err(access.refused(&attempt, &account, reason).await),
            }
        })
        .await
    }

    /// The account whose e-mail and password these are, as it was before the password was checked. A failure is
    /// recorded.
    async fn recognize(
        &self,
        email: &str,
        password: Secret,
        attempt: &Attempt,
    ) -> Result<Account, SignInError> {
        let account = self.account_by_email(self.reads(), email).await?;
        let verified = match self.verify(account.as_ref(), password).await {
            Ok(verified) => verified,
            Err(AccessError::Busy) => return Err(self.turned_away(attempt, TOO_MANY).await),
            Err(error) => return Err(error.into()),
        };
        let Some(account) = account else {
            return Err(self.refused_stranger(attempt, UNKNOWN_ACCOUNT).await);
        };
        let reason = match (account.disabled, verified) {
            (true, _) => ACCOUNT_IS_DISABLED,
            (false, false) => WRONG_PASSWORD,
            (false, true) => return Ok(account),
        };
        Err(self.refused(attempt, &account, reason).await)
    }

    /// The account with what it may do now, unless it was changed since it was read.
    async fn principal_now(&self, read: &Account) -> Result<Result<Principal, &'static str>, AccessError> {
        const READING: &str = "read an account";
        let place = self.control().place();
        // One statement, so that all of it is of one moment.
        let rows = sql(select_account!(
            ", g.customer AS granted_at, g.permission FROM accounts a JOIN customers c ON c.id = a.customer
             LEFT JOIN grants g ON g.account = a.id WHERE a.id = ?"
        ))
        .bind(read.id)
        .fetch_all(self.reads())
        .await
        .during(place, READING)?;
        let account = rows.first().map(|row| self.account_of(row)).transpose()?;
        match account {
            Some(account) if account.disabled => Ok(Err(ACCOUNT_IS_DISABLED)),
            Some(account) if account.version == read.version => {
                Ok(Ok(Principal::of(account, &rows, None).during(place, READING)?))
            }
            _ => Ok(Err(WRONG_PASSWORD)),
        }
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
        change.tell(&attempt.succeeded(&principal, now)).await?;
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
