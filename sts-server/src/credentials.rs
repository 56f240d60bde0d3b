//! Client secrets: hashed with argon2id, a bounded number at once, and remembered for a while once
//! they were found right.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use authority::ids::ApplicationId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::{
    entropy::{self, EntropyError},
    secret::Secret,
};

/// Hashes at once: each takes 64 MiB and a core.
const PARALLEL_HASHES: usize = 2;
/// How many may wait for their turn.
const MAX_WAITING: usize = 64;
/// How long a verified secret is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How many verified secrets are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// Why a secret could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Over the bound of those that wait.
    #[error("too many client secrets wait to be checked")]
    Busy,
    /// argon2 refused, which its fixed parameters do not let it.
    #[error("argon2: {0}")]
    Hash(String),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

struct Remembered {
    secret: [u8; 32],
    hash: [u8; 32],
    until: Instant,
}

/// Hashes and verifies client secrets.
pub(crate) struct Credentials {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    salt: Zeroizing<[u8; 32]>,
    remembered: Mutex<HashMap<ApplicationId, Remembered>>,
}

impl Credentials {
    /// With nothing remembered.
    ///
    /// # Errors
    /// [`CredentialError::Entropy`].
    pub(crate) fn new() -> Result<Self, CredentialError> {
        Ok(Self {
            permits: Arc::new(Semaphore::new(PARALLEL_HASHES)),
            waiting: AtomicUsize::new(0),
            salt: entropy::bytes()?,
            remembered: Mutex::default(),
        })
    }

    /// The hash under which `secret` is stored.
    ///
    /// # Errors
    /// Every variant of [`CredentialError`].
    pub(crate) async fn hash(&self, secret: &Secret) -> Result<String, CredentialError> {
        let permit = self.permit().await?;
        let secret = secret.clone();
        let salt = entropy::bytes::<16>()?;
        on_blocking_pool(permit, move || {
            argon2id()?
                .hash_password_with_salt(secret.expose().as_bytes(), salt.as_slice())
                .map(|hash| hash.to_string())
                .map_err(|error| CredentialError::Hash(error.to_string()))
        })
        .await
    }

    /// Whether `secret` is the one stored as `hash`. What is remembered is tied to the hash it was
    /// checked against, so a rotated secret is forgotten with the row that held it.
    ///
    /// # Errors
    /// Every variant of [`CredentialError`].
    pub(crate) async fn verify(
        &self,
        application: &ApplicationId,
        hash: &str,
        secret: &Secret,
    ) -> Result<bool, CredentialError> {
        let (secret_digest, hash_digest) = (self.digest(secret.expose()), self.digest(hash));
        if self.is_remembered(application, &secret_digest, &hash_digest) {
            return Ok(true);
        }
        let permit = self.permit().await?;
        // Whoever waited behind the same client's first call need not hash again.
        if self.is_remembered(application, &secret_digest, &hash_digest) {
            return Ok(true);
        }
        let (secret, hash) = (secret.clone(), hash.to_owned());
        let right = on_blocking_pool(permit, move || {
            let hash = PasswordHash::new(&hash)
                .map_err(|error| CredentialError::Hash(error.to_string()))?;
            Ok(argon2id()?
                .verify_password(secret.expose().as_bytes(), &hash)
                .is_ok())
        })
        .await?;
        if right {
            self.remember(application, secret_digest, hash_digest);
        }
        Ok(right)
    }

    fn digest(&self, text: &str) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.salt.as_slice())
            .chain_update(text.as_bytes())
            .finalize()
            .into()
    }

    fn is_remembered(
        &self,
        application: &ApplicationId,
        secret: &[u8; 32],
        hash: &[u8; 32],
    ) -> bool {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered.get(application).is_some_and(|entry| {
            entry.until > Instant::now()
                && bool::from(entry.secret.ct_eq(secret) & entry.hash.ct_eq(hash))
        })
    }

    fn remember(&self, application: &ApplicationId, secret: [u8; 32], hash: [u8; 32]) {
        let now = Instant::now();
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.retain(|_, entry| entry.until > now);
        }
        if remembered.len() < MAX_REMEMBERED {
            remembered.insert(
                application.clone(),
                Remembered {
                    secret,
                    hash,
                    until: now + REMEMBERED,
                },
            );
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, CredentialError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting)?;
        Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| CredentialError::Busy)
    }
}

/// A place in the queue, given back when the wait ends, however it ends.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, CredentialError> {
        if waiting.fetch_add(1, Ordering::AcqRel) < MAX_WAITING {
            Ok(Self(waiting))
        } else {
            waiting.fetch_sub(1, Ordering::AcqRel);
            Err(CredentialError::Busy)
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// 64 MiB, three passes, two lanes.
fn argon2id() -> Result<Argon2<'static>, CredentialError> {
    let params = Params::new(64 * 1024, 3, 2, None)
        .map_err(|error| CredentialError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The permit goes with the work: a client that hangs up ends neither.
async fn on_blocking_pool<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, CredentialError> + Send + 'static,
) -> Result<T, CredentialError> {
    let work = move || {
        let _permit = permit;
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(CredentialError::Hash(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered(credentials: &Credentials, secret: &str, hash: &str) -> bool {
        credentials.is_remembered(
            &"a".into(),
            &credentials.digest(secret),
            &credentials.digest(hash),
        )
    }

    #[tokio::test]
    async fn a_right_secret_is_remembered_until_its_hash_changes() {
        let credentials = Credentials::new().unwrap();
        let (secret, wrong) = (
            Secret::new("right".to_owned()),
            Secret::new("wrong".to_owned()),
        );
        let hash = credentials.hash(&secret).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=65536,t=3,p=2$"),
            "{hash}"
        );
        assert!(
            !credentials
                .verify(&"a".into(), &hash, &wrong)
                .await
                .unwrap()
        );
        assert!(!remembered(&credentials, "wrong", &hash));
        assert!(
            credentials
                .verify(&"a".into(), &hash, &secret)
                .await
                .unwrap()
        );
        assert!(remembered(&credentials, "right", &hash));
        assert!(!remembered(&credentials, "wrong", &hash));

        let other = credentials
            .hash(&Secret::new("rotated".to_owned()))
            .await
            .unwrap();
        assert!(!remembered(&credentials, "right", &other));
        assert!(
            !credentials
                .verify(&"a".into(), &other, &secret)
                .await
                .unwrap()
        );
    }

    /// Until this is dropped nothing can be hashed any more, nor wait for it.
    async fn full(credentials: &Credentials) -> impl Sized {
        let all = credentials
            .permits
            .acquire_many(u32::try_from(PARALLEL_HASHES).unwrap())
            .await
            .unwrap();
        let queue: Vec<_> = (0..MAX_WAITING)
            .map(|_| Place::take(&credentials.waiting).unwrap())
            .collect();
        (all, queue)
    }

    #[tokio::test]
    async fn a_secret_that_was_right_is_not_hashed_again() {
        let credentials = Credentials::new().unwrap();
        let secret = Secret::new("right".to_owned());
        let hash = credentials.hash(&secret).await.unwrap();
        let verify = async |text: &str| {
            let secret = Secret::new(text.to_owned());
            credentials.verify(&"a".into(), &hash, &secret).await
        };
        assert!(verify("right").await.unwrap());
        let _full = full(&credentials).await;
        assert!(verify("right").await.unwrap());
        assert!(matches!(verify("wrong").await, Err(CredentialError::Busy)));
    }

    #[tokio::test]
    async fn beyond_the_bound_nobody_waits() {
        let credentials = Credentials::new().unwrap();
        let _full = full(&credentials).await;
        let secret = Secret::new("x".to_owned());
        assert!(matches!(
            credentials.hash(&secret).await,
            Err(CredentialError::Busy)
        ));
    }
}
