//! Attempts to get in, as clients made them, and what is recorded of those that fail. From outside every refusal is the
//! same; the audit event knows the reason.

use annals_schemas::ids::{OPERATOR_CUSTOMER, derived};
use annals_schemas::limits::{MAX_NAME_BYTES, cut};
use annals_schemas::{Actor, ActorKind, Event};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::accounts::Account;
use crate::audit::{self, Failure};
use crate::counted::FailureKey;
use crate::credentials::CredentialKind;
use crate::error::{AccessError, SignInError};
use crate::names;
use crate::principal::{Client, Principal};

pub(crate) const ACCOUNT_IS_DISABLED: &str = "account is disabled";

/// An attempt to get in.
pub(crate) struct Attempt {
    presented: Presented,
    client: Client,
    dialect: String,
}

/// How the client says who it is.
pub(crate) enum Presented {
    /// By an e-mail, with a password.
    Email(String),
    /// By an access id, with a signature.
    AccessId(String),
    /// By a token alone, which is a secret and is kept nowhere.
    Token(CredentialKind),
}

impl Attempt {
    pub(crate) fn new(presented: Presented, client: &Client, dialect: &str) -> Self {
        Self { presented, client: client.clone(), dialect: dialect.to_owned() }
    }

    /// The event of having got in.
    pub(crate) fn succeeded(&self, principal: &Principal, now: DateTime<Utc>) -> Event {
        audit::login_succeeded(principal, &self.client, &self.dialect, now)
    }

    fn by_account(&self, account: &Account, reason: &'static str) -> Failure {
        Failure {
            customer: account.customer.id,
            actor: Actor::new(ActorKind::PortalAccount, account.id),
            account: Some(account.email.clone()),
            reason,
            client: self.client.clone(),
            dialect: self.dialect.clone(),
        }
    }

    /// A name that nobody has, or that was not looked at: the event belongs to the operator.
    fn by_stranger(&self, reason: &'static str) -> Failure {
        let name = match &self.presented {
            Presented::Email(name) | Presented::AccessId(name) => Some(cut(name, MAX_NAME_BYTES)),
            Presented::Token(_) => None,
        };
        Failure {
            customer: OPERATOR_CUSTOMER,
            actor: Actor::new(ActorKind::Unknown, self.stranger()),
            account: name,
            reason,
            client: self.client.clone(),
            dialect: self.dialect.clone(),
        }
    }

    /// Who somebody unknown is: the same one for the same name. Guesses of tokens are all made by one, since each would
    /// be another name.
    fn stranger(&self) -> Uuid {
        match &self.presented {
            Presented::Email(email) => derived("unknown-account", &[names::key(email).as_bytes()]),
            Presented::AccessId(access_id) => derived("unknown-access-id", &[access_id.as_bytes()]),
            Presented::Token(kind) => derived("unknown-token", &[kind.name().as_bytes()]),
        }
    }
}

impl Access {
    /// Records that somebody known was refused, and gives what the client is told.
    pub(crate) async fn refused(
        &self,
        attempt: &Attempt,
        account: &Account,
        reason: &'static str,
    ) -> SignInError {
        let key = FailureKey::Account(account.id, attempt.client.address);
        told(self.record_failure(key, attempt.by_account(account, reason)).await, SignInError::Refused)
    }

    /// Records that somebody unknown was refused, and gives what the client is told.
    pub(crate) async fn refused_stranger(&self, attempt: &Attempt, reason: &'static str) -> SignInError {
        let key = FailureKey::Name(attempt.stranger(), attempt.client.address);
        told(self.record_failure(key, attempt.by_stranger(reason)).await, SignInError::Refused)
    }

    /// Records that nothing was checked, and gives what the client is told.
    pub(crate) async fn turned_away(&self, attempt: &Attempt, reason: &'static str) -> SignInError {
        told(self.record_failure(FailureKey::Busy, attempt.by_stranger(reason)).await, SignInError::Busy)
    }
}

/// A refusal that cannot be recorded is a failure of ours.
fn told(recorded: Result<(), AccessError>, refusal: SignInError) -> SignInError {
    recorded.err().map_or(refusal, SignInError::Access)
}
