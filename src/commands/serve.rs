//! `annals serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::cli::ServerRole;
use crate::config::Config;
use crate::output;
use crate::server::{Server, shutdown_signal};

/// Runs the command.
pub async fn run(
    config: &Config,
    listen: Option<SocketAddr>,
    roles: &[ServerRole],
) -> anyhow::Result<ExitCode> {
    let server = Server::start(config, config.listen(listen), &config.roles(roles)).await?;
    // Whoever reads the line may end it at once.
    let shutdown = shutdown_signal();
    output::line(format!("listening on http://{}", server.address()?))?;
    server.run(shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
