//! Accounts: added, disabled, given another password.

use annals_store::error::Context;
use annals_store::sql::{On, Row, sql, sql_for};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::audit::{self, Told};
use crate::author::Author;
use crate::change::Change;
use crate::error::AccessError;
use crate::names;
use crate::passwords::MAX_PASSWORD_BYTES;
use crate::permission::Permission;
use crate::principal::Customer;
use crate::secret::Secret;

/// Shortest new password, in characters.
pub const MIN_PASSWORD_CHARACTERS: usize = 8;

/// An account as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSummary {
    /// The id that events carry.
    pub id: Uuid,
    /// The number.
    pub number: i64,
    /// The e-mail, as it was written when the account was added.
    pub email: String,
    /// Name of the account's own customer.
    pub customer: String,
    /// Whether it may no longer sign in.
    pub disabled: bool,
    /// Names of customers and what was granted there, by name.
    pub grants: Vec<(String, Permission)>,
}

/// An account as the database holds it. Never shown: it has the hash.
pub(crate) struct Account {
    pub(crate) id: Uuid,
    pub(crate) number: i64,
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) version: i64,
    pub(crate) disabled: bool,
    pub(crate) customer: Customer,
}

/// An account to be added.
pub(crate) struct NewAccount<'a> {
    pub(crate) email: &'a str,
    pub(crate) password_hash: String,
    pub(crate) permissions: &'a [Permission],
}

/// Selects what [`Access::account_of`] reads, of `accounts a` and `customers c`.
macro_rules! select_account {
    ($rest:literal) => {
        concat!(
            "SELECT a.id AS account, a.number, a.email, a.password_hash, a.version, a.disabled_at, ",
            "c.id, c.name, c.time_zone",
            $rest
        )
    };
}
pub(crate) use select_account;

impl Access {
    /// Adds an account of `customer` with permissions there.
    ///
    /// # Errors
    /// When the e-mail cannot be one or is taken, the customer is unknown, the password is too short or too long, too
    /// many passwords are being hashed, or the database fails.
    pub async fn add_account(
        &self,
        email: &str,
        customer: &str,
        permissions: &[Permission],
        password: Secret,
        by: &Author,
    ) -> Result<AccountSummary, AccessError> {
        names::check(email)?;
        let password_hash = self.hash_new_password(password).await?;
        let mut change = self.begin().await?;
        let customer = self.require_customer(change.on(), customer).await?;
        if self.account_by_email(change.on(), email).await?.is_some() {
            return Err(AccessError::AccountExists(email.to_owned()));
        }
        let account = NewAccount { email, password_hash, permissions };
        let summary = self.insert_account(&mut change, account, &customer, by).await?;
        change.commit().await?;
        Ok(summary)
    }

    /// Every account, by e-mail.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accounts(&self) -> Result<Vec<AccountSummary>, AccessError> {
        // One statement, so that accounts and grants are of one moment.
        let rows = sql(
            "SELECT a.id, a.number, a.email, c.name AS customer, a.disabled_at, g.permission, gc.name AS granted_at
             FROM accounts a JOIN customers c ON c.id = a.customer
             LEFT JOIN grants g ON g.account = a.id LEFT JOIN customers gc ON gc.id = g.customer
             ORDER BY a.email_key, gc.name_key, g.permission",
        )
        .fetch_all(self.reads())
        .await
        .during(self.control().place(), "read accounts")?;
        summaries(&rows).during(self.control().place(), "read accounts").map_err(Into::into)
    }

    /// Disables an account: its sign-ins end, it cannot sign in again, and its credentials are refused.
    ///
    /// # Errors
    /// When it is unknown, disabled already or the last operator, or the database fails.
    pub async fn disable_account(&self, email: &str, by: &Author) -> Result<(), AccessError> {
        let mut change = self.begin().await?;
        let account = self.require_account(change.on(), email).await?;
        if account.disabled {
            return Err(AccessError::AlreadyDisabled(account.email));
        }
        if self.is_last_operator(change.on(), &account).await? {
            return Err(AccessError::LastOperator(account.email));
        }
        let now = self.clock().now();
        sql("UPDATE accounts SET disabled_at = ?, version = version + 1 WHERE id = ?")
            .bind(now)
            .bind(account.id)
            .execute(change.on())
            .await
            .during(self.control().place(), "disable an account")?;
        let text = format!("The account {} was disabled.", account.email);
        change.tell(&account.changed("ACCOUNT_DISABLED", text, by, now)).await?;
        change.commit().await
    }

    /// Gives an account another password: its sign-ins end. A disabled account stays disabled.
    ///
    /// # Errors
    /// When the account is unknown, the password is too short or too long, too many passwords are being hashed, or the
    /// database fails.
    pub async fn set_password(&self, email: &str, password: Secret, by: &Author) -> Result<(), AccessError> {
        let password_hash = self.hash_new_password(password).await?;
        let mut change = self.begin().await?;
        let account = self.require_account(change.on(), email).await?;
        sql("UPDATE accounts SET password_hash = ?, version = version + 1 WHERE id = ?")
            .bind(password_hash)
            .bind(account.id)
            .execute(change.on())
            .await
            .during(self.control().place(), "change a password")?;
        let text = format!("The password of {} was changed.", account.email);
        let now = self.clock().now();
        change.tell(&account.changed("ACCOUNT_PASSWORD_CHANGED", text, by, now)).await?;
        change.commit().await
    }

    async fn hash_new_password(&self, password: Secret) -> Result<String, AccessError> {
        if password.expose().chars().count() < MIN_PASSWORD_CHARACTERS {
            return Err(AccessError::Password("it has less than 8 characters"));
        }
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Err(AccessError::Password("it has more than 1024 bytes"));
        }
        self.hasher().hash(password).await
    }

    pub(crate) async fn insert_account(
        &self,
        change: &mut Change<'_>,
        account: NewAccount<'_>,
        customer: &Customer,
        by: &Author,
    ) -> Result<AccountSummary, AccessError> {
        let now = self.clock().now();
        let id = Uuid::now_v7();
        let number: i64 =
            sql("INSERT INTO accounts (id, customer, email, email_key, password_hash, created_at)
             VALUES (?, ?, ?, ?, ?, ?) RETURNING number")
            .bind(id)
            .bind(customer.id)
            .bind(account.email)
            .bind(names::key(account.email))
            .bind(&account.password_hash)
            .bind(now)
            .fetch_scalar(change.on())
            .await
            .during(self.control().place(), "add an account")?;
        let granted = self.insert_grants(change, id, customer.id, account.permissions).await?;
        let permissions =
            if granted.is_empty() { "no permission".to_owned() } else { Permission::list(&granted) };
        let told = Told {
            action: "ACCOUNT_ADDED",
            customer: customer.id,
            entity_type: "account",
            entity_id: account.email,
            text: format!("The account {} of {} was added with {permissions}.", account.email, customer.name),
        };
        change.tell(&audit::configuration_changed(by, told, now)).await?;
        let grants = granted.into_iter().map(|permission| (customer.name.clone(), permission)).collect();
        let (email, customer) = (account.email.to_owned(), customer.name.clone());
        Ok(AccountSummary { id, number, email, customer, disabled: false, grants })
    }

    pub(crate) async fn require_account(&self, on: On<'_>, email: &str) -> Result<Account, AccessError> {
        let account = self.account_by_email(on, email).await?;
        account.ok_or_else(|| AccessError::UnknownAccount(names::shown(email)))
    }

    pub(crate) async fn account_by_email(
        &self,
        on: On<'_>,
        email: &str,
    ) -> Result<Option<Account>, AccessError> {
        let Some(key) = names::stored_key(email) else { return Ok(None) };
        let row = sql(select_account!(
            " FROM accounts a JOIN customers c ON c.id = a.customer WHERE a.email_key = ?"
        ))
        .bind(key)
        .fetch_optional(on)
        .await
        .during(self.control().place(), "read an account")?;
        row.map(|row| self.account_of(&row)).transpose()
    }

    /// The account, which nobody changes until this change ends.
    pub(crate) async fn account_kept(
        &self,
        change: &mut Change<'_>,
        id: Uuid,
    ) -> Result<Option<Account>, AccessError> {
        let row = sql_for(
            select_account!(" FROM accounts a JOIN customers c ON c.id = a.customer WHERE a.id = ?"),
            select_account!(
                " FROM accounts a JOIN customers c ON c.id = a.customer WHERE a.id = ? FOR SHARE OF a"
            ),
        )
        .bind(id)
        .fetch_optional(change.on())
        .await
        .during(self.control().place(), "read an account")?;
        row.map(|row| self.account_of(&row)).transpose()
    }

    pub(crate) fn account_of(&self, row: &Row) -> Result<Account, AccessError> {
        let customer = self.customer_of(row)?;
        let read = || -> Result<Account, sqlx::Error> {
            Ok(Account {
                id: row.get("account")?,
                number: row.get("number")?,
                email: row.get("email")?,
                password_hash: row.get("password_hash")?,
                version: row.get("version")?,
                disabled: row.get::<Option<DateTime<Utc>>>("disabled_at")?.is_some(),
                customer,
            })
        };
        Ok(read().during(self.control().place(), "read an account")?)
    }
}

impl Account {
    /// The event of a change of this account that concerns its own customer.
    fn changed(
        &self,
        action: &'static str,
        text: String,
        by: &Author,
        now: DateTime<Utc>,
    ) -> annals_schemas::Event {
        let told =
            Told { action, customer: self.customer.id, entity_type: "account", entity_id: &self.email, text };
        audit::configuration_changed(by, told, now)
    }
}

fn summaries(rows: &[Row]) -> Result<Vec<AccountSummary>, sqlx::Error> {
    let mut summaries: Vec<AccountSummary> = Vec::new();
    for row in rows {
        let id: Uuid = row.get("id")?;
        if summaries.last().is_none_or(|last| last.id != id) {
            summaries.push(AccountSummary {
                id,
                number: row.get("number")?,
                email: row.get("email")?,
                customer: row.get("customer")?,
                disabled: row.get::<Option<DateTime<Utc>>>("disabled_at")?.is_some(),
                grants: Vec::new(),
            });
        }
        let permission: Option<String> = row.get("permission")?;
        let granted_at: Option<String> = row.get("granted_at")?;
        // A permission that this version does not know allows nothing, and is not shown.
        let permission = permission.and_then(|name| name.parse().ok());
        if let (Some(customer), Some(permission), Some(last)) = (granted_at, permission, summaries.last_mut())
        {
            last.grants.push((customer, permission));
        }
    }
    Ok(summaries)
}
