//! What is at work on a log and a store, and how far each view is: what `annals status` shows.

use annals_access::Access;
use annals_schemas::TOPICS;
use annals_store::generations::{self, State};
use annals_store::{Partition, StoreError};
use annals_views::View;
use chrono::{SecondsFormat, TimeDelta};
use serde::Serialize;

use crate::projector::group;
use crate::{Engine, Result, for_each_view};

/// A process that has not said for this long that it is there is not listed. It says so every ten seconds.
const SEEN_WITHIN: TimeDelta = TimeDelta::seconds(45);

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// The log's partitions.
    pub log: Vec<LogPartition>,
    /// Generations of the views.
    pub generations: Vec<GenerationSurvey>,
    /// Processes that serve.
    pub processes: Vec<Process>,
    /// Events that wait for a relay.
    pub outbox: u64,
}

/// A partition of the log.
#[derive(Clone, Debug, Serialize)]
pub struct LogPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Offset of the first record that is still there.
    pub first: u64,
    /// Offset that the next record will get.
    pub end: u64,
}

/// A generation of a view.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationSurvey {
    /// The view.
    pub view: &'static str,
    /// Its number.
    pub generation: i64,
    /// Version of tables and fold.
    pub version: i64,
    /// Whether it is read, being built or to be removed.
    pub state: &'static str,
    /// How far it is. Empty for one that is to be removed.
    pub partitions: Vec<ViewPartition>,
    /// Records that could not be decoded.
    pub dead_letters: u64,
    /// Members of its consumer group; none on an embedded log.
    pub members: Vec<GroupMember>,
}

/// A process that reads in a consumer group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupMember {
    /// The name that the process gave itself.
    pub client_id: String,
    /// Its address, as the broker sees it.
    pub host: String,
    /// TOPIC/PARTITION of what it reads.
    pub partitions: Vec<String>,
}

/// How far a generation has folded a partition.
#[derive(Clone, Debug, Serialize)]
pub struct ViewPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Offset of the next record to fold.
    pub position: u64,
    /// Records that are still there and not folded yet.
    pub lag: u64,
}

/// A process that serves.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its roles.
    pub roles: String,
    /// Its machine.
    pub host: String,
    /// Its process id.
    pub process: u32,
    /// Its version of annals.
    pub version: String,
    /// Since when.
    pub started_at: String,
    /// When it said so last.
    pub seen_at: String,
    /// What each of its consumers is doing.
    pub consumers: serde_json::Value,
}

/// Looks at everything.
///
/// # Errors
/// When the log or a database cannot be read.
pub async fn survey(engine: &Engine, access: &Access) -> Result<Survey> {
    let topics = TOPICS.map(|topic| topic.name);
    let first = engine.bus.first_positions(&topics).await?;
    let ends = engine.bus.end_positions(&topics).await?;
    let log: Vec<LogPartition> = ends
        .iter()
        .map(|(partition, end)| LogPartition {
            topic: partition.topic.to_string(),
            partition: partition.number,
            first: first.iter().find(|(other, _)| other == partition).map_or(0, |(_, first)| *first),
            end: *end,
        })
        .collect();
    let mut generations = Vec::new();
    macro_rules! look {
        ($view:ty) => {
            generations.extend(look_at::<$view>(engine, &log).await?);
        };
    }
    for_each_view!(look);
    let members = access.members(SEEN_WITHIN).await?;
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let processes = members
        .into_iter()
        .map(|member| Process {
            roles: member.roles,
            host: member.host,
            process: member.process,
            version: member.version,
            started_at: time(member.started_at),
            seen_at: time(member.seen_at),
            consumers: serde_json::from_str(&member.detail).unwrap_or_default(),
        })
        .collect();
    Ok(Survey { log, generations, processes, outbox: access.outbox_len().await? })
}

async fn look_at<V: View>(engine: &Engine, log: &[LogPartition]) -> Result<Vec<GenerationSurvey>> {
    let mut found = Vec::new();
    for (generation, state) in generations::all(&engine.control, V::NAME).await? {
        let (partitions, dead_letters, members) = match state {
            State::Retired => Default::default(),
            State::Active | State::Building => {
                let (partitions, dead_letters) = progress::<V>(engine, generation.number, log).await?;
                let members = engine.bus.group_members(&group::<V>(generation.number)).await?;
                let members = members.into_iter().map(|member| GroupMember {
                    client_id: member.client_id,
                    host: member.host,
                    partitions: member.partitions.iter().map(ToString::to_string).collect(),
                });
                let members = members.collect();
                (partitions, dead_letters, members)
            }
        };
        found.push(GenerationSurvey {
            view: V::NAME,
            generation: generation.number,
            version: generation.version,
            state: state.as_str(),
            partitions,
            dead_letters,
            members,
        });
    }
    Ok(found)
}

async fn progress<V: View>(
    engine: &Engine,
    generation: i64,
    log: &[LogPartition],
) -> Result<(Vec<ViewPartition>, u64)> {
    let (positions, dead_letters) = match engine.database.progress(V::NAME, generation).await {
        Ok(progress) => progress,
        // Nobody has laid it out yet.
        Err(StoreError::Gone(_)) => (Vec::new(), 0),
        Err(error) => return Err(error.into()),
    };
    let folded = |at: &&LogPartition| V::topics().iter().any(|topic| topic.name == at.topic);
    let partitions = log
        .iter()
        .filter(folded)
        .map(|at| {
            let partition = Partition::new(&at.topic, at.partition);
            let position = positions.iter().find(|p| p.partition == partition).map_or(0, |p| p.next_offset);
            ViewPartition {
                topic: at.topic.clone(),
                partition: at.partition,
                position,
                // What retention removed before it was folded is not there to be folded any more.
                lag: at.end.saturating_sub(position.max(at.first)),
            }
        })
        .collect();
    Ok((partitions, dead_letters))
}
