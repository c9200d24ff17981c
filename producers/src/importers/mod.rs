//! Importers: turn records that other programs wrote into events.
//!
//! Pure or blocking code, no async: [`read_records`] streams a file, [`Format::to_event`] maps one record. Importing
//! the same record twice gives the same event id, so repeating an import is harmless. Nothing that an importer does
//! not know is dropped, and secrets are removed before a record enters an event.
//!
//! Reading order: [`input`] (files), [`windows`] and [`cloudtrail`] (the two mappings), [`redact`] (secrets), [`time`]
//! and [`fields`] (what both mappings share).

mod cloudtrail;
mod fields;
mod input;
mod redact;
mod time;
mod windows;

#[cfg(test)]
mod tests;

use annals_schemas::Event;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use fields::canonical_address;
pub use input::{InputError, InputRecord, LineError, MAX_LINE_BYTES, read_records};
pub use redact::{REDACTED, redact_text, redact_value};
pub use time::{LocalZone, UnknownZone};

/// What an importer needs besides the record.
#[derive(Clone, Debug)]
pub struct ImportContext {
    /// The customer that the records belong to.
    pub customer: Uuid,
    /// The zone of times that were written without one (`--timezone`); without it the records themselves tell.
    pub time_zone: Option<LocalZone>,
}

/// A format that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Windows event log records as JSON lines.
    WindowsSecurity,
    /// AWS `CloudTrail` records as JSON lines or as the service's own files.
    Cloudtrail,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::WindowsSecurity, Self::Cloudtrail];

    /// The name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WindowsSecurity => "windows-security",
            Self::Cloudtrail => "cloudtrail",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Maps one record to an event.
    ///
    /// # Errors
    /// When the record lacks what every event needs: an id, a kind or a time.
    pub fn to_event(self, record: Map<String, Value>, context: &ImportContext) -> Result<Event, RecordError> {
        match self {
            Self::WindowsSecurity => windows::to_event(record, context),
            Self::Cloudtrail => cloudtrail::to_event(record, context),
        }
    }
}

/// What is wrong with one record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A field without which there is no event.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field that does not hold what it must.
    #[error("`{field}` is not {expected}: `{value}`")]
    Unreadable {
        /// The field.
        field: &'static str,
        /// What it should be, with an article.
        expected: &'static str,
        /// What it is, cut to 100 characters.
        value: String,
    },
}

impl RecordError {
    fn unreadable(field: &'static str, expected: &'static str, value: &Value) -> Self {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let value = text.chars().take(100).collect();
        Self::Unreadable { field, expected, value }
    }
}
