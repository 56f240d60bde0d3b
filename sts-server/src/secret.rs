//! Secrets: never shown by `Debug`, wiped when dropped, compared in constant time.

use std::fmt;

use authority::bundle::content_sha256;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::entropy::{self, EntropyError};

/// A secret text.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A new secret: `prefix`, then 32 random bytes in base64url.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate(prefix: &str) -> Result<Self, EntropyError> {
        let bytes = entropy::bytes::<32>()?;
        Ok(Self::new(format!(
            "{prefix}{}",
            entropy::base64url(bytes.as_slice())
        )))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this secret, in a time that does not depend on where they differ.
    pub fn matches(&self, text: &str) -> bool {
        Sha256::digest(self.0.as_bytes())
            .ct_eq(&Sha256::digest(text.as_bytes()))
            .into()
    }

    /// SHA-256, hexadecimal: how a secret of full entropy is kept.
    pub fn sha256(&self) -> String {
        content_sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself_and_matches_only_itself() {
        let secret = Secret::generate("cs_").unwrap();
        assert_eq!(secret.expose().len(), 3 + 43);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert!(secret.matches(secret.expose()));
        assert!(!secret.matches("cs_"));
        assert_ne!(secret.expose(), Secret::generate("cs_").unwrap().expose());
    }
}
