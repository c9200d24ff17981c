//! An audit event as this API shows it, in every form of the answer and in the terminal.

use std::net::IpAddr;

use annals_access::Customer;
use annals_schemas::ActorKind;
use annals_views::audit_log::AuditEvent;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// One event of the audit log. Every member is always there; what is not known is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub struct ShownEvent {
    /// The event's id, within its customer.
    #[schema(format = "uuid")]
    pub id: String,
    /// The customer that the event refers to.
    pub customer: ShownCustomer,
    /// When it happened (RFC 3339, UTC, microseconds); for an event from the future the time of its append.
    #[schema(format = "date-time")]
    pub time: String,
    /// The event's own time where that one is from the future.
    #[schema(required = true, format = "date-time")]
    pub claimed_time: Option<String>,
    /// When it was first appended to the log.
    #[schema(format = "date-time")]
    pub recorded_at: String,
    /// Who did it.
    pub actor: ShownActor,
    /// What was done.
    pub action: String,
    /// What kind of action it is.
    pub category: String,
    /// How grave it is: INFO, WARNING or ERROR.
    #[schema(value_type = String)]
    pub severity: &'static str,
    /// The affected object.
    pub entity: ShownEntity,
    /// From where.
    #[schema(value_type = Option<String>, required = true)]
    pub address: Option<IpAddr>,
    /// The event in a sentence.
    pub description: String,
    /// Opaque id of the sign-in that it belongs to.
    #[schema(required = true)]
    pub sign_in: Option<String>,
    /// Whether the record stands in another partition of the log than its key says.
    pub misplaced: bool,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EventCustomer)]
pub struct ShownCustomer {
    /// Its id, which never changes.
    #[schema(format = "uuid")]
    pub id: String,
    /// Its name today.
    #[schema(required = true)]
    pub name: Option<String>,
}

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EventActor)]
pub struct ShownActor {
    /// Its kind: portal_account, api_client, appliance, host_account, cloud_identity, system or unknown.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// Its id within the kind.
    #[schema(format = "uuid")]
    pub id: String,
    /// Its name as it was shown then.
    #[schema(required = true)]
    pub account: Option<String>,
    /// The same in full (`DOMAIN\name`, an ARN).
    #[schema(required = true)]
    pub qualified_account: Option<String>,
}

/// An affected object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EventEntity)]
pub struct ShownEntity {
    /// Its type.
    #[serde(rename = "type")]
    #[schema(required = true)]
    pub kind: Option<String>,
    /// Its id.
    #[schema(required = true)]
    pub id: Option<String>,
}

impl ShownEvent {
    /// Shows an event. `customers` are those whose names the reader may know.
    #[must_use]
    pub fn of(event: AuditEvent, customers: &[Customer]) -> Self {
        let customer = customers.iter().find(|customer| customer.id == event.customer);
        Self {
            id: shown_id(event.event_id),
            customer: ShownCustomer {
                id: shown_id(event.customer),
                name: customer.map(|customer| customer.name.clone()),
            },
            time: shown_time(event.at),
            claimed_time: event.claimed_at.map(shown_time),
            recorded_at: shown_time(event.recorded_at),
            actor: ShownActor {
                kind: kind_name(event.actor_kind.unwrap_or(ActorKind::Unknown)),
                id: shown_id(event.actor),
                account: not_empty(event.account),
                qualified_account: not_empty(event.qualified_account),
            },
            action: event.name,
            category: event.category,
            severity: event.severity.as_str(),
            entity: ShownEntity { kind: not_empty(event.entity_type), id: not_empty(event.entity_id) },
            address: event.address,
            description: event.description,
            sign_in: event.sign_in,
            misplaced: event.misplaced,
        }
    }
}

/// A time as every answer of this API writes it.
#[must_use]
pub fn shown_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// An id as every answer of this API writes it.
pub(super) fn shown_id(id: Uuid) -> String {
    id.hyphenated().to_string()
}

/// As the kinds are called in the log.
fn kind_name(kind: ActorKind) -> &'static str {
    match kind {
        ActorKind::PortalAccount => "portal_account",
        ActorKind::ApiClient => "api_client",
        ActorKind::Appliance => "appliance",
        ActorKind::HostAccount => "host_account",
        ActorKind::CloudIdentity => "cloud_identity",
        ActorKind::System => "system",
        ActorKind::Unknown => "unknown",
    }
}

fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use annals_schemas::Severity;
    use chrono_tz::Tz;
    use serde_json::json;

    pub(in crate::native) fn event() -> AuditEvent {
        AuditEvent {
            event_id: Uuid::from_u128(5),
            customer: Uuid::from_u128(1),
            at: "2014-01-17T09:58:15Z".parse().unwrap(),
            claimed_at: Some("2099-01-17T09:58:15.000001Z".parse().unwrap()),
            recorded_at: "2014-01-17T09:58:16.5Z".parse().unwrap(),
            actor_kind: Some(ActorKind::HostAccount),
            actor: Uuid::from_u128(9),
            account: "frodo".to_owned(),
            qualified_account: "SHIRE\\frodo".to_owned(),
            address: "172.16.48.1".parse().ok(),
            name: "HOST_LOGON".to_owned(),
            category: "authentication".to_owned(),
            severity: Severity::Info,
            entity_type: "host".to_owned(),
            entity_id: "BAG-END".to_owned(),
            description: "A logon.".to_owned(),
            sign_in: None,
            misplaced: false,
            topic: "annals.host-logons".to_owned(),
            partition: 3,
            offset: 17,
        }
    }

    #[test]
    fn an_event_is_shown_with_every_member_and_without_its_place_in_the_log() {
        let acme = Customer { id: Uuid::from_u128(1), name: "acme".to_owned(), time_zone: Tz::UTC };
        let shown = serde_json::to_value(ShownEvent::of(event(), &[acme])).unwrap();
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000005",
            "customer": {"id": "00000000-0000-0000-0000-000000000001", "name": "acme"},
            "time": "2014-01-17T09:58:15.000000Z",
            "claimed_time": "2099-01-17T09:58:15.000001Z",
            "recorded_at": "2014-01-17T09:58:16.500000Z",
            "actor": {"kind": "host_account", "id": "00000000-0000-0000-0000-000000000009",
                "account": "frodo", "qualified_account": "SHIRE\\frodo"},
            "action": "HOST_LOGON",
            "category": "authentication",
            "severity": "INFO",
            "entity": {"type": "host", "id": "BAG-END"},
            "address": "172.16.48.1",
            "description": "A logon.",
            "sign_in": null,
            "misplaced": false,
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_not_known_is_null_also_the_name_of_a_customer() {
        let bare = AuditEvent {
            account: String::new(),
            qualified_account: String::new(),
            entity_type: String::new(),
            entity_id: String::new(),
            address: None,
            claimed_at: None,
            actor_kind: None,
            ..event()
        };
        let shown = ShownEvent::of(bare, &[]);
        assert_eq!((shown.customer.name, shown.actor.account, shown.actor.kind), (None, None, "unknown"));
        assert_eq!((shown.entity.kind, shown.entity.id, shown.claimed_time), (None, None, None));
    }

    #[test]
    fn kinds_are_called_as_in_the_log() {
        for kind in ActorKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind_name(kind));
        }
    }
}
