//! Sealed keys of credentials: made, opened, and sealed anew when the master key changes.

use annals_store::error::Context;
use annals_store::sql::{Row, sql};
use uuid::Uuid;

use crate::access::Access;
use crate::author::Author;
use crate::error::AccessError;
use crate::secret::Secret;
use crate::vault::{Sealed, VaultError};

/// What became of the sealed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResealSummary {
    /// Those that were sealed under another master key before.
    pub resealed: usize,
    /// Those that were sealed under the current one already.
    pub unchanged: usize,
}

impl Access {
    /// Seals every key of a credential under the current master key, in one transaction. Afterwards no other one is
    /// needed. Leaves an event when anything was changed.
    ///
    /// # Errors
    /// When there is no master key, one is missing that something is sealed under, or the database fails. Nothing was
    /// changed then.
    pub async fn reseal(&self, by: &Author) -> Result<ResealSummary, AccessError> {
        const DOING: &str = "seal credentials anew";
        let place = self.control().place();
        let current = self.prepare_vault().await?;
        let mut change = self.begin().await?;
        let rows = sql("SELECT id, sealed, key_id FROM credentials WHERE sealed IS NOT NULL")
            .fetch_all(change.on())
            .await
            .during(place, DOING)?;
        let mut summary = ResealSummary { resealed: 0, unchanged: 0 };
        for row in &rows {
            let (id, sealed) = sealed_of(row).during(place, DOING)?;
            if sealed.key_id == current {
                summary.unchanged += 1;
                continue;
            }
            let sealed = self.vault().seal(id, &self.vault().open(id, &sealed)?)?;
            sql("UPDATE credentials SET sealed = ?, key_id = ? WHERE id = ?")
                .bind(sealed.bytes)
                .bind(sealed.key_id)
                .bind(id)
                .execute(change.on())
                .await
                .during(place, DOING)?;
            summary.resealed += 1;
        }
        if summary.resealed > 0 {
            let text = format!("{} keys were sealed anew, under the master key {current}.", summary.resealed);
            let now = self.clock().now();
            change.tell(&by.operation("CREDENTIALS_RESEALED", "master key", &current, text, now)).await?;
        }
        change.commit().await?;
        Ok(summary)
    }

    /// Seals the key of a credential, making the master key where there is none yet.
    pub(crate) async fn seal(&self, credential: Uuid, key: &Secret) -> Result<Sealed, AccessError> {
        self.prepare_vault().await?;
        self.vault().seal(credential, key)
    }

    /// Opens the key of a credential.
    pub(crate) async fn unseal(&self, credential: Uuid, sealed: &Sealed) -> Result<Secret, AccessError> {
        match self.vault().open(credential, sealed) {
            // Somebody may have made or replaced it since the files were read.
            Err(VaultError::MissingKey(_)) => {
                let vault = self.vault().clone();
                blocking(move || Ok(vault.load()?)).await?;
                Ok(self.vault().open(credential, sealed)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Has the current master key ready. Gives its id.
    async fn prepare_vault(&self) -> Result<String, AccessError> {
        let in_use: Vec<String> = sql("SELECT DISTINCT key_id FROM credentials WHERE sealed IS NOT NULL")
            .fetch_scalars(self.reads())
            .await
            .during(self.control().place(), "read which master keys are in use")?;
        let vault = self.vault().clone();
        blocking(move || vault.prepare(&in_use)).await?;
        self.vault().key_id().ok_or_else(|| VaultError::NoKey.into())
    }
}

/// Reads or writes files without holding up other tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AccessError> + Send + 'static,
) -> Result<T, AccessError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| AccessError::Stopping)?
}

fn sealed_of(row: &Row) -> Result<(Uuid, Sealed), sqlx::Error> {
    Ok((row.get("id")?, Sealed { key_id: row.get("key_id")?, bytes: row.get("sealed")? }))
}
