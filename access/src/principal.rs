//! Who asks, and from where.

use std::net::IpAddr;

use annals_schemas::limits::{MAX_NAME_BYTES, cut};
use annals_schemas::{Actor, ActorKind};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::permission::{Grants, Permission};

/// A customer. Its id never changes and is never given to another one; its name is only an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The id that events carry.
    pub id: Uuid,
    /// The name: an e-mail, or any other text without blanks.
    pub name: String,
    /// The zone of the customer's local times.
    pub time_zone: Tz,
}

/// Somebody signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account's id, which events carry.
    pub account: Uuid,
    /// The account's number (LogicMonitor's adminId).
    pub number: i64,
    /// The account's e-mail, as it was written when the account was added.
    pub email: String,
    /// The account's own customer.
    pub customer: Customer,
    /// Public id of the sign-in, where there is one.
    pub sign_in_id: Option<String>,
    /// What the account may do.
    pub grants: Grants,
}

impl Principal {
    /// Whether `permission` was granted at `customer`.
    #[must_use]
    pub fn may(&self, permission: Permission, customer: Uuid) -> bool {
        self.grants.allows(customer, permission)
    }

    /// This account as the actor of an event of `customer`.
    #[must_use]
    pub fn actor_at(&self, customer: Uuid) -> Actor {
        let home_customer = Some(self.customer.id).filter(|home| *home != customer);
        Actor { home_customer, ..Actor::new(ActorKind::PortalAccount, self.account) }
    }
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// The address in canonical form.
    pub address: Option<IpAddr>,
    /// The client's own description.
    pub user_agent: Option<String>,
}

impl Client {
    /// Brings an address into canonical form (`::ffff:10.0.0.1` is `10.0.0.1`, an unspecified one is none) and cuts
    /// a long description.
    #[must_use]
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        Self {
            address: address
                .map(|address| address.to_canonical())
                .filter(|address| !address.is_unspecified()),
            user_agent: user_agent.filter(|text| !text.is_empty()).map(|text| cut(text, MAX_NAME_BYTES)),
        }
    }

    /// Nobody over a network: the command line, and annals itself.
    #[must_use]
    pub fn local() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Option<String> {
        Client::new(text.parse().ok(), None).address.map(|address| address.to_string())
    }

    #[test]
    fn addresses_are_canonical() {
        assert_eq!(address("::ffff:172.18.39.5").as_deref(), Some("172.18.39.5"));
        assert_eq!(address("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(address("::1").as_deref(), Some("::1"));
        assert_eq!(address("::"), None);
        assert_eq!(address("0.0.0.0"), None);
        assert_eq!(address("::ffff:0.0.0.0"), None);
    }

    #[test]
    fn a_long_user_agent_is_cut_and_an_empty_one_is_none() {
        let client = Client::new(None, Some(&"é".repeat(5_000)));
        assert!(client.user_agent.is_some_and(|text| text.len() <= MAX_NAME_BYTES && text.ends_with('…')));
        assert_eq!(Client::new(None, Some("")), Client::local());
    }
}
