//! The program: command line, configuration and wiring. No logic lives here.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod config;
mod installation;
mod output;
mod server;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::config::Config;

/// SQLite and the codec make and free small pieces by the million; this allocator takes a fifth off an import, also for
/// SQLite's own pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name of this machine, for lists of processes.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim()).filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned()
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("annals: {}", output::chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Completions { shell } = cli.command {
        return commands::completions::run(shell);
    }
    let config = Config::load(&cli.global)?;
    telemetry::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(commands::run(cli.command, config))?;
    // Databases are closed by now; a blocking task that still hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    Ok(code)
}
