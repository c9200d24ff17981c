//! The auditlog module (Lastline's AuditLog API document).

use std::net::IpAddr;

use annals_access::{Customer, Permission};
use annals_views::address;
use annals_views::audit_log::query::MAX_FILTER_VALUES;
use annals_views::audit_log::{
    AuditEvent, AuditField, AuditQuery, Direction, Fields, Order, Scope, SortKey, page,
};
use annals_views::filter::{Case, Filter, Test, TimeRange};
use chrono_tz::Tz;
use serde::Serialize;
use uuid::Uuid;

use super::envelope::Data;
use super::errors::{PapiError, shown};
use super::parameters::Parameters;
use super::time::{Range, show};
use super::{Call, DIALECT, failures};
use crate::observe::chain;
use crate::scope;

/// Events of one answer when the client does not say.
const DEFAULT_RESULTS: u64 = 1_000;

/// Most events of one answer.
const MAX_RESULTS: u32 = 10_000;

/// Digits of an event id.
const ID_DIGITS: usize = 32;

/// The audit events that the caller may see: all of the customers where it manages users, else its own.
pub(super) async fn get_events(call: &Call<'_>) -> Result<Data, PapiError> {
    let zone = call.parameters.time_zone()?;
    let customers = visible_customers(call).await?;
    let scope = scope::audit_log(call.principal, Permission::ManageUsers);
    let query = audit_query(call.parameters, scope, &customers, zone)?;
    let reader = call.views.audit_log.current();
    let events = page(&reader.pool, &query).await.map_err(|error| failures::store(&error))?;
    record_read(call).await;
    Data::of(&events.iter().map(|event| rendered(event, &customers, zone)).collect::<Vec<_>>())
}

/// The read itself is an event. One that cannot be written now is counted and told later, so that nobody loses the
/// sight of the audit log because the disk is full.
async fn record_read(call: &Call<'_>) {
    let recorded = call.app.state.access.record_read(call.principal, DIALECT, &call.caller.client).await;
    if let Err(error) = recorded {
        tracing::warn!(error = chain(&error), "a read of the audit log could not be recorded yet");
    }
}

/// The customers of whom the caller sees anything, with their names.
async fn visible_customers(call: &Call<'_>) -> Result<Vec<Customer>, PapiError> {
    let principal = call.principal;
    if principal.grants.customers().all(|customer| customer == principal.customer.id) {
        return Ok(vec![principal.customer.clone()]);
    }
    let mut customers = call.app.state.access.customers().await.map_err(|error| failures::access(&error))?;
    customers.retain(|customer| principal.grants.customers().any(|granted| granted == customer.id));
    Ok(customers)
}

fn audit_query(
    parameters: &Parameters,
    scope: Scope,
    customers: &[Customer],
    zone: Tz,
) -> Result<AuditQuery, PapiError> {
    let range = Range::from_texts(parameters.trimmed("start_time"), parameters.trimmed("end_time"), zone)?;
    let limit = parameters.integer("max_results")?.unwrap_or(DEFAULT_RESULTS);
    Ok(AuditQuery {
        scope,
        filter: audit_filter(parameters, customers, TimeRange { start: range.start, end: range.end })?,
        fields: Fields::Summary,
        customer_order: by_name(customers),
        order: order(&list(parameters, "orderby")?.unwrap_or_default())?,
        offset: parameters.integer("offset_results")?.unwrap_or_default(),
        limit: u32::try_from(limit).map_or(MAX_RESULTS, |limit| limit.min(MAX_RESULTS)),
        within: None,
        after: None,
    })
}

/// All of the filters that the request has.
fn audit_filter(
    parameters: &Parameters,
    customers: &[Customer],
    range: TimeRange,
) -> Result<Filter<AuditField>, PapiError> {
    use AuditField as F;
    let texts = |name, field, case| {
        let list = list(parameters, name)?;
        Ok(list.map(|texts| Filter::Is(field, Test::Texts(case, texts))))
    };
    let ids = list(parameters, "affected_customers")?.map(|names| ids_of(&names, customers));
    let addresses = list(parameters, "source_ips")?.map(|texts| addresses_of(&texts));
    let event_ids = list(parameters, "audit_event_id")?.map(|texts| event_ids_of(&texts));
    let given = [
        (range != TimeRange::default()).then_some(Filter::Is(F::At, Test::Time(range))),
        texts("accounts", F::AnyAccount, Case::Folded)?,
        ids.map(|ids| Filter::Is(F::Customer, Test::Ids(ids))),
        addresses.map(|list| Filter::Is(F::Address, Test::Addresses(list))),
        texts("action_types", F::Action, Case::Exact)?,
        texts("entity_types", F::EntityType, Case::Exact)?,
        texts("portal_entity_ids", F::Entity, Case::Exact)?,
        event_ids.map(|ids| Filter::Is(F::EventId, Test::Ids(ids))),
    ];
    Ok(Filter::all(given.into_iter().flatten()))
}

/// A list that is not longer than the view takes.
fn list(parameters: &Parameters, name: &str) -> Result<Option<Vec<String>>, PapiError> {
    let values = parameters.list(name);
    if values.as_ref().is_some_and(|values| values.len() > MAX_FILTER_VALUES) {
        let text = format!("parameter `{name}` lists more than {MAX_FILTER_VALUES} values");
        return Err(PapiError::invalid_parameter(&text));
    }
    Ok(values)
}

/// Text sorts by bytes.
fn by_name(customers: &[Customer]) -> Vec<Uuid> {
    let mut customers: Vec<&Customer> = customers.iter().collect();
    customers.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    customers.into_iter().map(|customer| customer.id).collect()
}

/// Names compare without case. One that is not granted is not among `customers`, and so matches nothing.
fn ids_of(names: &[String], customers: &[Customer]) -> Vec<Uuid> {
    let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let wanted = |customer: &&Customer| names.contains(&customer.name.to_lowercase());
    customers.iter().filter(wanted).map(|customer| customer.id).collect()
}

fn addresses_of(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| address::parse(text)).collect()
}

fn event_ids_of(texts: &[String]) -> Vec<Uuid> {
    let digits = texts.iter().map(|text| text.replace('-', ""));
    digits
        .filter(|digits| digits.len() == ID_DIGITS)
        .filter_map(|digits| Uuid::try_parse(&digits).ok())
        .collect()
}

/// `field [ASC|DESC]` each; a field that comes again adds nothing.
fn order(items: &[String]) -> Result<Vec<Order>, PapiError> {
    let mut order: Vec<Order> = Vec::new();
    for item in items {
        let (key, direction) = sort_key(item).ok_or_else(|| {
            PapiError::invalid_parameter(&format!("parameter `orderby` cannot be `{}`", shown(item)))
        })?;
        if order.iter().all(|(known, _)| *known != key) {
            order.push((key, direction));
        }
    }
    Ok(order)
}

fn sort_key(item: &str) -> Option<Order> {
    let mut words = item.split_whitespace();
    let key = match words.next()?.to_ascii_lowercase().as_str() {
        "ts" => SortKey::Time,
        "recorded_at" => SortKey::RecordedAt,
        "audit_event_id" => SortKey::EventId,
        "account" => SortKey::Account,
        "customer" => SortKey::Customer,
        "audit_action_type" | "event_name" => SortKey::Action,
        "category" | "event_category" => SortKey::Category,
        "severity" | "event_severity" => SortKey::Severity,
        "entity_type" => SortKey::EntityType,
        "portal_entity_id" | "entity_id" => SortKey::EntityId,
        "source_ip" | "src_ip" => SortKey::Address,
        _ => return None,
    };
    let direction = match words.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("asc") => Direction::Ascending,
        Some("desc") => Direction::Descending,
        Some(_) => return None,
    };
    words.next().is_none().then_some((key, direction))
}

/// An event under both generations of names: the document shows one in its sample and lists the other.
#[derive(Serialize)]
struct Rendered<'e> {
    audit_event_id: String,
    account: &'e str,
    customer: Option<&'e str>,
    entity_type: Option<&'e str>,
    entity_id: Option<&'e str>,
    portal_entity_id: Option<&'e str>,
    event_name: &'e str,
    audit_action_type: &'e str,
    event_category: &'e str,
    category: &'e str,
    event_severity: &'e str,
    severity: &'e str,
    ts: String,
    recorded_at: String,
    src_ip: Option<IpAddr>,
    source_ip: Option<IpAddr>,
}

fn rendered<'e>(event: &'e AuditEvent, customers: &'e [Customer], zone: Tz) -> Rendered<'e> {
    let customer = customers.iter().find(|customer| customer.id == event.customer);
    let entity_id = not_empty(&event.entity_id);
    let severity = event.severity.as_str();
    Rendered {
        audit_event_id: event.event_id.simple().to_string(),
        account: &event.account,
        customer: customer.map(|customer| customer.name.as_str()),
        entity_type: not_empty(&event.entity_type),
        entity_id,
        portal_entity_id: entity_id,
        event_name: &event.name,
        audit_action_type: &event.name,
        event_category: &event.category,
        category: &event.category,
        event_severity: severity,
        severity,
        ts: show(event.at, zone),
        recorded_at: show(event.recorded_at, zone),
        src_ip: event.address,
        source_ip: event.address,
    }
}

/// The vendor's result format calls the entity optional.
fn not_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::ActorKind;
    use proptest::prelude::*;

    fn customers() -> Vec<Customer> {
        ["Acme@Example.com", "other"]
            .into_iter()
            .zip(1..)
            .map(|(name, id)| Customer { id: Uuid::from_u128(id), name: name.to_owned(), time_zone: Tz::UTC })
            .collect()
    }

    fn query(text: &str) -> Result<AuditQuery, PapiError> {
        let parameters = Parameters::parse(Some(text), None, b"").unwrap();
        let scope = Scope { all_of: vec![], own_of: vec![], caller: (ActorKind::PortalAccount, Uuid::nil()) };
        audit_query(&parameters, scope, &customers(), Tz::UTC)
    }

    #[test]
    fn without_parameters_nothing_is_filtered_and_the_newest_come_first() {
        let query = query("").unwrap();
        assert_eq!((query.limit, query.offset, query.order.len()), (1_000, 0, 0));
        assert_eq!(query.filter, Filter::Everything);
    }

    #[test]
    fn results_are_capped_and_counted_from_an_offset() {
        for (text, limit, offset) in [
            ("max_results=0", 0, 0),
            ("max_results=10000&offset_results=7", 10_000, 7),
            ("max_results=10001", 10_000, 0),
            ("max_results=99999999999999999999&offset_results=99999999999999999999", 10_000, u64::MAX),
        ] {
            let query = query(text).unwrap();
            assert_eq!((query.limit, query.offset), (limit, offset), "{text}");
        }
        for bad in ["max_results=-1", "offset_results=-1", "max_results=ten"] {
            assert!(query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_that_cannot_match_leave_an_empty_filter_not_none() {
        let query = query("affected_customers=nobody&source_ips=host,1.2.3&audit_event_id=1,x-y").unwrap();
        let nothing = [
            Filter::Is(AuditField::Customer, Test::Ids(vec![])),
            Filter::Is(AuditField::Address, Test::Addresses(vec![])),
            Filter::Is(AuditField::EventId, Test::Ids(vec![])),
        ];
        assert_eq!(query.filter, Filter::All(nothing.into()));
    }

    #[test]
    fn values_are_brought_into_the_form_of_the_view() {
        let id = "0123456789abcdef0123456789abcdef";
        let dashed = "01234567-89AB-CDEF-0123-456789ABCDEF";
        let query = query(&format!(
            "affected_customers=ACME@example.com&source_ips=::ffff:10.0.0.1,::1&audit_event_id={id},{dashed}"
        ))
        .unwrap();
        let addresses = ["::ffff:10.0.0.1", "::1"].map(|address| address::parse(address).unwrap());
        let filters = [
            Filter::Is(AuditField::Customer, Test::Ids(vec![Uuid::from_u128(1)])),
            Filter::Is(AuditField::Address, Test::Addresses(addresses.into())),
            Filter::Is(AuditField::EventId, Test::Ids(vec![Uuid::try_parse(id).unwrap(); 2])),
        ];
        assert_eq!(query.filter, Filter::All(filters.into()));
    }

    #[test]
    fn a_list_longer_than_the_view_takes_is_refused_by_its_name() {
        let list = "1,".repeat(MAX_FILTER_VALUES);
        for name in [
            "accounts",
            "affected_customers",
            "source_ips",
            "action_types",
            "entity_types",
            "portal_entity_ids",
            "audit_event_id",
        ] {
            assert!(query(&format!("{name}={list}")).is_ok());
            let error = query(&format!("{name}={list}1")).unwrap_err();
            assert_eq!(error.message(), format!("parameter `{name}` lists more than 1000 values"));
        }
    }

    #[test]
    fn both_generations_of_names_sort_in_any_case() {
        use Direction::{Ascending, Descending};
        assert_eq!(query("orderby=ts").unwrap().order, [(SortKey::Time, Ascending)]);
        assert_eq!(query("orderby=+TS++desc+").unwrap().order, [(SortKey::Time, Descending)]);
        let order = query("orderby=Event_Name+Asc,src_ip+DESC&orderby=SOURCE_IP").unwrap().order;
        assert_eq!(order, [(SortKey::Action, Ascending), (SortKey::Address, Descending)]);
        for (old, new) in [
            ("event_name", "audit_action_type"),
            ("event_category", "category"),
            ("event_severity", "severity"),
            ("src_ip", "source_ip"),
            ("entity_id", "portal_entity_id"),
        ] {
            assert_eq!(sort_key(old), sort_key(new));
            assert!(sort_key(old).is_some(), "{old}");
        }
        for bad in ["nothing", "ts+down", "ts+asc+desc", "ts;", "description", "ts+asc,x"] {
            let error = query(&format!("orderby={bad}")).unwrap_err();
            assert!(error.message().starts_with("parameter `orderby` cannot be `"), "{bad}");
        }
    }

    /// What the answer shows can be sorted by, so that no field is forgotten in either list.
    #[test]
    fn every_field_of_the_answer_is_a_sort_key() {
        let event = AuditEvent {
            event_id: Uuid::from_u128(5),
            customer: Uuid::from_u128(1),
            at: "2014-01-17T09:58:15Z".parse().unwrap(),
            claimed_at: None,
            recorded_at: "2014-01-17T09:58:16.5Z".parse().unwrap(),
            actor_kind: Some(ActorKind::PortalAccount),
            actor: Uuid::nil(),
            account: "user@example.com".to_owned(),
            qualified_account: String::new(),
            address: "172.16.48.1".parse().ok(),
            name: "SUCCESSFUL_LOGIN".to_owned(),
            category: "authentication".to_owned(),
            severity: annals_schemas::Severity::Info,
            entity_type: String::new(),
            entity_id: String::new(),
            description: String::new(),
            sign_in: None,
            misplaced: false,
            topic: String::new(),
            partition: 0,
            offset: 0,
        };
        let customers = customers();
        let shown = serde_json::to_value(rendered(&event, &customers, Tz::Asia__Taipei)).unwrap();
        let fields = shown.as_object().unwrap();
        assert_eq!(fields.len(), 16);
        for field in fields.keys() {
            assert!(sort_key(field).is_some(), "{field}");
        }
        assert_eq!(shown["audit_event_id"], "00000000000000000000000000000005");
        assert_eq!(shown["customer"], "Acme@Example.com");
        assert_eq!(shown["ts"], "2014-01-17 17:58:15");
        assert_eq!(shown["recorded_at"], "2014-01-17 17:58:16");
        assert_eq!(shown["entity_type"], serde_json::Value::Null);
    }

    proptest! {
        #[test]
        fn any_order_is_read_or_refused(items in proptest::collection::vec("(?i:ts|account|src_ip)?( |asc|desc|.){0,6}", 0..6)) {
            if let Ok(order) = order(&items) {
                prop_assert!(order.len() <= items.len());
            }
        }
    }
}
