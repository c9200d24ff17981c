//! `annals topics`.

use std::process::ExitCode;
use std::time::Duration;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_schemas::TOPICS;
use anyhow::Context;

use crate::cli::TopicsCommand;
use crate::config::Config;
use crate::installation::client_id;
use crate::output;

/// A thousand years. Kafka counts milliseconds, and cannot count all that a number here could say.
const MAX_RETENTION: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// Runs the command.
pub async fn run(config: &Config, command: TopicsCommand) -> anyhow::Result<ExitCode> {
    let TopicsCommand::Ensure { retention } = command;
    let retention = retention.as_deref().map(|text| super::parse_time(text, MAX_RETENTION)).transpose()?;
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
