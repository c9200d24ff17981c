//! The HTTP layer over real connections, on each engine of the databases: one binary, a module per topic.
#![expect(clippy::unwrap_used, reason = "tests")]

mod any_request;
mod auditlog;
mod authentication;
mod engine;
mod events;
mod http;
mod isolation;
mod markup;
mod native;
mod operations;
mod raw_targets;
mod refusals;
mod routing;
mod santaba;
mod serving;
mod session;
mod world;
