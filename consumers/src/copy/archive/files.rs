//! Files and folders of an archive: private, whole, and on the disk before anything speaks of them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::copy::{CopyError, Result};

/// What a file is called until it is whole.
const UNFINISHED: &str = "partial";

/// Held while a process writes an archive.
const LOCK: &str = "archive.lock";

/// Makes a folder that only its owner may look into; one that is there stays as it is.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| CopyError::io(folder, "make", source))
}

/// Whether a folder has nothing but what every archive has.
pub(super) fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(folder).map_err(|source| CopyError::io(folder, "read", source))?;
    // A disk's own folder is nobody's file.
    Ok(!entries
        .any(|entry| entry.is_ok_and(|entry| entry.file_name() != LOCK && entry.file_name() != "lost+found")))
}

/// Keeps other writers out until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

pub(super) fn lock(folder: &Path) -> Result<Lock> {
    let path = folder.join(LOCK);
    let file =
        options().truncate(false).open(&path).map_err(|source| CopyError::io(&path, "open", source))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(CopyError::ArchiveInUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => {
            // Backups go to all sorts of disks; some network file systems have no locks.
            tracing::warn!(folder = %folder.display(), %error, "the archive cannot be locked against other writers");
        }
        Ok(()) => {}
    }
    Ok(Lock(file))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// The name of a file that is not whole yet.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Begins a file under its unfinished name.
pub(super) fn begin(path: &Path) -> Result<File> {
    let path = unfinished(path);
    options().truncate(true).open(&path).map_err(|source| CopyError::io(&path, "make", source))
}

/// Gives a file that is whole its name.
pub(super) fn finish(file: &File, path: &Path) -> Result<()> {
    let old = unfinished(path);
    file.sync_all().map_err(|source| CopyError::io(&old, "write", source))?;
    rename(&old, path)
}

/// Writes a small file anew: whoever reads finds the old one or the new one, whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = begin(path)?;
    file.write_all(content).map_err(|source| CopyError::io(path, "write", source))?;
    finish(&file, path)
}

/// Renames a file, and sees to it that its new name survives a power cut.
pub(super) fn rename(old: &Path, new: &Path) -> Result<()> {
    std::fs::rename(old, new).map_err(|source| CopyError::io(new, "write", source))?;
    let folder = new.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        // Not every file system can.
        Err(error) if error.kind() != ErrorKind::InvalidInput => Err(CopyError::io(folder, "write", error)),
        _ => Ok(()),
    }
}

/// Removes what an interrupted copy did not finish.
pub(super) fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|source| CopyError::io(folder, "read", source))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            std::fs::remove_file(&path).map_err(|source| CopyError::io(&path, "remove", source))?;
        }
    }
    Ok(())
}

/// Reads a file whole; `None` when there is none.
pub(super) fn read_if_there(path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CopyError::io(path, "open", source)),
    };
    let mut content = Vec::new();
    file.take(limit_bytes).read_to_end(&mut content).map_err(|source| CopyError::io(path, "read", source))?;
    Ok(Some(content))
}

/// Counts and hashes what goes through.
pub(super) struct Hashing<T> {
    pub(super) inner: T,
    pub(super) bytes: u64,
    hasher: Sha256,
}

impl<T> Hashing<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, bytes: 0, hasher: Sha256::new() }
    }

    /// The SHA-256 of what went through, in hexadecimal digits.
    pub(super) fn sha256(self) -> String {
        hex::encode(self.hasher.finalize())
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.passed(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let (read, _) = buffer.split_at(count);
        self.bytes += count as u64;
        self.hasher.update(read);
        Ok(count)
    }
}
