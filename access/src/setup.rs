//! The first opening of an installation: its key, the operator customer and the operator's account.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_store::error::Context;
use annals_store::sql::sql;
use annals_store::{ControlDb, Database};
use chrono_tz::Tz;

use crate::access::{Access, Opened, OperatorPassword};
use crate::accounts::NewAccount;
use crate::author::Author;
use crate::clock::Clock;
use crate::error::AccessError;
use crate::permission::Permission;
use crate::principal::Customer;
use crate::secret::{InstallationKey, KEY_BYTES, Secret, random_bytes, random_password};

/// Name of the operator customer and of its first account.
const OPERATOR: &str = "operator";

pub(crate) async fn open(
    control: ControlDb,
    database: &Database,
    clock: Clock,
) -> Result<Opened, AccessError> {
    if let Some(key) = read_key(&control).await? {
        return Ok(found(control, clock, key));
    }
    // Only the process that holds the lock writes the password file, so that the file and the row belong together.
    let _setup = database.setup_lock().await?;
    if let Some(key) = read_key(&control).await? {
        return Ok(found(control, clock, key));
    }
    let key = random_bytes::<KEY_BYTES>()?;
    let access = Access::new(control, clock, InstallationKey::new(key));
    let file = database.operator_password();
    access.make_installation(&key, file.as_deref()).await?;
    Ok(Opened { access, operator: file.map_or(OperatorPassword::Unset, OperatorPassword::InFile) })
}

fn found(control: ControlDb, clock: Clock, key: InstallationKey) -> Opened {
    Opened { access: Access::new(control, clock, key), operator: OperatorPassword::AlreadyThere }
}

/// The key of the installation, when there is one.
pub(crate) async fn read_key(control: &ControlDb) -> Result<Option<InstallationKey>, AccessError> {
    let stored: Option<Vec<u8>> = sql("SELECT secret FROM installation WHERE one = 1")
        .fetch_optional_scalar(control.pool())
        .await
        .during(control.place(), "read the installation's key")?;
    let Some(stored) = stored else { return Ok(None) };
    let key = <[u8; KEY_BYTES]>::try_from(stored).map_err(|_| AccessError::Damaged {
        place: control.place().clone(),
        what: "the installation's key",
    })?;
    Ok(Some(InstallationKey::new(key)))
}

impl Access {
    async fn make_installation(&self, key: &[u8], file: Option<&Path>) -> Result<(), AccessError> {
        let password = random_password()?;
        let password_hash = self.hasher().hash(password.clone()).await?;
        let by = Author::setup();
        let mut change = self.begin().await?;
        sql("INSERT INTO installation (one, secret, created_at) VALUES (1, ?, ?)")
            .bind(key)
            .bind(self.clock().now())
            .execute(change.on())
            .await
            .during(self.control().place(), "make the installation")?;
        let customer = Customer { id: OPERATOR_CUSTOMER, name: OPERATOR.to_owned(), time_zone: Tz::UTC };
        self.insert_customer(&mut change, &customer, &by).await?;
        let account = NewAccount { email: OPERATOR, password_hash, permissions: &[Permission::Operate] };
        self.insert_account(&mut change, account, &customer, &by).await?;
        // Before the commit: whoever waits for the file would find none after a crash in between, while a password
        // without an installation is overwritten by the next opening. For the same reason a failed commit leaves it.
        if let Some(file) = file {
            let path = file.to_owned();
            tokio::task::spawn_blocking(move || write_password(&path, &password))
                .await
                .map_err(|_| AccessError::Stopping)?
                .map_err(|source| AccessError::PasswordFile { path: file.to_owned(), source })?;
        }
        change.commit().await
    }
}

/// Writes the file under another name first: it is there with all of its content and mode, or it is not there.
fn write_password(path: &Path, password: &Secret) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    // One that a crash left could have any mode.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(password.expose().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
