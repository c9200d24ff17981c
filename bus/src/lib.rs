//! The event log: append, read and positions.
#![forbid(unsafe_code)]
