//! LogicMonitor's API of audit logs ("santaba"): `/santaba/rest/setting/accesslogs`, in its versions 1, 2 and 3.
//!
//! Reading order: this file (the route table, and the way of one request), `path`, [`version`] and [`parameters`] (what
//! was asked), `authentication` and [`lmv1`] (by whom), `rate` (how often), `accesslogs` with [`field`], `entry` and
//! [`filter`] (the resource), [`envelope`] and [`errors`] (how it is answered).
//!
//! The table [`ROUTES`] is the only list of resources: requests are routed by it, and the tests go through it.

pub mod entry;
pub mod envelope;
pub mod errors;
pub mod field;
pub mod filter;
pub mod lmv1;
pub mod parameters;
pub mod version;

mod accesslogs;
mod authentication;
mod failures;
mod path;
mod rate;

use annals_access::{Client, Principal};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

use crate::body::{self, BodyError};
use crate::caller;
use crate::guard::{Interruption, guarded};
use crate::observe::{Answer, OK, UNKNOWN};
use crate::request_target::MAX_TARGET_BYTES;
use crate::router::{App, Refusal};
use crate::state::ApiViews;
use envelope::Data;
use errors::SantabaError;
use lmv1::SignedParts;
use parameters::Parameters;
use path::Resource;
use rate::Rate;
use version::Version;

pub(crate) use path::owns;

/// How events, log lines and metrics call this dialect.
pub const DIALECT: &str = "santaba";

/// Longest body. Nothing here reads one, but a client may have signed it.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// What a client that was not known may show, as RFC 9110 wants it beside a 401.
const CHALLENGE: HeaderValue = HeaderValue::from_static("LMv1, Bearer");

/// A resource of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Method and path: what a rate limit is for, and the name for logs and metrics.
    pub name: &'static str,
    /// An example of its path.
    pub example: &'static str,
    /// Methods that it takes. HEAD is answered as GET is.
    pub methods: &'static [Method],
}

const GET: &[Method] = &[Method::GET];

/// The records.
const ENTRIES: Route =
    Route { name: "GET /setting/accesslogs", example: "/santaba/rest/setting/accesslogs", methods: GET };

/// One record.
const ENTRY: Route = Route {
    name: "GET /setting/accesslogs/{id}",
    example: "/santaba/rest/setting/accesslogs/2415",
    methods: GET,
};

/// Every resource.
pub const ROUTES: &[Route] = &[ENTRIES, ENTRY];

impl Route {
    const fn of(resource: &Resource) -> &'static Self {
        match resource {
            Resource::Entries => &ENTRIES,
            Resource::Entry(_) => &ENTRY,
        }
    }

    /// Whether the resource takes `method`.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        self.methods.contains(if method == Method::HEAD { &Method::GET } else { method })
    }

    /// The value of `Allow`.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// What a resource works with.
struct Call<'a> {
    app: &'a App,
    views: &'a ApiViews,
    version: Version,
    parameters: &'a Parameters,
    client: &'a Client,
    principal: &'a Principal,
}

/// Answers a request.
pub(crate) async fn answer(app: &App, views: &ApiViews, request: Request) -> Answer {
    let rate = Rate::new(app.state.settings.rate_limit);
    let version = Version::of(request.headers(), request.uri().query());
    // Whoever asks for a version that does not exist is told in the words of the last one.
    let shown_version = version.as_ref().copied().unwrap_or(Version::V3);
    let respond = |name, result| respond(shown_version, &rate, name, result);
    let Some(resource) = Resource::at(request.uri().path()) else {
        return respond(UNKNOWN, Err(SantabaError::no_such_resource()));
    };
    let route = Route::of(&resource);
    if !route.takes(request.method()) {
        let allowed = route.allowed();
        let mut answer = respond(route.name, Err(SantabaError::method_not_allowed(&allowed)));
        answer.response.headers_mut().extend(HeaderValue::try_from(allowed).ok().map(|value| (ALLOW, value)));
        return answer;
    }
    let asked = match version {
        Ok(version) => Asked { route, resource, version },
        Err(error) => return respond(route.name, Err(error)),
    };
    let reply = guarded(app.state.settings.request_timeout, reply(app, views, &asked, &rate, request)).await;
    respond(route.name, reply.unwrap_or_else(|interruption| Err(interrupted(interruption))))
}

/// Answers a request that is not looked at further.
pub(crate) fn refuse(app: &App, request: &Request, refusal: Refusal) -> Answer {
    // What names a version stands in the header, or in what is left of a query that was cut.
    let version = Version::of(request.headers(), request.uri().query()).unwrap_or(Version::V3);
    let error = match refusal {
        Refusal::TargetTooLong => SantabaError::target_too_long(MAX_TARGET_BYTES),
        Refusal::NoViews => SantabaError::unavailable(),
    };
    respond(version, &Rate::new(app.state.settings.rate_limit), UNKNOWN, Err(error))
}

fn interrupted(interruption: Interruption) -> SantabaError {
    match interruption {
        Interruption::TimedOut => SantabaError::timed_out(),
        Interruption::Panicked => SantabaError::internal(),
    }
}

/// What a request is for.
struct Asked {
    route: &'static Route,
    resource: Resource,
    version: Version,
}

async fn reply(
    app: &App,
    views: &ApiViews,
    asked: &Asked,
    rate: &Rate,
    request: Request,
) -> Result<Data, SantabaError> {
    let (head, body) = request.into_parts();
    let client = &caller::client(&head.headers, &head.extensions);
    let body = read_body(body).await?;
    // After the body: whoever sends it slowly holds nobody else up. The semaphore is never closed.
    let _permit = app.permits.acquire().await.ok();
    let access = &app.state.access;
    let signed = SignedParts {
        method: head.method.as_str().to_owned(),
        body,
        paths: path::signed_paths(head.uri.path()),
    };
    let principal =
        &authentication::authenticate(access, asked.version, &head.headers, signed, client).await?;
    rate.take(access, principal, asked.route.name).await?;
    let parameters = &Parameters::parse(head.uri.query())?;
    let call = Call { app, views, version: asked.version, parameters, client, principal };
    match &asked.resource {
        Resource::Entries => accesslogs::list(&call).await,
        Resource::Entry(id) => accesslogs::entry(&call, id).await,
    }
}

async fn read_body(body: Body) -> Result<Vec<u8>, SantabaError> {
    let body = body::read(body, MAX_BODY_BYTES).await.map_err(|error| match error {
        BodyError::TooLong => SantabaError::body_too_long(MAX_BODY_BYTES),
        BodyError::Broken => SantabaError::invalid("the body cannot be read"),
    })?;
    Ok(body.to_vec())
}

fn respond(version: Version, rate: &Rate, name: &'static str, result: Result<Data, SantabaError>) -> Answer {
    let (status, outcome, body) = match &result {
        Ok(data) => (200, OK, envelope::success(version, data)),
        Err(error) => {
            let failure = error.failure();
            (failure.told(version).status, failure.name(), envelope::failure(version, error))
        }
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(envelope::CONTENT_TYPE));
    // Names of people stand in the answer: nothing between client and server may keep it.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(unauthorized.then_some((WWW_AUTHENTICATE, CHALLENGE)));
    rate.write(headers);
    Answer { response, dialect: DIALECT, function: name, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::santaba::errors::Failure;

    #[test]
    fn every_route_is_found_by_its_example_and_has_its_own_name() {
        for route in ROUTES {
            let resource = Resource::at(route.example).unwrap();
            assert_eq!(Route::of(&resource), route);
            let (method, path) = route.name.split_once(' ').unwrap();
            assert_eq!(method, route.allowed());
            let path = path.replace("{id}", "2415");
            assert_eq!(path::signed_paths(route.example), [path.into_bytes()]);
        }
        assert_ne!(ENTRIES.name, ENTRY.name);
    }

    #[test]
    fn head_is_taken_as_get_and_nothing_else_is() {
        for route in ROUTES {
            assert!(route.takes(&Method::GET) && route.takes(&Method::HEAD));
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
                assert!(!route.takes(&method), "{method}");
            }
        }
    }

    #[test]
    fn every_answer_has_the_headers_of_the_rate_and_is_not_kept() {
        let rate = Rate::new(6_000);
        for version in Version::ALL {
            for result in [Data::of(&"x"), Err(SantabaError::authentication()), Err(SantabaError::internal())]
            {
                let failed = result.is_err();
                let answer = respond(version, &rate, ENTRIES.name, result);
                let headers = answer.response.headers();
                assert_eq!(headers["x-rate-limit-limit"], "6000");
                assert_eq!(headers["x-rate-limit-remaining"], "6000");
                assert_eq!(headers["x-rate-limit-window"], "60");
                assert_eq!(headers[CACHE_CONTROL], "no-store");
                assert_eq!(headers[CONTENT_TYPE], "application/json");
                assert_eq!(headers.contains_key(WWW_AUTHENTICATE), answer.response.status() == 401);
                assert!(!headers.contains_key("retry-after"));
                assert_eq!(answer.outcome == OK, !failed);
            }
        }
    }

    #[test]
    fn an_interruption_is_a_failure_of_the_server() {
        assert_eq!(interrupted(Interruption::TimedOut).failure(), Failure::TimedOut);
        assert_eq!(interrupted(Interruption::Panicked).failure(), Failure::Internal);
    }
}
