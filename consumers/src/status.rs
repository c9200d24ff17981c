//! How a consumer is doing, as health and metrics tell it.

use annals_store::Partition;
use tokio::sync::watch;

/// State of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    Starting,
    /// At work or waiting for records.
    Running,
    /// Waiting to try again; the reason says for what.
    Waiting(String),
    /// Stopped for good; somebody must look.
    Stopped(String),
    /// Ended because it was told to.
    Ended,
}

/// Follows the state of one consumer.
#[derive(Clone, Debug)]
pub struct Status {
    name: String,
    state: watch::Receiver<State>,
    partitions: watch::Receiver<Vec<Partition>>,
}

/// Where a consumer reports to.
#[derive(Clone, Debug)]
pub struct Reporter {
    state: watch::Sender<State>,
    partitions: watch::Sender<Vec<Partition>>,
}

impl Reporter {
    /// Says how the consumer is.
    pub fn set(&self, state: State) {
        self.state.send_if_modified(|now| {
            let changed = *now != state;
            *now = state;
            changed
        });
    }

    /// Says that the consumer has begun again. One that waited still does, until something was done or nothing went
    /// wrong for a while: it may fail for the same reason at once.
    pub(crate) fn begun(&self) {
        if !matches!(*self.state.borrow(), State::Waiting(_)) {
            self.set(State::Running);
        }
    }

    /// Says that these partitions are the consumer's from now on, beside those that it has.
    pub fn assigned(&self, partitions: impl IntoIterator<Item = Partition>) {
        self.partitions.send_modify(|mine| {
            for partition in partitions {
                if !mine.contains(&partition) {
                    mine.push(partition);
                }
            }
        });
    }

    /// Says that these partitions are another consumer's.
    pub fn revoked(&self, partitions: &[Partition]) {
        self.partitions.send_modify(|mine| mine.retain(|partition| !partitions.contains(partition)));
    }

    /// Says that the consumer has no partitions now.
    pub fn all_revoked(&self) {
        self.partitions.send_replace(Vec::new());
    }
}

impl Status {
    /// A status, and where its consumer reports to.
    #[must_use]
    pub fn new(name: impl Into<String>) -> (Reporter, Self) {
        let (state_sender, state) = watch::channel(State::Starting);
        let (partitions_sender, partitions) = watch::channel(Vec::new());
        let reporter = Reporter { state: state_sender, partitions: partitions_sender };
        (reporter, Self { name: name.into(), state, partitions })
    }

    /// Name of the consumer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The state in one value, for lists of processes.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        let (state, reason) = match self.state() {
            State::Starting => ("starting", None),
            State::Running => ("running", None),
            State::Waiting(reason) => ("waiting", Some(reason)),
            State::Stopped(reason) => ("stopped", Some(reason)),
            State::Ended => ("ended", None),
        };
        let mut shown = serde_json::json!({"state": state});
        if let Some(reason) = reason {
            shown["reason"] = reason.into();
        }
        let partitions = self.partitions();
        if !partitions.is_empty() {
            shown["partitions"] = partitions.iter().map(ToString::to_string).collect::<Vec<_>>().into();
        }
        shown
    }

    /// The partitions that this consumer works on now.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let mut partitions = self.partitions.borrow().clone();
        partitions.sort_unstable();
        partitions
    }

    /// Waits until the state is as wanted; `None` when the consumer is gone before.
    pub async fn wait_for(&mut self, wanted: impl FnMut(&State) -> bool) -> Option<State> {
        self.state.wait_for(wanted).await.ok().map(|state| state.clone())
    }
}
