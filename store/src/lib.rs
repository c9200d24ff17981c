//! Databases: the only room that knows how SQLite (and later PostgreSQL) wants to be spoken to.
//!
//! Reading order: [`directory`] (what a data directory holds), [`table`] (a table's description and what is made of
//! it), [`view_store`] (the traits: a generation of a view, and the one transaction that moves its positions and
//! writes its rows), [`sqlite`] (the embedded engine), [`dictionary`] (integer ids for repeated texts), [`control`]
//! (the control tables), [`generations`] and [`follow`] (which generation of a view is read).
#![forbid(unsafe_code)]

pub mod control;
pub mod crash;
pub mod dictionary;
pub mod directory;
pub mod error;
pub mod follow;
pub mod generations;
pub mod sqlite;
pub mod table;
pub mod view_store;

pub use control::ControlDb;
pub use directory::{DataDir, Role, RoleLock};
pub use error::StoreError;
pub use follow::{Followed, GenerationReader};
pub use table::{Column, ColumnKind, Index, OnConflict, Rows, Table, Value};
pub use view_store::{
    Advance, Connection, DeadLetter, Partition, StoredPosition, ViewStore, ViewTransaction,
};

/// Result of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
