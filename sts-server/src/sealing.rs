//! Sealing of private keys at rest: AES-256-GCM under a key encryption key (KEK) that the database
//! never holds.

use std::path::Path;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64ct::{Base64, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    data_dir,
    entropy::{self, EntropyError},
};

/// First byte of a sealed value, so that another form can follow.
const FORM: u8 = 1;
const NONCE_BYTES: usize = 12;

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No KEK of the right size.
    #[error(
        "{path}: a key encryption key is 32 bytes, raw or in base64; this file holds {found} bytes"
    )]
    BadKek {
        /// The file.
        path: String,
        /// Its size.
        found: usize,
    },
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Sealed under another KEK, for another purpose, or damaged.
    #[error(
        "the sealed key does not open: another key encryption key (CARACAL_KEK_FILE), or a damaged database"
    )]
    DoesNotOpen,
    /// AES-GCM refused the input, which is far below its limits.
    #[error("the key cannot be sealed")]
    DoesNotSeal,
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The key encryption key.
pub(crate) struct Kek {
    cipher: Aes256Gcm,
    chain_key: ChainKey,
}

/// The key of the MACs in the ledger: made from the KEK, so that whoever can write to the database alone
/// cannot make a chain that passes.
#[derive(Clone)]
pub(crate) struct ChainKey(Hmac<Sha256>);

impl ChainKey {
    /// HMAC-SHA256 of `message`.
    pub(crate) fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` is the MAC of `message`, in constant time.
    pub(crate) fn verifies(&self, message: &[u8], tag: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.verify_slice(tag).is_ok()
    }
}

impl Kek {
    /// Reads the KEK from `file`: 32 bytes, raw or in base64.
    ///
    /// # Errors
    /// [`SealError::File`], [`SealError::BadKek`].
    pub(crate) fn read(file: &Path) -> Result<Self, SealError> {
        let path = file.display().to_string();
        let content = std::fs::read(file).map_err(|error| SealError::File {
            path: path.clone(),
            error,
        })?;
        Self::parse(&Zeroizing::new(content)).ok_or_else(|| {
            let found = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
            SealError::BadKek {
                path,
                found: usize::try_from(found).unwrap_or(usize::MAX),
            }
        })
    }

    /// Reads the KEK of the data directory, and makes it the first time.
    ///
    /// # Errors
    /// Every variant of [`SealError`] that concerns the file.
    pub(crate) fn of_data_dir(data_dir: &Path) -> Result<Self, SealError> {
        let file = data_dir.join("kek");
        if !file.exists() {
            let text = Zeroizing::new(Base64::encode_string(entropy::bytes::<32>()?.as_slice()));
            data_dir::write_private(&file, &text).map_err(|error| SealError::File {
                path: file.display().to_string(),
                error,
            })?;
        }
        Self::read(&file)
    }

    fn parse(content: &[u8]) -> Option<Self> {
        if content.len() == 32 {
            return Self::new(content);
        }
        let text = std::str::from_utf8(content).ok()?.trim();
        let decoded = Zeroizing::new(Base64::decode_vec(text).ok()?);
        Self::new(&decoded)
    }

    fn new(key: &[u8]) -> Option<Self> {
        let mut derivation = Hmac::<Sha256>::new_from_slice(key).ok()?;
        derivation.update(b"caracal audit chain");
        let derived = Zeroizing::new(<[u8; 32]>::from(derivation.finalize().into_bytes()));
        Some(Self {
            cipher: Aes256Gcm::new_from_slice(key).ok()?,
            chain_key: ChainKey(Hmac::new_from_slice(derived.as_slice()).ok()?),
        })
    }

    /// The key of the ledger's MACs.
    pub(crate) fn chain_key(&self) -> ChainKey {
        self.chain_key.clone()
    }

    /// Seals `plain`; `purpose` must be given again to open it.
    ///
    /// # Errors
    /// [`SealError::Entropy`], [`SealError::DoesNotSeal`].
    pub(crate) fn seal(&self, plain: &[u8], purpose: &str) -> Result<Vec<u8>, SealError> {
        let nonce = *entropy::bytes::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: plain,
            aad: purpose.as_bytes(),
        };
        let sealed = self
            .cipher
            .encrypt(&nonce.into(), payload)
            .map_err(|_| SealError::DoesNotSeal)?;
        Ok([&[FORM], nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Kek::seal`] made for the same purpose.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`].
    pub(crate) fn open(
        &self,
        sealed: &[u8],
        purpose: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (form, rest) = sealed.split_first().ok_or(SealError::DoesNotOpen)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(SealError::DoesNotOpen)?;
        if *form != FORM {
            return Err(SealError::DoesNotOpen);
        }
        let payload = Payload {
            msg: sealed,
            aad: purpose.as_bytes(),
        };
        self.cipher
            .decrypt(&(*nonce).into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError::DoesNotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_only_under_its_key_and_for_its_purpose() {
        let kek = Kek::parse(&[7; 32]).unwrap();
        let sealed = kek.seal(b"scalar", "zone/kid").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"scalar"));
        assert_eq!(kek.open(&sealed, "zone/kid").unwrap().as_slice(), b"scalar");
        assert!(kek.open(&sealed, "zone/other").is_err());
        assert!(
            Kek::parse(&[8; 32])
                .unwrap()
                .open(&sealed, "zone/kid")
                .is_err()
        );
        assert!(kek.open(&sealed[..8], "zone/kid").is_err());
        let mut damaged = sealed;
        damaged[20] ^= 1;
        assert!(kek.open(&damaged, "zone/kid").is_err());
    }

    #[test]
    fn the_data_directory_keeps_one_key_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = Kek::of_data_dir(dir.path())
            .unwrap()
            .seal(b"x", "p")
            .unwrap();
        assert!(
            Kek::of_data_dir(dir.path())
                .unwrap()
                .open(&sealed, "p")
                .is_ok()
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(dir.path().join("kek"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(dir.path().join("kek"), "short").unwrap();
        assert!(matches!(
            Kek::of_data_dir(dir.path()),
            Err(SealError::BadKek { found: 5, .. })
        ));
    }
}
