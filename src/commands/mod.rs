//! The commands, a file each.

mod account;
mod audit_log;
mod check_config;
pub mod completions;
mod control;
mod credential;
mod customer;
mod dead_letters;
mod demo;
mod import;
mod log;
mod permission;
mod query;
mod rebuild;
mod serve;
mod status;
mod store;
mod tail;
mod topics;

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use annals_access::{Permission, Secret};
use anyhow::{Context, bail};

use crate::cli::Command;
use crate::config::Config;

/// Longest password that is read from standard input.
const MAX_PASSWORD_INPUT_BYTES: u64 = 4_096;

/// Runs a command.
pub async fn run(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo { listen, rate } => demo::run(&config, listen, rate).await,
        Command::Serve { listen, roles } => serve::run(&config, listen, &roles).await,
        Command::Status { json } => status::run(&config, json).await,
        Command::Topics(command) => topics::run(&config, command).await,
        Command::Control(command) => control::run(command).await,
        Command::Store(command) => store::run(&config, command).await,
        Command::Customer(command) => customer::run(&config, command).await,
        Command::Account(command) => account::run(&config, command).await,
        Command::Permission(command) => permission::run(&config, command).await,
        Command::Credential(command) => credential::run(&config, command).await,
        Command::Import(arguments) => import::run(&config, arguments).await,
        Command::Query(arguments) => query::run(&config, arguments).await,
        Command::Tail(arguments) => tail::run(&config, arguments).await,
        Command::Log(command) => log::run(&config, command).await,
        Command::Rebuild { view } => rebuild::run(&config, &view).await,
        Command::DeadLetters(command) => dead_letters::run(&config, command).await,
        Command::CheckConfig => check_config::run(&config).await,
        Command::Completions { shell } => completions::run(shell),
    }
}

/// Reads one line from standard input as a password. The line's end is not part of it.
fn read_password() -> anyhow::Result<Secret> {
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_PASSWORD_INPUT_BYTES)
        .read_to_string(&mut text)
        .context("the password on standard input cannot be read")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("there is no password on standard input");
    }
    Ok(Secret::new(line))
}

fn permissions(names: &[String]) -> anyhow::Result<Vec<Permission>> {
    names.iter().map(|name| name.parse().map_err(anyhow::Error::new)).collect()
}

/// Longest time that a setting may name: a thousand years. Kafka counts milliseconds, and clocks end.
const MAX_TIME: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// Reads a length of time such as `400d`, `36h`, `90m`.
fn parse_time(text: &str) -> anyhow::Result<Duration> {
    let wrong = || format!("`{}` is not a time such as 400d, 36h or 90m", text.escape_debug());
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).with_context(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => bail!(wrong()),
    };
    let number: u64 = number.parse().with_context(wrong)?;
    let time = Duration::from_secs(number.saturating_mul(seconds));
    if time > MAX_TIME { Err(anyhow::anyhow!(wrong())) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        for (text, seconds) in [("400d", 34_560_000), ("36h", 129_600), ("90m", 5_400), ("0s", 0)] {
            assert_eq!(parse_time(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in
            ["", "d", "90", "-1d", "1.5h", "90 d", "9é", "é", "1w", "99999999d", "18446744073709551615d"]
        {
            let error = parse_time(text).unwrap_err().to_string();
            assert!(error.ends_with("is not a time such as 400d, 36h or 90m"), "{error}");
        }
    }
}
