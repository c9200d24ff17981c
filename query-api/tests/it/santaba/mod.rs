//! LogicMonitor's dialect: the seed's examples, versions, credentials, filters, errors, limits, and whatever else is
//! sent.

mod any_request;
mod credentials;
mod errors;
mod examples;
mod filters;
mod isolation;
mod paging;
mod portal;
mod rate;
mod versions;
