//! `annals topics`.

use std::process::ExitCode;
use std::time::Duration;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_schemas::TOPICS;
use anyhow::{Context, bail};

use crate::cli::TopicsCommand;
use crate::config::Config;
use crate::installation::client_id;
use crate::output;

/// Runs the command.
pub async fn run(config: &Config, command: TopicsCommand) -> anyhow::Result<ExitCode> {
    let TopicsCommand::Ensure { retention } = command;
    let retention = retention.as_deref().map(parse_retention).transpose()?;
    let address = config.bus().context("topics are Kafka's: name the broker with --bus kafka://HOST:PORT")?;
    let settings = KafkaSettings::parse(address)?.with_client_id(client_id());
    let topics = TOPICS.map(|topic| (topic.name, topic.partitions));
    for report in KafkaBus::ensure_topics(&settings, &topics, retention).await? {
        let done = if report.created { "made" } else { "is there" };
        output::line(format!("{} {done}", report.topic))?;
        for remark in report.remarks {
            output::line(format!("  {remark}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a time such as `400d`, `36h`, `90m`.
fn parse_retention(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => bail!("`{text}` is not a time such as 400d, 36h or 90m"),
    };
    let number: u64 =
        number.parse().with_context(|| format!("`{text}` is not a time such as 400d, 36h or 90m"))?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}
