//! `annals account`.

use std::process::ExitCode;

use annals_access::{AccountSummary, Author};

use crate::cli::AccountCommand;
use crate::config::Config;
use crate::installation::Installation;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: AccountCommand) -> anyhow::Result<ExitCode> {
    let author = Author::command_line();
    match command {
        AccountCommand::Add { email, customer, permissions, password_stdin: _ } => {
            let permissions = super::permissions(&permissions)?;
            let password = super::read_password()?;
            let installation = Installation::open(config).await?;
            let account =
                installation.access.add_account(&email, &customer, &permissions, password, &author).await?;
            installation.finish().await?;
            output::line(format!("added account {} (number {})", account.email, account.number))?;
        }
        AccountCommand::List { json } => {
            let installation = Installation::read(config).await?;
            let accounts = installation.access.accounts().await?;
            installation.close().await;
            list(&accounts, json)?;
        }
        AccountCommand::Disable { email } => {
            let installation = Installation::open(config).await?;
            installation.access.disable_account(&email, &author).await?;
            installation.finish().await?;
            output::line(format!("disabled account {email}"))?;
        }
        AccountCommand::Password { email, password_stdin: _ } => {
            let password = super::read_password()?;
            let installation = Installation::open(config).await?;
            installation.access.set_password(&email, password, &author).await?;
            installation.finish().await?;
            output::line(format!("changed the password of {email}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(accounts: &[AccountSummary], json: bool) -> anyhow::Result<()> {
    if json {
        let list: Vec<_> = accounts
            .iter()
            .map(|a| {
                let grants: Vec<_> = a
                    .grants
                    .iter()
                    .map(|(customer, permission)| {
                        serde_json::json!({"customer": customer, "permission": permission.name()})
                    })
                    .collect();
                serde_json::json!({"number": a.number, "email": a.email, "customer": a.customer,
                    "disabled": a.disabled, "grants": grants})
            })
            .collect();
        return Ok(output::line(serde_json::to_string_pretty(&list)?)?);
    }
    let head = ["NUMBER", "E-MAIL", "CUSTOMER", "STATE", "PERMISSIONS"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for account in accounts {
        let grants: Vec<String> = account
            .grants
            .iter()
            .map(|(customer, permission)| {
                if *customer == account.customer {
                    permission.to_string()
                } else {
                    format!("{permission}@{customer}")
                }
            })
            .collect();
        rows.push(vec![
            account.number.to_string(),
            account.email.clone(),
            account.customer.clone(),
            if account.disabled { "disabled" } else { "enabled" }.to_owned(),
            grants.join(" "),
        ]);
    }
    Ok(output::table(&rows)?)
}
