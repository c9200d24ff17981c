//! Who logged on from an address.

use std::net::IpAddr;
use std::path::Path;

use annals_store::error::Context;
use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqlitePool;
use uuid::Uuid;

use crate::view::View;
use crate::{Result, address};

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
pub async fn users_on_address(readers: &SqlitePool, query: &UsersQuery) -> Result<Vec<UserOnAddress>> {
    const DOING: &str = "read users on an address";
    let path = Path::new(super::LoggedOnUsers::NAME);
    let rows = sqlx::query(
        "SELECT user_uuid, min(logged_on_at) AS first_seen, max(logged_on_at) AS last_seen,
           (SELECT account FROM logons AS latest
            WHERE latest.customer = ?1 AND latest.address = ?2 AND latest.user_uuid = logons.user_uuid
              AND latest.logged_on_at BETWEEN ?3 AND ?4
            ORDER BY latest.logged_on_at DESC, latest.event_id DESC LIMIT 1) AS username
         FROM logons
         WHERE customer = ?1 AND address = ?2 AND logged_on_at BETWEEN ?3 AND ?4
         GROUP BY user_uuid
         ORDER BY last_seen DESC, user_uuid
         LIMIT ?5",
    )
    .bind(query.customer)
    .bind(address::to_bytes(query.address).to_vec())
    .bind(query.start.map_or(i64::MIN, |start| start.timestamp_micros()))
    .bind(query.end.timestamp_micros())
    .bind(MAX_USERS)
    .fetch_all(readers)
    .await
    .during(path, DOING)?;
    let time = |micros: i64| DateTime::from_timestamp_micros(micros).unwrap_or_default();
    rows.iter()
        .map(|row| {
            Ok(UserOnAddress {
                user_uuid: row.try_get("user_uuid")?,
                username: row.try_get("username")?,
                first_seen: time(row.try_get("first_seen")?),
                last_seen: time(row.try_get("last_seen")?),
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during(path, DOING)
}
