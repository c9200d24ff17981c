//! The dictionary of actions. It is small, so that tests of its texts are made here rather than in SQL.

use annals_schemas::Severity;
use annals_store::Transaction;
use annals_store::sql::{Row, sql};

use super::condition::AuditField;
use crate::filter::Test;

struct Action {
    id: i64,
    name: String,
    category: String,
    severity: Severity,
    entity_type: String,
}

/// Every action that was ever seen.
#[derive(Default)]
pub(super) struct Actions(Vec<Action>);

impl Actions {
    pub(super) async fn read(tx: &mut Transaction) -> Result<Self, sqlx::Error> {
        let rows = sql("SELECT id, name, category, severity, entity_type FROM actions").fetch_all(tx).await?;
        rows.iter().map(action).collect::<Result<_, sqlx::Error>>().map(Self)
    }

    /// The ids of those whose field passes.
    pub(super) fn passing(&self, field: AuditField, test: &Test) -> Vec<i64> {
        let passes = |action: &&Action| {
            test.passes_text(match field {
                AuditField::Category => &action.category,
                AuditField::Severity => action.severity.as_str(),
                AuditField::EntityType => &action.entity_type,
                _ => &action.name,
            })
        };
        self.0.iter().filter(passes).map(|action| action.id).collect()
    }
}

fn action(row: &Row) -> Result<Action, sqlx::Error> {
    Ok(Action {
        id: row.get(0)?,
        name: row.get(1)?,
        category: row.get(2)?,
        severity: severity(row.get(3)?),
        entity_type: row.get(4)?,
    })
}

/// A severity from its number.
pub(super) fn severity(number: i64) -> Severity {
    match number {
        0 => Severity::Info,
        1 => Severity::Warning,
        _ => Severity::Error,
    }
}
