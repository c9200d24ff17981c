//! How a consumer is doing, as health and metrics tell it.

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
}

impl Status {
    /// A status, and where its consumer reports to.
    #[must_use]
    pub fn new(name: impl Into<String>) -> (watch::Sender<State>, Self) {
        let (sender, state) = watch::channel(State::Starting);
        (sender, Self { name: name.into(), state })
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

    /// Waits until the state is as wanted; `None` when the consumer is gone before.
    pub async fn wait_for(&mut self, wanted: impl FnMut(&State) -> bool) -> Option<State> {
        self.state.wait_for(wanted).await.ok().map(|state| state.clone())
    }
}
