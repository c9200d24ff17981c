//! `annals check-config`.

use std::process::ExitCode;

use annals_store::{ControlDb, DataDir};

use crate::config::Config;
use crate::output;

/// Prints the settings, and opens what they name. Nothing is made.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let file = config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    let data = config.data()?;
    output::table(&[
        vec!["configuration file".into(), file],
        vec!["data".into(), data.display().to_string()],
        vec!["listen".into(), config.listen(listen_from_environment()?).to_string()],
        vec!["log".into(), config.log.clone().unwrap_or_else(|| "default".into())],
        vec!["log format".into(), format!("{:?}", config.log_format).to_lowercase()],
        vec!["request timeout".into(), format!("{} s", config.request_timeout.as_secs())],
        vec!["secure cookies".into(), config.secure_cookies.to_string()],
    ])?;
    if data.join("control.db").is_file() {
        let directory = DataDir::open(data)?;
        ControlDb::open(&directory).await?.close().await;
        output::line("the data directory can be used")?;
    } else {
        output::line("the data directory is not there yet; the first command that writes makes it")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `serve` and `demo` take this variable by their flag; here there is no such flag.
fn listen_from_environment() -> anyhow::Result<Option<std::net::SocketAddr>> {
    match std::env::var("ANNALS_LISTEN") {
        Ok(text) => Ok(Some(
            text.parse()
                .map_err(|_| anyhow::anyhow!("`ANNALS_LISTEN` is `{text}`, not an address with a port"))?,
        )),
        Err(_) => Ok(None),
    }
}
