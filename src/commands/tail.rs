//! `annals tail`.

use std::process::ExitCode;
use std::time::Duration;

use annals_query_api::native::csv;
use annals_query_api::native::event::ShownEvent;
use annals_query_api::native::token::{Token, positions_of};
use annals_views::audit_log::{AuditField, LogPositions, feed};
use annals_views::filter::Filter;
use anyhow::Context;

use super::audit_log::{AuditView, csv_line, json, row};
use crate::cli::{EventFormat, TailArguments};
use crate::config::Config;
use crate::installation::Installation;
use crate::output;
use crate::server::shutdown_signal;

/// How often the view is asked for news.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Events of one look at the view.
const PIECE_EVENTS: u32 = 500;

/// Runs the command.
pub async fn run(config: &Config, arguments: TailArguments) -> anyhow::Result<ExitCode> {
    let asked = arguments.filters.asked();
    let after = arguments.after.as_deref().map(Token::parse).transpose().context("--after")?;
    let installation = Installation::open(config).await?;
    let result = async {
        let view = AuditView::open(&installation).await?;
        let mut tail = Tail {
            filter: asked.filter(&view.customers),
            format: arguments.format,
            token: beginning(&view, after).await?,
            quiet_at: None,
            view,
        };
        tail.view.record_read(&installation).await;
        if tail.format == EventFormat::Csv {
            csv_line(&csv::header())?;
        }
        let shutdown = shutdown_signal();
        tokio::select! {
            ended = tail.follow() => ended?,
            () = shutdown => {}
        }
        eprintln!("annals: go on with --after {}", tail.token.text());
        anyhow::Ok(())
    };
    let result = result.await;
    installation.finish().await?;
    result?;
    Ok(ExitCode::SUCCESS)
}

/// After the token, or now.
async fn beginning(view: &AuditView, after: Option<Token>) -> anyhow::Result<Token> {
    let reader = view.followed.current();
    let known = reader.incarnations().await?;
    let Some(mut token) = after else {
        return Ok(Token::new(&known, positions_of(&reader.positions().await?)));
    };
    token.check_log(&known, false).context("--after")?;
    token.incarnations = known;
    Ok(token)
}

struct Tail {
    view: AuditView,
    filter: Filter<AuditField>,
    format: EventFormat,
    /// Everything before it was printed or is not asked for.
    token: Token,
    /// How far the view was when nothing more was there.
    quiet_at: Option<LogPositions>,
}

impl Tail {
    /// Prints until something fails: a closed pipe, or the store.
    async fn follow(&mut self) -> anyhow::Result<()> {
        loop {
            self.look().await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Prints what is new.
    async fn look(&mut self) -> anyhow::Result<()> {
        // Again at each look: the view may have been folded anew.
        let reader = self.view.followed.current();
        let positions = positions_of(&reader.positions().await?);
        if self.quiet_at.as_ref() == Some(&positions) {
            return Ok(());
        }
        self.token.check_log(&reader.incarnations().await?, false)?;
        loop {
            let scope = self.view.scope();
            let piece = feed(&reader, &scope, &self.filter, &self.token.positions, PIECE_EVENTS).await?;
            // Printing does not wait for anything else, so that what is printed and the token are of one moment.
            for event in piece.events {
                self.print(&ShownEvent::of(event, &self.view.customers))?;
            }
            for (partition, offset) in &piece.next {
                self.token.advance(partition, *offset);
            }
            if piece.complete {
                break;
            }
        }
        self.token.incarnations = reader.incarnations().await?;
        self.quiet_at = Some(positions);
        Ok(())
    }

    fn print(&self, event: &ShownEvent) -> anyhow::Result<()> {
        match self.format {
            // Rows that are not known yet have no widths.
            EventFormat::Table => output::line(row(event).join("  "))?,
            EventFormat::Json => output::line(json(event)?)?,
            EventFormat::Csv => csv_line(&csv::row(event))?,
        }
        Ok(())
    }
}
