//! Which part answers a path, and what holds for every request.

use std::sync::Arc;
use std::time::Instant;

use annals_views::audit_log::Memory;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::health::{self, Readiness};
use crate::observe::{self, Answer, UNKNOWN};
use crate::request_target::{self, MAX_TARGET_BYTES};
use crate::state::ApiState;
use crate::{metrics_page, native, papi, santaba};

/// What the handlers share.
pub(crate) struct App {
    pub(crate) state: ApiState,
    pub(crate) readiness: Readiness,
    /// Requests that may be worked on now.
    pub(crate) permits: Semaphore,
    /// What was answered already.
    pub(crate) memory: Memory,
    /// Answers that take their time.
    pub(crate) streams: native::Streams,
}

/// Everything over HTTP. The log's end as it is now is what `/readyz` waits for.
///
/// The client's address is taken from axum's `ConnectInfo<SocketAddr>`, which [`serve`](crate::serve()) sets.
pub fn router(state: ApiState) -> Router {
    observe::describe();
    metrics_page::describe();
    let permits = Semaphore::new(state.settings.max_concurrent_requests.clamp(1, Semaphore::MAX_PERMITS));
    let app = Arc::new(App {
        state,
        readiness: Readiness::default(),
        permits,
        memory: Memory::default(),
        streams: native::Streams::default(),
    });
    if let Ok(runtime) = Handle::try_current() {
        // Without a runtime, or when the log cannot be read just now, the first question to `/readyz` does it.
        let app = Arc::clone(&app);
        runtime.spawn(async move { app.readiness.note_log_ends(&app.state).await.is_ok() });
    }
    // One handler for everything, so that no path, method or body gets an answer of axum's own.
    Router::new().fallback(answer).with_state(app)
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let answer = dispatch(&app, request).await;
    observe::answered(&method, &answer, started.elapsed());
    answer.response
}

async fn dispatch(app: &App, request: Request) -> Answer {
    let is_too_long = request_target::is_too_long(request.uri());
    let Some(dialect) = Dialect::at(request.uri().path()).filter(|_| app.state.settings.dialects) else {
        return if is_too_long { target_too_long() } else { page(app, request).await };
    };
    if is_too_long {
        return dialect.refuse(app, &request, Refusal::TargetTooLong);
    }
    let Some(views) = app.state.views.get() else {
        return dialect.refuse(app, &request, Refusal::NoViews);
    };
    match dialect {
        Dialect::Papi => papi::answer(app, views, request).await,
        Dialect::Santaba => santaba::answer(app, views, request).await,
        Dialect::Native => native::answer(app, views, request).await,
    }
}

/// Why a request is answered before anybody looks for what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its target is longer than [`MAX_TARGET_BYTES`].
    TargetTooLong,
    /// No projector has made the views yet.
    NoViews,
}

/// Who answers a path with a language of its own.
#[derive(Clone, Copy)]
enum Dialect {
    Papi,
    Santaba,
    Native,
}

impl Dialect {
    fn at(path: &str) -> Option<Self> {
        [
            (Self::Papi, papi::owns(path)),
            (Self::Santaba, santaba::owns(path)),
            (Self::Native, native::owns(path)),
        ]
        .into_iter()
        .find_map(|(dialect, owns)| owns.then_some(dialect))
    }

    /// Answers in the dialect's own form.
    fn refuse(self, app: &App, request: &Request, refusal: Refusal) -> Answer {
        match self {
            Self::Papi => papi::refuse(app, request, refusal),
            Self::Santaba => santaba::refuse(app, request, refusal),
            Self::Native => native::refuse(refusal),
        }
    }
}

/// Health and metrics.
async fn page(app: &App, request: Request) -> Answer {
    let path = request.uri().path();
    if let Some(page) = health::Page::at(path) {
        health::answer(app, page, request.method()).await
    } else {
        nowhere(StatusCode::NOT_FOUND, "nothing is here", "not found")
    }
}

fn target_too_long() -> Answer {
    let error = format!("the URL is longer than {MAX_TARGET_BYTES} bytes");
    nowhere(StatusCode::URI_TOO_LONG, &error, "URL too long")
}

/// A failure outside every dialect.
fn nowhere(status: StatusCode, error: &str, outcome: &'static str) -> Answer {
    let response = health::json_response(status, &json!({ "error": error }));
    Answer { response, dialect: UNKNOWN, function: UNKNOWN, outcome }
}
