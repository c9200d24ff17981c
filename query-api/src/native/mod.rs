//! annals' own API: `/v1/…` (docs/api.md).
//!
//! Reading order: this file (the route table, and the way of one request), [`parameters`] and [`asked`] (what was
//! asked), `authentication` and `viewer` (by whom, and what it sees), `accept` (in which form), `events` and `walk`
//! (pages), `cursor` and [`token`] (where a walk or a feed goes on), `feed` and `live` (the log as it grows),
//! `download` and [`csv`] (files), `wait` (read your writes), `logons`, [`event`] and `problem` (what is answered),
//! [`openapi`] (its description, made from the same tables).

pub mod asked;
pub mod csv;
pub mod event;
pub mod openapi;
pub mod parameters;
pub mod token;

mod accept;
mod authentication;
mod cursor;
mod download;
mod events;
mod feed;
mod live;
mod logons;
mod problem;
mod viewer;
mod wait;
mod walk;

use std::sync::Arc;

use annals_schemas::Topic;
use annals_store::Followed;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::authentication::Caller;
use self::parameters::{FILTERS, Given, LOGONS, PAGING, Parameter, WAITING};
use self::problem::Problem;
use self::token::Token;
use self::viewer::Viewer;
use crate::guard::guarded;
use crate::observe::{Answer, OK, UNKNOWN};
use crate::request_target::MAX_TARGET_BYTES;
use crate::router::{App, Refusal};
use crate::state::ApiViews;

/// How events, log lines and metrics call this dialect.
pub const DIALECT: &str = "native";

/// What its paths begin with.
const PREFIX: &str = "/v1/";

/// The header that says how far the view was that an answer comes from.
pub(crate) const POSITION_HEADER: HeaderName = HeaderName::from_static("annals-position");

/// Live streams that are open at once. Each asks the view for news ten times a second.
pub const MAX_LIVE_STREAMS: usize = 64;

/// Downloads that run at once. Each holds a page in memory.
pub const MAX_DOWNLOADS: usize = 16;

/// A path of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path; `{id}` is any text without a slash.
    pub path: &'static str,
    /// What log lines, metrics and the OpenAPI document call it.
    pub operation: &'static str,
    /// What it gives, in a few words.
    pub summary: &'static str,
    /// Whether anybody may ask.
    pub is_public: bool,
    parameters: &'static [&'static [Parameter]],
    function: Function,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    ListEvents,
    FindEvent,
    ListLogons,
    Describe,
}

/// Every path.
pub const ROUTES: &[Route] = &[
    Route {
        path: "/v1/audit-events",
        operation: "list_audit_events",
        summary: "Audit events: a page, the feed of all of them, or a file",
        is_public: false,
        parameters: &[FILTERS, PAGING, WAITING],
        function: Function::ListEvents,
    },
    Route {
        path: "/v1/audit-events/{id}",
        operation: "find_audit_event",
        summary: "One audit event",
        is_public: false,
        parameters: &[WAITING],
        function: Function::FindEvent,
    },
    Route {
        path: "/v1/logons",
        operation: "list_logons",
        summary: "Who logged on from an address",
        is_public: false,
        parameters: &[LOGONS, WAITING],
        function: Function::ListLogons,
    },
    Route {
        path: "/v1/openapi.json",
        operation: "describe",
        summary: "This API as an OpenAPI document",
        is_public: true,
        parameters: &[],
        function: Function::Describe,
    },
];

impl Route {
    /// What stands for `{id}` when the path is this one.
    fn matches<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.path.strip_suffix("{id}") {
            Some(before) => path.strip_prefix(before).filter(|id| !id.is_empty() && !id.contains('/')),
            None => (path == self.path).then_some(""),
        }
    }
}

/// Places for answers that go on. They outlive their requests, so that the limit on those does not count them.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    live: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            live: Arc::new(Semaphore::new(MAX_LIVE_STREAMS)),
            downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
        }
    }
}

impl Streams {
    fn live(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.live).try_acquire_owned();
        place.map_err(|_| Problem::too_many_streams("live streams", MAX_LIVE_STREAMS))
    }

    fn download(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.downloads).try_acquire_owned();
        place.map_err(|_| Problem::too_many_streams("downloads", MAX_DOWNLOADS))
    }
}

/// What a function works with.
struct Call<'a> {
    app: &'a App,
    views: &'a ApiViews,
    head: &'a Parts,
    given: &'a Given,
    viewer: Viewer,
    /// What stands for `{id}`.
    id: &'a str,
}

/// Whether a path, percent-encoded as it came, is in this dialect.
pub(crate) fn owns(raw_path: &str) -> bool {
    let path = percent_decode_str(raw_path).decode_utf8_lossy();
    path.starts_with(PREFIX) || *path == *PREFIX.trim_end_matches('/')
}

/// Answers a request.
pub(crate) async fn answer(app: &App, views: &ApiViews, request: Request) -> Answer {
    let (head, _) = request.into_parts();
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let found = ROUTES.iter().find_map(|route| route.matches(&path).map(|id| (route, id)));
    let Some((route, id)) = found else {
        return respond(UNKNOWN, Err(Problem::unknown_path()));
    };
    if ![Method::GET, Method::HEAD].contains(&head.method) {
        return respond(route.operation, Err(Problem::method_not_allowed()));
    }
    let given = Given::parse(head.uri.query(), route.parameters);
    // What a request asks to wait is not part of the time that its answer may take.
    let patience = given.as_ref().ok().and_then(|given| wait::patience(given).ok()).unwrap_or_default();
    let limit = app.state.settings.request_timeout + patience;
    let work = reply(app, views, route, &head, given, id);
    let reply = guarded(limit, work).await;
    respond(route.operation, reply.unwrap_or_else(|interruption| Err(Problem::interrupted(interruption))))
}

/// Answers a request that is not looked at further.
pub(crate) fn refuse(refusal: Refusal) -> Answer {
    let problem = match refusal {
        Refusal::TargetTooLong => Problem::target_too_long(MAX_TARGET_BYTES),
        Refusal::NoViews => Problem::no_views(),
    };
    respond(UNKNOWN, Err(problem))
}

async fn reply(
    app: &App,
    views: &ApiViews,
    route: &Route,
    head: &Parts,
    given: Result<Given, Problem>,
    id: &str,
) -> Result<Response, Problem> {
    if route.is_public {
        return given.map(|_| text_response("application/json", openapi::document().to_owned()));
    }
    let caller = Caller::of(&head.headers, &head.extensions);
    // The semaphore is never closed. Whoever waits for the view holds nobody up.
    let permit = app.permits.acquire().await.ok();
    let viewer = Viewer::sign_in(&app.state.access, caller).await?;
    drop(permit);
    let given = &given?;
    let (view, topics) = view_of(route.function, views);
    wait::until_folded(view, topics, given).await?;
    let _permit = app.permits.acquire().await.ok();
    let call = Call { app, views, head, given, viewer, id };
    match route.function {
        Function::ListEvents => events::list(call).await,
        Function::FindEvent => events::find(call).await,
        Function::ListLogons => logons::list(&call).await,
        Function::Describe => Err(Problem::internal()),
    }
}

/// The view that a function reads, and the topics that it folds.
fn view_of(function: Function, views: &ApiViews) -> (&Followed, &'static [Topic]) {
    match function {
        Function::ListLogons => (&views.logged_on_users, LoggedOnUsers::topics()),
        _ => (&views.audit_log, AuditLog::topics()),
    }
}

fn respond(function: &'static str, reply: Result<Response, Problem>) -> Answer {
    let (mut response, outcome) = match reply {
        Ok(response) => (response, OK),
        Err(problem) => (problem.response(), problem.code().name()),
    };
    let headers = response.headers_mut();
    // Names stand in the answer: nothing between client and server may keep it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Answer { response, dialect: DIALECT, function, outcome }
}

/// An answer in JSON, from as far as the token says.
fn json_response(body: &impl Serialize, position: &Token) -> Result<Response, Problem> {
    let body = serde_json::to_string(body).map_err(|_| Problem::internal())?;
    Ok(positioned(text_response("application/json", body), position))
}

fn text_response(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Says how far the view was.
fn positioned(mut response: Response, position: &Token) -> Response {
    // A token is ASCII, so that this does not fail.
    if let Ok(value) = HeaderValue::try_from(position.text()) {
        response.headers_mut().insert(POSITION_HEADER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route_of(path: &str) -> Option<(&'static str, &str)> {
        ROUTES.iter().find_map(|route| route.matches(path).map(|id| (route.operation, id)))
    }

    #[test]
    fn every_path_is_found_and_nothing_like_it() {
        assert_eq!(route_of("/v1/audit-events"), Some(("list_audit_events", "")));
        assert_eq!(route_of("/v1/audit-events/a-b"), Some(("find_audit_event", "a-b")));
        assert_eq!(route_of("/v1/logons"), Some(("list_logons", "")));
        assert_eq!(route_of("/v1/openapi.json"), Some(("describe", "")));
        for path in ["/v1", "/v1/", "/v1/audit-events/", "/v1/audit-events/a/b", "/v1/Logons", "/v1/logons/"]
        {
            assert_eq!(route_of(path), None, "{path}");
        }
    }

    #[test]
    fn every_route_has_its_own_name() {
        let mut names: Vec<_> = ROUTES.iter().map(|route| route.operation).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROUTES.len());
        assert!(ROUTES.iter().all(|route| owns(route.path)));
    }

    #[test]
    fn the_dialect_owns_its_prefix_and_nothing_like_it() {
        for path in ["/v1", "/v1/", "/v1/x", "/%761/x", "/v1%2Fx", "/v1/\u{e9}"] {
            assert!(owns(path), "{path}");
        }
        for path in ["", "/", "*", "/v10", "/V1/x", "/x/v1/", "v1/x", "/v2/x"] {
            assert!(!owns(path), "{path}");
        }
    }

    #[test]
    fn places_for_streams_are_counted_and_given_back() {
        let streams = Streams::default();
        let places: Vec<_> = (0..MAX_LIVE_STREAMS).map(|_| streams.live().unwrap()).collect();
        assert_eq!(streams.live().unwrap_err().code(), problem::Code::TooManyStreams);
        assert!(streams.download().is_ok());
        drop(places);
        assert!(streams.live().is_ok());
    }
}
