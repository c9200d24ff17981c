//! What annals keeps about a log in the log: the incarnation of each topic, and notes. Both stand in one compacted topic
//! with one partition, which is small and read whole.
//!
//! **Incarnations.** Kafka does not tell a client whether a topic is the one it knew or another one of the same name. So
//! each topic gets a UUID when it is made. Nobody can compare and set in a topic; two processes that make the same topic
//! at once agree by the order of their records: whoever wants to make a topic writes first that it `intends` to, naming
//! the incarnation that it saw before; whoever then makes it writes `made`. A record that names another incarnation than
//! the one in force says nothing. Every record has a key of its own, so that compaction takes none away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::admin::Tools;
use super::producer::{Appender, Target};
use super::reader::{Edge, Readers};
use super::settings::KafkaSettings;
use crate::{BusError, ReadLimit, Record, Result, StoredRecord};

/// Name of the topic in annals.
pub(super) const META_TOPIC: &str = "annals.meta";

/// How long whoever intends to make a topic is given to say that it did. Longer than that, and it is taken for dead.
const MAKER_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it did.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const NOTE: &str = "note:";
const INCARNATION: &str = "incarnation:";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// The topic was not there, and will be made.
    Intends,
    /// The topic was made.
    Made,
    /// Somebody else made the topic.
    Withdraws,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    step: Step,
    incarnation: Uuid,
    /// The incarnation in force, as far as the writer knew.
    previous: Option<Uuid>,
}

/// What is known of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Incarnations {
    /// The one in force.
    pub(super) made: Option<Uuid>,
    /// Those that somebody intends to make, the earliest first.
    pub(super) intended: Vec<Uuid>,
}

impl Incarnations {
    fn apply(&mut self, claim: &Claim) {
        match claim.step {
            Step::Withdraws => self.intended.retain(|intended| *intended != claim.incarnation),
            _ if claim.previous != self.made => {}
            Step::Intends => self.intended.push(claim.incarnation),
            Step::Made => {
                self.made = Some(claim.incarnation);
                self.intended.clear();
            }
        }
    }
}

/// Everything in the topic.
#[derive(Default)]
pub(super) struct Meta {
    topics: BTreeMap<String, Incarnations>,
    notes: BTreeMap<String, String>,
}

impl Meta {
    /// Reads it, when the topic is there.
    pub(super) async fn read(readers: &Arc<Readers>, settings: &KafkaSettings) -> Result<Self> {
        let topic = settings.outer_name(META_TOPIC);
        let records = readers
            .with(None, move |reader| {
                let mut all: Vec<StoredRecord> = Vec::new();
                loop {
                    let from = all.last().map_or(0, |record| record.offset + 1);
                    match reader.read(&topic, 0, from, ReadLimit::default())? {
                        Ok(more) => all.extend(more),
                        Err(Edge::End) => return Ok(all),
                        // Compaction keeps the first offset; only a deletion by hand takes it away.
                        Err(Edge::OutOfRange { .. }) => return Err(BusError::Recreated(topic)),
                    }
                }
            })
            .await?;
        let mut meta = Self::default();
        for record in records {
            meta.apply(&record);
        }
        Ok(meta)
    }

    fn apply(&mut self, record: &StoredRecord) {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
        if let Some(note) = key.strip_prefix(NOTE) {
            let text = String::from_utf8_lossy(&record.value).into_owned();
            self.notes.insert(note.to_owned(), text);
        } else if let Some(rest) = key.strip_prefix(INCARNATION)
            && let Some((topic, _)) = rest.split_once(':')
        {
            match serde_json::from_slice(&record.value) {
                Ok(claim) => self.topics.entry(topic.to_owned()).or_default().apply(&claim),
                Err(error) => tracing::warn!(key, %error, "a record of annals.meta is not understood"),
            }
        }
    }

    /// What is known of a topic, by its outer name.
    pub(super) fn incarnations(&self, outer: &str) -> Incarnations {
        self.topics.get(outer).cloned().unwrap_or_default()
    }

    /// Whether somebody is making a topic.
    pub(super) fn is_being_made(&self) -> bool {
        self.topics.values().any(|topic| !topic.intended.is_empty())
    }

    /// The note under a key.
    pub(super) fn note(&mut self, key: &str) -> Option<String> {
        self.notes.remove(key)
    }
}

/// Writes a note.
pub(super) async fn write_note(
    appender: &Appender,
    settings: &KafkaSettings,
    key: &str,
    text: &str,
) -> Result<()> {
    write(appender, settings, format!("{NOTE}{key}"), text.as_bytes().to_vec()).await
}

async fn write(appender: &Appender, settings: &KafkaSettings, key: String, value: Vec<u8>) -> Result<()> {
    let outer = settings.outer_name(META_TOPIC);
    let target = Target { name: META_TOPIC, outer: &outer, partitions: 1 };
    let record = Record { key: Some(Bytes::from(key)), value: value.into(), ..Record::default() };
    match appender.append(&target, vec![record]).await {
        Ok(_) => Ok(()),
        Err(BusError::Recreated(topic)) => Err(BusError::NotPrepared { topic, reason: "is missing" }),
        Err(error) => Err(error),
    }
}

async fn write_claim(tools: &Tools, outer: &str, claim: &Claim) -> Result<()> {
    let step = match claim.step {
        Step::Intends => "intends",
        Step::Made => "made",
        Step::Withdraws => "withdraws",
    };
    let key = format!("{INCARNATION}{outer}:{}:{step}", claim.incarnation);
    let value = serde_json::to_vec(claim)
        .map_err(|error| BusError::Broker { operation: "keep an incarnation", reason: error.to_string() })?;
    write(&tools.appender, &tools.settings, key, value).await
}

/// Sees to it that a topic is there and has an incarnation. Gives whether it was made now.
pub(super) async fn ensure_incarnation(
    tools: &Tools,
    outer: &str,
    partitions: u32,
    config: &[(&str, String)],
) -> Result<bool> {
    let mut created = false;
    loop {
        // In this order: a topic that is seen to be missing after its incarnation was read was removed since.
        let known = Meta::read(&tools.readers, &tools.settings).await?.incarnations(outer);
        let exists = tools.partition_count(outer).await?.is_some();
        match (exists, known.made) {
            (true, Some(_)) if known.intended.is_empty() => return Ok(created),
            (true, _) => adopt(tools, outer, &known).await?,
            (false, _) => created |= make(tools, outer, partitions, config, known.made).await?,
        }
    }
}

/// Makes a topic that is not there.
async fn make(
    tools: &Tools,
    outer: &str,
    partitions: u32,
    config: &[(&str, String)],
    previous: Option<Uuid>,
) -> Result<bool> {
    let incarnation = Uuid::new_v4();
    let claim = |step| Claim { step, incarnation, previous };
    write_claim(tools, outer, &claim(Step::Intends)).await?;
    let created = match tools.create(outer, partitions, config).await {
        Ok(created) => created,
        Err(error) => {
            // Nothing hangs on it: an intent that stays behind is taken for somebody who died.
            let _ = write_claim(tools, outer, &claim(Step::Withdraws)).await;
            return Err(error);
        }
    };
    let step = if created { Step::Made } else { Step::Withdraws };
    write_claim(tools, outer, &claim(step)).await?;
    Ok(created)
}

/// Gives an incarnation to a topic that is there, unless its maker does within its time.
async fn adopt(tools: &Tools, outer: &str, known: &Incarnations) -> Result<()> {
    let give_up = Instant::now() + MAKER_PATIENCE;
    // A topic that annals did not make at all has no maker to wait for, but somebody may be about to adopt it too.
    while !known.intended.is_empty() && Instant::now() < give_up {
        tokio::time::sleep(LOOK_AGAIN).await;
        if Meta::read(&tools.readers, &tools.settings).await?.incarnations(outer) != *known {
            return Ok(());
        }
    }
    let incarnation = known.intended.first().copied().unwrap_or_else(Uuid::new_v4);
    write_claim(tools, outer, &Claim { step: Step::Made, incarnation, previous: known.made }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(step: Step, incarnation: u128, previous: Option<u128>) -> Claim {
        Claim { step, incarnation: Uuid::from_u128(incarnation), previous: previous.map(Uuid::from_u128) }
    }

    fn after(claims: &[Claim]) -> Incarnations {
        let mut known = Incarnations::default();
        for claim in claims {
            known.apply(claim);
        }
        known
    }

    #[test]
    fn the_first_that_was_made_counts() {
        let known = after(&[
            claim(Step::Intends, 1, None),
            claim(Step::Intends, 2, None),
            claim(Step::Made, 2, None),
            claim(Step::Made, 1, None),
        ]);
        assert_eq!(known, Incarnations { made: Some(Uuid::from_u128(2)), intended: Vec::new() });
    }

    #[test]
    fn a_topic_that_was_removed_gets_another_one() {
        let known = after(&[
            claim(Step::Made, 1, None),
            claim(Step::Intends, 2, Some(1)),
            claim(Step::Made, 2, Some(1)),
        ]);
        assert_eq!(known.made, Some(Uuid::from_u128(2)));
    }

    #[test]
    fn who_comes_too_late_withdraws() {
        let known = after(&[
            claim(Step::Intends, 1, None),
            claim(Step::Made, 1, None),
            claim(Step::Intends, 2, Some(1)),
            claim(Step::Withdraws, 2, Some(1)),
        ]);
        assert_eq!(known, Incarnations { made: Some(Uuid::from_u128(1)), intended: Vec::new() });
    }

    #[test]
    fn a_claim_is_stored_as_it_always_was() {
        let text = r#"{"step":"made","incarnation":"00000000-0000-0000-0000-000000000001","previous":null}"#;
        assert_eq!(serde_json::to_string(&claim(Step::Made, 1, None)).unwrap(), text);
        assert_eq!(serde_json::from_str::<Claim>(text).unwrap(), claim(Step::Made, 1, None));
    }
}
