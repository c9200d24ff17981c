//! The feed: every event that the caller may see, in the order of the log, from a token on.
//!
//! A page of a query is cut by time, and an event that comes late stands in the middle of what was read already. The feed
//! goes by the log instead, where nothing is ever put in between, so that a reader that keeps its token misses nothing and
//! gets nothing twice.

use annals_store::GenerationReader;
use annals_views::audit_log::{self, AuditEvent, AuditField, Feed};
use annals_views::filter::Filter;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::asked::Asked;
use super::event::ShownEvent;
use super::parameters::{PAGING, row};
use super::problem::Problem;
use super::token::Token;
use super::viewer::Viewer;
use super::{Call, json_response};

/// The parameter that makes a question one to the feed.
pub(super) const AFTER: &str = "after";

/// What does not go together with it.
pub(super) const NOT_WITH_FEED: &[&str] = &["sort", "cursor", "count", "format"];

/// Events of the feed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEventFeed)]
pub(super) struct FeedPage {
    /// The events, in the order of the log within each of its partitions.
    events: Vec<ShownEvent>,
    /// The token to go on with.
    next: String,
    /// Whether nothing more is there at the moment.
    complete: bool,
}

/// Some events of the feed.
pub(super) async fn read(call: &Call<'_>) -> Result<Response, Problem> {
    let given = call.given;
    given.refuse(NOT_WITH_FEED, "`after`")?;
    let filter = Asked::of(given)?.filter(&call.viewer.customers);
    let limit = given.number(row(PAGING, "limit")?)?;
    let text = given.text(AFTER).unwrap_or_default();
    let mut token = Token::parse(text).map_err(|error| Problem::token(AFTER, error))?;
    let reader = call.views.audit_log.current();
    bind(&mut token, &reader, AFTER).await?;
    let feed = some(&reader, &call.viewer, &filter, &token, limit).await?;
    for (partition, offset) in &feed.next {
        token.advance(partition, *offset);
    }
    call.viewer.record_read().await;
    let shown = |event: AuditEvent| ShownEvent::of(event, &call.viewer.customers);
    let events = feed.events.into_iter().map(shown).collect();
    json_response(&FeedPage { events, next: token.text(), complete: feed.complete }, &token)
}

/// Refuses a token of another log, and names this one's topics in it. `name` is where it came from.
pub(super) async fn bind(token: &mut Token, reader: &GenerationReader, name: &str) -> Result<(), Problem> {
    let known = reader.incarnations().await.map_err(|error| Problem::store(&error))?;
    token.check_log(&known, false).map_err(|error| Problem::token(name, error))?;
    token.incarnations = known;
    Ok(())
}

/// Events after a token, at most `limit`.
pub(super) async fn some(
    reader: &GenerationReader,
    viewer: &Viewer,
    filter: &Filter<AuditField>,
    token: &Token,
    limit: u32,
) -> Result<Feed, Problem> {
    let feed = audit_log::feed(reader, &viewer.scope, filter, &token.positions, limit).await;
    feed.map_err(|error| Problem::store(&error))
}
