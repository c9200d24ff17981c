//! Permissions granted and revoked. They are read at each request, so that a revocation counts at once.

use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_store::error::Context;
use annals_store::sql::{On, Row, sql};
use uuid::Uuid;

use crate::access::Access;
use crate::accounts::Account;
use crate::audit::{self, Told};
use crate::author::Author;
use crate::change::Change;
use crate::error::AccessError;
use crate::permission::{Grants, Permission};
use crate::principal::{Customer, Principal};

impl Access {
    /// Grants permissions at `customer`, which may be another than the account's own. Those that are granted already
    /// stay as they are.
    ///
    /// # Errors
    /// When the account or the customer is unknown, nothing would change, or the database fails.
    pub async fn grant(
        &self,
        email: &str,
        customer: &str,
        permissions: &[Permission],
        by: &Author,
    ) -> Result<(), AccessError> {
        require_some(permissions)?;
        let mut change = self.begin().await?;
        let account = self.require_account(change.on(), email).await?;
        let customer = self.require_customer(change.on(), customer).await?;
        let granted = self.insert_grants(&mut change, account.id, customer.id, permissions).await?;
        if granted.is_empty() {
            let permissions = permissions.to_vec();
            return Err(AccessError::AlreadyGranted {
                account: account.email,
                customer: customer.name,
                permissions,
            });
        }
        let text =
            format!("{} was granted {} at {}.", account.email, Permission::list(&granted), customer.name);
        let told = told("PERMISSION_GRANTED", &account, &customer, text);
        change.tell(&audit::configuration_changed(by, told, self.clock().now())).await?;
        change.commit().await
    }

    /// Revokes permissions at `customer`. Those that are not granted are passed over.
    ///
    /// # Errors
    /// When the account or the customer is unknown, nothing would change, nobody could operate the installation
    /// afterwards, or the database fails.
    pub async fn revoke(
        &self,
        email: &str,
        customer: &str,
        permissions: &[Permission],
        by: &Author,
    ) -> Result<(), AccessError> {
        require_some(permissions)?;
        let mut change = self.begin().await?;
        let account = self.require_account(change.on(), email).await?;
        let customer = self.require_customer(change.on(), customer).await?;
        if permissions.contains(&Permission::Operate)
            && customer.id == OPERATOR_CUSTOMER
            && self.is_last_operator(change.on(), &account).await?
        {
            return Err(AccessError::LastOperator(account.email));
        }
        let revoked = self.delete_grants(&mut change, account.id, customer.id, permissions).await?;
        if revoked.is_empty() {
            let permissions = permissions.to_vec();
            return Err(AccessError::NotGranted {
                account: account.email,
                customer: customer.name,
                permissions,
            });
        }
        let text = format!(
            "{} was revoked from {} at {}.",
            Permission::list(&revoked),
            account.email,
            customer.name
        );
        let told = told("PERMISSION_REVOKED", &account, &customer, text);
        change.tell(&audit::configuration_changed(by, told, self.clock().now())).await?;
        change.commit().await
    }

    /// Whether the installation would have no operator without this account.
    pub(crate) async fn is_last_operator(&self, on: On<'_>, account: &Account) -> Result<bool, AccessError> {
        let operators: Vec<Uuid> = sql("SELECT a.id FROM accounts a JOIN grants g ON g.account = a.id
             WHERE g.customer = ? AND g.permission = ? AND a.disabled_at IS NULL LIMIT 2")
        .bind(OPERATOR_CUSTOMER)
        .bind(Permission::Operate.name())
        .fetch_scalars(on)
        .await
        .during(self.control().place(), "read operators")?;
        Ok(operators == [account.id])
    }

    /// Grants what is not granted yet and returns it.
    pub(crate) async fn insert_grants(
        &self,
        change: &mut Change<'_>,
        account: Uuid,
        customer: Uuid,
        permissions: &[Permission],
    ) -> Result<Vec<Permission>, AccessError> {
        let mut granted = Vec::new();
        for permission in permissions {
            let done =
                sql("INSERT INTO grants (account, customer, permission, granted_at) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO NOTHING")
                .bind(account)
                .bind(customer)
                .bind(permission.name())
                .bind(self.clock().now())
                .execute(change.on())
                .await
                .during(self.control().place(), "grant a permission")?;
            if done == 1 {
                granted.push(*permission);
            }
        }
        Ok(granted)
    }

    async fn delete_grants(
        &self,
        change: &mut Change<'_>,
        account: Uuid,
        customer: Uuid,
        permissions: &[Permission],
    ) -> Result<Vec<Permission>, AccessError> {
        let mut revoked = Vec::new();
        for permission in permissions {
            let done = sql("DELETE FROM grants WHERE account = ? AND customer = ? AND permission = ?")
                .bind(account)
                .bind(customer)
                .bind(permission.name())
                .execute(change.on())
                .await
                .during(self.control().place(), "revoke a permission")?;
            if done == 1 {
                revoked.push(*permission);
            }
        }
        Ok(revoked)
    }

    /// The account with what it may do now.
    pub(crate) async fn principal(
        &self,
        on: On<'_>,
        account: Account,
        sign_in_id: Option<String>,
    ) -> Result<Principal, AccessError> {
        let rows = sql("SELECT customer AS granted_at, permission FROM grants WHERE account = ?")
            .bind(account.id)
            .fetch_all(on)
            .await
            .during(self.control().place(), "read grants")?;
        let principal = Principal::of(account, &rows, sign_in_id);
        Ok(principal.during(self.control().place(), "read grants")?)
    }
}

impl Principal {
    /// The account with the grants of rows that have `granted_at` and `permission`.
    pub(crate) fn of(
        account: Account,
        rows: &[Row],
        sign_in_id: Option<String>,
    ) -> Result<Self, sqlx::Error> {
        let mut grants: Vec<(Uuid, Permission)> = Vec::new();
        for row in rows {
            let customer: Option<Uuid> = row.get("granted_at")?;
            let name: Option<String> = row.get("permission")?;
            // A permission that this version does not know allows nothing.
            grants.extend(customer.zip(name.and_then(|name| name.parse().ok())));
        }
        Ok(Self {
            account: account.id,
            number: account.number,
            email: account.email,
            grants: Grants::new(account.customer.id, grants),
            customer: account.customer,
            sign_in_id,
        })
    }
}

fn require_some(permissions: &[Permission]) -> Result<(), AccessError> {
    if permissions.is_empty() { Err(AccessError::NoPermission) } else { Ok(()) }
}

/// The event belongs to the customer whose objects are opened or closed, also when the account is of another one.
fn told<'a>(action: &'static str, account: &'a Account, customer: &Customer, text: String) -> Told<'a> {
    Told { action, customer: customer.id, entity_type: "account", entity_id: &account.email, text }
}
