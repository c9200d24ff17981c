//! The read models: rows, folds and queries.
#![forbid(unsafe_code)]
