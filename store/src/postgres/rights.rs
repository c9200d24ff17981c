//! A role of the database that reads the views and writes only the control tables: for query servers.

use sqlx::AssertSqlSafe;

use super::{CONTROL_SCHEMA, PostgresDb};
use crate::Result;
use crate::error::Context;

impl PostgresDb {
    /// Gives a role what a query server needs: it reads every view, those of later generations too, and reads and writes
    /// the control tables. It can change no table and no view. The role must be there; the caller must own the tables.
    ///
    /// # Errors
    /// When there is no such role, or the caller may not grant.
    pub async fn grant_query(&self, role: &str) -> Result<()> {
        const DOING: &str = "grant rights to a query server";
        let mut connection = self.connect("rights", CONTROL_SCHEMA).await?;
        let role: String = sqlx::query_scalar("SELECT quote_ident($1)")
            .bind(role)
            .fetch_one(&mut connection)
            .await
            .during(&self.place, DOING)?;
        let generations: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ '^annals_[a-z_]+_[0-9]+$'",
        )
        .fetch_all(&mut connection)
        .await
        .during(&self.place, DOING)?;
        let mut statements = vec![
            format!("GRANT USAGE ON SCHEMA {CONTROL_SCHEMA} TO {role}"),
            format!(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {CONTROL_SCHEMA} TO {role}"
            ),
            format!("REVOKE INSERT, UPDATE, DELETE ON {CONTROL_SCHEMA}._sqlx_migrations FROM {role}"),
            format!("GRANT USAGE ON ALL SEQUENCES IN SCHEMA {CONTROL_SCHEMA} TO {role}"),
            // Generations that the caller makes from now on.
            format!("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {role}"),
            format!("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}"),
        ];
        for schema in generations {
            statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
            statements.push(format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"));
        }
        let mut tx = sqlx::Connection::begin(&mut connection).await.during(&self.place, DOING)?;
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.during(&self.place, DOING)?;
        }
        tx.commit().await.during(&self.place, DOING)
    }
}
