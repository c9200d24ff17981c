//! Everything that appends: publisher, importers and the fleet simulator.
#![forbid(unsafe_code)]

pub mod importers;
