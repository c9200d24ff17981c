//! What can go wrong. `Display` names the thing and never holds a secret; the cause is the source.

use std::path::PathBuf;

use annals_schemas::EncodeError;
use annals_store::{Place, StoreError};

use crate::permission::Permission;
use crate::vault::VaultError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The control database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new name that cannot be one.
    #[error("`{}` cannot be a name: {reason}", .name.escape_debug())]
    InvalidName {
        /// The name, cut.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not the name of a time zone.
    #[error("`{}` is not a time zone of the IANA database", .0.escape_debug())]
    UnknownTimeZone(String),
    /// A customer of this name is there.
    #[error("a customer `{0}` is already there")]
    CustomerExists(String),
    /// No customer has this name.
    #[error("there is no customer `{}`", .0.escape_debug())]
    UnknownCustomer(String),
    /// An account of this name is there.
    #[error("an account `{0}` is already there")]
    AccountExists(String),
    /// No account has this name.
    #[error("there is no account `{}`", .0.escape_debug())]
    UnknownAccount(String),
    /// The account is disabled already.
    #[error("the account `{0}` is already disabled")]
    AlreadyDisabled(String),
    /// The new password cannot be one.
    #[error("the new password cannot be used: {0}")]
    Password(&'static str),
    /// Nothing was named to grant or revoke.
    #[error("no permission was named")]
    NoPermission,
    /// Everything named is granted already.
    #[error("`{account}` already has `{}` at `{customer}`", Permission::list(.permissions))]
    AlreadyGranted {
        /// The account.
        account: String,
        /// The customer.
        customer: String,
        /// What was named.
        permissions: Vec<Permission>,
    },
    /// Nothing of what was named is granted.
    #[error("`{account}` does not have `{}` at `{customer}`", Permission::list(.permissions))]
    NotGranted {
        /// The account.
        account: String,
        /// The customer.
        customer: String,
        /// What was named.
        permissions: Vec<Permission>,
    },
    /// Nobody could operate the installation afterwards.
    #[error(
        "`{0}` is the last account that may operate this installation; grant `can_operate` to another one first"
    )]
    LastOperator(String),
    /// The account has a credential of this name.
    #[error("`{account}` already has a credential `{name}`")]
    CredentialExists {
        /// The account.
        account: String,
        /// The name.
        name: String,
    },
    /// The account has no credential of this name that is in use.
    #[error("`{account}` has no credential `{}`", .name.escape_debug())]
    UnknownCredential {
        /// The account.
        account: String,
        /// The name.
        name: String,
    },
    /// The end of a new credential's time has passed already.
    #[error("the credential `{}` would have expired already", .0.escape_debug())]
    Expired(String),
    /// A master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// More passwords wait to be hashed than the limit allows.
    #[error("too many passwords are being checked at once; try again")]
    Busy,
    /// The file with the operator's first password.
    #[error("cannot write `{}`", .path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value in the control database is not what annals writes there.
    #[error("{what} in `{place}` is damaged")]
    Damaged {
        /// The database.
        place: Place,
        /// The value, without its content.
        what: &'static str,
    },
    /// Nothing to copy or to read.
    #[error("there is no installation in `{0}`")]
    NoInstallation(Place),
    /// A copy never overwrites an installation.
    #[error("there is an installation in `{0}` already")]
    InstallationExists(Place),
    /// Somebody works with what is being copied.
    #[error(
        "`{0}` was changed while it was copied, so nothing was copied; end the processes that work on it"
    )]
    ChangedMeanwhile(Place),
    /// An event does not fit its schema.
    #[error(transparent)]
    Event(#[from] EncodeError),
    /// The system gives no random bytes.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The hash function refused its input.
    #[error("a password cannot be hashed: {0}")]
    Hashing(String),
    /// The process is stopping.
    #[error("interrupted, because the process stops")]
    Stopping,
}

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    /// Unknown account, wrong password, disabled account, unknown or ended sign-in, unknown, revoked or expired
    /// credential, wrong signature: from outside they are one and the same. The audit event knows which it was.
    #[error("wrong or missing credentials")]
    Refused,
    /// Nothing was checked: too many others wait.
    #[error("too many sign-ins at once; try again")]
    Busy,
    /// Something is broken.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl From<StoreError> for SignInError {
    fn from(error: StoreError) -> Self {
        Self::Access(error.into())
    }
}
