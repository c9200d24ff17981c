//! Password hashing, bounded: a hash takes 19 MiB and some 20 ms of a core on purpose, so that guessing is dear. Few
//! run at once, few more wait, and the rest is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::error::AccessError;
use crate::secret::Secret;

/// Hashes that run at once in one process.
pub const MAX_HASHING: usize = 2;

/// Hashes that wait for their turn. Beyond it a sign-in is refused as busy instead of answered after seconds.
pub const MAX_WAITING: usize = 64;

/// Longest password, in bytes: what a hash reads is bounded as well.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Memory of a hash, in KiB. These are the parameters that OWASP recommends for argon2id; each stored hash carries
/// its own, so that they can grow.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How busy the hashing is. For metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashingLoad {
    /// Hashes that run now.
    pub running: usize,
    /// Hashes that run or wait now.
    pub admitted: usize,
    /// The most that ever ran at once.
    pub running_max: usize,
    /// Hashes that were made so far.
    pub made: u64,
}

/// The one place that hashes passwords.
pub(crate) struct Hasher {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    gauge: Arc<Gauge>,
}

#[derive(Default)]
struct Gauge {
    running: AtomicUsize,
    running_max: AtomicUsize,
    made: AtomicU64,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(MAX_HASHING + MAX_WAITING)),
            running: Arc::new(Semaphore::new(MAX_HASHING)),
            gauge: Arc::default(),
        }
    }

    /// The hash of a new password, in the PHC string format.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, AccessError> {
        self.run(move |argon2| {
            argon2.hash_password(password.expose().as_bytes()).map(|hash| hash.to_string())
        })
        .await?
        .map_err(|error| AccessError::Hashing(error.to_string()))
    }

    /// Whether `password` is the one of `hash`. Without a hash the answer is no, after the same work: how long it takes
    /// does not tell which accounts there are.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<String>) -> Result<bool, AccessError> {
        let possible = (1..=MAX_PASSWORD_BYTES).contains(&password.expose().len());
        let (password, hash) = if possible { (password, hash) } else { (Secret::new(""), None) };
        self.run(move |argon2| match hash {
            Some(hash) => match argon2.verify_password(password.expose().as_bytes(), hash.as_str()) {
                Ok(()) => Ok(true),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(AccessError::Hashing(error.to_string())),
            },
            None => {
                let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
                argon2
                    .hash_password_into(password.expose().as_bytes(), b"nobody's own salt", &mut output)
                    .map_err(|error| AccessError::Hashing(error.to_string()))?;
                std::hint::black_box(&output);
                Ok(false)
            }
        })
        .await?
    }

    pub(crate) fn load(&self) -> HashingLoad {
        HashingLoad {
            running: self.gauge.running.load(Ordering::SeqCst),
            admitted: MAX_HASHING + MAX_WAITING - self.admitted.available_permits(),
            running_max: self.gauge.running_max.load(Ordering::SeqCst),
            made: self.gauge.made.load(Ordering::SeqCst),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| AccessError::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| AccessError::Stopping)?;
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
            .map_err(|error| AccessError::Hashing(error.to_string()))?;
        let gauge = Arc::clone(&self.gauge);
        tokio::task::spawn_blocking(move || {
            // Both permits are held here, not by the future: the work goes on when nobody waits for it any more.
            let _permits = (admitted, running);
            let now_running = gauge.running.fetch_add(1, Ordering::SeqCst) + 1;
            gauge.running_max.fetch_max(now_running, Ordering::SeqCst);
            let result = work(&Argon2::new(Algorithm::Argon2id, Version::V0x13, params));
            gauge.running.fetch_sub(1, Ordering::SeqCst);
            gauge.made.fetch_add(1, Ordering::SeqCst);
            result
        })
        .await
        .map_err(|_| AccessError::Stopping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_with_the_recommended_parameters_and_its_own_salt() {
        let hasher = Hasher::new();
        let hash = hasher.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash(Secret::new("correct horse")).await.unwrap());
        assert!(hasher.verify(Secret::new("correct horse"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(Secret::new("wrong horse"), Some(hash)).await.unwrap());
    }

    #[tokio::test]
    async fn no_hash_and_an_impossible_password_are_a_no() {
        let hasher = Hasher::new();
        assert!(!hasher.verify(Secret::new("correct horse"), None).await.unwrap());
        let empty = hasher.hash(Secret::new("")).await.unwrap();
        assert!(!hasher.verify(Secret::new(""), Some(empty)).await.unwrap());
        let long = "x".repeat(MAX_PASSWORD_BYTES + 1);
        let hash = hasher.hash(Secret::new(long.clone())).await.unwrap();
        assert!(!hasher.verify(Secret::new(long), Some(hash)).await.unwrap());
        assert!(matches!(
            hasher.verify(Secret::new("any"), Some("not a hash".into())).await,
            Err(AccessError::Hashing(_))
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_run_at_once_some_wait_and_the_rest_is_refused() {
        let hasher = Arc::new(Hasher::new());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let mut tasks = Vec::new();
        for _ in 0..MAX_HASHING + MAX_WAITING {
            let (hasher, released) = (Arc::clone(&hasher), Arc::clone(&released));
            tasks.push(tokio::spawn(async move {
                hasher.run(move |_| released.lock().unwrap().recv().unwrap()).await
            }));
        }
        while hasher.load().admitted < MAX_HASHING + MAX_WAITING || hasher.load().running < MAX_HASHING {
            tokio::task::yield_now().await;
        }
        assert!(matches!(hasher.run(|_| ()).await, Err(AccessError::Busy)));
        for _ in &tasks {
            release.send(()).unwrap();
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let made = u64::try_from(MAX_HASHING + MAX_WAITING).unwrap();
        assert_eq!(hasher.load(), HashingLoad { running: 0, admitted: 0, running_max: MAX_HASHING, made });
    }
}
