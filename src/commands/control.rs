//! `annals control`.

use std::path::Path;
use std::process::ExitCode;

use annals_access::copy_control;
use annals_store::{DataDir, Database};

use crate::cli::ControlCommand;
use crate::output;

/// Runs the command.
pub async fn run(command: ControlCommand) -> anyhow::Result<ExitCode> {
    let ControlCommand::Copy { from, to } = command;
    let source = database(&from, DataDir::open)?.existing_control().await?;
    let target = database(&to, DataDir::create)?.control().await?;
    let summary = copy_control(&source, &target).await;
    source.close().await;
    target.close().await;
    let summary = summary?;
    output::line(format!(
        "copied {} customers, {} accounts, {} permissions, {} credentials",
        summary.customers, summary.accounts, summary.grants, summary.credentials
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn database(
    place: &str,
    open: impl Fn(&Path) -> Result<DataDir, annals_store::StoreError>,
) -> anyhow::Result<Database> {
    if place.contains("://") {
        return Ok(Database::at(place)?);
    }
    Ok(Database::Embedded(open(Path::new(place))?))
}
