//! Randomness and the ids made from it.

use base64ct::{Base64UrlUnpadded, Encoding};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the system's random number generator failed: {0}")]
pub struct EntropyError(getrandom::Error);

/// `N` random bytes, wiped when dropped.
///
/// # Errors
/// [`EntropyError`].
pub(crate) fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(EntropyError)?;
    Ok(bytes)
}

/// Base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A new UUIDv7: later ids are greater.
pub(crate) fn id() -> String {
    Uuid::now_v7().to_string()
}
