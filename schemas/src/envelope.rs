//! The envelope: the first field of every event, and the one field that holds its personal data.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who, when, for whom and from where. First field of every event.
///
/// The time of the first append (`recorded_at`) is not in here: it is the record's timestamp, set by the appender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// v7 when created here, v5 of the source record when imported, v5 of (principal, idempotency key) for a
    /// repeated request. The same (customer, `event_id`) twice is the same event.
    pub event_id: Uuid,
    /// The customer that the action refers to.
    pub customer: Uuid,
    /// When it happened, in microseconds.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub occurred_at: DateTime<Utc>,
    /// URI of the producer, for example `annals:papi` or `urn:windows:HOST`.
    pub source: String,
    /// Who did it.
    pub actor: Actor,
}

/// An identity. Identities are typed: a domain user named `bob` is never the portal account `bob`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The kind of identity.
    pub kind: ActorKind,
    /// Pseudonymous id within the kind.
    pub id: Uuid,
    /// The actor's own customer where it is another one than the event's.
    #[serde(default)]
    pub home_customer: Option<Uuid>,
}

impl Actor {
    /// An actor of the event's own customer.
    #[must_use]
    pub fn new(kind: ActorKind, id: Uuid) -> Self {
        Self { kind, id, home_customer: None }
    }

    /// What annals does by itself.
    #[must_use]
    pub fn system() -> Self {
        Self::new(ActorKind::System, crate::ids::SYSTEM_ACTOR)
    }
}

/// The kinds of identity. The order is that of the Avro enum and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// An account of this installation.
    PortalAccount,
    /// A program with a key or token.
    ApiClient,
    /// An appliance that publishes.
    Appliance,
    /// An account of a host or its domain.
    HostAccount,
    /// A user, role or service of a cloud.
    CloudIdentity,
    /// annals itself.
    System,
    /// Nobody known.
    Unknown,
}

impl ActorKind {
    /// All kinds in their stored order.
    pub const ALL: [Self; 7] = [
        Self::PortalAccount,
        Self::ApiClient,
        Self::Appliance,
        Self::HostAccount,
        Self::CloudIdentity,
        Self::System,
        Self::Unknown,
    ];

    /// The stored number of this kind.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }
}

/// The personal data of an event: plain today, sealed once a person must be erasable without touching the log.
/// The order is that of the Avro union.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PersonalData {
    /// Readable.
    Personal(Personal),
    /// Encrypted; erased when its key is gone.
    Sealed(Sealed),
}

/// Names, addresses and free text of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// The account as shown: an e-mail, a Windows name without domain and realm, a cloud user's name.
    #[serde(default)]
    pub account: Option<String>,
    /// The same account in full: `DOMAIN\name` or an ARN. Filters take it beside the short form.
    #[serde(default)]
    pub qualified_account: Option<String>,
    /// The person's name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// IP address of the client, canonical.
    #[serde(default)]
    pub address: Option<String>,
    /// The client's own description.
    #[serde(default)]
    pub user_agent: Option<String>,
    /// Opaque id of the sign-in.
    #[serde(default)]
    pub sign_in_id: Option<String>,
    /// Name or id of the affected object.
    #[serde(default)]
    pub entity_id: Option<String>,
    /// Free text.
    #[serde(default)]
    pub text: Option<String>,
    /// The source record as JSON, secrets removed.
    #[serde(default)]
    pub record: Option<String>,
}

/// Encrypted personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key that opens it.
    pub key_id: String,
    /// Nonce of the encryption.
    #[serde(with = "apache_avro::serde::bytes")]
    pub nonce: Vec<u8>,
    /// The sealed record with its tag.
    #[serde(with = "apache_avro::serde::bytes")]
    pub ciphertext: Vec<u8>,
}
