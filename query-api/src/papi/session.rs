//! The session module (Lastline's Session API document).

use annals_views::address;
use annals_views::logged_on_users::UsersQuery;
use annals_views::logged_on_users::query::{UserOnAddress, users_on_address};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use uuid::Uuid;

use super::envelope::Data;
use super::errors::{PapiError, shown};
use super::parameters::Parameters;
use super::time::{Range, range_end, range_start, show};
use super::{Call, failures};

/// The only kind of source in the document.
const SESSION_LOG_TYPE: &str = "ActiveDirectory";

/// The users that logged on from an address, with their first and last logon in the interval.
pub(super) async fn get_users_logged_on(call: &Call<'_>) -> Result<Data, PapiError> {
    let zone = call.parameters.time_zone()?;
    let query = users_query(call.parameters, call.customer.id, zone, Utc::now())?;
    let reader = call.views.logged_on_users.current();
    let users = users_on_address(&reader.pool, &query).await.map_err(|error| failures::store(&error))?;
    Data::of(&users.iter().map(|user| rendered(user, zone)).collect::<Vec<_>>())
}

fn users_query(
    parameters: &Parameters,
    customer: Uuid,
    zone: Tz,
    now: DateTime<Utc>,
) -> Result<UsersQuery, PapiError> {
    let text = parameters.required("ip_address")?;
    let address = address::parse(text).ok_or_else(|| {
        PapiError::invalid_parameter(&format!("parameter `ip_address` is not an address: `{}`", shown(text)))
    })?;
    let (start, end) = parameters.lookup_interval_texts();
    let start = start.map(|text| range_start(text, zone)).transpose()?;
    // A missing end is now, so that a start in the future without an end is an impossible interval too.
    let end = end.map_or(Ok(now), |text| range_end(text, zone))?;
    let range = Range::new(start, Some(end))?;
    Ok(UsersQuery { customer, address, start: range.start, end })
}

fn rendered(user: &UserOnAddress, zone: Tz) -> Value {
    json!({
        "username": user.username,
        "user_uuid": user.user_uuid.simple().to_string(),
        "session_log_type": SESSION_LOG_TYPE,
        "first_seen": show(user.first_seen, zone),
        "last_seen": show(user.last_seen, zone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<UsersQuery, PapiError> {
        let now = "2020-09-14T12:00:00Z".parse().unwrap();
        let parameters = Parameters::parse(Some(text), None, b"").unwrap();
        users_query(&parameters, Uuid::nil(), parameters.time_zone().unwrap(), now)
    }

    fn interval(text: &str) -> (Option<String>, String) {
        let query = query(&format!("ip_address=10.0.0.1&{text}")).unwrap();
        (query.start.map(|start| start.to_rfc3339()), query.end.to_rfc3339())
    }

    #[test]
    fn the_address_is_required_and_canonical() {
        assert_eq!(query("ip_address=+::ffff:10.0.0.1").unwrap().address.to_string(), "10.0.0.1");
        for bad in ["", "ip_address=", "ip_address=10.0.0", "ip_address=host", "ip_address=10.0.0.1/8"] {
            assert!(query(bad).unwrap_err().message().contains("`ip_address`"), "{bad}");
        }
    }

    #[test]
    fn the_interval_has_a_default_end_and_the_zone_of_the_request() {
        assert_eq!(interval(""), (None, "2020-09-14T12:00:00+00:00".to_owned()));
        let (start, end) =
            interval("lookup_start=2020-09-14&lookup_start=2020-09-14+06:00&timezone=Asia/Taipei");
        assert_eq!(start.as_deref(), Some("2020-09-13T16:00:00+00:00"));
        assert_eq!(end, "2020-09-13T22:00:00.999999+00:00");
    }

    #[test]
    fn an_interval_that_ends_before_it_starts_is_refused() {
        let bad = "ip_address=10.0.0.1&lookup_start=2020-09-15";
        for text in [bad.to_owned(), format!("{bad}&lookup_end=2020-09-14")] {
            assert!(query(&text).unwrap_err().message().contains("before its start"), "{text}");
        }
    }
}
