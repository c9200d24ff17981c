//! The event vocabulary of annals: what can be said, and how it is written down.
//!
//! Reading order: [`envelope`] (who, when, for whom), [`events`] (the event types), [`topics`] (where each type
//! goes and how it is keyed), [`catalogue`] (what each type shows to people), [`codec`] (the bytes), [`encoder`] (how a
//! process writes them), [`registry`] (the schema registry).
//!
//! Pure code: no async, no SQL, no Kafka; but for [`registry`], which is a client over HTTP.
#![forbid(unsafe_code)]

pub mod catalogue;
pub mod cloudevents;
pub mod codec;
pub mod encoder;
pub mod envelope;
pub mod events;
pub mod fingerprint;
pub mod foreign;
pub mod ids;
pub mod limits;
pub mod registry;
pub mod topics;

pub use catalogue::{Presentation, present};
pub use codec::{DecodeError, EncodeError};
pub use encoder::Encoder;
pub use envelope::{Actor, ActorKind, Meta, Personal, PersonalData, Sealed};
pub use events::{
    ActionRecorded, ConfigurationChanged, Event, EventType, HostIdentity, HostLoggedOff, HostLoggedOn,
    HostLogonFailed, LoggedOut, LoginFailed, LoginSucceeded, Severity,
};
pub use registry::{Registry, RegistryError};
pub use topics::{TOPICS, Topic};
