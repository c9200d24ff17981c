//! `annals customer`.

use std::process::ExitCode;

use annals_access::Author;

use crate::cli::CustomerCommand;
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: CustomerCommand) -> anyhow::Result<ExitCode> {
    match command {
        CustomerCommand::Add { name, time_zone } => {
            let installation = Installation::create(config).await?;
            let customer =
                installation.access.add_customer(&name, &time_zone, &Author::command_line()).await?;
            installation.finish().await?;
            output::line(format!("added customer {} ({})", customer.name, customer.id))?;
        }
        CustomerCommand::List { json } => {
            let installation = Installation::read(config).await?;
            let customers = installation.access.customers().await?;
            installation.close().await;
            if json {
                let list: Vec<_> = customers
                    .iter()
                    .map(|c| serde_json::json!({"id": c.id, "name": c.name, "time_zone": c.time_zone.name()}))
                    .collect();
                output::line(serde_json::to_string_pretty(&list)?)?;
            } else {
                let mut rows = vec![vec!["NAME".into(), "TIME ZONE".into(), "ID".into()]];
                rows.extend(
                    customers
                        .iter()
                        .map(|c| vec![c.name.clone(), c.time_zone.name().to_owned(), c.id.to_string()]),
                );
                output::table(&rows)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
