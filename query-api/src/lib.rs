//! HTTP: the dialects, health and metrics.
#![forbid(unsafe_code)]
