//! The read models. Whoever changes a table sees its fold and its queries in the same folder.
//!
//! A view is a cache: it is folded from the log and can be thrown away. Each view says in [`View::DEDUP`] why the
//! same event twice changes nothing; one property test runs over all of them.
#![forbid(unsafe_code)]

pub mod audit_log;
pub mod filter;
pub mod logged_on_users;
pub mod view;

pub use annals_store::address;
pub use view::{Dedup, Indexed, LogEvent, View};

/// Errors of this crate are the store's: folds are total.
pub type Result<T, E = annals_store::StoreError> = std::result::Result<T, E>;
