//! No client of schema registries in this build: the same names, and nothing behind them.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use super::{Known, RegisteredIds, RegistryError};

/// A registry that nobody can connect to.
#[derive(Debug)]
pub struct Registry(Infallible);

impl Registry {
    /// Always fails.
    ///
    /// # Errors
    /// [`RegistryError::NotBuilt`].
    #[expect(clippy::unused_async, reason = "as the client has it")]
    pub async fn connect(_url: &str) -> Result<Self, RegistryError> {
        Err(RegistryError::NotBuilt)
    }

    /// Cannot be called.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "as the client has it")]
    pub async fn register(&self, _topic_prefix: &str) -> Result<RegisteredIds, RegistryError> {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "as the client has it")]
    pub(crate) async fn look_up(&self, _ids: BTreeSet<u32>) -> Result<HashMap<u32, Known>, RegistryError> {
        match self.0 {}
    }
}
