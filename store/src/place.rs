//! Where a database is, as messages name it: a file, or a server with its database. Never a password.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of a database in messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(Arc<str>);

impl Place {
    /// A place by the text that messages show.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text that messages show.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self(path.to_string_lossy().into())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        path.as_path().into()
    }
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}
