//! A role of the database that reads the views and writes only the control tables: for query servers.
//!
//! Nothing beyond annals' own schemas is granted. Who may read which generations there are may also read those that are
//! made later: [`statements_for`] is asked whenever one is laid out.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{CONTROL_SCHEMA, LAYOUT_LOCK, PostgresDb};
use crate::error::Context;
use crate::{Place, Result};

/// What lets `role` read the tables of a generation.
fn reading(schema: &str, role: &str) -> [String; 2] {
    [
        format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"),
    ]
}

/// What lets the query servers of this database read a new generation.
pub(super) async fn statements_for(
    connection: &mut PgConnection,
    schema: &str,
    place: &Place,
) -> Result<Vec<String>> {
    let roles: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(r.rolname) FROM pg_namespace n, aclexplode(n.nspacl) a, pg_roles r
         WHERE n.nspname = $1 AND a.privilege_type = 'USAGE' AND r.oid = a.grantee AND r.oid <> n.nspowner
           AND has_table_privilege(r.oid, format('%I.generations', n.nspname), 'SELECT')",
    )
    .bind(CONTROL_SCHEMA)
    .fetch_all(connection)
    .await
    .during(place, "look who may read it")?;
    Ok(roles.iter().flat_map(|role| reading(schema, role)).collect())
}

impl PostgresDb {
    /// Gives a role what a query server needs: it reads every view, those of later generations too, and reads and writes
    /// the control tables. It can change no table and no view. The role must be there; the caller must own the tables. A
    /// migration that adds control tables gives it the same there.
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
        // Else a generation that is being laid out right now would be seen by neither side.
        sqlx::query("SELECT pg_advisory_lock($1)")
            .bind(LAYOUT_LOCK)
            .execute(&mut connection)
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
        ];
        statements.extend(generations.iter().flat_map(|schema| reading(schema, &role)));
        let mut tx = sqlx::Connection::begin(&mut connection).await.during(&self.place, DOING)?;
        for statement in statements {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.during(&self.place, DOING)?;
        }
        tx.commit().await.during(&self.place, DOING)?;
        let _ = sqlx::Connection::close(connection).await;
        Ok(())
    }
}
