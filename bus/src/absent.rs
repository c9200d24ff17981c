//! No Kafka in this build: the same names, and nothing behind them.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use crate::{BusError, EmbeddedBus, Result};

/// An address that nobody can have.
#[derive(Clone, Debug)]
pub struct KafkaSettings(Infallible);

impl KafkaSettings {
    /// Always fails.
    ///
    /// # Errors
    /// [`BusError::NotBuilt`].
    pub fn parse(_address: &str) -> Result<Self> {
        Err(BusError::NotBuilt)
    }

    /// Cannot be called.
    #[must_use]
    pub fn with_client_id(self, _client_id: impl Into<String>) -> Self {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn address(&self) -> String {
        match self.0 {}
    }

    /// Cannot be called.
    #[must_use]
    pub fn topic_prefix(&self) -> &str {
        match self.0 {}
    }
}

impl fmt::Display for KafkaSettings {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// A topic that nobody can make.
#[derive(Clone, Debug)]
pub struct TopicReport {
    /// Its name in the cluster.
    pub topic: String,
    /// Whether it was made now.
    pub created: bool,
    /// Configurations that are not as annals would have made them.
    pub remarks: Vec<String>,
}

/// A log that nobody can open.
#[derive(Debug)]
pub enum KafkaBus {}

impl KafkaBus {
    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "as the engine has it")]
    pub async fn ensure_topics(
        settings: &KafkaSettings,
        _topics: &[(&str, u32)],
        _retention: Option<Duration>,
    ) -> Result<Vec<TopicReport>> {
        match settings.0 {}
    }

    /// Cannot be called. The other engine stands for the log: one that nobody can open needs no methods of its own.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "as the engine has it")]
    pub async fn open(settings: &KafkaSettings, _topics: &[(&str, u32)]) -> Result<EmbeddedBus> {
        match settings.0 {}
    }
}
