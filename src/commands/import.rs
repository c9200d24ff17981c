//! `annals import`.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use annals_producers::import::{self, Summary};
use annals_producers::importers::{Format, ImportContext};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{ImportArguments, ImportFormat};
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Exit status when records could not become events.
const SOME_FAILED: u8 = 3;

/// Runs the command.
pub async fn run(config: &Config, arguments: ImportArguments) -> anyhow::Result<ExitCode> {
    let format = match arguments.format {
        ImportFormat::WindowsSecurity => Format::WindowsSecurity,
        ImportFormat::Cloudtrail => Format::Cloudtrail,
    };
    let installation = Installation::open(config).await?;
    let customer = installation.access.find_customer(&arguments.customer).await?;
    let context = ImportContext { customer: customer.id, time_zone: arguments.time_zone };
    let publisher = installation.publisher();
    let mut summary = Summary::default();
    let mut result = Ok(());
    for file in &arguments.files {
        let bar = progress_bar(file);
        result = import::import_file(
            file,
            format,
            &context,
            &installation.access,
            &publisher,
            &mut summary,
            &mut |progress| {
                bar.set_position(progress.bytes_read);
                bar.set_message(format!("{} events", output::number(progress.events)));
            },
        )
        .await;
        bar.finish_and_clear();
        if result.is_err() {
            break;
        }
    }
    installation.finish().await?;
    // What was done before an error is told before the error is.
    print(&summary, arguments.json)?;
    result?;
    Ok(if summary.failed > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

fn progress_bar(file: &Path) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(std::fs::metadata(file).map_or(0, |data| data.len()));
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(name);
    bar
}

fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(output::line(serde_json::to_string(summary)?)?);
    }
    for failure in &summary.failures {
        output::line(format!("{}:{}: {}", failure.file.display(), failure.line, failure.reason))?;
    }
    let unlisted = summary.failed - summary.failures.len() as u64;
    if unlisted > 0 {
        output::line(format!("… and {} more", output::number(unlisted)))?;
    }
    output::line(format!(
        "{} read, {} published, {} already known, {} failed",
        output::number(summary.read),
        output::number(summary.published),
        output::number(summary.already_known),
        output::number(summary.failed)
    ))?;
    let rows: Vec<Vec<String>> = summary
        .by_event
        .iter()
        .map(|(event, count)| vec![format!("  {event}"), format!("{:>9}", output::number(*count))])
        .collect();
    Ok(output::table(&rows)?)
}
