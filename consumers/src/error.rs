//! What stops or delays a consumer.

use annals_access::AccessError;
use annals_bus::{BusError, Partition};
use annals_schemas::{DecodeError, RegistryError};
use annals_store::StoreError;
use uuid::Uuid;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The log.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The view's database or the control tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outbox.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The view was folded from another log.
    #[error(
        "view `{view}` was folded from topic `{topic}` of log {folded}, but this log is {found}: the log was created again; rebuild the view"
    )]
    OtherLog {
        /// The view.
        view: &'static str,
        /// The topic.
        topic: String,
        /// The incarnation that the view remembers.
        folded: Uuid,
        /// The log's.
        found: Uuid,
    },
    /// The last record that the view folded is another one now.
    #[error(
        "the record before offset {offset} of `{partition}` is not the one that view `{view}` folded: the log was changed behind it; rebuild the view"
    )]
    OtherRecord {
        /// The view.
        view: &'static str,
        /// The partition.
        partition: Partition,
        /// The view's next offset.
        offset: u64,
    },
    /// The last record that the view folded cannot be read any more.
    #[error(
        "the record before offset {offset} of `{partition}`, which view `{view}` folded, cannot be decoded now"
    )]
    Unreadable {
        /// The view.
        view: &'static str,
        /// The partition.
        partition: Partition,
        /// The view's next offset.
        offset: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// The log ends before the view's position.
    #[error(
        "view `{view}` stands at offset {offset} of `{partition}`, but the log ends at {end}: the log was truncated or created again; rebuild the view"
    )]
    Truncated {
        /// The view.
        view: &'static str,
        /// The partition.
        partition: Partition,
        /// The view's next offset.
        offset: u64,
        /// The log's.
        end: u64,
    },
    /// A task of the consumer ended by a panic.
    #[error("a task of view `{0}` ended unexpectedly")]
    Task(&'static str),
    /// No such view.
    #[error("there is no view `{0}`; the views are {1}")]
    UnknownView(String, String),
}

impl ConsumerError {
    /// Whether waiting and starting again may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Bus(error) => error.is_transient(),
            Self::Store(error) => error.is_transient(),
            Self::Access(AccessError::Store(error)) => error.is_transient(),
            Self::Registry(error) => error.is_transient(),
            _ => false,
        }
    }

    /// Whether another writer came first, so that the work begins anew from the store.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(StoreError::Fenced(_) | StoreError::Gone(_)))
    }
}

/// The whole chain of an error in one line, for logs and reasons.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // `transparent` variants repeat their cause.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
