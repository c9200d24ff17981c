//! Everything that reads the log: projectors, rebuilds, dead letters and relays.
#![forbid(unsafe_code)]
