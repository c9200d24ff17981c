//! Databases: the only room that knows how SQLite and PostgreSQL want to be spoken to.
//!
//! Reading order: [`database`] (which engine, and what it opens), [`table`] (a table's description and what is made of
//! it), [`sql`] (hand-written SQL on either engine), [`view_store`] (the traits: a generation of a view, and the one
//! transaction that moves its positions and writes its rows), [`sqlite`] and [`postgres`] (the engines),
//! [`dictionary`] (integer ids for repeated texts), [`control`] (the control tables), [`generations`] and [`follow`]
//! (which generation of a view is read), [`directory`] (what a data directory holds).
#![forbid(unsafe_code)]

pub mod address;
mod changes;
pub mod control;
pub mod crash;
pub mod database;
pub mod dictionary;
pub mod directory;
pub mod error;
pub mod follow;
pub mod generations;
pub mod place;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sql;
pub mod sqlite;
pub mod table;
pub mod view_store;

pub use control::ControlDb;
pub use database::{Database, RoleGuard};
pub use directory::{DataDir, Role, RoleLock};
pub use error::StoreError;
pub use follow::{Followed, GenerationReader};
pub use place::Place;
#[cfg(feature = "postgres")]
pub use postgres::PostgresDb;
pub use sql::{Connection, Dialect, Pool, Transaction};
pub use table::{Column, ColumnKind, Index, OnConflict, Rows, Table, Value};
pub use view_store::{Advance, DeadLetter, Partition, StoredPosition, ViewStore, ViewTransaction};

/// Result of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
