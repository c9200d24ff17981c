//! Lastline's portal API ("papi"): `/papi/<module>/<function>[.json|.xml]`.
//!
//! Reading order: this file (the route table, and the way of one request), [`path`] and [`parameters`] (what was
//! asked), `authentication` (by whom), `system`, `auditlog` and `session` (the functions by module),
//! [`envelope`], [`errors`], [`xml`] and [`time`] (how it is answered).
//!
//! The table [`ROUTES`] is the only list of functions: requests are routed by it, permissions are checked by it, and
//! the tests go through it.

pub mod envelope;
pub mod errors;
pub mod parameters;
pub mod path;
pub mod time;
pub mod xml;

mod auditlog;
mod authentication;
mod failures;
mod session;
mod system;

use annals_access::{Customer, Permission, Principal};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use percent_encoding::percent_decode_str;

use crate::body::{self, BodyError};
use crate::guard::{Interruption, guarded};
use crate::observe::{Answer, OK, UNKNOWN};
use crate::request_target::MAX_TARGET_BYTES;
use crate::router::{App, Refusal};
use crate::state::ApiViews;
use authentication::{Caller, CookieChange};
use envelope::{Data, Format};
use errors::PapiError;
use parameters::{MAX_BODY_BYTES, Parameters};
use path::PapiPath;

/// How events, log lines and metrics call this dialect.
pub const DIALECT: &str = "papi";

/// A function of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `module/function`, or the function alone.
    pub name: &'static str,
    /// Methods that it takes. HEAD is answered as GET is.
    pub methods: &'static [Method],
    /// What a caller needs.
    pub needs: Needs,
    /// Whether it changes anything. Such a function leaves one audit event however it ends (architecture, section 8),
    /// beside the one that an implicit login leaves.
    pub mutating: bool,
    function: Function,
}

/// What a caller needs for a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Credentials, or a sign-in that goes on; the function decides what is seen.
    SignIn,
    /// Beyond it this permission at the customer that is asked for: `customer=`, or the caller's own.
    PermissionAtCustomer(Permission),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Login,
    Logout,
    Ping,
    GetEvents,
    GetUsersLoggedOn,
}

const GET_AND_POST: &[Method] = &[Method::GET, Method::POST];

/// Every function.
pub const ROUTES: &[Route] = &[
    Route::new("login", Needs::SignIn, true, Function::Login),
    Route::new("logout", Needs::SignIn, true, Function::Logout),
    Route::new("ping", Needs::SignIn, false, Function::Ping),
    Route::new("auditlog/ping", Needs::SignIn, false, Function::Ping),
    Route::new("auditlog/get_events", Needs::SignIn, false, Function::GetEvents),
    Route::new("session/ping", Needs::SignIn, false, Function::Ping),
    Route::new(
        "session/get_users_logged_on",
        Needs::PermissionAtCustomer(Permission::ViewAppliances),
        false,
        Function::GetUsersLoggedOn,
    ),
];

impl Route {
    const fn new(name: &'static str, needs: Needs, mutating: bool, function: Function) -> Self {
        Self { name, methods: GET_AND_POST, needs, mutating, function }
    }

    /// The module; none for the server's own functions.
    #[must_use]
    pub fn module(&self) -> Option<&'static str> {
        self.name.split_once('/').map(|(module, _)| module)
    }

    /// The function within the module.
    #[must_use]
    pub fn function(&self) -> &'static str {
        self.name.split_once('/').map_or(self.name, |(_, function)| function)
    }

    /// Whether the function takes `method`.
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

/// What a function works with.
struct Call<'a> {
    app: &'a App,
    views: &'a ApiViews,
    parameters: &'a Parameters,
    caller: &'a Caller,
    principal: &'a Principal,
    /// The customer that is asked for, when [`Needs`] names a permission there; else the caller's own.
    customer: &'a Customer,
}

/// What comes of a request: a failure may follow an implicit login, whose cookie is given out all the same.
struct Reply {
    result: Result<Data, PapiError>,
    cookie: CookieChange,
}

impl From<PapiError> for Reply {
    fn from(error: PapiError) -> Self {
        Self { result: Err(error), cookie: CookieChange::Keep }
    }
}

/// Whether a path, percent-encoded as it came, is in this dialect.
pub(crate) fn owns(raw_path: &str) -> bool {
    let path = percent_decode_str(raw_path).decode_utf8_lossy();
    path.starts_with(path::PREFIX) || *path == *path::PREFIX.trim_end_matches('/')
}

/// Answers a request.
pub(crate) async fn answer(app: &App, views: &ApiViews, request: Request) -> Answer {
    let (format, route) = match PapiPath::parse(request.uri().path()) {
        Ok(path) => (path.format, find(&path)),
        Err(error) => (Format::Json, Err(error)),
    };
    let route = match route {
        Ok(route) => route,
        Err(error) => return respond(app, format, UNKNOWN, error.into()),
    };
    if !route.takes(request.method()) {
        let allowed = route.allowed();
        let mut answer = respond(app, format, route.name, PapiError::method_not_allowed(&allowed).into());
        answer.response.headers_mut().extend(HeaderValue::try_from(allowed).ok().map(|value| (ALLOW, value)));
        return answer;
    }
    let reply = guarded(app.state.settings.request_timeout, reply(app, views, route, request)).await;
    respond(app, format, route.name, reply.unwrap_or_else(|interruption| interrupted(interruption).into()))
}

fn find(path: &PapiPath) -> Result<&'static Route, PapiError> {
    let name = path.full_name();
    ROUTES.iter().find(|route| route.name == name).ok_or_else(|| PapiError::unknown_function(&name))
}

/// Answers a request that is not looked at further.
pub(crate) fn refuse(app: &App, request: &Request, refusal: Refusal) -> Answer {
    let format = PapiPath::parse(request.uri().path()).map_or(Format::Json, |path| path.format);
    let error = match refusal {
        Refusal::TargetTooLong => PapiError::target_too_long(MAX_TARGET_BYTES),
        Refusal::NoViews => PapiError::unavailable(),
    };
    respond(app, format, UNKNOWN, error.into())
}

fn interrupted(interruption: Interruption) -> PapiError {
    match interruption {
        Interruption::TimedOut => PapiError::timed_out(),
        Interruption::Panicked => PapiError::internal(),
    }
}

async fn reply(app: &App, views: &ApiViews, route: &Route, request: Request) -> Reply {
    let caller = Caller::of(&request);
    let parameters = match read_parameters(request).await {
        Ok(parameters) => parameters,
        Err(error) => return error.into(),
    };
    // After the body: whoever sends it slowly holds nobody else up. The semaphore is never closed.
    let _permit = app.permits.acquire().await.ok();
    let access = &app.state.access;
    let signed = match authentication::authenticate(access, route.mutating, &parameters, &caller).await {
        Ok(signed) => signed,
        Err(error) => return error.into(),
    };
    let principal = &signed.principal;
    let result = match asked_customer(app, route, principal, &parameters).await {
        Ok(customer) => {
            let parameters = &parameters;
            let call = Call { app, views, parameters, caller: &caller, principal, customer: &customer };
            call_function(route.function, &call).await
        }
        Err(error) => Err(error),
    };
    let ended = route.function == Function::Logout && result.is_ok();
    Reply { result, cookie: if ended { CookieChange::Delete } else { signed.cookie } }
}

async fn read_parameters(request: Request) -> Result<Parameters, PapiError> {
    let (head, body) = request.into_parts();
    let body = body::read(body, MAX_BODY_BYTES).await.map_err(|error| match error {
        BodyError::TooLong => parameters::body_too_long(),
        BodyError::Broken => PapiError::invalid_parameter("the body cannot be read"),
    })?;
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    Parameters::parse(head.uri.query(), content_type.as_deref(), &body)
}

/// The customer of the call. One that does not exist is denied in the same words as one that was not granted.
async fn asked_customer(
    app: &App,
    route: &Route,
    principal: &Principal,
    parameters: &Parameters,
) -> Result<Customer, PapiError> {
    let Needs::PermissionAtCustomer(permission) = route.needs else {
        return Ok(principal.customer.clone());
    };
    let customer = match parameters.trimmed("customer") {
        None => principal.customer.clone(),
        Some(name) => {
            app.state.access.find_customer(name).await.map_err(|error| failures::customer(&error))?
        }
    };
    if principal.may(permission, customer.id) { Ok(customer) } else { Err(PapiError::permission_denied()) }
}

async fn call_function(function: Function, call: &Call<'_>) -> Result<Data, PapiError> {
    match function {
        Function::Login => system::login(),
        Function::Logout => system::logout(call).await,
        Function::Ping => system::ping(),
        Function::GetEvents => auditlog::get_events(call).await,
        Function::GetUsersLoggedOn => session::get_users_logged_on(call).await,
    }
}

fn respond(app: &App, format: Format, function: &'static str, reply: Reply) -> Answer {
    let (status, outcome, (content_type, body)) = match &reply.result {
        Ok(data) => (200, OK, envelope::render_success(format, data)),
        Err(error) => (error.status(), error.code().name(), envelope::render_error(format, error)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // Credentials may stand in the URL, and names in the answer: nothing between client and server may keep either.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(reply.cookie.header(app.state.settings.tls).map(|value| (SET_COOKIE, value)));
    Answer { response, dialect: DIALECT, function, outcome }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_can_be_asked_for_in_both_formats() {
        for route in ROUTES {
            for suffix in ["", ".json", ".xml"] {
                let path = PapiPath::parse(&format!("{}{}{suffix}", path::PREFIX, route.name)).unwrap();
                assert_eq!(find(&path), Ok(route));
                assert_eq!((path.module.as_deref(), &*path.function), (route.module(), route.function()));
            }
        }
    }

    #[test]
    fn every_route_has_its_own_name() {
        let mut names: Vec<_> = ROUTES.iter().map(|route| route.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROUTES.len());
    }

    #[test]
    fn every_module_has_a_ping() {
        for route in ROUTES {
            let ping = route.module().map_or("ping".to_owned(), |module| format!("{module}/ping"));
            assert!(ROUTES.iter().any(|other| other.name == ping), "{ping}");
        }
    }

    #[test]
    fn head_is_taken_as_get() {
        let route = &ROUTES[0];
        assert!(route.takes(&Method::HEAD) && route.takes(&Method::GET) && route.takes(&Method::POST));
        assert!(!route.takes(&Method::PUT));
        assert_eq!(route.allowed(), "GET, POST");
    }

    #[test]
    fn the_dialect_owns_its_prefix_and_nothing_like_it() {
        for path in ["/papi", "/papi/", "/papi/login", "/%70api/login", "/papi%2Flogin", "/papi/\u{e9}"] {
            assert!(owns(path), "{path}");
        }
        for path in ["", "/", "*", "/papix", "/PAPI/login", "/x/papi/login", "papi/login"] {
            assert!(!owns(path), "{path}");
        }
    }

    #[test]
    fn an_interruption_is_a_failure_of_the_server() {
        assert_eq!(interrupted(Interruption::TimedOut).status(), 503);
        assert_eq!(interrupted(Interruption::Panicked).status(), 500);
    }
}
