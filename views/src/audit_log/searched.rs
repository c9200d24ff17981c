//! Pages and totals by way of the text index.

use std::borrow::Cow;

use annals_store::Transaction;

use super::by_account;
use super::memory::{Key, Memory};
use super::query::{AuditEvent, AuditQuery, read_event};
use super::resolve::Resolved;
use super::statement::{self, Statement};
use super::text::{self, Effort, Hits, Positions, Walk};
use crate::Result;

/// What the index names for a question.
pub(super) struct Searched {
    hits: Hits,
    effort: Effort,
    /// Whether all of these rows match, and no others.
    is_settled: bool,
    /// Whether they were settled before, but for a tail.
    is_remembered: bool,
}

impl Searched {
    /// `None` when the question is better answered without the index.
    pub(super) async fn of(
        tx: &mut Transaction,
        found: &Resolved,
        effort: Effort,
        wants_total: bool,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(clues) = &found.clues else { return Ok(None) };
        if found.event_ids.is_some() || !statement::fits_hits(found) || effort.candidates == 0 {
            return Ok(None);
        }
        let hits = text::find(tx, clues, found.time, effort, wants_total).await?;
        Ok(hits.map(|hits| Self::new(hits, effort, false)))
    }

    /// What the index named for the question before. `None` when it must be asked again.
    pub(super) async fn again(
        tx: &mut Transaction,
        memory: &Memory,
        question: Key,
    ) -> Result<Option<Self>, sqlx::Error> {
        let Some(kept) = memory.hits(question) else { return Ok(None) };
        let hits = kept.again(tx).await?;
        Ok(hits.map(|hits| Self::new(hits, memory.effort(), true)))
    }

    fn new(hits: Hits, effort: Effort, is_remembered: bool) -> Self {
        Self { hits, effort, is_settled: false, is_remembered }
    }

    /// Whether so many rows are named that it is worth to find out who acted in them.
    pub(super) fn gains_by_actors(&self) -> bool {
        self.hits.count() > self.effort.again()
    }

    /// The rows of the accounts that the query's page is about, and how many come before them, where it is in their order and
    /// all rows are settled. `None` when another way is shorter.
    pub(super) async fn of_accounts(
        &self,
        tx: &mut Transaction,
        query: &AuditQuery,
    ) -> Result<Option<by_account::Part>, sqlx::Error> {
        if !self.is_settled {
            return Ok(None);
        }
        let part = by_account::part(tx, query, &self.hits).await?;
        Ok(part.filter(|part| part.places.len() <= self.effort.candidates))
    }

    /// Rows that are looked at to rank those that match, and from which places on every row is. `None` when they are too many.
    pub(super) fn places(&self) -> Option<(Positions, &Positions)> {
        (self.hits.count() <= self.effort.candidates).then(|| (self.hits.places(), self.hits.tail()))
    }

    /// The query's page and how many rows match, where most rows must be looked at anyway. `None` when another way is shorter.
    pub(super) async fn page_and_total(
        &self,
        tx: &mut Transaction,
        query: &AuditQuery,
        found: &Resolved,
    ) -> Result<Option<(Vec<AuditEvent>, u64)>, sqlx::Error> {
        let is_narrowed = query.within.is_some() || query.after.is_some();
        let has_rows = query.limit > 0 && query.offset <= i64::MAX as u64;
        let count = self.hits.count();
        // Few that the index is sure of are as soon looked at with the others.
        let is_sure = self.hits.certain() > self.effort.few.saturating_mul(4).max(count / 4);
        let most = self.effort.again().min(self.effort.candidates);
        if self.is_remembered || is_narrowed || is_sure || !has_rows || count > most {
            return Ok(None);
        }
        let (events, total) = page_of(tx, query, found, &self.hits.places(), self.hits.tail()).await?;
        // No row tells how many there are.
        Ok(total.map(|total| (events, total)))
    }

    /// How many rows match. Those that the index is not sure of are tested.
    pub(super) async fn total(
        &mut self,
        tx: &mut Transaction,
        memory: &Memory,
        question: Key,
        found: &Resolved,
    ) -> Result<u64, sqlx::Error> {
        let (places, tail) = self.hits.untested();
        let is_new = !self.is_remembered || !tail.is_empty();
        let matching = matching(tx, found, &places, tail).await?;
        self.hits.settle(matching);
        self.is_settled = true;
        if is_new {
            memory.keep_hits(question, self.hits.to_keep());
        }
        Ok(self.hits.count() as u64)
    }

    /// The query's page, `found` being narrowed as it is. `None` when the page is found sooner without the index.
    pub(super) async fn page(
        mut self,
        tx: &mut Transaction,
        query: &AuditQuery,
        found: &Resolved,
    ) -> Result<Option<Vec<AuditEvent>>, sqlx::Error> {
        if query.limit == 0 || query.offset > i64::MAX as u64 {
            return Ok(Some(Vec::new()));
        }
        if !self.is_settled {
            let matching = matching(tx, found, &[], self.hits.tail()).await?;
            self.hits.settle_tail(matching);
        }
        // Rows can be passed over without a look at them where it is known that they count.
        let counts = self.is_settled && found.narrowing.is_none();
        match query.by_time() {
            Some(direction) if counts || query.offset == 0 => {
                in_time(tx, query, found, Walk::new(self.hits, direction), self.effort.candidates).await
            }
            _ if self.hits.count() <= self.effort.candidates => {
                Ok(Some(page_of(tx, query, found, &self.hits.places(), &[]).await?.0))
            }
            _ => Ok(None),
        }
    }
}

/// A page in the order of time: rows are looked at until it is full. `None` when more than `most` are in one minute.
async fn in_time(
    tx: &mut Transaction,
    query: &AuditQuery,
    found: &Resolved,
    mut walk: Walk,
    most: usize,
) -> Result<Option<Vec<AuditEvent>>, sqlx::Error> {
    let mut events = Vec::new();
    let mut rest = Cow::Borrowed(query);
    // Most pages are full with the first look. Where most rows fail, the looks become larger.
    let mut want = u64::from(query.limit);
    while let Some(stage) = walk.next(tx, rest.offset, want).await? {
        if stage.places.len() > most {
            return Ok(None);
        }
        let rest = rest.to_mut();
        rest.offset -= stage.passed;
        events.extend(page_of(tx, rest, found, &stage.places, &[]).await?.0);
        let given = u32::try_from(events.len()).unwrap_or(u32::MAX);
        if given >= query.limit {
            break;
        }
        // Behind the first look there is nothing left to pass over.
        rest.offset = 0;
        rest.limit = query.limit - given;
        want = want.saturating_mul(4);
    }
    Ok(Some(events))
}

/// The query's page among rows that are called so, and all from the places of a tail on; and unless it is empty, how many
/// of these rows match.
pub(super) async fn page_of(
    tx: &mut Transaction,
    query: &AuditQuery,
    found: &Resolved,
    places: &[(i64, i64)],
    tail: &[(i64, i64)],
) -> Result<(Vec<AuditEvent>, Option<u64>), sqlx::Error> {
    if places.is_empty() && tail.is_empty() {
        return Ok((Vec::new(), None));
    }
    let dialect = tx.connection().dialect();
    let statement = Statement::page_of_places(dialect, query, found, places, tail);
    let rows = statement.into_sql().fetch_all(tx).await?;
    let total = rows.first().map(|row| row.get("total")).transpose()?;
    let events = rows.iter().map(|row| read_event(row, query.fields)).collect::<Result<_, _>>()?;
    Ok((events, total))
}

/// Which of some rows match, and of those from the places of a tail on.
async fn matching(
    tx: &mut Transaction,
    found: &Resolved,
    places: &[(i64, i64)],
    tail: &[(i64, i64)],
) -> Result<Vec<text::Matching>, sqlx::Error> {
    if places.is_empty() && tail.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = tx.connection().dialect();
    let rows = Statement::matching(dialect, found, places, tail).into_sql().fetch_all(tx).await?;
    rows.iter().map(text::Matching::read).collect()
}
