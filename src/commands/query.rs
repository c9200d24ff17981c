//! `annals query`.

use std::process::ExitCode;

use annals_query_api::native::csv;
use annals_query_api::native::event::ShownEvent;
use annals_views::audit_log::{
    self, AuditEvent, AuditQuery, Direction, Fields, LogPositions, Memory, RowKey, SortKey, counted_page,
    placed_page,
};

use super::audit_log::{AuditView, columns, csv_line, json, row};
use crate::cli::{EventFormat, EventOrder, QueryArguments};
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Events of one look at the view.
const PAGE_EVENTS: u32 = 1_000;

/// Runs the command.
pub async fn run(config: &Config, arguments: QueryArguments) -> anyhow::Result<ExitCode> {
    let asked = arguments.filters.asked();
    let installation = Installation::open(config).await?;
    let result = async {
        let view = AuditView::open(&installation).await?;
        let direction = match arguments.order {
            EventOrder::Newest => Direction::Descending,
            EventOrder::Oldest => Direction::Ascending,
        };
        let query = AuditQuery {
            scope: view.scope(),
            filter: asked.filter(&view.customers),
            fields: Fields::All,
            order: vec![(SortKey::Time, direction)],
            customer_order: Vec::new(),
            offset: 0,
            limit: 0,
            within: None,
            after: None,
        };
        print(&view, query, &arguments).await?;
        view.record_read(&installation).await;
        anyhow::Ok(())
    };
    let result = result.await;
    installation.finish().await?;
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Prints page by page, all of one snapshot. A table needs all rows for the widths of its columns.
async fn print(view: &AuditView, mut query: AuditQuery, arguments: &QueryArguments) -> anyhow::Result<()> {
    let mut left = arguments.limit;
    let mut table = vec![columns()];
    let mut total = None;
    if arguments.format == EventFormat::Csv {
        csv_line(&csv::header())?;
    }
    loop {
        query.limit = left.min(PAGE_EVENTS);
        let (events, positions, counted) = page(view, &query, arguments.count && total.is_none()).await?;
        total = total.or(counted);
        let read = u32::try_from(events.len()).unwrap_or(u32::MAX);
        query.within.get_or_insert(positions);
        query.after = events.last().map(|last| RowKey { at: last.at, event_id: last.event_id });
        for event in events {
            let event = ShownEvent::of(event, &view.customers);
            match arguments.format {
                EventFormat::Table => table.push(row(&event)),
                EventFormat::Json => output::line(json(&event)?)?,
                EventFormat::Csv => csv_line(&csv::row(&event))?,
            }
        }
        left = left.saturating_sub(read);
        if left == 0 || read < query.limit {
            break;
        }
    }
    let total = total.map(|total| format!("{} events match", output::number(total)));
    if arguments.format == EventFormat::Table {
        output::table(&table)?;
        total.map_or(Ok(()), |total| output::line(format!("\n{total}")))?;
    } else if let Some(total) = total {
        // Beside the events, so that their reader is not disturbed.
        eprintln!("annals: {total}");
    }
    Ok(())
}

async fn page(
    view: &AuditView,
    query: &AuditQuery,
    count: bool,
) -> anyhow::Result<(Vec<AuditEvent>, LogPositions, Option<u64>)> {
    let reader = view.followed.current();
    if query.within.is_some() {
        return Ok((audit_log::page(&reader.pool, query).await?, LogPositions::new(), None));
    }
    if count {
        let page = counted_page(&reader, &Memory::default(), query).await?;
        return Ok((page.events, page.positions, Some(page.total)));
    }
    let (events, positions) = placed_page(&reader, query).await?;
    Ok((events, positions, None))
}
