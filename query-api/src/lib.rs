//! HTTP: the dialects, health and metrics.
//!
//! Reading order: [`state`] (what the program wires together), `router` (which part answers a path, and what holds for
//! every request), [`papi`] (Lastline's portal), `health` and `metrics_page` (for operators), [`serve`] (connections).
//! What every dialect needs stands beside them: `scope` (which audit events a caller sees), `guard` (time limit and
//! panics), `caller` (who calls), `positions` (how far each view is), `body` (reading one, bounded) and `observe` (log
//! line and metrics).
#![forbid(unsafe_code)]

pub mod native;
pub mod papi;
pub mod santaba;
pub mod serve;
pub mod state;

mod body;
mod caller;
mod guard;
mod health;
mod metrics_page;
mod observe;
mod positions;
mod request_target;
mod router;
mod scope;
mod stopping;
mod write_timeout;

pub use router::router;
pub use serve::serve;
pub use state::{ApiSettings, ApiState, ApiViews, Component, ComponentState, LateViews};
