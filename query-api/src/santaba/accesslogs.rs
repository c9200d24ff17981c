//! The records: `GET /setting/accesslogs` and `GET /setting/accesslogs/ID` (the seed, and LogicMonitor's pages on
//! versions 2 and 3).

use annals_access::{Customer, Permission};
use annals_views::audit_log::{AuditField, AuditQuery, Direction, Order, Scope, counted_page, find};
use annals_views::filter::Filter;
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use uuid::Uuid;

use super::entry::{Entry, Selection};
use super::envelope::Data;
use super::errors::{SantabaError, shown};
use super::field::Field;
use super::filter::Expression;
use super::filter::meaning::{between, event_id, meaning};
use super::parameters::{Parameters, invalid};
use super::version::Version;
use super::{Call, DIALECT, failures};
use crate::observe::chain;
use crate::scope;

/// Records of one answer when the client does not say.
const DEFAULT_SIZE: u32 = 50;

/// Most records of one answer of version 1 (the seed).
const MAX_SIZE_OF_VERSION_1: u32 = 50;

/// Most records of one answer of later versions: clients page by as many.
const MAX_SIZE: u32 = 1_000;

/// How far version 1 looks back when the client does not say (the seed).
const DEFAULT_WINDOW: TimeDelta = TimeDelta::hours(24);

/// The records that the caller may see, and how many there are.
pub(super) async fn list(call: &Call<'_>) -> Result<Data, SantabaError> {
    let selection = Selection::of(call.parameters);
    let settings = &call.app.state.settings;
    let asked = Asked { version: call.version, page_limit: settings.audit_page_limit, now: Utc::now() };
    let query = asked.query(call.parameters, visible(call)?, &selection)?;
    let zones = Zones::of(call).await?;
    let reader = call.views.audit_log.current();
    let page = counted_page(&reader, &call.app.memory, &query).await;
    let page = page.map_err(|error| failures::store(&error))?;
    record_read(call).await;
    let items = page.events.iter();
    let items = items.map(|event| Entry { event, selection: &selection, zone: zones.at(event.customer) });
    Data::of(&Listing { total: page.total, items: items.collect(), search_id: None })
}

/// One record. One that the caller may not see does not exist.
pub(super) async fn entry(call: &Call<'_>, id: &str) -> Result<Data, SantabaError> {
    let selection = Selection::of(call.parameters);
    let scope = visible(call)?;
    let id = event_id(id).ok_or_else(SantabaError::no_such_record)?;
    let reader = call.views.audit_log.current();
    let event = find(&reader.pool, &scope, id).await.map_err(|error| failures::store(&error))?;
    let event = event.ok_or_else(SantabaError::no_such_record)?;
    let zones = Zones::of(call).await?;
    record_read(call).await;
    Data::of(&Entry { event: &event, selection: &selection, zone: zones.at(event.customer) })
}

/// A list of records, in the order of the seed's samples.
#[derive(Serialize)]
struct Listing<'e> {
    /// All that match, whatever of them is shown.
    total: u64,
    items: Vec<Entry<'e>>,
    /// Always null, as in the samples.
    #[serde(rename = "searchId")]
    search_id: Option<()>,
}

/// Everything of the customers where the permission was granted. This dialect knows no events of one's own.
fn visible(call: &Call<'_>) -> Result<Scope, SantabaError> {
    let scope = scope::audit_log(call.principal, Permission::ViewAuditLog);
    if scope.all_of.is_empty() {
        return Err(SantabaError::forbidden());
    }
    Ok(Scope { own_of: Vec::new(), ..scope })
}

/// The read itself is an event. One that cannot be written now is counted and told later, so that nobody loses the
/// sight of the audit log because the disk is full.
async fn record_read(call: &Call<'_>) {
    let recorded = call.app.state.access.record_read(call.principal, DIALECT, call.client).await;
    if let Err(error) = recorded {
        tracing::warn!(error = chain(&error), "a read of the audit log could not be recorded yet");
    }
}

/// The zones of the customers of whom the caller sees anything.
struct Zones(Vec<Customer>);

impl Zones {
    async fn of(call: &Call<'_>) -> Result<Self, SantabaError> {
        let principal = call.principal;
        let home = &principal.customer;
        if principal.grants.customers().all(|customer| customer == home.id) {
            return Ok(Self(vec![home.clone()]));
        }
        let customers = call.app.state.access.customers().await;
        customers.map(Self).map_err(|error| failures::access(&error))
    }

    fn at(&self, customer: Uuid) -> Tz {
        let known = self.0.iter().find(|known| known.id == customer);
        known.map_or(Tz::UTC, |customer| customer.time_zone)
    }
}

/// What a question depends on beside its parameters.
struct Asked {
    version: Version,
    page_limit: u64,
    now: DateTime<Utc>,
}

impl Asked {
    fn query(
        &self,
        parameters: &Parameters,
        scope: Scope,
        selection: &Selection,
    ) -> Result<AuditQuery, SantabaError> {
        let limit = self.size(parameters)?;
        let offset = parameters.integer("offset")?.unwrap_or_default();
        // The limit of the vendor's later versions; the seed knows none.
        if self.version > Version::V1 && offset.saturating_add(u64::from(limit)) > self.page_limit {
            return Err(SantabaError::page_limit(self.page_limit));
        }
        Ok(AuditQuery {
            scope,
            filter: self.filter(parameters)?,
            fields: selection.needs(),
            order: order(parameters)?,
            customer_order: Vec::new(),
            offset,
            limit,
            within: None,
            after: None,
        })
    }

    /// More than the most is the most: "only 50 entries will be displayed" (the seed).
    fn size(&self, parameters: &Parameters) -> Result<u32, SantabaError> {
        let most = if self.version == Version::V1 { MAX_SIZE_OF_VERSION_1 } else { MAX_SIZE };
        match parameters.integer("size")? {
            None => Ok(DEFAULT_SIZE),
            Some(0) => Err(invalid("size", "must be 1 or more")),
            Some(size) => Ok(u32::try_from(size).map_or(most, |size| size.min(most))),
        }
    }

    fn filter(&self, parameters: &Parameters) -> Result<Filter<AuditField>, SantabaError> {
        let filters: Result<Vec<Expression>, _> = parameters.filters().map(str::parse).collect();
        let filters = filters?;
        let says_when = filters.iter().any(|filter| filter.mentions(Field::HappenedOn));
        // In whole seconds, as times are shown; and so that two requests of one second ask the same.
        let since = (self.now - DEFAULT_WINDOW).trunc_subsecs(0);
        let since = (self.version == Version::V1 && !says_when).then_some(since);
        Ok(Filter::all([between(since, None), meaning(&filters)?]))
    }
}

/// `[+|-]FIELD` each; a field that comes again adds nothing. Without any the newest come first.
fn order(parameters: &Parameters) -> Result<Vec<Order>, SantabaError> {
    let mut order: Vec<Order> = Vec::new();
    for item in parameters.list("sort").unwrap_or_default() {
        let (direction, name) = match (item.strip_prefix('-'), item.strip_prefix('+')) {
            (Some(name), _) => (Direction::Descending, name),
            (None, Some(name)) => (Direction::Ascending, name),
            (None, None) => (Direction::Ascending, item),
        };
        let key = Field::named(name).and_then(Field::sort_key);
        let key = key.ok_or_else(|| invalid("sort", &format!("cannot be `{}`", shown(item))))?;
        if order.iter().all(|(known, _)| *known != key) {
            order.push((key, direction));
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::ActorKind;
    use annals_views::audit_log::SortKey;
    use annals_views::filter::Test;
    use proptest::prelude::*;

    const NOW: &str = "2015-07-09T17:00:00.5Z";

    fn query(version: Version, text: &str) -> Result<AuditQuery, SantabaError> {
        let parameters = Parameters::parse(Some(text))?;
        let scope = Scope { all_of: vec![], own_of: vec![], caller: (ActorKind::PortalAccount, Uuid::nil()) };
        let asked = Asked { version, page_limit: 10_000, now: NOW.parse().unwrap() };
        asked.query(&parameters, scope, &Selection::of(&parameters))
    }

    fn sizes(version: Version, text: &str) -> (u32, u64) {
        let query = query(version, text).unwrap();
        (query.limit, query.offset)
    }

    fn refusal(version: Version, text: &str) -> String {
        query(version, text).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_page_has_fifty_records_and_at_most_what_its_version_allows() {
        for version in Version::ALL {
            assert_eq!(sizes(version, ""), (50, 0));
            assert_eq!(sizes(version, "size=5&offset=2"), (5, 2));
            assert_eq!(sizes(version, "size=&offset="), (50, 0));
        }
        let huge = "size=99999999999999999999";
        assert_eq!(sizes(Version::V1, "size=1000").0, 50);
        assert_eq!(sizes(Version::V1, huge).0, 50);
        assert_eq!(sizes(Version::V2, "size=1000").0, 1_000);
        assert_eq!(sizes(Version::V3, huge).0, 1_000);
        for bad in ["size=0", "size=-1", "size=ten", "offset=-1", "size=5.0"] {
            assert!(refusal(Version::V1, bad).starts_with("parameter `"), "{bad}");
        }
    }

    #[test]
    fn later_versions_end_where_the_vendor_ends() {
        let text = "the query limitation of auditLog is 10000";
        for version in [Version::V2, Version::V3] {
            assert_eq!(sizes(version, "offset=9000&size=1000"), (1_000, 9_000));
            assert_eq!(sizes(version, "offset=9950"), (50, 9_950));
            // The size is counted as it is answered.
            assert_eq!(sizes(version, "offset=9000&size=5000"), (1_000, 9_000));
            for beyond in ["offset=9951", "offset=9001&size=1000", "offset=99999999999999999999"] {
                assert_eq!(refusal(version, beyond), text, "{beyond}");
            }
        }
        assert_eq!(sizes(Version::V1, "offset=99999999999999999999"), (50, u64::MAX));
    }

    #[test]
    fn version_1_looks_back_a_day_when_nothing_says_when() {
        let start = |version, text| match query(version, text).unwrap().filter {
            Filter::Is(AuditField::At, Test::Time(range)) => range.start.map(|start| start.to_rfc3339()),
            Filter::Everything => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(start(Version::V1, "").as_deref(), Some("2015-07-08T17:00:00+00:00"));
        assert_eq!(start(Version::V2, ""), None);
        assert_eq!(start(Version::V3, "filter=+"), None);
        assert_eq!(start(Version::V1, "filter=happenedOn>:0").as_deref(), Some("1970-01-01T00:00:00+00:00"));
        let filter = |text| query(Version::V1, text).unwrap().filter;
        assert_eq!(filter("filter=username~*").size(), 1);
        assert!(matches!(filter("filter=username:a"), Filter::All(list) if list.len() == 2));
        // Anywhere at all: whoever speaks of the time means it.
        assert!(matches!(filter("filter=username:a||happenedOn!:5"), Filter::Any(_)));
        assert!(
            matches!(filter("filter=ip:10.0.0.1&filter=happenedOn<:5,id:*"), Filter::All(list) if list.len() == 2)
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_told() {
        for bad in ["filter=username", "filter=a:1&filter=b", "filter=_all~%22a+AND%22"] {
            assert!(refusal(Version::V3, bad).starts_with("invalid filter: "), "{bad}");
        }
    }

    #[test]
    fn every_way_to_write_a_direction_sorts() {
        use Direction::{Ascending, Descending};
        let order = |text: &str| query(Version::V3, text).unwrap().order;
        assert_eq!(order(""), []);
        assert_eq!(order("sort="), []);
        for ascending in ["sort=+happenedOn", "sort=%2BhappenedOn", "sort=happenedOn", "sort=%20happenedOn"] {
            assert_eq!(order(ascending), [(SortKey::Time, Ascending)], "{ascending}");
        }
        assert_eq!(order("sort=-happenedOn"), [(SortKey::Time, Descending)]);
        assert_eq!(
            order("sort=-username,+sessionId,-username&sort=id"),
            [(SortKey::Account, Descending), (SortKey::SignIn, Ascending), (SortKey::EventId, Ascending)]
        );
        assert_eq!(order("sort=ip,-description").len(), 2);
        for bad in ["nothing", "--id", "-", "%2B", "-+id", "Id", "id-", "happenedOnLocal", "_all", "- id"] {
            let text = refusal(Version::V3, &format!("sort={bad}"));
            assert!(text.starts_with("parameter `sort` cannot be `"), "{bad}: {text}");
        }
    }

    #[test]
    fn an_empty_list_has_the_members_of_the_seed() {
        let listing = Listing { total: 0, items: Vec::new(), search_id: None };
        assert_eq!(serde_json::to_string(&listing).unwrap(), r#"{"total":0,"items":[],"searchId":null}"#);
    }

    proptest! {
        #[test]
        fn any_query_is_a_question_or_refused(
            text in "((size|offset|sort|filter|fields)=[-+%:~!<>|,\"a-zA-Z_0-9]{0,12}&){0,4}|.*",
            version in proptest::sample::select(&Version::ALL[..])
        ) {
            if let Ok(query) = query(version, &text) {
                prop_assert!((1..=MAX_SIZE).contains(&query.limit));
                prop_assert!(query.order.len() <= Field::ALL.len());
            }
        }
    }
}
