//! Everything that reads the log: projectors that keep the views, rebuilds, dead letters, and the relay that brings
//! the outbox into the log.
//!
//! Reading order: [`folder`] (one batch into one generation, in one transaction), [`projector`] (the loop around
//! it), [`rebuild`] (the same from position 0 into a new generation, and the switch), [`dead_letters`], [`relay`],
//! [`copy`] (a log into another log or an archive).
#![forbid(unsafe_code)]

mod backoff;
mod bulk;
pub mod copy;
pub mod dead_letters;
pub mod error;
pub mod folder;
pub mod projector;
pub mod rebuild;
pub mod relay;
pub mod status;
pub mod stop;
pub mod survey;
pub mod sweep;

use std::sync::Arc;

use annals_bus::Bus;
use annals_schemas::Registry;
use annals_store::{ControlDb, Database};

pub use error::ConsumerError;
pub use projector::{Projector, feed_index};
pub use status::{State, Status};
pub use stop::{Stop, StopSignal};

/// Result of this crate.
pub type Result<T, E = ConsumerError> = std::result::Result<T, E>;

/// What every consumer works on.
#[derive(Clone)]
pub struct Engine {
    /// Where control tables and views are.
    pub database: Database,
    /// The control tables.
    pub control: ControlDb,
    /// The log.
    pub bus: Arc<dyn Bus>,
    /// The schema registry; without one, records that are framed by it are dead letters.
    pub registry: Option<Arc<Registry>>,
}

/// A view of this program, by name. The one list of them: commands and roles are made from it.
#[macro_export]
macro_rules! for_each_view {
    ($action:ident) => {
        $action!(annals_views::audit_log::AuditLog);
        $action!(annals_views::logged_on_users::LoggedOnUsers);
    };
}
