//! `annals log copy`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use annals_bus::{Bus, BusError, EmbeddedBus, KafkaBus, KafkaSettings};
use annals_consumers::copy::{self, ArchiveSource, Limits, LogSource, Progress, Source, Summary};
use annals_schemas::TOPICS;
use annals_store::{DataDir, Role};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::installation::client_id;
use crate::output;

/// What an archive is written with on the command line.
const ARCHIVE: &str = "archive:";

/// Where a log is.
enum Place {
    Directory(PathBuf),
    Kafka(Box<KafkaSettings>),
    Archive(PathBuf),
}

impl Place {
    fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(folder) = text.strip_prefix(ARCHIVE) {
            if folder.is_empty() {
                bail!("`{ARCHIVE}` needs a folder");
            }
            return Ok(Self::Archive(folder.into()));
        }
        match text.split_once("://") {
            None if text.is_empty() => bail!("it is empty"),
            None => Ok(Self::Directory(text.into())),
            Some(("kafka", _)) => {
                Ok(Self::Kafka(Box::new(KafkaSettings::parse(text)?.with_client_id(client_id()))))
            }
            Some((other, _)) => {
                bail!("a log is a data directory, a kafka:// address or {ARCHIVE}FOLDER, not `{other}://`")
            }
        }
    }

    /// Whether both are one folder, however it is written. Two addresses of one Kafka are found out while copying.
    fn is_same(&self, other: &Self) -> bool {
        let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) | (Self::Archive(one), Self::Archive(other)) => {
                same(one, other)
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            // Without the password.
            Self::Kafka(settings) => settings.fmt(f),
            Self::Archive(folder) => write!(f, "{ARCHIVE}{}", folder.display()),
        }
    }
}

/// Runs the command.
pub async fn run(from: &str, to: &str, json: bool) -> anyhow::Result<ExitCode> {
    let (from, to) = (Place::parse(from).context("FROM")?, Place::parse(to).context("TO")?);
    if from.is_same(&to) {
        bail!("FROM and TO are the same");
    }
    let bar = Bar::default();
    let summary = copy_log(&from, &to, &mut |progress| bar.show(progress)).await;
    bar.0.finish_and_clear();
    print(&from, &to, &summary?, json)?;
    Ok(ExitCode::SUCCESS)
}

async fn copy_log(
    from: &Place,
    to: &Place,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> anyhow::Result<Summary> {
    match from {
        Place::Archive(folder) => {
            let archive = ArchiveSource::open(folder, progress).await.context("FROM")?;
            copy_source(&archive, to, progress).await
        }
        Place::Directory(path) => {
            let log = open_directory(path).await.context("FROM")?;
            copy_bus(&log, to, progress).await
        }
        Place::Kafka(settings) => {
            let log = open_kafka(settings, true).await.context("FROM")?;
            copy_bus(&*log, to, progress).await
        }
    }
}

async fn copy_bus(
    from: &dyn Bus,
    to: &Place,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> anyhow::Result<Summary> {
    let summary = copy_source(&LogSource::new(from), to, progress).await;
    from.close().await;
    summary
}

async fn copy_source(
    from: &dyn Source,
    to: &Place,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> anyhow::Result<Summary> {
    let topics = TOPICS.map(|topic| topic.name);
    let limits = Limits::default();
    let (target, _roles): (Arc<dyn Bus>, _) = match to {
        Place::Archive(folder) => {
            return Ok(copy::into_archive(from, folder, &topics, &limits, progress).await?);
        }
        Place::Kafka(settings) => (open_kafka(settings, false).await.context("TO")?, Vec::new()),
        Place::Directory(path) => {
            let directory = DataDir::create(path).context("TO")?;
            // A server on it would fold the log while it grows, and write to it.
            let roles = [Role::Projector, Role::Relay].map(|role| directory.take_role(role));
            let roles = roles.into_iter().collect::<Result<Vec<_>, _>>().context("TO")?;
            let wanted = TOPICS.map(|topic| (topic.name, topic.partitions));
            (Arc::new(EmbeddedBus::open(&directory, &wanted).await.context("TO")?), roles)
        }
    };
    let summary = copy::into_log(from, &*target, &topics, &limits, progress).await;
    target.close().await;
    Ok(summary?)
}

/// Opens the log of a data directory with the topics that it has.
async fn open_directory(path: &Path) -> anyhow::Result<EmbeddedBus> {
    let directory = DataDir::open(path)?;
    if !directory.log_db().is_file() {
        bail!("there is no log in `{}`: its log is on another engine", path.display());
    }
    Ok(EmbeddedBus::open(&directory, &[]).await?)
}

/// Opens a log on Kafka, whatever the number of its partitions. A source may lack topics that came later.
async fn open_kafka(settings: &KafkaSettings, is_source: bool) -> anyhow::Result<Arc<dyn Bus>> {
    let mut topics: Vec<_> = TOPICS.iter().map(|topic| (topic.name, topic.partitions)).collect();
    loop {
        let error = match KafkaBus::open(settings, &topics).await {
            Ok(bus) => return Ok(Arc::new(bus)),
            Err(error) => error,
        };
        let before = topics.clone();
        match &error {
            BusError::PartitionCount { topic, actual, .. } => {
                let found = topics.iter_mut().filter(|(name, _)| topic.ends_with(name));
                found.for_each(|(_, count)| *count = *actual);
            }
            BusError::NotPrepared { topic, .. } if is_source => {
                topics.retain(|(name, _)| !topic.ends_with(name))
            }
            _ => {}
        }
        // Where all of them are missing, the address is wrong rather than the log old.
        if topics == before || topics.is_empty() {
            return Err(error.into());
        }
    }
}

/// The progress bar; hidden where nobody sees it.
struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        Self(if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() })
    }
}

impl Bar {
    fn show(&self, progress: Progress) {
        let (template, done, total) = match progress {
            Progress::Checking { done, total } => {
                ("checking the archive {wide_bar} {bytes}/{total_bytes}", done, total)
            }
            Progress::Copying { done, total } => ("{wide_bar} {human_pos}/{human_len} records", done, total),
        };
        if self.0.length() != Some(total)
            && let Ok(style) = ProgressStyle::with_template(template)
        {
            self.0.set_style(style);
        }
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

fn print(from: &Place, to: &Place, summary: &Summary, as_json: bool) -> anyhow::Result<()> {
    let elapsed = summary.elapsed.as_secs_f64();
    if as_json {
        let (from, to) = (from.to_string(), to.to_string());
        let summary = json!({"from": from, "to": to, "topics": summary.topics, "elapsed_seconds": elapsed});
        return Ok(output::line(summary.to_string())?);
    }
    let head = ["TOPIC", "RECORDS", "BYTES", "ALREADY THERE", "MISSING"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for topic in &summary.topics {
        let numbers = [topic.records, topic.bytes, topic.already_there, topic.missing].map(output::number);
        rows.push([vec![topic.topic.clone()], numbers.to_vec()].concat());
    }
    output::table(&rows)?;
    for topic in TOPICS.iter().filter(|known| summary.topics.iter().all(|topic| topic.topic != known.name)) {
        output::line(format!("FROM has no topic {}", topic.name))?;
    }
    let records = summary.topics.iter().map(|topic| topic.records).sum();
    output::line(format!("copied and verified {} records in {elapsed:.1} s", output::number(records)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_an_address_or_an_archive() -> anyhow::Result<()> {
        for text in ["./data", "archive:/backup/annals", "a:b"] {
            assert_eq!(Place::parse(text)?.to_string(), text);
        }
        let kafka = Place::parse("kafka://ann:secret@one:1?sasl=plain")?;
        assert!(!kafka.to_string().contains("secret"), "{kafka}");
        for wrong in ["", "archive:", "postgres://one/two", "kafka://"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn one_folder_is_one_place_however_it_is_written() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().display();
        let same = |one: String, other: String| -> anyhow::Result<bool> {
            Ok(Place::parse(&one)?.is_same(&Place::parse(&other)?))
        };
        assert!(same(format!("{path}"), format!("{path}/."))?);
        assert!(same(
            format!("archive:{path}"),
            format!("archive:{path}/../{}", folder.path().file_name().unwrap_or_default().display())
        )?);
        assert!(!same(format!("{path}"), format!("archive:{path}"))?);
        assert!(
            !same(format!("{path}/none"), format!("{path}/none"))?,
            "what is not there is found out later"
        );
        Ok(())
    }
}
