//! A walk through the pages of a query: all of one snapshot, whatever arrives meanwhile.

use annals_store::GenerationReader;
use annals_views::audit_log::{
    self, AuditEvent, AuditQuery, Direction, Fields, Memory, RowKey, SortKey, counted_page, placed_page,
};

use super::asked::Asked;
use super::cursor::{Cursor, Fingerprint};
use super::problem::Problem;
use super::token::Token;
use super::viewer::Viewer;

/// The parameter that a walk goes on with.
pub(super) const CURSOR: &str = "cursor";

/// A walk.
pub(super) struct Walk {
    query: AuditQuery,
    direction: Direction,
    fingerprint: Fingerprint,
    /// Where the log ended for the first page, once that was read.
    snapshot: Option<Token>,
    /// How many rows the walk has, when its first page was asked to say so.
    total: Option<u64>,
}

/// A page of a walk.
pub(super) struct Page {
    pub(super) events: Vec<AuditEvent>,
    /// Whether more follow.
    pub(super) more: bool,
}

impl Walk {
    /// A walk that begins.
    pub(super) fn new(viewer: &Viewer, asked: &Asked, direction: Direction) -> Self {
        let query = AuditQuery {
            scope: viewer.scope.clone(),
            filter: asked.filter(&viewer.customers),
            fields: Fields::All,
            order: vec![(SortKey::Time, direction)],
            customer_order: Vec::new(),
            offset: 0,
            limit: 0,
            within: None,
            after: None,
        };
        Self { query, direction, fingerprint: asked.fingerprint(), snapshot: None, total: None }
    }

    /// Goes on where a cursor says.
    pub(super) fn resume(&mut self, cursor: &str) -> Result<(), Problem> {
        let cursor = Cursor::parse(cursor, self.fingerprint, self.direction);
        let cursor = cursor.map_err(|error| Problem::token(CURSOR, error))?;
        self.query.within = Some(cursor.snapshot.positions.clone());
        self.query.after = Some(cursor.last);
        self.snapshot = Some(cursor.snapshot);
        self.total = cursor.total;
        Ok(())
    }

    /// The next page, of at most `limit` events. The first one also counts with a `memory`.
    pub(super) async fn page(
        &mut self,
        reader: &GenerationReader,
        limit: u32,
        memory: Option<&Memory>,
    ) -> Result<Page, Problem> {
        let failed = |error| Problem::store(&error);
        let known = reader.incarnations().await.map_err(failed)?;
        if let Some(snapshot) = &self.snapshot {
            snapshot.check_log(&known, false).map_err(|error| Problem::token(CURSOR, error))?;
        }
        // One more than asked for says whether another page follows.
        self.query.limit = limit.saturating_add(1);
        let (mut events, positions) = match (&self.snapshot, memory) {
            (Some(snapshot), _) => {
                let events = audit_log::page(&reader.pool, &self.query).await.map_err(failed)?;
                (events, snapshot.positions.clone())
            }
            (None, None) => placed_page(reader, &self.query).await.map_err(failed)?,
            (None, Some(memory)) => {
                let page = counted_page(reader, memory, &self.query).await.map_err(failed)?;
                self.total = Some(page.total);
                (page.events, page.positions)
            }
        };
        if self.snapshot.is_none() {
            self.query.within = Some(positions.clone());
            self.snapshot = Some(Token::new(&known, positions));
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = events.len() > limit;
        events.truncate(limit);
        if let Some(last) = events.last() {
            self.query.after = Some(RowKey { at: last.at, event_id: last.event_id });
        }
        Ok(Page { events, more })
    }

    /// Where the log ended for the first page.
    pub(super) fn snapshot(&self) -> Token {
        self.snapshot.clone().unwrap_or_default()
    }

    /// The cursor of the page that follows what was read.
    pub(super) fn cursor(&self) -> Option<String> {
        let snapshot = self.snapshot.clone()?;
        let last = self.query.after?;
        let Self { direction, fingerprint: query, total, .. } = *self;
        Some(Cursor { snapshot, direction, query, last, total }.text())
    }

    /// How many rows the walk has, when its first page was asked to say so.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// The same walk with what its caller may see now: it narrows at once, and never shows rows beyond its snapshot.
    pub(super) fn renew(&mut self, viewer: &Viewer, asked: &Asked) {
        self.query.scope = viewer.scope.clone();
        self.query.filter = asked.filter(&viewer.customers);
    }
}
