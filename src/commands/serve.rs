//! `annals serve`.

use std::net::SocketAddr;
use std::process::ExitCode;

use annals_store::DataDir;

use crate::config::Config;
use crate::output;
use crate::server::{Server, shutdown_signal};

/// Runs the command.
pub async fn run(config: &Config, listen: Option<SocketAddr>) -> anyhow::Result<ExitCode> {
    let directory = DataDir::create(config.data()?)?;
    let server = Server::start(config, directory, config.listen(listen)).await?;
    output::line(format!("listening on http://{}", server.address()?))?;
    server.run(shutdown_signal()).await?;
    Ok(ExitCode::SUCCESS)
}
