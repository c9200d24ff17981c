//! Texts that nobody may see, random ones, and the installation's key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::AccessError;

/// A secret text. It is shown by nothing and overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text that nobody may see.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        // Without a reader the compiler may leave the writes out.
        std::hint::black_box(&bytes);
    }
}

/// Bytes of the installation's key: the block size of SHA-256, which HMAC takes as it is.
pub(crate) const KEY_BYTES: usize = 64;

/// A keyed hash.
pub(crate) type KeyedHash = [u8; 32];

/// The installation's key. With the database alone nobody can make a cookie, and with a process's memory alone nobody
/// can try passwords against remembered credentials.
pub(crate) struct InstallationKey([u8; KEY_BYTES]);

impl InstallationKey {
    pub(crate) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The keyed hash of `parts`, for one purpose. Parts are length-prefixed, so that their borders count.
    pub(crate) fn hash(&self, purpose: &str, parts: &[&[u8]]) -> KeyedHash {
        let mut mac = Hmac::<Sha256>::new((&self.0).into());
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Random bytes of the system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(AccessError::Random)?;
    Ok(bytes)
}

/// A fresh cookie: 256 random bits in characters that need no escaping anywhere.
pub(crate) fn random_cookie() -> Result<String, AccessError> {
    Ok(hex::encode(random_bytes::<32>()?))
}

/// A fresh token or key: 256 random bits after a prefix that tells people what it is.
pub(crate) fn random_token(prefix: &str) -> Result<Secret, AccessError> {
    Ok(Secret::new(prefix.to_owned() + &random_cookie()?))
}

/// Characters for people to copy: 32 of them, so that five random bits are one character, and none that is easily
/// taken for another.
const CHARACTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A fresh password: 28 characters, 140 random bits.
pub(crate) fn random_password() -> Result<Secret, AccessError> {
    Ok(Secret::new(random_characters::<28>()?))
}

/// A fresh access id: 20 characters, 100 random bits. It is a name and no secret, but nobody guesses it either.
pub(crate) fn random_access_id() -> Result<String, AccessError> {
    random_characters::<20>()
}

fn random_characters<const N: usize>() -> Result<String, AccessError> {
    Ok(random_bytes::<N>()?.iter().map(|byte| char::from(CHARACTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("correct horse");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[secret] Some([secret])");
        assert_eq!(secret.expose(), "correct horse");
    }

    #[test]
    fn a_keyed_hash_depends_on_key_purpose_parts_and_their_borders() {
        let key = InstallationKey::new([7; KEY_BYTES]);
        let hash = key.hash("cookie", &[b"a", b"bc"]);
        assert_eq!(hash, key.hash("cookie", &[b"a", b"bc"]));
        assert_ne!(hash, key.hash("cookie", &[b"ab", b"c"]));
        assert_ne!(hash, key.hash("credential", &[b"a", b"bc"]));
        assert_ne!(hash, InstallationKey::new([8; KEY_BYTES]).hash("cookie", &[b"a", b"bc"]));
    }

    #[test]
    fn random_texts_are_long_and_differ() {
        let (one, other) = (random_cookie().unwrap(), random_cookie().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 64);
        let password = random_password().unwrap();
        assert_eq!(password.expose().len(), 28);
        assert!(password.expose().bytes().all(|byte| CHARACTERS.contains(&byte)));
        let token = random_token("lmb_").unwrap();
        assert!(token.expose().starts_with("lmb_") && token.expose().len() == 68);
        assert_ne!(random_access_id().unwrap(), random_access_id().unwrap());
    }
}
