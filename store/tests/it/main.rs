//! Tests of the store: the contract that every engine keeps, dictionaries, generations, and the data directory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod contract;
mod control;
mod directory;
mod sqlite;
