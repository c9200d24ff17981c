//! The vault: secrets that must be had again as they were, such as the key that a signature is computed with, are
//! sealed under a master key that is kept apart from the database.
//!
//! Sealed with XChaCha20-Poly1305 under a random nonce. What a secret belongs to is authenticated with it, so that
//! nobody who can write the database makes one credential's key that of another. Beside the sealed bytes stands the id of
//! the master key, so that keys can change one by one.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use uuid::Uuid;

use crate::access::lock;
use crate::error::AccessError;
use crate::secret::{self, InstallationKey, Secret, random_bytes};

/// Bytes of a master key.
const KEY_BYTES: usize = 32;

/// Bytes of a nonce: enough that random ones never repeat.
const NONCE_BYTES: usize = 24;

/// Longest file that is read as a master key; one in hexadecimal has 65 bytes.
const MAX_FILE_BYTES: u64 = 1_024;

/// Bits of a file's mode that let others than its owner at it.
const OTHERS: u32 = 0o077;

/// What can go wrong with master keys. `Display` never holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no directory for a key, and none was configured.
    #[error(
        "there is no master key; name one with --master-key-file FILE, ANNALS_MASTER_KEY_FILE or ANNALS_MASTER_KEY"
    )]
    NoKey,
    /// A secret was sealed under a key that is not here.
    #[error(
        "the master key `{0}`, which seals credentials, is not here; \
         name its file in ANNALS_OLD_MASTER_KEYS, or revoke those credentials"
    )]
    MissingKey(String),
    /// The text is no key.
    #[error("{0} is not a master key: 64 hexadecimal digits, or base64 of 32 bytes")]
    Malformed(String),
    /// Others than the owner can read or write the file.
    #[error("the master key `{}` is open to others than its owner; give it mode 0600", .0.display())]
    Exposed(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the master key `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be made.
    #[error("cannot write the master key `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The sealed bytes are not what was written for this owner.
    #[error("a sealed key is damaged, or that of another credential")]
    Damaged,
}

/// A secret under a master key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The key that opens it.
    pub(crate) key_id: String,
    /// Nonce, then the secret with its tag.
    pub(crate) bytes: Vec<u8>,
}

/// A master key. The cipher overwrites its key when it is dropped.
struct MasterKey {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl MasterKey {
    fn new(key: [u8; KEY_BYTES]) -> Self {
        // HMAC fills up a short key with zeros, too. One key for each purpose: the id is told to everybody.
        let mut block = [0; secret::KEY_BYTES];
        block[..KEY_BYTES].copy_from_slice(&key);
        let derived = InstallationKey::new(block);
        Self {
            id: hex::encode(&derived.hash("id of a master key", &[])[..4]),
            cipher: XChaCha20Poly1305::new(&derived.hash("sealing", &[]).into()),
        }
    }

    /// Reads a key as people write it. `name` is for the message.
    fn parse(text: &str, name: impl FnOnce() -> String) -> Result<Self, VaultError> {
        let text = text.trim();
        let alphabet = if text.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
        let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = match hex::decode(text) {
            Ok(bytes) => Some(bytes),
            Err(_) => GeneralPurpose::new(alphabet, padding).decode(text).ok(),
        };
        let key = bytes.and_then(|bytes| bytes.try_into().ok());
        key.map(Self::new).ok_or_else(|| VaultError::Malformed(name()))
    }

    fn read(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & OTHERS != 0 {
            return Err(VaultError::Exposed(path.to_owned()));
        }
        let mut text = String::new();
        match file.take(MAX_FILE_BYTES).read_to_string(&mut text) {
            // No text at all is no key either.
            Err(error) if error.kind() != ErrorKind::InvalidData => return Err(failed(error)),
            _ => {}
        }
        let text = Secret::new(text);
        Self::parse(text.expose(), || format!("`{}`", path.display()))
    }
}

/// Where the current master key comes from.
enum Source {
    /// There is none.
    Nowhere,
    /// It was given as a text.
    Given(Arc<MasterKey>),
    /// A file that must be there.
    File(PathBuf),
    /// A file that is made when a key is needed first.
    MadeFile(PathBuf),
}

/// The keys that were read, current ones and others.
#[derive(Default)]
struct Keys {
    current: Option<Arc<MasterKey>>,
    others: Vec<Arc<MasterKey>>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = &Arc<MasterKey>> {
        self.current.iter().chain(&self.others)
    }
}

/// The master keys of a process: the current one, which seals, and others, which only open. Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    source: Arc<Source>,
    old_files: Arc<[PathBuf]>,
    keys: Arc<Mutex<Keys>>,
}

impl Vault {
    /// A vault without a key. Nothing can be sealed.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Source::Nowhere)
    }

    /// The key of this text.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], which calls the text `name`.
    pub fn of_text(text: &Secret, name: &str) -> Result<Self, VaultError> {
        let key = MasterKey::parse(text.expose(), || format!("`{name}`"))?;
        Ok(Self::of(Source::Given(Arc::new(key))))
    }

    /// The key in this file, which must be there when it is needed.
    #[must_use]
    pub fn in_file(path: PathBuf) -> Self {
        Self::of(Source::File(path))
    }

    /// The key in this file, which is made with mode 0600 when a key is needed first.
    #[must_use]
    pub fn made_in(path: PathBuf) -> Self {
        Self::of(Source::MadeFile(path))
    }

    /// The same vault, which opens what was sealed under the keys in these files as well.
    #[must_use]
    pub fn with_old_files(self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { old_files: self.old_files.iter().cloned().chain(files).collect(), ..self }
    }

    fn of(source: Source) -> Self {
        Self { source: Arc::new(source), old_files: Arc::new([]), keys: Arc::default() }
    }

    /// Reads the keys, again when they were read before. It is done by itself when a key is missing; to do it at the
    /// start tells a wrong setting early.
    ///
    /// # Errors
    /// When a file cannot be read, is open to others or holds no key. A file that would be made need not be there.
    pub fn load(&self) -> Result<(), VaultError> {
        let current = match &*self.source {
            Source::Nowhere => None,
            Source::Given(key) => Some(Arc::clone(key)),
            Source::File(path) => Some(Arc::new(MasterKey::read(path)?)),
            Source::MadeFile(path) => match MasterKey::read(path) {
                Ok(key) => Some(Arc::new(key)),
                Err(VaultError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let old = self.old_files.iter().map(|path| MasterKey::read(path).map(Arc::new));
        let old = old.collect::<Result<Vec<_>, _>>()?;
        let mut keys = lock(&self.keys);
        let before = std::mem::take(&mut *keys);
        keys.current = current;
        // A key that was replaced still opens: what it sealed is sealed anew only a moment later.
        for key in old.into_iter().chain(before.current).chain(before.others) {
            if keys.all().all(|there| there.id != key.id) {
                keys.others.push(key);
            }
        }
        Ok(())
    }

    /// Id of the current key, when there is one and it was read.
    #[must_use]
    pub fn key_id(&self) -> Option<String> {
        lock(&self.keys).current.as_ref().map(|key| key.id.clone())
    }

    /// Reads the keys, and makes the current one where there is none yet: unless something is sealed under a key that is
    /// not here. Then the file was lost or forgotten, and a new one would hide that. `in_use` are ids of the keys that seal
    /// something.
    pub(crate) fn prepare(&self, in_use: &[String]) -> Result<(), AccessError> {
        self.load()?;
        if self.key_id().is_some() {
            return Ok(());
        }
        let Source::MadeFile(path) = &*self.source else { return Err(VaultError::NoKey.into()) };
        if let Some(missing) = in_use.iter().find(|id| self.key(id).is_none()) {
            return Err(VaultError::MissingKey(missing.clone()).into());
        }
        let key = Secret::new(hex::encode(random_bytes::<KEY_BYTES>()?));
        make_file(path, &key).map_err(|source| VaultError::Write { path: path.clone(), source })?;
        Ok(self.load()?)
    }

    /// Seals a secret of `owner` under the current key.
    pub(crate) fn seal(&self, owner: Uuid, secret: &Secret) -> Result<Sealed, AccessError> {
        let key = lock(&self.keys).current.clone().ok_or(VaultError::NoKey)?;
        let nonce = random_bytes::<NONCE_BYTES>()?;
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &belonging(owner) };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        Ok(Sealed { key_id: key.id.clone(), bytes: [nonce.as_slice(), &sealed].concat() })
    }

    /// Opens what was sealed for `owner`.
    pub(crate) fn open(&self, owner: Uuid, sealed: &Sealed) -> Result<Secret, VaultError> {
        let key = self.key(&sealed.key_id).ok_or_else(|| VaultError::MissingKey(sealed.key_id.clone()))?;
        let (nonce, bytes) = sealed.bytes.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let payload = Payload { msg: bytes, aad: &belonging(owner) };
        let opened = key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::Damaged)?;
        String::from_utf8(opened).map(Secret::new).map_err(|_| VaultError::Damaged)
    }

    fn key(&self, id: &str) -> Option<Arc<MasterKey>> {
        lock(&self.keys).all().find(|key| key.id == id).cloned()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = lock(&self.keys);
        let ids: Vec<&str> = keys.all().map(|key| key.id.as_str()).collect();
        formatter.debug_struct("Vault").field("keys", &ids).finish_non_exhaustive()
    }
}

/// What is authenticated with a sealed secret: what it is for, and whose it is.
fn belonging(owner: Uuid) -> Vec<u8> {
    [b"annals: access key of the credential ".as_slice(), owner.as_bytes()].concat()
}

/// Makes the file, unless somebody else made it meanwhile. It is there durably and with all of its content, or not at all.
fn make_file(path: &Path, key: &Secret) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.new", Uuid::new_v4().simple()));
    let unfinished = PathBuf::from(unfinished);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(key.expose().as_bytes()).and_then(|()| file.write_all(b"\n"));
    let linked = written.and_then(|()| file.sync_all()).and_then(|()| {
        // Unlike a rename, a link replaces nothing: the key that another process made may be in use already.
        match std::fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    });
    std::fs::remove_file(&unfinished)?;
    linked?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const OWNER: Uuid = Uuid::from_u128(1);

    fn vault(text: &str) -> Vault {
        let vault = Vault::of_text(&Secret::new(text), "KEY").unwrap();
        vault.load().unwrap();
        vault
    }

    fn key_file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_is_sealed_is_opened_for_its_owner_only() {
        let vault = vault(HEX);
        let sealed = vault.seal(OWNER, &Secret::new("access key")).unwrap();
        assert_eq!(vault.open(OWNER, &sealed).unwrap().expose(), "access key");
        assert!(matches!(vault.open(Uuid::from_u128(2), &sealed), Err(VaultError::Damaged)));
        let again = vault.seal(OWNER, &Secret::new("access key")).unwrap();
        assert!(again.bytes != sealed.bytes, "each nonce is another");
        assert!(!sealed.bytes.windows(6).any(|window| window == b"access"));
    }

    #[test]
    fn whatever_is_changed_in_a_sealed_secret_is_noticed() {
        let vault = vault(HEX);
        let sealed = vault.seal(OWNER, &Secret::new("access key")).unwrap();
        for at in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[at] ^= 1;
            assert!(matches!(vault.open(OWNER, &changed), Err(VaultError::Damaged)), "{at}");
            changed.bytes.truncate(at);
            assert!(matches!(vault.open(OWNER, &changed), Err(VaultError::Damaged)), "{at}");
        }
    }

    #[test]
    fn a_key_is_read_in_each_way_it_is_written() {
        let id = vault(HEX).key_id().unwrap();
        assert!(id.len() == 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let ways = [
            HEX.to_uppercase(),
            format!("  {HEX}\n"),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned(),
        ];
        for way in ways {
            assert_eq!(vault(&way).key_id().as_ref(), Some(&id), "{way}");
        }
        let (url_safe, standard) = ("-_".repeat(21) + "8=", "+/".repeat(21) + "8=");
        assert_eq!(vault(&url_safe).key_id(), vault(&standard).key_id());
        assert_ne!(vault(&standard).key_id(), Some(id));
        for wrong in ["", "correct horse", &HEX[2..], &format!("{HEX}00"), "AAECAwQF"] {
            let error = Vault::of_text(&Secret::new(wrong), "ANNALS_MASTER_KEY").unwrap_err();
            assert_eq!(
                error.to_string(),
                "`ANNALS_MASTER_KEY` is not a master key: 64 hexadecimal digits, or base64 of 32 bytes"
            );
        }
    }

    #[test]
    fn nothing_that_is_shown_holds_the_key() {
        let vault = vault(HEX);
        let shown = format!("{vault:?} {:?}", vault.key_id());
        assert!(shown.contains(&vault.key_id().unwrap()) && !shown.contains("0405"), "{shown}");
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_the_setting_is_named() {
        let vault = Vault::none();
        vault.load().unwrap();
        let error = vault.prepare(&[]).unwrap_err().to_string();
        assert!(error.contains("--master-key-file") && error.contains("ANNALS_MASTER_KEY"), "{error}");
        assert!(vault.seal(OWNER, &Secret::new("access key")).is_err());
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let (one, other) = (Vault::made_in(path.clone()), Vault::made_in(path.clone()));
        one.load().unwrap();
        assert!(!path.exists() && one.key_id().is_none(), "only when it is needed");
        one.prepare(&[]).unwrap();
        other.prepare(&[]).unwrap();
        assert_eq!(one.key_id(), other.key_id());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
        let before = std::fs::read(&path).unwrap();
        make_file(&path, &Secret::new(HEX)).unwrap();
        assert!(std::fs::read(&path).unwrap() == before, "a key that is there is kept");
    }

    #[test]
    fn a_lost_key_is_not_replaced_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::made_in(folder.path().join("master.key"));
        let error = vault.prepare(&["c0ffee00".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`c0ffee00`") && error.contains("ANNALS_OLD_MASTER_KEYS"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_open_to_others_missing_or_no_key_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
            let path = key_file(folder.path(), "open", HEX, mode);
            for vault in [Vault::in_file(path.clone()), Vault::made_in(path.clone())] {
                let error = vault.load().unwrap_err();
                assert!(matches!(&error, VaultError::Exposed(named) if *named == path), "{mode:o}: {error}");
            }
        }
        let missing = Vault::in_file(folder.path().join("missing")).load().unwrap_err();
        assert!(matches!(&missing, VaultError::Read { .. }) && missing.to_string().contains("missing"));
        for text in [&b"correct horse"[..], b"", b"\xff\xfe", &[b'0'; 5_000]] {
            let path = folder.path().join("wrong");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = Vault::in_file(path).load().unwrap_err();
            assert!(matches!(&error, VaultError::Malformed(_)), "{error}");
        }
    }

    #[test]
    fn a_replaced_key_opens_what_it_sealed_and_seals_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = key_file(folder.path(), "key", HEX, 0o600);
        let vault = Vault::in_file(path.clone());
        vault.load().unwrap();
        let sealed = vault.seal(OWNER, &Secret::new("access key")).unwrap();
        key_file(folder.path(), "old", HEX, 0o400);
        key_file(folder.path(), "key", &"ab".repeat(32), 0o600);
        vault.load().unwrap();
        assert_eq!(vault.open(OWNER, &sealed).unwrap().expose(), "access key");
        assert_ne!(vault.seal(OWNER, &Secret::new("access key")).unwrap().key_id, sealed.key_id);

        // Another process knows the old key by its file only.
        let other = Vault::in_file(path);
        other.load().unwrap();
        let error = other.open(OWNER, &sealed).err().unwrap();
        assert!(matches!(&error, VaultError::MissingKey(id) if *id == sealed.key_id), "{error}");
        let other = other.with_old_files([folder.path().join("old")]);
        other.load().unwrap();
        assert_eq!(other.open(OWNER, &sealed).unwrap().expose(), "access key");
    }
}
