//! The schema registry: our schemas in, other people's out. It speaks the Confluent-compatible API, which Confluent's
//! own registry, Apicurio, Karapace and Redpanda have.
//!
//! Decoding is sync and runs off the async threads, so the ids of a batch are looked up before it: [`known_ids`] asks
//! for those that are not known yet, and gives what [`codec::decode`](crate::codec::decode) needs. A registry that
//! cannot be reached is not a bad record: the caller waits. Only a registry that answers that it has no such id makes
//! a record undecodable.
//!
//! **Ids are for ever.** A registry never gives an id to another schema; what an id stands for is remembered as long as
//! the process lives, and records in the log depend on it for ever. A registry that lost its storage must get it back
//! before anything reads or writes with it: records framed under its old ids would be read with whatever schema has
//! the id now.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::codec::{self, DecodeError, Fingerprint, SchemaIds};
use crate::events::EventType;
use crate::foreign::IdSchema;

#[cfg(feature = "registry")]
mod client;
#[cfg(feature = "registry")]
mod http;
#[cfg(feature = "registry")]
pub use client::Registry;

#[cfg(not(feature = "registry"))]
mod absent;
#[cfg(not(feature = "registry"))]
pub use absent::Registry;

/// What every subject of ours must keep: replay begins at the first record, so that today's schema has to read those
/// of all versions.
pub const COMPATIBILITY: &str = "BACKWARD_TRANSITIVE";

/// What goes wrong with a registry. Its address is shown without user and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The address is none.
    #[error("--registry is not an address like `https://HOST/apis/ccompat/v7`: {0}")]
    Address(String),
    /// The certificates that `https` needs.
    #[error("cannot read the machine's certificates, which --registry `{url}` needs: {reason}")]
    Certificates {
        /// The registry.
        url: String,
        /// What is wrong with them.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("the schema registry `{url}` (--registry) cannot be reached")]
    Unreachable {
        /// The registry.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the schema registry `{url}` (--registry) did not answer within {seconds} s")]
    TimedOut {
        /// The registry.
        url: String,
        /// How long that is.
        seconds: u64,
    },
    /// It answered, with an error.
    #[error("the schema registry `{url}` (--registry) answered {action} with {status}: {reason}")]
    Refused {
        /// The registry.
        url: String,
        /// What it was asked for.
        action: String,
        /// The HTTP status.
        status: u16,
        /// Its own words, if it had any.
        reason: String,
    },
    /// It answered something else than a registry does.
    #[error("`{url}` (--registry) does not answer {action} like a schema registry")]
    NotARegistry {
        /// The registry.
        url: String,
        /// What it was asked for.
        action: String,
    },
    /// Somebody else's schema stands under our subject, and ours cannot read its records.
    #[error("the schema registry (--registry) refuses version {version} of subject `{subject}`: {reason}")]
    Incompatible {
        /// The subject.
        subject: String,
        /// Version of our schema.
        version: u16,
        /// The registry's words.
        reason: String,
    },
    /// The registry does not keep our compatibility level.
    #[error(
        "the schema registry (--registry) has compatibility `{found}` for subject `{subject}`, although {COMPATIBILITY} was set"
    )]
    Compatibility {
        /// The subject.
        subject: String,
        /// What it says.
        found: String,
    },
    /// The registry mixes schemas up.
    #[error(
        "the schema registry (--registry) gives another schema for id {id} than version {version} of subject `{subject}`, which it gave this id"
    )]
    OtherSchema {
        /// The subject.
        subject: String,
        /// Version of our schema.
        version: u16,
        /// The id.
        id: u32,
    },
    /// No client in this build.
    #[error("--registry needs a program that was built with the feature `registry`")]
    NotBuilt,
}

impl RegistryError {
    /// Whether trying again later may help without anybody doing anything here.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::TimedOut { .. }
                | Self::Refused { .. }
                | Self::NotARegistry { .. }
        )
    }
}

/// The subject of an event type: topic and full name, which other people's clients call TopicRecordNameStrategy. The
/// prefix is the one that the log puts before the names of its topics.
#[must_use]
pub fn subject(topic_prefix: &str, event_type: EventType) -> String {
    format!("{topic_prefix}{}-{}", event_type.topic().name, event_type.full_name())
}

/// The ids that a registry gave our schemas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredIds(HashMap<Fingerprint, u32>);

impl RegisteredIds {
    /// The id of one of our schemas.
    #[must_use]
    pub fn get(&self, fingerprint: Fingerprint) -> Option<u32> {
        self.0.get(&fingerprint).copied()
    }
}

impl FromIterator<(Fingerprint, u32)> for RegisteredIds {
    fn from_iter<I: IntoIterator<Item = (Fingerprint, u32)>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// What is known of an id.
#[derive(Clone)]
#[cfg_attr(not(feature = "registry"), expect(dead_code, reason = "nobody to ask"))]
pub(crate) enum Known {
    Schema(IdSchema),
    /// The registry has a schema that no event can be read with.
    Unusable(Arc<str>),
    /// The registry has no such id.
    Missing,
}

/// What the ids of a batch stand for. Holds every id that it was asked for, so that decoding never waits.
#[derive(Clone, Default)]
pub struct KnownIds {
    ids: HashMap<u32, Known>,
}

impl SchemaIds for KnownIds {
    fn schema(&self, schema_id: u32) -> Result<IdSchema, DecodeError> {
        match self.ids.get(&schema_id) {
            Some(Known::Schema(schema)) => Ok(schema.clone()),
            Some(Known::Unusable(reason)) => {
                Err(DecodeError::UnusableSchema { id: schema_id, reason: Arc::clone(reason) })
            }
            Some(Known::Missing) => Err(DecodeError::UnknownSchemaId(schema_id)),
            None => Err(DecodeError::NoRegistry(schema_id)),
        }
    }
}

/// Looks up the ids that these records are framed with. Costs nothing where none is; without a registry none is known.
///
/// # Errors
/// When the registry must be asked and does not answer: all of these errors are [transient](RegistryError::is_transient).
pub async fn known_ids<'r>(
    registry: Option<&Registry>,
    records: impl IntoIterator<Item = &'r [u8]>,
) -> Result<KnownIds, RegistryError> {
    let Some(registry) = registry else { return Ok(KnownIds::default()) };
    let ids: BTreeSet<u32> = records.into_iter().filter_map(codec::schema_id).collect();
    Ok(KnownIds { ids: registry.look_up(ids).await? })
}
