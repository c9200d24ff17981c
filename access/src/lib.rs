//! Who may do what: customers, accounts, permissions, sign-ins and the outbox.
//!
//! The one exception to "the log is the truth": this crate keeps its state in the control tables, and writes the
//! audit event of each change as an outbox row **in the transaction of the change**. A relay appends the row to the
//! log under the event id that it carries, and removes it.
//!
//! Reading order: [`permission`] (what may be granted), [`principal`] (who asks, and from where), [`author`] (who
//! changes something), [`access`] (the door: everything is a method of [`Access`]), then by topic `setup`,
//! `customers`, `accounts`, `grants`, `sign_in`, `session`, `credentials`, `authenticate`, `reseal`, `rate`, `counted`,
//! `outbox`, `known_ids`, `leases`, `members`, `copy`; how their changes bear each other stands in `change`. Without a
//! database: [`throttle`] (which of many equal events are written), `passwords` (bounded hashing), `remembered`
//! (verified credentials), `vault` (sealed secrets), [`secret`] and [`clock`].
//!
//! Secrets: a password is stored as argon2id, a cookie or token as a keyed hash, an access key sealed under a master key
//! that is not in the database; none of them is in an event, an error or a `Debug` output.
#![forbid(unsafe_code)]

pub mod access;
pub mod author;
pub mod clock;
pub mod error;
pub mod permission;
pub mod principal;
pub mod secret;
pub mod throttle;

mod accounts;
mod attempt;
mod audit;
mod authenticate;
mod change;
mod copy;
mod counted;
mod credentials;
mod customers;
mod grants;
mod known_ids;
mod leases;
mod members;
mod names;
mod outbox;
mod passwords;
mod rate;
mod remembered;
mod reseal;
mod session;
mod setup;
mod sign_in;
mod vault;

pub use access::{Access, Opened, OperatorPassword};
pub use accounts::{AccountSummary, MIN_PASSWORD_CHARACTERS};
pub use author::Author;
pub use clock::Clock;
pub use copy::{CopySummary, copy_control};
pub use credentials::{
    CredentialKind, CredentialState, CredentialSummary, IssuedCredential, UnknownCredentialKind,
};
pub use error::{AccessError, SignInError};
pub use members::Member;
pub use names::MAX_NEW_NAME_BYTES;
pub use outbox::OutboxEntry;
pub use passwords::{HashingLoad, MAX_HASHING, MAX_PASSWORD_BYTES, MAX_WAITING};
pub use permission::{Grants, Permission, UnknownPermission};
pub use principal::{Client, Customer, Principal};
pub use rate::RateDecision;
pub use reseal::ResealSummary;
pub use secret::Secret;
pub use session::{SIGN_IN_ENDS_AFTER, SIGN_IN_ENDS_UNUSED_AFTER};
pub use sign_in::SignIn;
pub use throttle::{Rule, Tally, Throttle};
pub use vault::{Vault, VaultError};
