//! The OpenAPI document, made from the tables that requests are checked by and from the types that answers are made of.
//! It is kept in `docs/openapi.json`, so that every change of the API is seen in a review; a test compares.

use std::sync::LazyLock;

use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::info::{InfoBuilder, LicenseBuilder};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter as DocumentParameter, ParameterBuilder, ParameterIn,
    PathItem, PathsBuilder,
};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, ComponentsBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, OpenApiBuilder, Ref, RefOr, Required};

use super::event::ShownEvent;
use super::events::EventPage;
use super::feed::FeedPage;
use super::logons::LogonList;
use super::parameters::{Kind, MAX_PART_CHARACTERS, MAX_PARTS, MAX_VALUE_CHARACTERS, MAX_VALUES, Parameter};
use super::problem::{self, Code, ProblemDocument};
use super::{Function, ROUTES, Route};
use crate::caller::COOKIE_NAME;

const ABOUT: &str = "annals' own API. Names of parameters are exact, times have an offset, and every failure is a \
                     problem of RFC 9457 whose `code` is for programs. docs/api.md tells how to use it.";

const LIST_ABOUT: &str = "Without `after` a page of events by time; `next` leads to the following one, and a page once \
                          read never changes. With `after` the feed: every event in the order of the log, for readers \
                          that must miss nothing. With `Accept: text/event-stream` the feed as it grows. With \
                          `format=csv` or `format=ndjson` the whole query as a file. Without the permission \
                          `can_view_audit_log` at a customer only one's own events there are seen.";

const POSITION_ABOUT: &str = "How far the view was that the answer comes from; for `at-least` and `after`.";

/// The one failure without a problem: the HTTP library answers it before it knows the path.
const HEAD_ABOUT: &str =
    "The head of the request is longer than 128 KiB, or has more than 100 headers. No body.";

/// What the sign-in methods are called in the document.
const SECURITY: [&str; 4] = ["bearer", "api_key", "password", "session"];

type Components = Vec<(String, RefOr<Schema>)>;

/// The document as text.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        // Made of texts and numbers: writing it does not fail, as a test shows.
        let mut text = open_api().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    });
    &DOCUMENT
}

fn open_api() -> OpenApi {
    let license = LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("annals")
        .version("1")
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let mut components = Components::new();
    let paths = ROUTES.iter().fold(PathsBuilder::new(), |paths, route| {
        paths.path(route.path, PathItem::new(HttpMethod::Get, operation(route, &mut components)))
    });
    // Of several uses of a type one is enough.
    components.sort_by(|(one, _), (other, _)| one.cmp(other));
    components.dedup_by(|(one, _), (other, _)| one == other);
    let mut built = ComponentsBuilder::new().schemas_from_iter(components);
    for (name, scheme) in SECURITY.into_iter().zip(security_schemes()) {
        built = built.security_scheme(name, scheme);
    }
    let tag = TagBuilder::new().name(TAG).description(Some("Who did what, when, from where.")).build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .paths(paths)
        .components(Some(built.build()))
        .security(Some(SECURITY.map(|name| SecurityRequirement::new(name, NO_SCOPES))))
        .tags(Some([tag]))
        .build()
}

const TAG: &str = "audit";
const NO_SCOPES: [&str; 0] = [];

fn security_schemes() -> [SecurityScheme; 4] {
    let http = |scheme, about: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(about)).build())
    };
    let key =
        ApiKeyValue::with_description("X-API-Key", "An API key (`ak_…`); also taken as a bearer token.");
    let cookie = ApiKeyValue::with_description(COOKIE_NAME, "The cookie of a sign-in through papi.");
    [
        http(HttpAuthScheme::Bearer, "A bearer token (`lmb_…`) or an API key (`ak_…`)."),
        SecurityScheme::ApiKey(ApiKey::Header(key)),
        http(HttpAuthScheme::Basic, "E-mail and password of an account."),
        SecurityScheme::ApiKey(ApiKey::Cookie(cookie)),
    ]
}

fn operation(route: &Route, components: &mut Components) -> Operation {
    let mut operation =
        OperationBuilder::new().operation_id(Some(route.operation)).summary(Some(route.summary));
    operation = operation.tag(TAG);
    for parameter in route.parameters.iter().copied().flatten() {
        operation = operation.parameter(query_parameter(parameter, route.function));
    }
    operation = operation.response("200", success(route.function, components));
    if route.is_public {
        operation = operation.securities(Some(Vec::<SecurityRequirement>::new()));
    }
    for status in failures(route.function) {
        operation = operation.response(status.to_string(), failure(*status, components));
    }
    operation = operation.response("431", ResponseBuilder::new().description(HEAD_ABOUT));
    let path_parameter = |about: &str| {
        let id = ObjectBuilder::new().schema_type(Type::String).format(Some(format("uuid")));
        let parameter = ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path);
        parameter.required(Required::True).description(Some(about)).schema(Some(id)).build()
    };
    match route.function {
        Function::ListEvents => operation.description(Some(LIST_ABOUT)).parameter(last_event_id()).build(),
        Function::FindEvent => operation.parameter(path_parameter("Id of the event.")).build(),
        Function::ListLogons => {
            operation.description(Some("Needs the permission `can_view_appliances` at the customer.")).build()
        }
        Function::Describe => operation.build(),
    }
}

fn last_event_id() -> DocumentParameter {
    ParameterBuilder::new()
        .name("Last-Event-ID")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The `id` of the last event that a live stream gave. Wins over `after`."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn query_parameter(parameter: &Parameter, function: Function) -> DocumentParameter {
    // The one parameter that nothing can be asked without.
    let is_required = function == Function::ListLogons && parameter.kind == Kind::Address;
    ParameterBuilder::new()
        .name(parameter.name)
        .parameter_in(ParameterIn::Query)
        .required(if is_required { Required::True } else { Required::False })
        .description(Some(parameter.about))
        .schema(Some(schema(parameter.kind)))
        .build()
}

fn schema(kind: Kind) -> RefOr<Schema> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let list = |items: RefOr<Schema>, most: usize| -> RefOr<Schema> {
        ArrayBuilder::new().items(items).max_items(Some(most)).build().into()
    };
    let name = || text().min_length(Some(1)).max_length(Some(MAX_VALUE_CHARACTERS));
    let address = || -> RefOr<Schema> {
        let one = |format: KnownFormat| text().format(Some(SchemaFormat::KnownFormat(format)));
        AnyOfBuilder::new().item(one(KnownFormat::Ipv4)).item(one(KnownFormat::Ipv6)).into()
    };
    match kind {
        Kind::Time => text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into(),
        // A list may also be written with commas between its items.
        Kind::Names => list(name().pattern(Some(r"[^,\s]")).into(), MAX_VALUES),
        Kind::Ids => list(text().format(Some(format("uuid"))).into(), MAX_VALUES),
        Kind::Addresses => list(address(), MAX_VALUES),
        Kind::Severities => list(text().enum_values(Some(["INFO", "WARNING", "ERROR"])).into(), MAX_VALUES),
        Kind::Parts => {
            list(text().min_length(Some(1)).max_length(Some(MAX_PART_CHARACTERS)).into(), MAX_PARTS)
        }
        Kind::Name => name().into(),
        Kind::Address => address(),
        Kind::Word(words) => text()
            .enum_values(Some(words.iter().copied()))
            .default(words.first().map(|word| (*word).into()))
            .into(),
        Kind::Number(least, most, default) => ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(least as usize))
            .maximum(Some(most as usize))
            .default(Some(default.into()))
            .into(),
        Kind::Flag => ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into())).into(),
        Kind::Token => text().into(),
    }
}

fn format(name: &str) -> SchemaFormat {
    SchemaFormat::Custom(name.to_owned())
}

/// The statuses of the failures of a function.
fn failures(function: Function) -> &'static [u16] {
    match function {
        Function::ListEvents => &[400, 401, 405, 409, 414, 429, 500, 503],
        Function::FindEvent => &[400, 401, 404, 405, 409, 414, 500, 503],
        Function::ListLogons => &[400, 401, 403, 405, 409, 414, 500, 503],
        Function::Describe => &[400, 405, 414, 500, 503],
    }
}

/// A reference to a type, which gets into the document with all that it refers to.
fn reference<T: ToSchema>(components: &mut Components) -> RefOr<Schema> {
    components.push((T::name().into_owned(), T::schema()));
    T::schemas(components);
    Ref::from_schema_name(T::name()).into()
}

fn success(function: Function, components: &mut Components) -> ResponseBuilder {
    let content = |schema: RefOr<Schema>| ContentBuilder::new().schema(Some(schema)).build();
    let text = || -> RefOr<Schema> { ObjectBuilder::new().schema_type(Type::String).into() };
    let answer = ResponseBuilder::new();
    let answer = match function {
        Function::ListEvents => {
            let page = reference::<EventPage>(components);
            let feed = reference::<FeedPage>(components);
            // Not "one of": a page of the feed has all that a page has.
            let either: RefOr<Schema> = AnyOfBuilder::new().item(page).item(feed).into();
            answer
                .description("A page of events, or with `after` of the feed; or all of them in another form.")
                .content("application/json", content(either))
                .content("text/csv", content(text()))
                .content("application/x-ndjson", content(text()))
                .content("text/event-stream", content(text()))
        }
        Function::FindEvent => answer
            .description("The event.")
            .content("application/json", content(reference::<ShownEvent>(components))),
        Function::ListLogons => answer
            .description("Users with logons from the address.")
            .content("application/json", content(reference::<LogonList>(components))),
        Function::Describe => {
            let any: RefOr<Schema> = ObjectBuilder::new().into();
            return answer.description("This document.").content("application/json", content(any));
        }
    };
    let position = HeaderBuilder::new().schema(text()).description(Some(POSITION_ABOUT)).build();
    answer.header("Annals-Position", position)
}

fn failure(status: u16, components: &mut Components) -> ResponseBuilder {
    let codes: Vec<String> = Code::ALL
        .into_iter()
        .filter(|code| code.status().as_u16() == status)
        .map(|code| format!("`{}`: {}.", code.name(), code.title()))
        .collect();
    let content = ContentBuilder::new().schema(Some(reference::<ProblemDocument>(components))).build();
    ResponseBuilder::new().description(codes.join(" ")).content(problem::MEDIA_TYPE, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::parameters::{FILTERS, PAGING};
    use serde_json::Value;
    use std::path::Path;

    /// Where the document is kept.
    fn kept() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json")
    }

    #[test]
    fn the_document_that_is_kept_is_the_one_of_the_code() {
        if std::env::var_os("ANNALS_UPDATE_OPENAPI").is_some() {
            std::fs::write(kept(), document()).unwrap();
        }
        let text = std::fs::read_to_string(kept()).unwrap_or_default();
        assert!(
            text == document(),
            "docs/openapi.json is not of this code; ANNALS_UPDATE_OPENAPI=1 writes it anew"
        );
    }

    #[test]
    fn the_document_has_every_path_and_parameter_and_no_dangling_reference() {
        let document: Value = serde_json::from_str(document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
        for route in ROUTES {
            assert_eq!(document["paths"][route.path]["get"]["operationId"], route.operation);
        }
        let parameters = document["paths"]["/v1/audit-events"]["get"]["parameters"].as_array().unwrap();
        for known in FILTERS.iter().chain(PAGING) {
            assert!(parameters.iter().any(|parameter| parameter["name"] == known.name), "{}", known.name);
        }
        for reference in references(&document) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn references(value: &Value) -> Vec<String> {
        match value {
            Value::Object(members) => members
                .iter()
                .flat_map(|(name, value)| match value {
                    Value::String(text) if name == "$ref" => vec![text.clone()],
                    value => references(value),
                })
                .collect(),
            Value::Array(items) => items.iter().flat_map(references).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_failure_of_the_document_has_a_code() {
        for route in ROUTES {
            for status in failures(route.function) {
                assert!(Code::ALL.iter().any(|code| code.status().as_u16() == *status), "{status}");
            }
        }
    }
}
