//! What was asked of the audit log, and the neutral filter that it becomes. The command line asks in the same words.

use std::net::IpAddr;

use annals_access::Customer;
use annals_schemas::Severity;
use annals_views::audit_log::AuditField;
use annals_views::filter::{Case, Filter, Pattern, Test, TimeRange};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::cursor::Fingerprint;
use super::parameters::{Given, id, ip_address, severity};
use super::problem::Problem;

/// The filters of a question. An empty list does not filter; the values of one list are joined by "or", the lists by
/// "and".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// First moment.
    pub start: Option<DateTime<Utc>>,
    /// Last moment.
    pub end: Option<DateTime<Utc>>,
    /// Customers, by name or id.
    pub customers: Vec<String>,
    /// Accounts, in short or in full.
    pub accounts: Vec<String>,
    /// Ids of actors.
    pub actors: Vec<Uuid>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Actions.
    pub actions: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Severities.
    pub severities: Vec<Severity>,
    /// Types of affected objects.
    pub entity_types: Vec<String>,
    /// Ids of affected objects.
    pub entities: Vec<String>,
    /// Parts of the description.
    pub descriptions: Vec<String>,
    /// Parts of the account, the description or the address.
    pub texts: Vec<String>,
    /// Ids of sign-ins.
    pub sign_ins: Vec<String>,
}

impl Asked {
    /// Reads the filters of a request.
    pub(super) fn of(given: &Given) -> Result<Self, Problem> {
        let (start, end) = given.interval()?;
        Ok(Self {
            start,
            end,
            customers: given.list("customer")?,
            accounts: given.list("account")?,
            actors: given.read_list("actor", "an id", id)?,
            addresses: given.read_list("address", "an address", ip_address)?,
            actions: given.list("action")?,
            categories: given.list("category")?,
            severities: given.read_list("severity", "INFO, WARNING or ERROR", severity)?,
            entity_types: given.list("entity-type")?,
            entities: given.list("entity")?,
            descriptions: given.parts("description")?,
            texts: given.parts("text")?,
            sign_ins: given.list("sign-in")?,
        })
    }

    /// The neutral filter. `customers` are those that the caller sees anything of: another one is among them as little
    /// as one that does not exist.
    #[must_use]
    pub fn filter(&self, customers: &[Customer]) -> Filter<AuditField> {
        let names = |field, case, list: &[String]| one_of(list, |list| is(field, Test::Texts(case, list)));
        let exact = |field, list: &[String]| names(field, Case::Exact, list);
        let parts = |field, list: &[String]| {
            let part = |text: &String| is(field, Test::Like(Case::Folded, Pattern::containing(text)));
            if list.is_empty() { Filter::Everything } else { Filter::any(list.iter().map(part)) }
        };
        let range = TimeRange { start: self.start, end: self.end };
        let severities: Vec<String> = self.severities.iter().map(|one| one.as_str().to_owned()).collect();
        Filter::all([
            if range == TimeRange::default() {
                Filter::Everything
            } else {
                is(AuditField::At, Test::Time(range))
            },
            one_of(&self.customers, |names| match ids_of(&names, customers) {
                ids if ids.is_empty() => Filter::Nothing,
                ids => is(AuditField::Customer, Test::Ids(ids)),
            }),
            names(AuditField::AnyAccount, Case::Folded, &self.accounts),
            one_of(&self.actors, |ids| is(AuditField::Actor, Test::Ids(ids))),
            one_of(&self.addresses, |list| is(AuditField::Address, Test::Addresses(list))),
            exact(AuditField::Action, &self.actions),
            exact(AuditField::Category, &self.categories),
            exact(AuditField::Severity, &severities),
            exact(AuditField::EntityType, &self.entity_types),
            exact(AuditField::Entity, &self.entities),
            parts(AuditField::Description, &self.descriptions),
            parts(AuditField::Anything, &self.texts),
            exact(AuditField::SignIn, &self.sign_ins),
        ])
    }

    /// A hash of the filters, the same in every process and version. Customers count as they were written: that one is
    /// renamed or granted during a walk is no other question.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let time = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros().to_string());
        let texts = |list: &[String]| list.to_vec();
        fn written<T: ToString>(list: &[T]) -> Vec<String> {
            list.iter().map(ToString::to_string).collect()
        }
        let fields = [
            Vec::from_iter(time(self.start)),
            Vec::from_iter(time(self.end)),
            texts(&self.customers),
            texts(&self.accounts),
            written(&self.actors),
            written(&self.addresses),
            texts(&self.actions),
            texts(&self.categories),
            self.severities.iter().map(|severity| severity.as_str().to_owned()).collect(),
            texts(&self.entity_types),
            texts(&self.entities),
            texts(&self.descriptions),
            texts(&self.texts),
            texts(&self.sign_ins),
        ];
        let mut hash = Sha256::new();
        for mut values in fields {
            // "Or" has no order.
            values.sort_unstable();
            values.dedup();
            hash.update((values.len() as u64).to_be_bytes());
            for value in values {
                hash.update((value.len() as u64).to_be_bytes());
                hash.update(value);
            }
        }
        let digest = hash.finalize();
        std::array::from_fn(|index| digest[index])
    }
}

fn is(field: AuditField, test: Test) -> Filter<AuditField> {
    Filter::Is(field, test)
}

fn one_of<T: Clone>(list: &[T], filter: impl FnOnce(Vec<T>) -> Filter<AuditField>) -> Filter<AuditField> {
    if list.is_empty() { Filter::Everything } else { filter(list.to_vec()) }
}

/// The customers of these names or ids.
fn ids_of(names: &[String], customers: &[Customer]) -> Vec<Uuid> {
    let ids: Vec<Uuid> = names.iter().filter_map(|name| id(name)).collect();
    let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
    let wanted =
        |customer: &&Customer| ids.contains(&customer.id) || names.contains(&customer.name.to_lowercase());
    customers.iter().filter(wanted).map(|customer| customer.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::parameters::FILTERS;
    use chrono_tz::Tz;

    fn asked(query: &str) -> Asked {
        Asked::of(&Given::parse(Some(query), &[FILTERS]).unwrap()).unwrap()
    }

    fn customers() -> Vec<Customer> {
        ["Acme@Example.com", "other"]
            .into_iter()
            .zip(1..)
            .map(|(name, id)| Customer { id: Uuid::from_u128(id), name: name.to_owned(), time_zone: Tz::UTC })
            .collect()
    }

    fn filter(query: &str) -> Filter<AuditField> {
        asked(query).filter(&customers())
    }

    #[test]
    fn without_parameters_nothing_is_filtered() {
        assert_eq!(filter(""), Filter::Everything);
    }

    #[test]
    fn every_filter_of_the_table_filters() {
        for parameter in FILTERS {
            let value = match parameter.name {
                "start" | "end" => "2026-01-31T12:00:00Z",
                "customer" => "acme@example.com",
                "actor" => "00000000-0000-0000-0000-000000000001",
                "address" => "10.0.0.1",
                "severity" => "error",
                _ => "x",
            };
            let one = filter(&format!("{}={value}", parameter.name));
            assert!(matches!(one, Filter::Is(..)), "{}: {one:?}", parameter.name);
        }
    }

    #[test]
    fn values_that_cannot_be_one_are_refused_by_name() {
        for (query, name) in [
            ("actor=ada", "actor"),
            ("address=10.0.0", "address"),
            ("address=10.0.0.0/8", "address"),
            ("severity=FATAL", "severity"),
            ("start=yesterday", "start"),
        ] {
            let given = Given::parse(Some(query), &[FILTERS]).unwrap();
            let problem = Asked::of(&given).unwrap_err();
            assert!(problem.detail().starts_with(&format!("parameter `{name}` is `")), "{problem:?}");
        }
    }

    #[test]
    fn a_customer_is_found_by_name_or_id_among_those_that_are_seen() {
        let ids = |ids: &[u128]| {
            let ids = ids.iter().map(|id| Uuid::from_u128(*id)).collect();
            Filter::Is(AuditField::Customer, Test::Ids(ids))
        };
        assert_eq!(filter("customer=ACME@example.com"), ids(&[1]));
        assert_eq!(filter(&format!("customer={},acme@example.com", Uuid::from_u128(2))), ids(&[1, 2]));
        assert_eq!(filter("customer=third"), Filter::Nothing);
        assert_eq!(filter(&format!("customer={}", Uuid::from_u128(3))), Filter::Nothing);
    }

    #[test]
    fn the_fingerprint_is_of_the_filters_and_not_of_their_writing() {
        let of = |query: &str| asked(query).fingerprint();
        assert_eq!(of("account=a,b"), of("account=b&account=a&account=b"));
        assert_eq!(of("address=::ffff:10.0.0.1"), of("address=10.0.0.1"));
        assert_eq!(of("start=2026-01-31T12:00:00Z"), of("start=2026-01-31T13:00:00%2B01:00"));
        let others =
            ["", "account=a", "account=ab", "action=a", "text=a", "description=a", "account=a&action=a"];
        for (index, one) in others.iter().enumerate() {
            for other in &others[index + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
    }

    /// Cursors that clients keep outlive a release.
    #[test]
    fn the_fingerprint_never_changes() {
        let fingerprint = asked("account=b,a&severity=error&text=x").fingerprint();
        let digits: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "f7c3e956f3e289b2");
    }
}
