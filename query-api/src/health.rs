//! For operators and orchestrators: is the process alive, is it ready, and its metrics. None of it needs a sign-in, so
//! none of it tells anything about customers.

use std::sync::atomic::{AtomicBool, Ordering};

use annals_bus::BusError;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::guard::{Interruption, guarded};
use crate::metrics_page;
use crate::observe::{Answer, OK, chain};
use crate::positions::{LogPlace, ViewProgress, log_begins, log_ends};
use crate::router::App;
use crate::state::{ApiState, Component, ComponentState};

/// How log lines and metrics call these pages.
pub(crate) const DIALECT: &str = "operations";

/// A page for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Health,
    Readiness,
    Metrics,
}

impl Page {
    /// The page of a path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/readyz" => Some(Self::Readiness),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Health => "healthz",
            Self::Readiness => "readyz",
            Self::Metrics => "metrics",
        }
    }
}

/// Whether the views have seen what was in the log at the start.
#[derive(Default)]
pub(crate) struct Readiness {
    /// The log's end at the start.
    ends: OnceCell<Vec<LogPlace>>,
    /// Once the views were there they stay ready, however far a burst of events puts them behind.
    arrived: AtomicBool,
}

impl Readiness {
    /// Notes the log's end, once.
    pub(crate) async fn note_log_ends(&self, state: &ApiState) -> Result<&[LogPlace], BusError> {
        self.ends.get_or_try_init(|| log_ends(state)).await.map(Vec::as_slice)
    }
}

/// Answers one of the pages.
pub(crate) async fn answer(app: &App, page: Page, method: &Method) -> Answer {
    let response = if [Method::GET, Method::HEAD].contains(method) {
        let work = async {
            match page {
                Page::Health => healthz(app),
                Page::Readiness => readyz(app).await,
                Page::Metrics => metrics_page::answer(app).await,
            }
        };
        guarded(app.state.settings.request_timeout, work).await.unwrap_or_else(interrupted)
    } else {
        let mut response = json_response(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({"error": "this page takes GET and HEAD only"}),
        );
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    };
    let outcome = if response.status().is_success() { OK } else { "not ok" };
    Answer { response, dialect: DIALECT, function: page.name(), outcome }
}

/// Alive, as long as it answers.
fn healthz(app: &App) -> Response {
    let components: Vec<Value> = (app.state.components)().iter().map(shown).collect();
    json_response(StatusCode::OK, &json!({"status": "alive", "components": components}))
}

async fn readyz(app: &App) -> Response {
    let stopped: Vec<Value> = (app.state.components)()
        .iter()
        .filter(|component| matches!(component.state, ComponentState::Stopped(_)))
        .map(shown)
        .collect();
    if !stopped.is_empty() {
        return unready(&json!({"status": "stopped", "components": stopped}));
    }
    if app.state.settings.dialects && app.state.views.get().is_none() {
        return unready(&json!({"status": "waiting for a projector to make the views"}));
    }
    if !app.readiness.arrived.load(Ordering::Relaxed) {
        match catching_up(app).await {
            Ok(None) => app.readiness.arrived.store(true, Ordering::Relaxed),
            Ok(Some(views)) => return unready(&json!({"status": "catching up", "views": views})),
            Err(what) => return unready(&json!({"status": "unavailable", "error": what})),
        }
    }
    json_response(StatusCode::OK, &json!({"status": "ready"}))
}

/// How far the views are while any of them is behind; else none. An error says what could not be read.
async fn catching_up(app: &App) -> Result<Option<Vec<Value>>, &'static str> {
    let unread = |error: BusError| {
        tracing::warn!(error = chain(&error), "the log's end cannot be read");
        "the log cannot be read"
    };
    let ends = app.readiness.note_log_ends(&app.state).await.map_err(unread)?;
    // Unlike the ends, as it is now: retention goes on.
    let begins = log_begins(&app.state).await.map_err(unread)?;
    let mut views = Vec::new();
    for (view, topics) in app.state.followed() {
        let progress = ViewProgress::read(view, topics, &begins, ends).await.map_err(|error| {
            tracing::warn!(view = view.view(), error = chain(&error), "the view's positions cannot be read");
            "a view cannot be read"
        })?;
        views.push(progress);
    }
    let behind = !views.iter().all(ViewProgress::has_arrived);
    Ok(behind.then(|| views.iter().map(shown_progress).collect()))
}

fn shown(component: &Component) -> Value {
    match &component.state {
        ComponentState::Running => json!({"name": component.name, "state": "running"}),
        ComponentState::Waiting(reason) => {
            json!({"name": component.name, "state": "waiting", "reason": reason})
        }
        ComponentState::Stopped(reason) => {
            json!({"name": component.name, "state": "stopped", "reason": reason})
        }
    }
}

fn shown_progress(progress: &ViewProgress) -> Value {
    let partitions: Vec<Value> = progress
        .partitions
        .iter()
        .map(|at| {
            json!({"topic": &*at.partition.topic, "partition": at.partition.number,
                "position": at.position, "end": at.end})
        })
        .collect();
    json!({"view": progress.view, "generation": progress.generation, "partitions": partitions})
}

fn unready(body: &Value) -> Response {
    json_response(StatusCode::SERVICE_UNAVAILABLE, body)
}

fn interrupted(interruption: Interruption) -> Response {
    match interruption {
        Interruption::TimedOut => unready(&json!({"error": "the request took too long"})),
        Interruption::Panicked => {
            json_response(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": "internal error"}))
        }
    }
}

/// A small JSON answer.
pub(crate) fn json_response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
