//! A whole query as a file: CSV, or JSON lines.
//!
//! The file is written page by page from one walk, so that it is of one snapshot and needs no memory to speak of. A file
//! that could not be finished says so in its last line: the status went out long before. One that the line itself could
//! not reach (the process was killed) ends without the end of its transfer, which every client notices.

use std::convert::Infallible;
use std::time::Duration;

use annals_store::Followed;
use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_DISPOSITION;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::accept::FileFormat;
use super::asked::Asked;
use super::event::ShownEvent;
use super::events::direction;
use super::problem::Problem;
use super::viewer::LongViewer;
use super::walk::{Page, Walk};
use super::{Call, csv, positioned, text_response};
use crate::guard::guarded;
use crate::stopping::Stopping;

/// Events of one page.
const PAGE_EVENTS: u32 = 1_000;

/// What does not go together with a file.
const NOT_WITH_FILE: &[&str] = &["cursor", "count", "limit"];

impl FileFormat {
    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => csv::MEDIA_TYPE,
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn disposition(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "attachment; filename=\"audit-events.csv\"",
            Self::Ndjson => "attachment; filename=\"audit-events.ndjson\"",
        })
    }

    fn beginning(self) -> String {
        match self {
            Self::Csv => csv::header(),
            Self::Ndjson => String::new(),
        }
    }

    fn push(self, text: &mut String, event: &ShownEvent) -> Result<(), Problem> {
        match self {
            Self::Csv => text.push_str(&csv::row(event)),
            Self::Ndjson => {
                text.push_str(&serde_json::to_string(event).map_err(|_| Problem::internal())?);
                text.push('\n');
            }
        }
        Ok(())
    }

    fn incomplete(self, reason: &str) -> String {
        match self {
            Self::Csv => csv::incomplete(reason),
            Self::Ndjson => format!("{}\n", json!({"incomplete": reason})),
        }
    }
}

/// The whole query as a file.
pub(super) async fn file(call: Call<'_>, format: FileFormat) -> Result<Response, Problem> {
    call.given.refuse(NOT_WITH_FILE, "a download")?;
    let asked = Asked::of(call.given)?;
    let mut walk = Walk::new(&call.viewer, &asked, direction(call.given)?);
    let place = call.app.streams.download()?;
    let view = call.views.audit_log.clone();
    // Before the answer begins, so that what fails at once is told by the status.
    let first = walk.page(&view.current(), PAGE_EVENTS, None).await?;
    call.viewer.record_read().await;
    let snapshot = walk.snapshot();
    let download = Download {
        view,
        viewer: LongViewer::new(call.viewer, call.app.state.settings.renew_interval),
        asked,
        walk,
        format,
        first: Some(first),
        more: true,
        limit: call.app.state.settings.request_timeout,
        stopping: call.head.extensions.get().cloned(),
        _place: place,
    };
    // A client that hangs up drops the stream, and with it whatever is being read for it.
    let pieces = stream::unfold(download, |mut download| async move {
        download.next().await.map(|piece| (Ok::<_, Infallible>(piece), download))
    });
    let mut response = positioned(text_response(format.media_type(), Body::from_stream(pieces)), &snapshot);
    response.headers_mut().insert(CONTENT_DISPOSITION, format.disposition());
    Ok(response)
}

struct Download {
    view: Followed,
    viewer: LongViewer,
    asked: Asked,
    walk: Walk,
    format: FileFormat,
    /// The page that was read before the answer began.
    first: Option<Page>,
    more: bool,
    /// Time that one page may take.
    limit: Duration,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl Download {
    /// The next piece of the file; none is its end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.more {
            return None;
        }
        let (mut text, page) = match self.first.take() {
            Some(page) => (self.format.beginning(), Ok(page)),
            None => (String::new(), self.page().await),
        };
        let written = page.and_then(|page| {
            self.more = page.more;
            let customers = &self.viewer.now.customers;
            page.events
                .into_iter()
                .try_for_each(|event| self.format.push(&mut text, &ShownEvent::of(event, customers)))
        });
        if let Err(problem) = written {
            self.more = false;
            text.push_str(&self.format.incomplete(problem.detail()));
            tracing::warn!(reason = problem.code().name(), "a download is incomplete");
        }
        // An empty piece would be passed over anyway.
        (!text.is_empty()).then(|| text.into())
    }

    async fn page(&mut self) -> Result<Page, Problem> {
        if self.stopping.as_ref().is_some_and(Stopping::is_said) {
            return Err(Problem::stopping());
        }
        if self.viewer.renew().await? {
            self.walk.renew(&self.viewer.now, &self.asked);
        }
        // The generation of today: its rows of the walk are the same.
        let reader = self.view.current();
        let page = guarded(self.limit, self.walk.page(&reader, PAGE_EVENTS, None)).await;
        page.unwrap_or_else(|interruption| Err(Problem::interrupted(interruption)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_have_a_last_line_for_what_is_missing() {
        assert_eq!(FileFormat::Csv.incomplete("x"), "# incomplete: x\r\n");
        assert_eq!(FileFormat::Ndjson.incomplete("x"), "{\"incomplete\":\"x\"}\n");
        assert!(FileFormat::Csv.beginning().starts_with("id,customer_id,"));
        assert_eq!(FileFormat::Ndjson.beginning(), "");
    }
}
