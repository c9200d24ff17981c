//! `annals store`.

use std::process::ExitCode;

use annals_store::Database;
use anyhow::Context;

use crate::cli::StoreCommand;
use crate::config::Config;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: StoreCommand) -> anyhow::Result<ExitCode> {
    let StoreCommand::GrantQuery { role } = command;
    let address = config.store().context("rights are PostgreSQL's: name the database with --store")?;
    let database = Database::at(address)?;
    database.control().await?.close().await;
    database.grant_query(&role).await?;
    output::line(format!(
        "`{role}` reads the views of {} and writes its control tables",
        database.address()
    ))?;
    Ok(ExitCode::SUCCESS)
}
