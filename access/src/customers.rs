//! Customers.

use annals_store::error::Context;
use annals_store::sql::{On, Row, sql};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::access::Access;
use crate::audit::{self, Told};
use crate::author::Author;
use crate::change::Change;
use crate::error::AccessError;
use crate::names;
use crate::principal::Customer;

impl Access {
    /// Adds a customer.
    ///
    /// # Errors
    /// When the name cannot be one or is taken, the time zone is unknown, or the database fails.
    pub async fn add_customer(
        &self,
        name: &str,
        time_zone: &str,
        by: &Author,
    ) -> Result<Customer, AccessError> {
        names::check(name)?;
        let time_zone: Tz =
            time_zone.parse().map_err(|_| AccessError::UnknownTimeZone(names::shown(time_zone)))?;
        let customer = Customer { id: Uuid::now_v7(), name: name.to_owned(), time_zone };
        let mut change = self.begin().await?;
        if self.customer_by_name(change.on(), name).await?.is_some() {
            return Err(AccessError::CustomerExists(name.to_owned()));
        }
        self.insert_customer(&mut change, &customer, by).await?;
        change.commit().await?;
        Ok(customer)
    }

    /// Every customer, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn customers(&self) -> Result<Vec<Customer>, AccessError> {
        let rows = sql("SELECT id, name, time_zone FROM customers ORDER BY name_key")
            .fetch_all(self.control().pool())
            .await
            .during(self.control().place(), "read customers")?;
        rows.iter().map(|row| self.customer_of(row)).collect()
    }

    /// The customer of this name, compared without case.
    ///
    /// # Errors
    /// [`AccessError::UnknownCustomer`], or when the database fails.
    pub async fn find_customer(&self, name: &str) -> Result<Customer, AccessError> {
        self.require_customer(self.reads(), name).await
    }

    pub(crate) async fn require_customer(&self, on: On<'_>, name: &str) -> Result<Customer, AccessError> {
        let customer = self.customer_by_name(on, name).await?;
        customer.ok_or_else(|| AccessError::UnknownCustomer(names::shown(name)))
    }

    async fn customer_by_name(&self, on: On<'_>, name: &str) -> Result<Option<Customer>, AccessError> {
        let Some(key) = names::stored_key(name) else { return Ok(None) };
        let row = sql("SELECT id, name, time_zone FROM customers WHERE name_key = ?")
            .bind(key)
            .fetch_optional(on)
            .await
            .during(self.control().place(), "read a customer")?;
        row.map(|row| self.customer_of(&row)).transpose()
    }

    pub(crate) async fn insert_customer(
        &self,
        change: &mut Change<'_>,
        customer: &Customer,
        by: &Author,
    ) -> Result<(), AccessError> {
        let now = self.clock().now();
        sql("INSERT INTO customers (id, name, name_key, time_zone, created_at) VALUES (?, ?, ?, ?, ?)")
            .bind(customer.id)
            .bind(&customer.name)
            .bind(names::key(&customer.name))
            .bind(customer.time_zone.name())
            .bind(now)
            .execute(change.on())
            .await
            .during(self.control().place(), "add a customer")?;
        let told = Told {
            action: "CUSTOMER_ADDED",
            customer: customer.id,
            entity_type: "customer",
            entity_id: &customer.name,
            text: format!("The customer {} was added with time zone {}.", customer.name, customer.time_zone),
        };
        change.tell(&audit::configuration_changed(by, told, now)).await
    }

    /// Reads the columns `id`, `name` and `time_zone`.
    pub(crate) fn customer_of(&self, row: &Row) -> Result<Customer, AccessError> {
        let read = || -> Result<_, sqlx::Error> {
            Ok((row.get("id")?, row.get("name")?, row.get::<String>("time_zone")?))
        };
        let (id, name, time_zone) = read().during(self.control().place(), "read a customer")?;
        let time_zone = time_zone.parse().map_err(|_| self.damaged("the time zone of a customer"))?;
        Ok(Customer { id, name, time_zone })
    }
}
