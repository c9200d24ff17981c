//! `annals log`.

mod copy;

use std::io::Write;
use std::process::ExitCode;

use annals_bus::{Bus, Partition, ReadLimit, StoredRecord};
use annals_schemas::registry::{self, KnownIds};
use annals_schemas::{Event, Registry, TOPICS, codec, topics};
use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::cli::LogCommand;
use crate::config::Config;
use crate::installation::open_log;
use crate::output;

/// Where a dump begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Offset(u64),
    Time(DateTime<Utc>),
    Place(Partition, u64),
}

/// Runs the command.
pub async fn run(config: &Config, command: LogCommand) -> anyhow::Result<ExitCode> {
    let (topic, from) = match command {
        LogCommand::Dump { topic, from } => (topic, from),
        LogCommand::Copy { from, to, json } => return copy::run(&from, &to, json).await,
    };
    let from = from.as_deref().map(parse_from).transpose()?.unwrap_or(From::Offset(0));
    if let Some(topic) = &topic
        && topics::find(topic).is_none()
    {
        let names = TOPICS.map(|topic| topic.name).join(", ");
        bail!("there is no topic `{topic}`; the topics are {names}");
    }
    let (bus, registry) = open_log(config).await?;
    let result = dump(&*bus, registry.as_deref(), topic.as_deref(), &from).await;
    bus.close().await;
    result?;
    Ok(ExitCode::SUCCESS)
}

fn parse_from(text: &str) -> anyhow::Result<From> {
    if let Ok(offset) = text.parse() {
        return Ok(From::Offset(offset));
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(From::Time(time.to_utc()));
    }
    let (partition, offset) = parse_place(text).with_context(|| {
        format!("`{text}` is neither an offset, nor a time (RFC 3339), nor TOPIC/PARTITION/OFFSET")
    })?;
    Ok(From::Place(partition, offset))
}

/// Reads TOPIC/PARTITION/OFFSET.
pub fn parse_place(text: &str) -> Option<(Partition, u64)> {
    let (rest, offset) = text.rsplit_once('/')?;
    let (topic, number) = rest.rsplit_once('/')?;
    Some((Partition::new(topic, number.parse().ok()?), offset.parse().ok()?))
}

async fn dump(
    bus: &dyn Bus,
    registry: Option<&Registry>,
    topic: Option<&str>,
    from: &From,
) -> anyhow::Result<()> {
    if let From::Place(place, _) = from
        && !bus.partitions(&place.topic).await?.contains(place)
    {
        bail!("there is no partition `{place}`");
    }
    for wanted in TOPICS.iter().filter(|known| topic.is_none_or(|topic| topic == known.name)) {
        for (partition, end) in bus.end_positions(&[wanted.name]).await? {
            let start = match from {
                From::Offset(offset) => *offset,
                From::Time(time) => bus.position_at(&partition, *time).await?,
                From::Place(place, offset) if *place == partition => *offset,
                From::Place(..) => continue,
            };
            dump_partition(bus, registry, &partition, start, end).await?;
        }
    }
    Ok(())
}

/// Prints up to the end as it was: a dump of a log that grows ends.
async fn dump_partition(
    bus: &dyn Bus,
    registry: Option<&Registry>,
    partition: &Partition,
    start: u64,
    end: u64,
) -> anyhow::Result<()> {
    let mut next = start;
    while next < end {
        let records = bus.read(partition, next, ReadLimit::default()).await?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        let ids = registry::known_ids(registry, records.iter().map(|record| &*record.value)).await?;
        let mut text = Vec::new();
        for record in records.iter().filter(|record| record.offset < end) {
            serde_json::to_writer(&mut text, &show(partition, record, &ids))?;
            text.push(b'\n');
        }
        std::io::stdout().lock().write_all(&text)?;
    }
    Ok(std::io::stdout().flush()?)
}

fn show(partition: &Partition, record: &StoredRecord, ids: &KnownIds) -> Value {
    let mut line = json!({
        "position": format!("{partition}/{}", record.offset),
        "topic": &*partition.topic,
        "partition": partition.number,
        "offset": record.offset,
        "recorded_at": record.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "key": record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned()),
    });
    match codec::decode(&record.value, ids) {
        Ok(event) => {
            line["event_type"] = event.event_type().name().into();
            line["event"] = show_event(&event);
        }
        Err(error) => {
            line["error"] = output::chain(&error.into()).into();
            line["bytes"] = hex(&record.value).into();
        }
    }
    line
}

/// An event as JSON for people: times as RFC 3339, personal data without its union's name and without empty fields.
fn show_event(event: &Event) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    let occurred_at = event.meta().occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    value["meta"]["occurred_at"] = occurred_at.into();
    if let Some(Value::Object(plain)) = value["personal"].get_mut("Personal").map(Value::take) {
        let filled: Map<String, Value> = plain.into_iter().filter(|(_, field)| !field.is_null()).collect();
        value["personal"] = Value::Object(filled);
    }
    value
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_begins_at_an_offset_a_time_or_a_place() -> anyhow::Result<()> {
        assert_eq!(parse_from("17")?, From::Offset(17));
        assert!(matches!(parse_from("2026-01-02T03:04:05Z")?, From::Time(_)));
        let place = From::Place(Partition::new("annals.audit", 2), 5);
        assert_eq!(parse_from("annals.audit/2/5")?, place);
        assert!(parse_from("yesterday").is_err());
        Ok(())
    }
}
