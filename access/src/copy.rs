//! The control tables of one installation, copied into another engine or database: everything that cannot be folded from
//! the log again. Left behind are sign-ins (whoever is signed in signs in again), known ids (they speak of another log)
//! and generations (views are folded anew).

use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use annals_store::{Connection, ControlDb, Dialect, StoreError};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::Access;
use crate::author::Author;
use crate::change::Change;
use crate::clock::Clock;
use crate::error::AccessError;
use crate::setup;

const READING: &str = "read what is to be copied";
const WRITING: &str = "write the copy";

/// How much was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopySummary {
    /// Customers.
    pub customers: usize,
    /// Accounts.
    pub accounts: usize,
    /// Permissions that were granted.
    pub grants: usize,
    /// Credentials, revoked ones that are still known included.
    pub credentials: usize,
}

/// Copies the installation of `from` into `to`, which has its tables but no installation yet: customers, accounts with
/// their numbers and passwords, permissions, credentials, the installation's key, and the events that are not in the log
/// yet: a backup has no relay, and its outbox must not be lost. It is one transaction, so that after a crash there is nothing,
/// and it can be run again. The copy leaves an event of its own in the outbox of `to`.
///
/// Tokens are hashed with the installation's key, so they go on working. Access keys stay sealed under the master key,
/// which is in no database and must be brought along.
///
/// Nobody should work with `from` meanwhile; what changes until the end is noticed, what changes afterwards is not
/// copied.
///
/// # Errors
/// When there is no installation to copy, one at the target already, the source changes meanwhile, or a database fails. Nothing was copied then.
pub async fn copy_control(from: &ControlDb, to: &ControlDb) -> Result<CopySummary, AccessError> {
    let key = setup::read_key(from).await?;
    let key = key.ok_or_else(|| AccessError::NoInstallation(from.place().clone()))?;
    let contents = Contents::of_source(from).await?;
    let target = Access::new(to.clone(), Clock::system(), key);
    let mut change = target.begin().await?;
    let empty = Contents::read(&mut change.connection()).await.during(to.place(), READING)?;
    if empty != Contents::default() {
        return Err(AccessError::InstallationExists(to.place().clone()));
    }
    contents.write(&mut change, to.dialect()).await.during(to.place(), WRITING)?;
    let written = Contents::read(&mut change.connection()).await.during(to.place(), READING)?;
    if written != contents {
        return Err(AccessError::Damaged { place: to.place().clone(), what: "the copy" });
    }
    if !Contents::of_source(from).await?.continues(&contents) {
        return Err(AccessError::ChangedMeanwhile(from.place().clone()));
    }
    let summary = contents.summary();
    let event = Author::command_line().operation(
        "CONTROL_COPIED",
        "installation",
        to.place().as_str(),
        format!(
            "{} customers, {} accounts, {} permissions and {} credentials were copied from {} to {}.",
            summary.customers,
            summary.accounts,
            summary.grants,
            summary.credentials,
            from.place(),
            to.place()
        ),
        target.clock().now(),
    );
    change.tell(&event).await?;
    change.commit().await?;
    Ok(summary)
}

/// What is copied, as both engines give it back.
#[derive(Default, PartialEq, Eq)]
struct Contents {
    /// The key and the time of making. One, or none.
    installation: Vec<(Vec<u8>, DateTime<Utc>)>,
    customers: Vec<CustomerRow>,
    accounts: Vec<AccountRow>,
    grants: Vec<(Uuid, Uuid, String, DateTime<Utc>)>,
    credentials: Vec<CredentialRow>,
    /// Events that wait, in order. Should both relays append one, the views absorb it.
    outbox: Vec<OutboxRow>,
}

#[derive(PartialEq, Eq)]
struct OutboxRow {
    event_id: Uuid,
    topic: String,
    key: String,
    value: Vec<u8>,
    created_at: DateTime<Utc>,
}

#[derive(PartialEq, Eq)]
struct CustomerRow {
    id: Uuid,
    name: String,
    name_key: String,
    time_zone: String,
    created_at: DateTime<Utc>,
}

#[derive(PartialEq, Eq)]
struct AccountRow {
    number: i64,
    id: Uuid,
    customer: Uuid,
    email: String,
    email_key: String,
    password_hash: String,
    version: i64,
    disabled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

#[derive(PartialEq, Eq)]
struct CredentialRow {
    id: Uuid,
    account: Uuid,
    kind: String,
    name: String,
    name_key: String,
    access_id: Option<String>,
    token_hash: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
    key_id: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    used_at: Option<DateTime<Utc>>,
}

impl Contents {
    /// What the source holds at one moment.
    async fn of_source(from: &ControlDb) -> Result<Self, StoreError> {
        let mut snapshot = from.pool().snapshot().await.during(from.place(), READING)?;
        Self::read(&mut snapshot.connection()).await.during(from.place(), READING)
    }

    async fn read(on: &mut Connection<'_>) -> Result<Self, sqlx::Error> {
        let installation = sql("SELECT secret, created_at FROM installation").fetch_all(&mut *on).await?;
        let customers = sql("SELECT id, name, name_key, time_zone, created_at FROM customers ORDER BY id")
            .fetch_all(&mut *on)
            .await?;
        let accounts =
            sql("SELECT number, id, customer, email, email_key, password_hash, version, disabled_at,
             created_at FROM accounts ORDER BY number")
            .fetch_all(&mut *on)
            .await?;
        let grants = sql("SELECT account, customer, permission, granted_at FROM grants
             ORDER BY account, customer, permission")
        .fetch_all(&mut *on)
        .await?;
        let credentials =
            sql("SELECT id, account, kind, name, name_key, access_id, token_hash, sealed, key_id,
             expires_at, revoked_at, created_at, used_at FROM credentials ORDER BY id")
            .fetch_all(&mut *on)
            .await?;
        let outbox = sql("SELECT event_id, topic, key, value, created_at FROM outbox ORDER BY sequence")
            .fetch_all(&mut *on)
            .await?;
        Ok(Self {
            installation: rows(&installation, |row| Ok((row.get(0)?, row.get(1)?)))?,
            customers: rows(&customers, CustomerRow::of)?,
            accounts: rows(&accounts, AccountRow::of)?,
            grants: rows(&grants, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?,
            credentials: rows(&credentials, CredentialRow::of)?,
            outbox: rows(&outbox, OutboxRow::of)?,
        })
    }

    async fn write(&self, change: &mut Change<'_>, dialect: Dialect) -> Result<(), sqlx::Error> {
        for (secret, created_at) in &self.installation {
            sql("INSERT INTO installation (one, secret, created_at) VALUES (1, ?, ?)")
                .bind(secret.as_slice())
                .bind(*created_at)
                .execute(change.on())
                .await?;
        }
        for customer in &self.customers {
            customer.write(change).await?;
        }
        for account in &self.accounts {
            account.write(change).await?;
        }
        for (account, customer, permission, granted_at) in &self.grants {
            sql("INSERT INTO grants (account, customer, permission, granted_at) VALUES (?, ?, ?, ?)")
                .bind(*account)
                .bind(*customer)
                .bind(permission)
                .bind(*granted_at)
                .execute(change.on())
                .await?;
        }
        for credential in &self.credentials {
            credential.write(change).await?;
        }
        for entry in &self.outbox {
            entry.write(change).await?;
        }
        // Numbers go on after the highest. SQLite sees to that itself.
        if let (Dialect::Postgres, Some(last)) = (dialect, self.accounts.last()) {
            sql("SELECT setval(pg_get_serial_sequence('accounts', 'number'), ?)")
                .bind(last.number)
                .execute(change.on())
                .await?;
        }
        Ok(())
    }

    /// Whether nothing was changed since `before`. That credentials are used is no change: it happens all the time.
    fn continues(mut self, before: &Self) -> bool {
        for (credential, before) in self.credentials.iter_mut().zip(&before.credentials) {
            credential.used_at = before.used_at;
        }
        self == *before
    }

    fn summary(&self) -> CopySummary {
        CopySummary {
            customers: self.customers.len(),
            accounts: self.accounts.len(),
            grants: self.grants.len(),
            credentials: self.credentials.len(),
        }
    }
}

impl OutboxRow {
    fn of(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            event_id: row.get("event_id")?,
            topic: row.get("topic")?,
            key: row.get("key")?,
            value: row.get("value")?,
            created_at: row.get("created_at")?,
        })
    }

    async fn write(&self, change: &mut Change<'_>) -> Result<(), sqlx::Error> {
        sql("INSERT INTO outbox (event_id, topic, key, value, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(self.event_id)
            .bind(&self.topic)
            .bind(&self.key)
            .bind(self.value.as_slice())
            .bind(self.created_at)
            .execute(change.on())
            .await?;
        Ok(())
    }
}

impl CustomerRow {
    fn of(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            name_key: row.get("name_key")?,
            time_zone: row.get("time_zone")?,
            created_at: row.get("created_at")?,
        })
    }

    async fn write(&self, change: &mut Change<'_>) -> Result<(), sqlx::Error> {
        sql("INSERT INTO customers (id, name, name_key, time_zone, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(self.id)
            .bind(&self.name)
            .bind(&self.name_key)
            .bind(&self.time_zone)
            .bind(self.created_at)
            .execute(change.on())
            .await?;
        Ok(())
    }
}

impl AccountRow {
    fn of(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            number: row.get("number")?,
            id: row.get("id")?,
            customer: row.get("customer")?,
            email: row.get("email")?,
            email_key: row.get("email_key")?,
            password_hash: row.get("password_hash")?,
            version: row.get("version")?,
            disabled_at: row.get("disabled_at")?,
            created_at: row.get("created_at")?,
        })
    }

    async fn write(&self, change: &mut Change<'_>) -> Result<(), sqlx::Error> {
        sql("INSERT INTO accounts (number, id, customer, email, email_key, password_hash, version, disabled_at,
             created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(self.number)
        .bind(self.id)
        .bind(self.customer)
        .bind(&self.email)
        .bind(&self.email_key)
        .bind(&self.password_hash)
        .bind(self.version)
        .bind(self.disabled_at)
        .bind(self.created_at)
        .execute(change.on())
        .await?;
        Ok(())
    }
}

impl CredentialRow {
    fn of(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.get("id")?,
            account: row.get("account")?,
            kind: row.get("kind")?,
            name: row.get("name")?,
            name_key: row.get("name_key")?,
            access_id: row.get("access_id")?,
            token_hash: row.get("token_hash")?,
            sealed: row.get("sealed")?,
            key_id: row.get("key_id")?,
            expires_at: row.get("expires_at")?,
            revoked_at: row.get("revoked_at")?,
            created_at: row.get("created_at")?,
            used_at: row.get("used_at")?,
        })
    }

    async fn write(&self, change: &mut Change<'_>) -> Result<(), sqlx::Error> {
        sql("INSERT INTO credentials (id, account, kind, name, name_key, access_id, token_hash, sealed, key_id,
             expires_at, revoked_at, created_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(self.id)
        .bind(self.account)
        .bind(&self.kind)
        .bind(&self.name)
        .bind(&self.name_key)
        .bind(self.access_id.as_ref())
        .bind(self.token_hash.as_deref())
        .bind(self.sealed.as_deref())
        .bind(self.key_id.as_ref())
        .bind(self.expires_at)
        .bind(self.revoked_at)
        .bind(self.created_at)
        .bind(self.used_at)
        .execute(change.on())
        .await?;
        Ok(())
    }
}

/// Every row, read.
fn rows<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, sqlx::Error>) -> Result<Vec<T>, sqlx::Error> {
    rows.iter().map(read).collect()
}
