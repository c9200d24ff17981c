//! Tests of the store: the contract that every engine keeps, control tables, generations, and the data directory.
#![expect(clippy::unwrap_used, reason = "tests")]

#[macro_use]
mod engine;

mod contract;
mod control;
mod dictionaries;
mod directory;
mod follow;
#[cfg(feature = "postgres")]
mod postgres;
mod rows;
mod sqlite;
mod statements;
