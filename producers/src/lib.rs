//! Everything that appends: the publisher, the importers and the fleet simulator.
//!
//! Reading order: [`publisher`] (events into the log), [`importers`] (records of real machines become events; pure),
//! [`import`] (a file through an importer into the log, once), [`fleet`] (an invented fleet for the demo and for
//! every benchmark).
#![forbid(unsafe_code)]

pub mod fleet;
pub mod import;
pub mod importers;
pub mod publisher;

pub use publisher::{PublishError, Publisher};
