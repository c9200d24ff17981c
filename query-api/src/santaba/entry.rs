//! A record as it is shown (the seed, "Resource Properties").

use annals_views::audit_log::{AuditEvent, Fields};
use chrono_tz::Tz;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::field::Field;
use super::parameters::Parameters;

/// What stands for every field in `fields`; one client sends it.
const EVERY_FIELD: &str = "*";

/// How `happenedOnLocal` is written: `2015-07-09 09:46:22 PDT`. A zone without an abbreviation shows its offset.
const LOCAL_TIME: &str = "%Y-%m-%d %H:%M:%S %Z";

/// The fields that the client wants, in the order of the seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<Field>);

impl Selection {
    /// `fields`, a list. Unknown names are ignored; without the parameter it is every field.
    #[must_use]
    pub fn of(parameters: &Parameters) -> Self {
        let names = parameters.list("fields").unwrap_or_else(|| vec![EVERY_FIELD]);
        let wanted = |field: &Field| names.contains(&EVERY_FIELD) || names.contains(&field.name());
        Self(Field::ALL.into_iter().filter(wanted).collect())
    }

    /// What the view must give for it. Descriptions can be long.
    #[must_use]
    pub fn needs(&self) -> Fields {
        let in_full = |field: &Field| matches!(field, Field::Description | Field::SessionId);
        if self.0.iter().any(in_full) { Fields::All } else { Fields::Summary }
    }
}

/// A record with the fields that are wanted.
pub(super) struct Entry<'e> {
    pub(super) event: &'e AuditEvent,
    pub(super) selection: &'e Selection,
    /// The zone of the event's customer.
    pub(super) zone: Tz,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.event;
        let mut map = serializer.serialize_map(Some(self.selection.0.len()))?;
        for field in &self.selection.0 {
            let name = field.name();
            match field {
                Field::Id => map.serialize_entry(name, &event.event_id.simple().to_string())?,
                Field::Username => map.serialize_entry(name, &event.account)?,
                Field::HappenedOn => map.serialize_entry(name, &event.at.timestamp())?,
                Field::HappenedOnLocal => {
                    let local = event.at.with_timezone(&self.zone).format(LOCAL_TIME).to_string();
                    map.serialize_entry(name, &local)?;
                }
                Field::Ip => map.serialize_entry(name, &event.address)?,
                Field::SessionId => map.serialize_entry(name, &event.sign_in)?,
                Field::Description => map.serialize_entry(name, &event.description)?,
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::{ActorKind, Severity};
    use uuid::Uuid;

    fn event() -> AuditEvent {
        AuditEvent {
            event_id: Uuid::from_u128(0x2415),
            customer: Uuid::from_u128(1),
            at: "2015-07-09T16:46:22.999Z".parse().unwrap(),
            claimed_at: None,
            recorded_at: "2015-07-09T16:46:23Z".parse().unwrap(),
            actor_kind: Some(ActorKind::PortalAccount),
            actor: Uuid::nil(),
            account: "sarah".to_owned(),
            qualified_account: String::new(),
            address: "174.76.130.100".parse().ok(),
            name: "SUCCESSFUL_LOGIN".to_owned(),
            category: "authentication".to_owned(),
            severity: Severity::Info,
            entity_type: String::new(),
            entity_id: String::new(),
            description: "sarah signs in (adminId=4).".to_owned(),
            sign_in: Some("17A45B032911D0A8F701906E922A4B50".to_owned()),
            misplaced: false,
            topic: String::new(),
            partition: 0,
            offset: 0,
        }
    }

    fn selection(query: &str) -> Selection {
        Selection::of(&Parameters::parse(Some(query)).unwrap())
    }

    fn shown(query: &str, event: &AuditEvent, zone: Tz) -> String {
        serde_json::to_string(&Entry { event, selection: &selection(query), zone }).unwrap()
    }

    #[test]
    fn the_sample_of_the_seed_looks_the_same() {
        assert_eq!(
            shown("", &event(), Tz::America__Los_Angeles),
            "{\"id\":\"00000000000000000000000000002415\",\"username\":\"sarah\",\"happenedOn\":1436460382,\
             \"happenedOnLocal\":\"2015-07-09 09:46:22 PDT\",\"ip\":\"174.76.130.100\",\
             \"sessionId\":\"17A45B032911D0A8F701906E922A4B50\",\"description\":\"sarah signs in (adminId=4).\"}"
        );
    }

    #[test]
    fn what_is_not_there_is_null() {
        let event = AuditEvent { address: None, sign_in: None, ..event() };
        assert_eq!(shown("fields=ip,sessionId", &event, Tz::UTC), r#"{"ip":null,"sessionId":null}"#);
    }

    #[test]
    fn every_zone_and_time_has_a_local_form() {
        let local = |zone| shown("fields=happenedOnLocal", &event(), zone);
        assert_eq!(local(Tz::UTC), r#"{"happenedOnLocal":"2015-07-09 16:46:22 UTC"}"#);
        assert_eq!(local(Tz::Asia__Kathmandu), r#"{"happenedOnLocal":"2015-07-09 22:31:22 +0545"}"#);
        for extreme in [chrono::DateTime::<chrono::Utc>::MIN_UTC, chrono::DateTime::<chrono::Utc>::MAX_UTC] {
            let event = AuditEvent { at: extreme, ..event() };
            for zone in [Tz::UTC, Tz::Asia__Taipei, Tz::America__New_York] {
                assert!(!shown("", &event, zone).is_empty());
            }
        }
    }

    #[test]
    fn only_the_wanted_fields_are_shown_in_the_order_of_the_seed() {
        let every = selection("");
        for query in ["fields=", "fields=*", "fields=id,*", "fields=,", "fields=*&fields=ip"] {
            assert_eq!(selection(query), every, "{query}");
        }
        assert_eq!(every.0, Field::ALL);
        assert_eq!(selection("fields=username,+id,nothing,ID&fields=id").0, [Field::Id, Field::Username]);
        assert_eq!(shown("fields=nothing", &event(), Tz::UTC), "{}");
    }

    #[test]
    fn the_view_gives_no_more_than_is_wanted() {
        assert_eq!(selection("").needs(), Fields::All);
        assert_eq!(selection("fields=id,sessionId").needs(), Fields::All);
        assert_eq!(selection("fields=description").needs(), Fields::All);
        assert_eq!(selection("fields=id,username,ip,happenedOn,happenedOnLocal").needs(), Fields::Summary);
    }
}
