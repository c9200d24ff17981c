//! Who logged on from an address.

use annals_access::Permission;
use annals_views::logged_on_users::UsersQuery;
use annals_views::logged_on_users::query::{UserOnAddress, users_on_address};
use axum::response::Response;
use chrono::Utc;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::event::{shown_id, shown_time};
use super::parameters::{id, ip_address};
use super::problem::Problem;
use super::token::{Token, positions_of};
use super::viewer::Viewer;
use super::{Call, json_response};

/// Users with logons from an address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LogonList)]
pub(super) struct LogonList {
    /// A row per user, the latest logon first; at most 10,000.
    logons: Vec<Logon>,
}

/// A user with its logons from an address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Logon)]
pub(super) struct Logon {
    /// The user's id.
    #[schema(format = "uuid")]
    user_id: String,
    /// The user's name without domain, as of the last logon.
    username: String,
    /// The first logon in the interval.
    #[schema(format = "date-time")]
    first_seen: String,
    /// The last logon in the interval.
    #[schema(format = "date-time")]
    last_seen: String,
}

/// The users that logged on from an address, at a customer where the caller may view appliances.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Problem> {
    let failed = |error| Problem::store(&error);
    let customer = customer(&call.viewer, call.given.text("customer"))?;
    let address = call.given.read("address", "an address", ip_address)?;
    let address = address.ok_or_else(|| Problem::bad_parameter("address", "is missing"))?;
    let (start, end) = call.given.interval()?;
    let now = Utc::now();
    if end.is_none() && start.is_some_and(|start| now < start) {
        return Err(Problem::bad_parameter("start", "is in the future, and `end` is missing"));
    }
    let query = UsersQuery { customer, address, start, end: end.unwrap_or(now) };
    let reader = call.views.logged_on_users.current();
    // Before the rows are read, so that the position never says more than was looked at.
    let known = reader.incarnations().await.map_err(failed)?;
    let stored = reader.positions().await.map_err(failed)?;
    let users = users_on_address(&reader.pool, &query).await.map_err(failed)?;
    let logons = users.into_iter().map(shown).collect();
    json_response(&LogonList { logons }, &Token::new(&known, positions_of(&stored)))
}

/// The customer that is asked for. One that does not exist is denied in the same words as one that was not granted.
fn customer(viewer: &Viewer, name: Option<&str>) -> Result<Uuid, Problem> {
    let customer = match name {
        None => viewer.principal.customer.id,
        Some(name) => {
            let (wanted, lower) = (id(name), name.trim().to_lowercase());
            let found = viewer
                .customers
                .iter()
                .find(|customer| wanted == Some(customer.id) || customer.name.to_lowercase() == lower);
            found.ok_or_else(Problem::permission_denied)?.id
        }
    };
    if viewer.principal.may(Permission::ViewAppliances, customer) {
        Ok(customer)
    } else {
        Err(Problem::permission_denied())
    }
}

fn shown(user: UserOnAddress) -> Logon {
    Logon {
        user_id: shown_id(user.user_uuid),
        username: user.username,
        first_seen: shown_time(user.first_seen),
        last_seen: shown_time(user.last_seen),
    }
}
