//! The feed as it grows: server-sent events.
//!
//! The `id` of each event is the token after it, so that a client that is cut off after any event goes on with the next
//! one. The log is the clock: nothing is kept for a client here, and a client that reads slowly is simply behind.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use annals_store::{Followed, Partition};
use annals_views::audit_log::{AuditEvent, AuditField, LogPositions};
use annals_views::filter::Filter;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::asked::Asked;
use super::event::ShownEvent;
use super::feed::{self, AFTER, NOT_WITH_FEED};
use super::problem::{Code, Problem};
use super::token::{Token, positions_of};
use super::viewer::LongViewer;
use super::{Call, positioned, text_response};
use crate::guard::guarded;
use crate::stopping::Stopping;

/// What a client that comes back says that it had last.
const LAST_EVENT_ID: &str = "last-event-id";

/// How often the view is asked for news.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Pause after a look that failed, so that a store that is away is not asked, and told of, ten times a second.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing is sent at most: proxies and clients give up on a connection that is silent.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// Pause of a client before it comes back, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// Events of one piece.
const PIECE_EVENTS: u32 = 200;

/// A stream of events that ends with its client, with the process, or when its caller may not read any more.
pub(super) async fn stream(call: Call<'_>) -> Result<Response, Problem> {
    call.given.refuse(NOT_WITH_FEED, "a live stream")?;
    call.given.refuse(&["limit"], "a live stream")?;
    let asked = Asked::of(call.given)?;
    let place = call.app.streams.live()?;
    let view = call.views.audit_log.clone();
    let token = beginning(&call, &view).await?;
    call.viewer.record_read().await;
    let response_token = token.clone();
    let live = Live {
        filter: asked.filter(&call.viewer.customers),
        view,
        viewer: LongViewer::new(call.viewer, call.app.state.settings.renew_interval),
        asked,
        token,
        generation: None,
        quiet_at: None,
        has_begun: false,
        untold: false,
        told: Instant::now(),
        limit: call.app.state.settings.request_timeout,
        stopping: call.head.extensions.get().cloned(),
        _place: place,
    };
    let pieces = stream::unfold(live, |mut live| async move {
        live.next().await.map(|piece| (Ok::<_, Infallible>(piece), live))
    });
    Ok(positioned(text_response("text/event-stream", Body::from_stream(pieces)), &response_token))
}

/// Where the stream begins: after what the client had last, else after the token, else now.
async fn beginning(call: &Call<'_>, view: &Followed) -> Result<Token, Problem> {
    let reader = view.current();
    let last = call.head.headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?"));
    let given = match last.filter(|last| !last.is_empty()) {
        Some(last) => Some((LAST_EVENT_ID, last)),
        None => call.given.text(AFTER).map(|after| (AFTER, after)),
    };
    let Some((name, text)) = given else {
        let failed = |error| Problem::store(&error);
        let known = reader.incarnations().await.map_err(failed)?;
        return Ok(Token::new(&known, positions_of(&reader.positions().await.map_err(failed)?)));
    };
    let mut token = Token::parse(text).map_err(|error| Problem::token(name, error))?;
    feed::bind(&mut token, &reader, name).await?;
    Ok(token)
}

/// What a look found.
enum Look {
    /// Events, ready to be sent.
    Piece(Bytes),
    /// None for this client, but there is more to look through.
    More,
    /// Nothing that was not looked through already.
    Quiet,
}

struct Live {
    view: Followed,
    viewer: LongViewer,
    asked: Asked,
    filter: Filter<AuditField>,
    /// Everything before it was sent or is not for this client.
    token: Token,
    /// The generation that was read last: another one must be of the same log.
    generation: Option<i64>,
    /// How far the view was when nothing more was there.
    quiet_at: Option<LogPositions>,
    has_begun: bool,
    /// Whether the token has moved since the client heard of it.
    untold: bool,
    told: Instant,
    /// Time that one look at the view may take.
    limit: Duration,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl Live {
    /// The next piece of the stream; none ends it.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            // At once, so that the client knows that it is connected and where a cut would make it go on.
            return Some(format!("retry: {RETRY_MS}\nid: {}\n\n", self.token.text()).into());
        }
        while !self.stopping.as_ref().is_some_and(Stopping::is_said) {
            match self.viewer.renew().await {
                Ok(true) => self.filter = self.asked.filter(&self.viewer.now.customers),
                Ok(false) => {}
                Err(_) => return None,
            }
            let limit = self.limit;
            let looked = guarded(limit, self.look()).await;
            let pause = match looked.unwrap_or_else(|interruption| Err(Problem::interrupted(interruption))) {
                Ok(Look::Piece(piece)) => {
                    self.told = Instant::now();
                    return Some(piece);
                }
                Ok(Look::More) => Duration::ZERO,
                Ok(Look::Quiet) => POLL_INTERVAL,
                // What passes is waited for; the client hears heartbeats meanwhile.
                Err(problem) if [Code::Unavailable, Code::TimedOut].contains(&problem.code()) => {
                    FAILURE_PAUSE
                }
                Err(_) => return None,
            };
            if self.told.elapsed() >= HEARTBEAT_INTERVAL {
                return Some(self.heartbeat());
            }
            self.pause(pause).await;
        }
        None
    }

    /// Looks for events once, and only where the view has moved.
    async fn look(&mut self) -> Result<Look, Problem> {
        let reader = self.view.current();
        if self.generation != Some(reader.generation.number) {
            feed::bind(&mut self.token, &reader, AFTER).await?;
            self.generation = Some(reader.generation.number);
            self.quiet_at = None;
        }
        let stored = reader.positions().await.map_err(|error| Problem::store(&error))?;
        let positions = positions_of(&stored);
        if self.quiet_at.as_ref() == Some(&positions) {
            return Ok(Look::Quiet);
        }
        if self.token.incarnations.len() < count_topics(&positions) {
            // The view came to a topic that nobody had written to before.
            feed::bind(&mut self.token, &reader, AFTER).await?;
        }
        let feed = feed::some(&reader, &self.viewer.now, &self.filter, &self.token, PIECE_EVENTS).await?;
        let piece = self.render(feed.events)?;
        for (partition, offset) in &feed.next {
            self.untold |= self.token.position(partition) < *offset;
            self.token.advance(partition, *offset);
        }
        if feed.complete {
            self.quiet_at = Some(positions);
        }
        Ok(match (piece.is_empty(), feed.complete) {
            (false, _) => Look::Piece(piece.into()),
            (true, false) => Look::More,
            (true, true) => Look::Quiet,
        })
    }

    /// Events with the token after each. Within a partition they come in the order of the log.
    fn render(&mut self, events: Vec<AuditEvent>) -> Result<String, Problem> {
        let mut piece = String::new();
        let mut topics: BTreeMap<String, Arc<str>> = BTreeMap::new();
        for event in events {
            let topic = topics.entry(event.topic.clone()).or_insert_with(|| event.topic.as_str().into());
            let partition = Partition { topic: Arc::clone(topic), number: event.partition };
            self.token.advance(&partition, event.offset + 1);
            let shown = ShownEvent::of(event, &self.viewer.now.customers);
            let data = serde_json::to_string(&shown).map_err(|_| Problem::internal())?;
            let id = self.token.text();
            // Writing to a text does not fail.
            let _ = write!(piece, "id: {id}\nevent: audit-event\ndata: {data}\n\n");
        }
        if !piece.is_empty() {
            self.untold = false;
        }
        Ok(piece)
    }

    /// A sign of life. A token that moved over events of others goes along: the client need not come back to them.
    fn heartbeat(&mut self) -> Bytes {
        self.told = Instant::now();
        if !std::mem::take(&mut self.untold) {
            return Bytes::from_static(b": still here\n\n");
        }
        format!("id: {}\n\n", self.token.text()).into()
    }

    /// Waits for the next look, or for the end of the process.
    async fn pause(&mut self, pause: Duration) {
        match &mut self.stopping {
            Some(stopping) => tokio::select! {
                () = stopping.wait() => {}
                () = sleep(pause) => {}
            },
            None => sleep(pause).await,
        }
    }
}

/// How many topics have positions.
fn count_topics(positions: &LogPositions) -> usize {
    let mut topics: Vec<&str> = positions.iter().map(|(partition, _)| &*partition.topic).collect();
    topics.sort_unstable();
    topics.dedup();
    topics.len()
}
