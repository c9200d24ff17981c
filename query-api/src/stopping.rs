//! The word that the process stops, for answers that would never end by themselves.

use tokio::sync::watch;

/// Hears it. The server puts one into the extensions of every request.
#[derive(Clone, Debug)]
pub(crate) struct Stopping(watch::Receiver<bool>);

/// Says it. Dropping it says it, too.
#[derive(Debug)]
pub(crate) struct StopWord(watch::Sender<bool>);

/// Both ends.
pub(crate) fn channel() -> (StopWord, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (StopWord(sender), Stopping(receiver))
}

impl StopWord {
    /// Says it.
    pub(crate) fn say(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Returns when the process stops.
    pub(crate) async fn wait(&mut self) {
        // An error is a dropped sender: there is no server any more.
        let _ = self.0.wait_for(|stops| *stops).await;
    }

    /// Whether the process stops.
    pub(crate) fn is_said(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_word_is_heard_also_by_those_who_come_later() {
        let (word, mut stopping) = channel();
        assert!(!stopping.is_said());
        word.say();
        stopping.wait().await;
        stopping.clone().wait().await;
        assert!(stopping.is_said());
    }

    #[tokio::test]
    async fn a_server_that_is_gone_has_stopped() {
        let (word, mut stopping) = channel();
        drop(word);
        stopping.wait().await;
        assert!(stopping.is_said());
    }
}
