//! P-256 keys and ES256 (RFC 7518 section 3.4), as jwt-compact's `Algorithm` over p256.
//!
//! jwt-compact brings an ES256 over p256 0.13; this one stands on 0.14, whose 64-bit limbs make a
//! verification in wasm about 1.6 times as fast.

mod field;
pub mod host;
mod inverse;
mod point;
#[cfg(not(target_arch = "wasm32"))]
mod ring_key;
mod signing;
mod tables;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, num::NonZeroUsize, sync::Arc};

use jwt_compact::{Algorithm, AlgorithmSignature};
use p256::ecdsa::{self, signature::Verifier};
use sha2::{Digest, Sha256};

pub use self::signing::SigningKey;
use self::{
    host::HostKey,
    tables::{Multiples, Verdict},
};

/// Length of a raw ES256 signature: `r` and `s`, 32 bytes each.
pub const SIGNATURE_BYTES: usize = 64;

/// Bytes that are no P-256 key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes, or not between 1 and the order of the curve.
    #[error("a P-256 private key is 32 bytes, between 1 and the order of the curve")]
    NotAScalar,
    /// Coordinates that are no point of the curve.
    #[error("the coordinates are not a point on P-256")]
    NotAPoint,
}

/// A public key: a point on P-256 that is not the identity.
#[derive(Clone)]
pub struct VerifyingKey {
    point: ecdsa::VerifyingKey,
    ready: Option<Ready>,
}

/// What makes many verifications cheap.
#[derive(Clone, Debug)]
enum Ready {
    Tables(Arc<Multiples>),
    Host(Arc<HostKey>),
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for VerifyingKey {}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.point).finish()
    }
}

impl From<ecdsa::VerifyingKey> for VerifyingKey {
    fn from(point: ecdsa::VerifyingKey) -> Self {
        Self { point, ready: None }
    }
}

impl VerifyingKey {
    /// Reads the affine coordinates, 32 big-endian bytes each.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`].
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, KeyError> {
        let mut sec1 = [0u8; 65];
        let (tag, coordinates) = sec1.split_at_mut(1);
        tag.fill(0x04); // SEC 1 section 2.3.3: uncompressed
        let (first, second) = coordinates.split_at_mut(32);
        first.copy_from_slice(x);
        second.copy_from_slice(y);
        ecdsa::VerifyingKey::from_sec1_bytes(&sec1)
            .map(Self::from)
            .map_err(|_| KeyError::NotAPoint)
    }

    /// The affine coordinates `(x, y)`, 32 big-endian bytes each.
    pub fn coordinates(&self) -> ([u8; 32], [u8; 32]) {
        let point = self.point.to_sec1_point(false);
        let (mut x, mut y) = ([0u8; 32], [0u8; 32]);
        // An uncompressed point that is not the identity always has both.
        if let (Some(px), Some(py)) = (point.x(), point.y()) {
            x.copy_from_slice(px);
            y.copy_from_slice(py);
        }
        (x, y)
    }

    /// The same key, made ready for many verifications: each takes a small part of the time afterwards. By
    /// tables, which take some milliseconds and 288 KiB, unless the host is [to verify](host::settle).
    #[must_use]
    pub fn prepared(self) -> Self {
        match host::chosen() {
            Some(call) => self.by_host(call),
            None => self.with_tables(),
        }
    }

    /// The same key, with tables of its multiples.
    #[must_use]
    pub fn with_tables(self) -> Self {
        // Now, and not with the first signature.
        Multiples::of_generator();
        let multiples = Multiples::new(self.coordinates());
        Self {
            ready: Some(Ready::Tables(Arc::new(multiples))),
            ..self
        }
    }

    /// The same key, for the host to verify by.
    #[must_use]
    pub fn by_host(self, call: host::Call) -> Self {
        let key = HostKey::new(&self.point, call);
        Self {
            ready: key.map(|key| Ready::Host(Arc::new(key))),
            ..self
        }
    }

    /// Whether it was [made ready](Self::prepared).
    pub fn is_prepared(&self) -> bool {
        self.ready.is_some()
    }

    /// Whether `signature` (raw `r || s`) is an ES256 signature of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Es256Signature::try_from_slice(signature)
            .is_ok_and(|signature| Es256.verify_signature(&signature, self, message))
    }
}

/// ECDSA with P-256 and SHA-256.
#[derive(Clone, Copy, Debug)]
pub struct Es256;

/// A raw signature with `r` and `s` both between 1 and the order of the curve.
#[derive(Clone, Debug)]
pub struct Es256Signature(ecdsa::Signature);

impl AlgorithmSignature for Es256Signature {
    const LENGTH: Option<NonZeroUsize> = NonZeroUsize::new(SIGNATURE_BYTES);

    fn try_from_slice(slice: &[u8]) -> anyhow::Result<Self> {
        ecdsa::Signature::from_slice(slice)
            .map(Self)
            .map_err(|_| anyhow::anyhow!("not a raw ES256 signature"))
    }

    fn as_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.to_bytes().to_vec())
    }
}

impl Algorithm for Es256 {
    type SigningKey = SigningKey;
    type VerifyingKey = VerifyingKey;
    type Signature = Es256Signature;

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("ES256")
    }

    fn sign(&self, key: &SigningKey, message: &[u8]) -> Es256Signature {
        Es256Signature(key.sign(message))
    }

    fn verify_signature(
        &self,
        signature: &Es256Signature,
        key: &VerifyingKey,
        message: &[u8],
    ) -> bool {
        let verdict = match &key.ready {
            Some(Ready::Tables(multiples)) => {
                let (r, s) = signature.0.split_scalars();
                let hash: [u8; 32] = Sha256::digest(message).into();
                multiples.verify(&hash, &r, &s)
            }
            Some(Ready::Host(host)) => host
                .verifies(message, &signature.0)
                .map_or(Verdict::Unsaid, Verdict::from),
            None => Verdict::Unsaid,
        };
        match verdict {
            Verdict::Good => true,
            Verdict::Bad => false,
            Verdict::Unsaid => key.point.verify(message, &signature.0).is_ok(),
        }
    }
}
