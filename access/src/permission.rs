//! What may be granted, and what somebody was granted at which customer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A permission. It is always granted at a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// See appliances and who is logged on (Lastline).
    ViewAppliances,
    /// Change appliances (Lastline).
    ManageAppliances,
    /// Manage users, and see everybody's audit events in papi (Lastline).
    ManageUsers,
    /// See the audit log (LogicMonitor).
    ViewAuditLog,
    /// Publish events.
    Publish,
    /// Operate the installation. Counts at the operator customer.
    Operate,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 6] = [
        Self::ViewAppliances,
        Self::ManageAppliances,
        Self::ManageUsers,
        Self::ViewAuditLog,
        Self::Publish,
        Self::Operate,
    ];

    /// The name, as commands and tables write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ViewAppliances => "can_view_appliances",
            Self::ManageAppliances => "can_manage_appliances",
            Self::ManageUsers => "can_manage_users",
            Self::ViewAuditLog => "can_view_audit_log",
            Self::Publish => "can_publish",
            Self::Operate => "can_operate",
        }
    }

    /// The names, for a sentence.
    pub(crate) fn list(permissions: &[Self]) -> String {
        permissions.iter().map(|permission| permission.name()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Not the name of a permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a permission; there are {}", .0.escape_debug(), Permission::list(&Permission::ALL))]
pub struct UnknownPermission(pub String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
            .ok_or_else(|| UnknownPermission(name.to_owned()))
    }
}

/// What an account was granted, by customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grants {
    home: Uuid,
    by_customer: BTreeMap<Uuid, BTreeSet<Permission>>,
}

impl Grants {
    /// The grants of an account of the customer `home`.
    #[must_use]
    pub fn new(home: Uuid, grants: impl IntoIterator<Item = (Uuid, Permission)>) -> Self {
        // The home customer stands in the map even without a grant: one's own events need no permission.
        let mut by_customer = BTreeMap::from([(home, BTreeSet::new())]);
        for (customer, permission) in grants {
            by_customer.entry(customer).or_default().insert(permission);
        }
        Self { home, by_customer }
    }

    /// The account's own customer.
    #[must_use]
    pub fn home(&self) -> Uuid {
        self.home
    }

    /// Whether `permission` was granted at `customer`. No permission implies another.
    #[must_use]
    pub fn allows(&self, customer: Uuid, permission: Permission) -> bool {
        self.by_customer.get(&customer).is_some_and(|permissions| permissions.contains(&permission))
    }

    /// The home customer and every customer with any grant, in the order of their ids.
    pub fn customers(&self) -> impl Iterator<Item = Uuid> {
        self.by_customer.keys().copied()
    }

    /// The customers at which `permission` was granted, in the order of their ids.
    pub fn customers_with(&self, permission: Permission) -> impl Iterator<Item = Uuid> {
        self.by_customer
            .iter()
            .filter(move |(_, permissions)| permissions.contains(&permission))
            .map(|(customer, _)| *customer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_permission_is_found_by_its_own_name_only() {
        for permission in Permission::ALL {
            assert_eq!(permission.to_string().parse(), Ok(permission));
        }
        let error = "can_fly".parse::<Permission>().unwrap_err().to_string();
        assert!(
            error.starts_with("`can_fly` is not a permission; there are can_view_appliances, "),
            "{error}"
        );
        assert!("CAN_OPERATE".parse::<Permission>().is_err());
        assert!("".parse::<Permission>().is_err());
    }

    #[test]
    fn grants_hold_at_their_customer_only() {
        let (home, other, stranger) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let grants = Grants::new(home, [(other, Permission::Publish), (other, Permission::ViewAuditLog)]);
        assert!(grants.allows(other, Permission::Publish));
        assert!(!grants.allows(home, Permission::Publish));
        assert!(!grants.allows(stranger, Permission::Publish));
        assert!(!grants.allows(other, Permission::Operate));
        assert_eq!(grants.home(), home);
        assert_eq!(grants.customers().collect::<Vec<_>>(), [home, other]);
        assert_eq!(grants.customers_with(Permission::ViewAuditLog).collect::<Vec<_>>(), [other]);
        assert_eq!(grants.customers_with(Permission::Operate).count(), 0);
    }
}
