//! What the program wires together for this crate.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use annals_access::Access;
use annals_bus::Bus;
use annals_schemas::Topic;
use annals_store::Followed;
use annals_views::{View, audit_log::AuditLog, logged_on_users::LoggedOnUsers};

/// Everything that a request may need.
#[derive(Clone)]
pub struct ApiState {
    /// Who may do what.
    pub access: Access,
    /// The views, once they are there.
    pub views: LateViews,
    /// The log, for its end positions.
    pub bus: Arc<dyn Bus>,
    /// The log's topics.
    pub topics: &'static [Topic],
    /// All metrics in Prometheus' text format. The recorder must be installed before [`router`](crate::router) is
    /// called, or descriptions are lost.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The parts of this process as they are now.
    pub components: Arc<dyn Fn() -> Vec<Component> + Send + Sync>,
    /// Limits and the like.
    pub settings: ApiSettings,
}

impl ApiState {
    /// The views that are read here, each with the topics that it folds.
    pub(crate) fn followed(&self) -> impl Iterator<Item = (&Followed, &'static [Topic])> {
        self.views.get().into_iter().flat_map(|views| {
            [(&views.audit_log, AuditLog::topics()), (&views.logged_on_users, LoggedOnUsers::topics())]
        })
    }
}

/// The views of a process. One that does not project waits for a projector to make them, and answers for its health
/// meanwhile; one that is a relay only never has any.
#[derive(Clone, Debug, Default)]
pub struct LateViews(Arc<OnceLock<ApiViews>>);

impl LateViews {
    /// The views, when they are there.
    #[must_use]
    pub fn get(&self) -> Option<&ApiViews> {
        self.0.get()
    }

    /// Says that they are there. Only the first word counts.
    pub fn set(&self, views: ApiViews) {
        // Nobody says it twice; whoever did would have opened the same views.
        let _ = self.0.set(views);
    }
}

impl From<ApiViews> for LateViews {
    fn from(views: ApiViews) -> Self {
        let late = Self::default();
        late.set(views);
        late
    }
}

/// The views that queries read.
#[derive(Clone, Debug)]
pub struct ApiViews {
    /// The view behind `get_events`.
    pub audit_log: Followed,
    /// The view behind `get_users_logged_on`.
    pub logged_on_users: Followed,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ApiState").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Limits and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// Time from a request's head to its answer, body included. Too short, and deep pages of a large log fail; too
    /// long, and slow clients hold their connections.
    pub request_timeout: Duration,
    /// Requests that are worked on at once; others wait within their time limit. A request holds its page in memory.
    pub max_concurrent_requests: usize,
    /// Whether clients come over TLS, so that the cookie gets `Secure`. On a plain connection no client would send
    /// such a cookie back.
    pub tls: bool,
    /// Whether the dialects are answered here, or only health and metrics.
    pub dialects: bool,
    /// Requests of one customer to one endpoint of santaba in a minute, over all processes.
    pub rate_limit: u32,
    /// How far a client of santaba may page: offset and size together, in versions 2 and 3.
    pub audit_page_limit: u64,
    /// How often a live stream or a download makes sure that its caller may still read: a revoked credential ends it
    /// within this time.
    pub renew_interval: Duration,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            max_concurrent_requests: 64,
            tls: false,
            dialects: true,
            rate_limit: 6_000,
            audit_page_limit: 10_000,
            renew_interval: Duration::from_secs(5),
        }
    }
}

/// A part of this process: the projector of a view, the relay, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: ComponentState,
}

/// How a component is. Reasons are shown to whoever asks: no secrets, no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentState {
    /// It works.
    Running,
    /// It cannot work now and tries again by itself.
    Waiting(String),
    /// It will not work again before somebody does something.
    Stopped(String),
}
