//! Pages with their exact totals, by the shortest of the ways that there are.

use annals_store::{GenerationReader, Transaction};

use super::histogram::Histogram;
use super::memory::{Key, Memory};
use super::query::{
    AuditEvent, AuditQuery, LogPositions, READING, failed, log_positions, narrowed, ordinary_rows,
};
use super::ranking::{self, Asked};
use super::resolve::Resolved;
use super::searched::Searched;
use super::{stretches, totals};
use crate::Result;

/// Where one in so many rows of the view matches or more, a page is full soon, wherever it is looked for.
const PASS: u64 = 4;

/// A page with the number of all rows that match, of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedPage {
    /// The rows.
    pub events: Vec<AuditEvent>,
    /// How many rows match, whatever the page is.
    pub total: u64,
    /// How far the snapshot has folded the log.
    pub positions: LogPositions,
}

/// Answers a question with the exact number of rows that match, whatever `offset`, `limit`, `within` and `after` say.
///
/// # Errors
/// When the view cannot be read.
pub async fn counted_page(
    reader: &GenerationReader,
    memory: &Memory,
    query: &AuditQuery,
) -> Result<CountedPage> {
    let read = async {
        let mut tx = reader.pool.snapshot().await?;
        let positions = log_positions(&mut tx).await?;
        let found = Resolved::of(&mut tx, &query.scope, &query.filter).await?;
        let (events, total) = match found {
            Some(found) => {
                let logged = positions.iter().map(|(_, next)| *next).sum();
                counted(&mut tx, memory, reader.generation.number, query, found, logged).await?
            }
            None => (Vec::new(), 0),
        };
        Ok(CountedPage { events, total, positions })
    };
    read.await.map_err(|error| failed(READING, error))
}

/// The query's page and how many rows match, in a view of at most `logged` rows.
async fn counted(
    tx: &mut Transaction,
    memory: &Memory,
    generation: i64,
    query: &AuditQuery,
    mut found: Resolved,
    logged: u64,
) -> Result<(Vec<AuditEvent>, u64), sqlx::Error> {
    let question = Key::of_matches(generation, query);
    let is_ranked = ranking::is_for(query, &found);
    let asked = Asked { memory, question, query, found: &found };
    if is_ranked && let Some(answer) = ranking::remembered(tx, asked).await? {
        return Ok(answer);
    }
    let mut searched = Searched::again(tx, memory, question).await?;
    if searched.is_none() {
        searched = Searched::of(tx, &found, memory.effort(), true).await?;
    }
    let mut histogram = None;
    let total = if let Some(searched) = &mut searched {
        let answer = if is_ranked {
            ranking::among(tx, asked, searched).await?
        } else {
            searched.page_and_total(tx, query, &found).await?
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
        searched.total(tx, memory, question, &found).await?
    } else {
        stretches::find_pairs(tx, &mut found).await?;
        histogram = Histogram::of(tx, &found).await?;
        match &histogram {
            Some(histogram) => histogram.total(),
            None => totals::total(tx, memory, question, &found).await?,
        }
    };
    if total <= query.offset {
        return Ok((Vec::new(), total));
    }
    if is_ranked {
        let asked = Asked { memory, question, query, found: &found };
        return Ok((ranking::page(tx, asked, searched.as_ref(), total).await?, total));
    }
    let Some(mut found) = narrowed(tx, query, found).await? else { return Ok((Vec::new(), total)) };
    if let Some(searched) = searched {
        if let Some(events) = searched.page(tx, query, &found).await? {
            return Ok((events, total));
        }
        stretches::find_pairs(tx, &mut found).await?;
    }
    let most_pass = total >= logged / PASS;
    Ok((ordinary_rows(tx, query, found, histogram, most_pass).await?, total))
}
