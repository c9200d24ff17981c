//! Which audit events a caller sees. The one place where grants become a condition on rows; every dialect's questions
//! to the audit log go through it.

use annals_access::{Permission, Principal};
use annals_schemas::ActorKind;
use annals_views::audit_log::Scope;

/// Everything of the customers at which `all` was granted; the caller's own events of its home customer and of every
/// other customer at which anything was granted; nothing of anybody else.
pub(crate) fn audit_log(principal: &Principal, all: Permission) -> Scope {
    let (all_of, own_of) =
        principal.grants.customers().partition(|customer| principal.grants.allows(*customer, all));
    Scope { all_of, own_of, caller: (ActorKind::PortalAccount, principal.account) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_access::{Customer, Grants};
    use chrono_tz::Tz;
    use uuid::Uuid;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn principal(grants: &[(u128, Permission)]) -> Principal {
        Principal {
            account: id(100),
            number: 1,
            email: "ada@example.com".to_owned(),
            customer: Customer { id: id(1), name: "home".to_owned(), time_zone: Tz::UTC },
            sign_in_id: None,
            grants: Grants::new(
                id(1),
                grants.iter().map(|(customer, permission)| (id(*customer), *permission)),
            ),
        }
    }

    #[test]
    fn without_a_grant_only_own_events_of_the_home_customer_are_seen() {
        let scope = audit_log(&principal(&[]), Permission::ManageUsers);
        assert_eq!((scope.all_of, scope.own_of), (vec![], vec![id(1)]));
        assert_eq!(scope.caller, (ActorKind::PortalAccount, id(100)));
    }

    #[test]
    fn a_customer_is_seen_whole_only_by_the_permission_asked_for_there() {
        let granted = [
            (2, Permission::ManageUsers),
            (3, Permission::ViewAuditLog),
            (3, Permission::ManageAppliances),
            (2, Permission::Publish),
        ];
        let scope = audit_log(&principal(&granted), Permission::ManageUsers);
        assert_eq!((scope.all_of, scope.own_of), (vec![id(2)], vec![id(1), id(3)]));
        let scope = audit_log(&principal(&granted), Permission::ViewAuditLog);
        assert_eq!((scope.all_of, scope.own_of), (vec![id(3)], vec![id(1), id(2)]));
    }

    #[test]
    fn the_operator_sees_no_customer_by_operating() {
        let scope = audit_log(&principal(&[(1, Permission::Operate)]), Permission::ManageUsers);
        assert_eq!((scope.all_of, scope.own_of), (vec![], vec![id(1)]));
    }
}
