//! Who logged on from an address.

use std::net::IpAddr;

use annals_store::error::Context;
use annals_store::sql::sql;
use annals_store::{Place, Pool};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Result;
use crate::view::View;

/// Users that one answer lists.
pub const MAX_USERS: i64 = 10_000;

/// Which logons are looked at.
#[derive(Clone, Debug)]
pub struct UsersQuery {
    /// The customer, which the caller must have been granted.
    pub customer: Uuid,
    /// The address.
    pub address: IpAddr,
    /// First moment that counts; none for no lower bound.
    pub start: Option<DateTime<Utc>>,
    /// Last moment that counts.
    pub end: DateTime<Utc>,
}

/// A user with logons from the address in the interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserOnAddress {
    /// The user.
    pub user_uuid: Uuid,
    /// The user's name without domain, as of the last logon.
    pub username: String,
    /// First logon in the interval.
    pub first_seen: DateTime<Utc>,
    /// Last logon in the interval.
    pub last_seen: DateTime<Utc>,
}

/// One row per user, latest `last_seen` first.
///
/// # Errors
/// When the view cannot be read.
pub async fn users_on_address(readers: &Pool, query: &UsersQuery) -> Result<Vec<UserOnAddress>> {
    const DOING: &str = "read users on an address";
    let place = Place::new(super::LoggedOnUsers::NAME);
    let rows = sql("SELECT user_uuid, min(logged_on_at) AS first_seen, max(logged_on_at) AS last_seen,
           (SELECT account FROM logons AS latest
            WHERE latest.customer = ?1 AND latest.address = ?2 AND latest.user_uuid = logons.user_uuid
              AND latest.logged_on_at BETWEEN ?3 AND ?4
            ORDER BY latest.logged_on_at DESC, latest.event_id DESC LIMIT 1) AS username
         FROM logons
         WHERE customer = ?1 AND address = ?2 AND logged_on_at BETWEEN ?3 AND ?4
         GROUP BY user_uuid
         ORDER BY last_seen DESC, user_uuid
         LIMIT ?5")
    .bind(query.customer)
    .bind(query.address)
    .bind(query.start.unwrap_or(DateTime::<Utc>::MIN_UTC))
    .bind(query.end)
    .bind(MAX_USERS)
    .fetch_all(readers)
    .await
    .during(&place, DOING)?;
    rows.iter()
        .map(|row| {
            Ok(UserOnAddress {
                user_uuid: row.get("user_uuid")?,
                username: row.get("username")?,
                first_seen: row.get("first_seen")?,
                last_seen: row.get("last_seen")?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(&place, DOING)
}
