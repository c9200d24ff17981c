//! `annals completions`.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;

/// Prints a completion script.
pub fn run(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "annals", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}
