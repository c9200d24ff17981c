//! The fold: an event becomes a row. Pure and total.

use std::net::IpAddr;

use annals_schemas::catalogue::{ERASED, present};
use annals_schemas::limits::cut;
use annals_schemas::{ActorKind, Severity};
use annals_store::Partition;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::address;
use crate::view::{LogEvent, clean, clean_name};

/// Longest category and type of an object, in bytes: they stand in one key with the name of the action.
const MAX_KIND_BYTES: usize = 512;

/// A row before its texts become dictionary ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// The customer that the event refers to.
    pub customer: Uuid,
    /// The event.
    pub event_id: Uuid,
    /// The time that is shown.
    pub at: DateTime<Utc>,
    /// The event's own time where that one is from the future.
    pub claimed_at: Option<DateTime<Utc>>,
    /// Time of the first append.
    pub recorded_at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// From where.
    pub address: Option<IpAddr>,
    /// To what.
    pub entity: Option<String>,
    /// In one sentence.
    pub description: String,
    /// Opaque id of the sign-in.
    pub sign_in: Option<String>,
    /// Whether the record stands in another partition than its key says.
    pub misplaced: bool,
    /// Where in the log.
    pub partition: Partition,
    /// Where in the partition.
    pub offset: u64,
}

/// Who did it, under the name that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Kind of identity.
    pub kind: ActorKind,
    /// Id within the kind.
    pub id: Uuid,
    /// Account as shown; empty when there is none.
    pub account: String,
    /// Account in full; empty when there is none.
    pub qualified: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// Name.
    pub name: String,
    /// Category.
    pub category: String,
    /// Severity.
    pub severity: Severity,
    /// Type of the affected object; empty when there is none.
    pub entity_type: String,
}

/// Folds one event.
#[must_use]
pub fn fold(logged: &LogEvent) -> AuditRow {
    let meta = logged.event.meta();
    let personal = logged.event.personal();
    let shown = present(&logged.event);
    let text = |field: Option<&String>| field.map(|text| clean_name(text)).unwrap_or_default();
    AuditRow {
        customer: meta.customer,
        event_id: meta.event_id,
        at: logged.time(),
        claimed_at: logged.is_from_the_future().then_some(meta.occurred_at),
        recorded_at: logged.recorded_at,
        actor: Actor {
            kind: meta.actor.kind,
            id: meta.actor.id,
            account: personal.map_or(ERASED.to_owned(), |p| text(p.account.as_ref())),
            qualified: personal.map_or(String::new(), |p| text(p.qualified_account.as_ref())),
        },
        action: Action {
            name: clean_name(&shown.name),
            category: cut(&clean(&shown.category), MAX_KIND_BYTES),
            severity: shown.severity,
            entity_type: cut(&clean(&shown.entity_type), MAX_KIND_BYTES),
        },
        address: personal.and_then(|p| p.address.as_deref()).and_then(address::parse),
        entity: Some(clean_name(&shown.entity_id)).filter(|entity| !entity.is_empty()),
        description: clean(&shown.description),
        sign_in: personal.and_then(|p| p.sign_in_id.as_deref()).map(clean),
        misplaced: logged.misplaced,
        partition: logged.partition.clone(),
        offset: logged.offset,
    }
}
