//! `annals rebuild`.

use std::io::IsTerminal;
use std::process::ExitCode;

use annals_access::Author;
use annals_consumers::rebuild::{self, Progress, Report};
use annals_consumers::{ConsumerError, Engine, for_each_view};
use annals_views::View;
use indicatif::ProgressBar;

use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, view: &str) -> anyhow::Result<ExitCode> {
    let installation = Installation::open(config).await?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let mut progress = |progress: Progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    };
    let report = rebuild_named(&installation, &installation.engine(), view, &mut progress).await;
    bar.finish_and_clear();
    installation.finish().await?;
    let report = report?;
    output::line(format!(
        "rebuilt {} as generation {} from {} records in {:.1} s",
        report.view,
        report.generation,
        output::number(report.records),
        report.elapsed.as_secs_f64()
    ))?;
    Ok(ExitCode::SUCCESS)
}

async fn rebuild_named(
    installation: &Installation,
    engine: &Engine,
    view: &str,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, ConsumerError> {
    let author = Author::command_line();
    let mut names = Vec::new();
    macro_rules! rebuild_if_named {
        ($view:ty) => {
            if view == <$view>::NAME {
                return rebuild::rebuild::<$view>(engine, Some((&installation.access, &author)), progress)
                    .await;
            }
            names.push(<$view>::NAME);
        };
    }
    for_each_view!(rebuild_if_named);
    Err(ConsumerError::UnknownView(view.to_owned(), names.join(", ")))
}
