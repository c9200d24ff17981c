//! A file through an importer into the log, each record once.
//!
//! Reading and parsing run on a thread of their own; events are appended in groups. The ids of a group are remembered
//! after its append is durable: a crash between the two appends the group again with the next import, under the same
//! ids, and the views absorb it. Remembering them first would lose the group.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use annals_access::{Access, AccessError};
use annals_schemas::Event;
use annals_store::crash;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::importers::{self, Format, ImportContext, InputError};
use crate::{PublishError, Publisher};

/// Events of one append.
const GROUP: usize = 1_000;

/// Groups that may wait while one is appended.
const GROUPS_AHEAD: usize = 2;

/// Failed lines that the summary lists; all are counted.
pub const MAX_LISTED_FAILURES: usize = 1_000;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Records read.
    pub read: u64,
    /// Events published.
    pub published: u64,
    /// Events that were in the log already, or twice in the files.
    pub already_known: u64,
    /// Records that could not become an event.
    pub failed: u64,
    /// Published events by event type.
    pub by_event: BTreeMap<&'static str, u64>,
    /// The failed records, at most [`MAX_LISTED_FAILURES`].
    pub failures: Vec<Failure>,
}

/// A record that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; in a file of `Records` the record's number.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Why an import ended early. What was published before stays published; import again to go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The log did not take events.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Known ids cannot be read or written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The reading thread ended by a panic.
    #[error("reading `{}` ended unexpectedly", .0.display())]
    Reader(PathBuf),
}

/// An import under way, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes of the current file read, as stored.
    pub bytes_read: u64,
    /// Events published or known so far.
    pub events: u64,
}

#[derive(Default)]
struct Group {
    events: Vec<Event>,
    failures: Vec<(u64, String)>,
    bytes_read: u64,
}

impl Group {
    fn len(&self) -> usize {
        self.events.len() + self.failures.len()
    }
}

/// Imports one file and adds what it did to `summary`.
///
/// # Errors
/// When the file cannot be read, or the log or the control tables fail. Records that cannot become events are no
/// error: they are in the summary.
pub async fn import_file(
    path: &Path,
    format: Format,
    context: &ImportContext,
    access: &Access,
    publisher: &Publisher,
    summary: &mut Summary,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), ImportError> {
    let (sender, mut groups) = mpsc::channel(GROUPS_AHEAD);
    let reader = {
        let (path, context) = (path.to_owned(), context.clone());
        tokio::task::spawn_blocking(move || read_groups(&path, format, &context, &sender))
    };
    while let Some(group) = groups.recv().await {
        summary.read += group.len() as u64;
        summary.failed += group.failures.len() as u64;
        let room = MAX_LISTED_FAILURES.saturating_sub(summary.failures.len());
        let failures = group.failures.into_iter().take(room);
        summary.failures.extend(failures.map(|(line, reason)| Failure {
            file: path.to_owned(),
            line,
            reason,
        }));
        publish_group(group.events, context.customer, access, publisher, summary).await?;
        progress(Progress {
            bytes_read: group.bytes_read,
            events: summary.published + summary.already_known,
        });
    }
    reader.await.map_err(|_| ImportError::Reader(path.to_owned()))??;
    Ok(())
}

fn read_groups(
    path: &Path,
    format: Format,
    context: &ImportContext,
    groups: &mpsc::Sender<Group>,
) -> Result<(), InputError> {
    let mut group = Group::default();
    importers::read_records(path, format, &mut |input| {
        group.bytes_read = input.bytes_read;
        let event = input
            .record
            .map_err(|error| error.to_string())
            .and_then(|record| format.to_event(record, context).map_err(|error| error.to_string()));
        match event {
            Ok(event) => group.events.push(event),
            Err(reason) => group.failures.push((input.line, reason)),
        }
        if group.len() < GROUP {
            return ControlFlow::Continue(());
        }
        // Nobody listens any more after an error.
        match groups.blocking_send(std::mem::take(&mut group)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    let _ = groups.blocking_send(group);
    Ok(())
}

async fn publish_group(
    mut events: Vec<Event>,
    customer: Uuid,
    access: &Access,
    publisher: &Publisher,
    summary: &mut Summary,
) -> Result<(), ImportError> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.meta().event_id).collect();
    let known = access.known_ids(customer, &ids).await?;
    let read = events.len();
    let mut seen: HashSet<Uuid> = HashSet::with_capacity(read);
    events.retain(|event| !known.contains(&event.meta().event_id) && seen.insert(event.meta().event_id));
    summary.already_known += (read - events.len()) as u64;
    if events.is_empty() {
        return Ok(());
    }
    publisher.publish(&events).await?;
    crash::point("import:before-known-ids");
    let new: Vec<Uuid> = events.iter().map(|event| event.meta().event_id).collect();
    access.remember_ids(customer, &new).await?;
    summary.published += events.len() as u64;
    for event in &events {
        *summary.by_event.entry(event.event_type().name()).or_default() += 1;
    }
    Ok(())
}
