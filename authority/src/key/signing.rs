//! Private keys.

use std::fmt;

use p256::ecdsa::{self, signature::Signer};
use zeroize::Zeroizing;

#[cfg(not(target_arch = "wasm32"))]
use super::ring_key::RingKey;
use super::{KeyError, VerifyingKey};

/// Length of a private key.
const SCALAR_BYTES: usize = 32;

/// A private key. Its `Debug` shows nothing of it, and it is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey {
    key: ecdsa::SigningKey,
    /// The same for ring, which signs many times as fast (`cargo xtask bench micro`). What is minted is signed natively.
    #[cfg(not(target_arch = "wasm32"))]
    ring: Option<RingKey>,
}

impl SigningKey {
    /// Reads the 32 big-endian bytes of the scalar.
    ///
    /// # Errors
    /// [`KeyError::NotAScalar`]: wrong length, zero, or not below the order of the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        // p256 would take a shorter one too, and put zeros in front.
        if bytes.len() != SCALAR_BYTES {
            return Err(KeyError::NotAScalar);
        }
        let key = ecdsa::SigningKey::from_slice(bytes).map_err(|_| KeyError::NotAScalar)?;
        Ok(Self {
            #[cfg(not(target_arch = "wasm32"))]
            ring: RingKey::new(&key),
            key,
        })
    }

    /// The 32 big-endian bytes of the scalar, wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        (*self.key.verifying_key()).into()
    }

    /// Signs, with a nonce of the key, the message and the system's randomness; where there is none of that,
    /// [without](Self::sign_without_randomness).
    pub(super) fn sign(&self, message: &[u8]) -> ecdsa::Signature {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(signature) = self.ring.as_ref().and_then(|ring| ring.sign(message)) {
            return signature;
        }
        self.sign_without_randomness(message)
    }

    /// Signs, with a nonce of the key and the message alone (RFC 6979).
    pub(crate) fn sign_without_randomness(&self, message: &[u8]) -> ecdsa::Signature {
        self.key.sign(message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}
