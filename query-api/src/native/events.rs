//! Audit events: pages, and single ones.

use annals_views::audit_log::{self, Direction};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::accept::Form;
use super::asked::Asked;
use super::event::ShownEvent;
use super::parameters::{Given, ORDERS, PAGING, id, row};
use super::problem::Problem;
use super::token::{Token, positions_of};
use super::walk::{CURSOR, Walk};
use super::{Call, download, feed, json_response, live};

/// The parameter that asks for a total.
const COUNT: &str = "count";

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEventPage)]
pub(super) struct EventPage {
    /// The events, in the order asked for.
    events: Vec<ShownEvent>,
    /// The cursor of the page that follows; null when there is none.
    #[schema(required = true)]
    next: Option<String>,
    /// How many events match, in the whole walk; only with `count=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64)]
    total: Option<u64>,
}

/// The audit events that the caller may see: all of the customers where it may view the audit log, else its own.
pub(super) async fn list(call: Call<'_>) -> Result<Response, Problem> {
    let form = Form::of(call.given, &call.head.headers)?;
    match (form, call.given.text(feed::AFTER)) {
        (Form::Live, _) => live::stream(call).await,
        (_, Some(_)) => feed::read(&call).await,
        (Form::File(format), None) => download::file(call, format).await,
        (Form::Json, None) => page(&call).await,
    }
}

/// Which way a walk goes.
pub(super) fn direction(given: &Given) -> Result<Direction, Problem> {
    Ok(match given.word("sort", ORDERS)? {
        Some("time") => Direction::Ascending,
        _ => Direction::Descending,
    })
}

async fn page(call: &Call<'_>) -> Result<Response, Problem> {
    let given = call.given;
    let asked = Asked::of(given)?;
    let limit = given.number(row(PAGING, "limit")?)?;
    let count = given.flag(COUNT)?;
    let mut walk = Walk::new(&call.viewer, &asked, direction(given)?);
    if let Some(cursor) = given.text(CURSOR) {
        walk.resume(cursor)?;
    }
    let reader = call.views.audit_log.current();
    let page = walk.page(&reader, limit, count.then_some(&call.app.memory)).await?;
    if count && walk.total().is_none() {
        // Rows that came since would be counted now.
        return Err(Problem::bad_parameter(COUNT, "must be given with the first page of a walk already"));
    }
    call.viewer.record_read().await;
    let customers = &call.viewer.customers;
    let body = EventPage {
        next: walk.cursor().filter(|_| page.more),
        events: page.events.into_iter().map(|event| ShownEvent::of(event, customers)).collect(),
        total: walk.total().filter(|_| count),
    };
    json_response(&body, &walk.snapshot())
}

/// One event. What cannot be an id is unknown like one that is nobody's, and like one of a foreign customer.
pub(super) async fn find(call: Call<'_>) -> Result<Response, Problem> {
    let failed = |error| Problem::store(&error);
    let event_id = id(call.id).ok_or_else(Problem::unknown_event)?;
    let reader = call.views.audit_log.current();
    // Before the event is read, so that the position never says more than was looked at.
    let known = reader.incarnations().await.map_err(failed)?;
    let stored = reader.positions().await.map_err(failed)?;
    let event = audit_log::find(&reader.pool, &call.viewer.scope, event_id).await.map_err(failed)?;
    call.viewer.record_read().await;
    let event = event.ok_or_else(Problem::unknown_event)?;
    let position = Token::new(&known, positions_of(&stored));
    json_response(&ShownEvent::of(event, &call.viewer.customers), &position)
}
