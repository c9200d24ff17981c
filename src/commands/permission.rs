//! `annals permission`.

use std::process::ExitCode;

use annals_access::Author;
use anyhow::Context;

use crate::cli::PermissionCommand;
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: PermissionCommand) -> anyhow::Result<ExitCode> {
    let (PermissionCommand::Grant(arguments) | PermissionCommand::Revoke(arguments)) = &command;
    let permissions = super::permissions(&arguments.permissions)?;
    let installation = Installation::open(config).await?;
    let customer = match &arguments.customer {
        Some(customer) => customer.clone(),
        None => own_customer(&installation, &arguments.email).await?,
    };
    let author = Author::command_line();
    let (access, email) = (&installation.access, &arguments.email);
    let done = match command {
        PermissionCommand::Grant(_) => {
            access.grant(email, &customer, &permissions, &author).await?;
            "granted"
        }
        PermissionCommand::Revoke(_) => {
            access.revoke(email, &customer, &permissions, &author).await?;
            "revoked"
        }
    };
    let names: Vec<&str> = permissions.iter().map(|permission| permission.name()).collect();
    let text = format!("{done} {} of {email} at {customer}", names.join(", "));
    installation.finish().await?;
    output::line(text)?;
    Ok(ExitCode::SUCCESS)
}

async fn own_customer(installation: &Installation, email: &str) -> anyhow::Result<String> {
    let accounts = installation.access.accounts().await?;
    let key = email.to_lowercase();
    let account = accounts.into_iter().find(|account| account.email.to_lowercase() == key);
    Ok(account.with_context(|| format!("there is no account `{email}`"))?.customer)
}
