//! The data directory of the embedded engines: what stands where, and who may hold which role on it.
//!
//! ```text
//! DIR/control.db            customers, accounts, grants, credentials, sign-ins, outbox, known ids, generations
//! DIR/log.db                the event log
//! DIR/views/VIEW.N.db       generation N of a view: rows, positions, dead letters
//! DIR/roles/ROLE.lock       held while a process has the role
//! DIR/operator-password     first password of the operator
//! DIR/master.key            opens the sealed keys of credentials
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Result, StoreError};

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

/// What only one process at a time may do on a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Folds the log into the views.
    Projector,
    /// Rebuilds a view.
    Rebuild,
    /// Appends the outbox to the log.
    Relay,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Projector => "projector",
            Self::Rebuild => "rebuild",
            Self::Relay => "relay",
        }
    }
}

/// Holds a role until it is dropped, or the process ends however it ends.
#[derive(Debug)]
pub struct RoleLock {
    _file: File,
}

impl DataDir {
    /// Opens the directory, making it (mode 0700) when it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written, naming the path.
    pub fn create(path: &Path) -> Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for folder in [path.to_owned(), path.join("views"), path.join("roles")] {
            builder.create(&folder).map_err(|source| io_error(&folder, source))?;
        }
        let directory = Self { path: path.to_owned() };
        directory.check_writable()?;
        Ok(directory)
    }

    /// Opens a directory that must be there.
    ///
    /// # Errors
    /// [`StoreError::NoDirectory`] when it is not, or [`StoreError::NotWritable`].
    pub fn open(path: &Path) -> Result<Self> {
        // With another store only the log is here.
        let control = path.join("control.db");
        let there = if control.exists() { control } else { path.join("log.db") };
        match std::fs::metadata(there) {
            Ok(database) if database.is_file() => Self::create(path),
            // Whoever may not look into it must not hear that it is not there.
            Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(io_error(path, source))
            }
            _ => Err(StoreError::NoDirectory(path.into())),
        }
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The control database.
    #[must_use]
    pub fn control_db(&self) -> PathBuf {
        self.path.join("control.db")
    }

    /// The event log.
    #[must_use]
    pub fn log_db(&self) -> PathBuf {
        self.path.join("log.db")
    }

    /// One generation of a view.
    #[must_use]
    pub fn view_db(&self, view: &str, generation: i64) -> PathBuf {
        self.path.join("views").join(format!("{view}.{generation}.db"))
    }

    /// Removes a generation's file with what belongs to it. What is not there is fine; open files stay readable.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_view(&self, view: &str, generation: i64) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = self.view_db(view, generation).into_os_string();
            file.push(suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Open { path: PathBuf::from(file).into(), source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The file that holds the operator's first password.
    #[must_use]
    pub fn operator_password(&self) -> PathBuf {
        self.path.join("operator-password")
    }

    /// The file that holds the master key, unless another one was configured.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.path.join("master.key")
    }

    /// Takes a role, or says who has it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it.
    pub fn take_role(&self, role: Role) -> Result<RoleLock> {
        let mut file = self.lock_file(role.name())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = Some(holder.trim().to_owned()).filter(|h| !h.is_empty());
                return Err(StoreError::InUse { path: (&self.path).into(), role: role.name(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(&self.path, source)),
        }
        // Only a help for the message above; the lock is what counts.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(RoleLock { _file: file })
    }

    /// Waits until no other process is making or migrating databases here, and keeps others out until dropped.
    ///
    /// # Errors
    /// When the lock file cannot be opened.
    pub async fn setup_lock(&self) -> Result<RoleLock> {
        let file = self.lock_file("setup")?;
        // Waiting for another process must not hold up this one's other tasks: one of them may be the holder.
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let file =
            locked.map_err(std::io::Error::other).flatten().map_err(|source| io_error(&self.path, source))?;
        Ok(RoleLock { _file: file })
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.path.join("roles").join(format!("{name}.lock"));
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| io_error(&path, source))
    }

    fn check_writable(&self) -> Result<()> {
        // The permission bits do not tell (root, read-only mounts, quotas): only trying does.
        let probe = self.path.join(format!(".probe-{}", std::process::id()));
        let result = File::create(&probe).and_then(|mut file| file.write_all(b"annals"));
        let _ = std::fs::remove_file(&probe);
        result.map_err(|source| io_error(&self.path, source))
    }
}

pub(crate) fn io_error(path: &Path, source: std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::NotWritable(path.into()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull(path.into()),
        _ => StoreError::Open { path: path.into(), source },
    }
}
