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
    const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    let time = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?)).filter(|time| *time <= MAX_RETENTION)
    });
    time.with_context(|| format!("`{text}` is not a time such as 400d, 36h or 90m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_a_number_and_a_unit() -> anyhow::Result<()> {
        assert_eq!(parse_retention("400d")?, Duration::from_secs(400 * 86_400));
        assert_eq!(parse_retention("36h")?, parse_retention("2160m")?);
        for wrong in
            ["", "d", "400", "400\u{e9}", "\u{e9}", "4w", "-1d", "1.5h", "18446744073709551615d", "99999999d"]
        {
            let error = parse_retention(wrong).expect_err("must be refused");
            assert!(error.to_string().contains(&format!("`{wrong}` is not a time")), "{error}");
        }
        Ok(())
    }
}
