//! How the tasks of a process are told to end.

use tokio::sync::watch;

/// Tells every [`Stop`] made from it to end.
#[derive(Debug)]
pub struct StopSignal(watch::Sender<bool>);

/// Becomes ready once, when the process is to end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl StopSignal {
    /// A signal and what hears it.
    #[must_use]
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(receiver))
    }

    /// Tells everybody.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits for the signal. A signal that is gone counts as given.
    pub async fn wait(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether it was given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        *self.0.borrow()
    }
}
