//! The live tail: tells the consumers of this process that the log has grown, whoever appended.
//!
//! Appends of this process tell at once. Those of others are seen by asking SQLite for `data_version`, which reads a
//! number in shared memory; a file-system watch would be quicker but is not to be had on every disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How often other processes' appends are looked for. A quarter of the 100 ms within which they must be seen.
const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// After an error, how long until the next look.
const ERROR_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Tail {
    growth: Arc<watch::Sender<u64>>,
    poll: AbortHandle,
}

impl Tail {
    pub(crate) fn start(connection: SqliteConnection, path: PathBuf) -> Self {
        let growth = Arc::new(watch::Sender::new(0));
        let poll = tokio::spawn(poll(connection, path, Arc::clone(&growth))).abort_handle();
        Self { growth, poll }
    }

    /// Tells that this process appended.
    pub(crate) fn grown(&self) {
        self.growth.send_modify(|count| *count += 1);
    }

    /// A receiver that changes whenever the log may have grown.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.growth.subscribe()
    }

    pub(crate) fn stop(&self) {
        self.poll.abort();
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

async fn poll(mut connection: SqliteConnection, path: PathBuf, growth: Arc<watch::Sender<u64>>) {
    let mut seen = None;
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        if growth.receiver_count() == 0 {
            continue;
        }
        match annals_store::sqlite::data_version(&mut connection, &path).await {
            Ok(version) if seen == Some(version) => {}
            Ok(version) => {
                seen = Some(version);
                growth.send_modify(|count| *count += 1);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look for new records");
                tokio::time::sleep(ERROR_INTERVAL).await;
            }
        }
    }
}
