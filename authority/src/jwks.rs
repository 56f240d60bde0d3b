//! JSON Web Key Sets (RFC 7517): as published, and as a verifier holds them.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::OnceLock};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::{
    ids::KeyId,
    key::{KeyError, VerifyingKey},
};

/// Most keys that a verifier takes in: far more than any number of rotations in a row leaves.
pub const MAX_KEYS: usize = 64;

/// Most keys that are made ready for many verifications: more than a zone has while it rotates them, and so
/// few that their tables stay below 3 MiB.
pub const MAX_PREPARED_KEYS: usize = 8;

/// Longest header of a token that is remembered, in characters.
const MAX_HEADER_BYTES: usize = 512;

/// One public key with exactly the members that Caracal publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type: `EC`.
    pub kty: String,
    /// Curve: `P-256`.
    pub crv: String,
    /// Public key use: `sig`.
    #[serde(rename = "use")]
    pub key_use: String,
    /// Key id.
    pub kid: KeyId,
    /// Algorithm: `ES256`.
    pub alg: String,
    /// Base64url of the x coordinate.
    pub x: String,
    /// Base64url of the y coordinate.
    pub y: String,
}

impl Jwk {
    /// The public key `key` under the name `kid`.
    pub fn new(kid: &KeyId, key: &VerifyingKey) -> Self {
        let (x, y) = key.coordinates();
        Self {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            key_use: "sig".to_owned(),
            kid: kid.clone(),
            alg: "ES256".to_owned(),
            x: Base64UrlUnpadded::encode_string(&x),
            y: Base64UrlUnpadded::encode_string(&y),
        }
    }
}

/// A JWK Set as published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// The keys, in no particular order.
    pub keys: Vec<Jwk>,
}

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not JSON, or no object with an array `keys`.
    #[error("not a JWK Set (RFC 7517 section 5): {0}")]
    Malformed(#[from] serde_json::Error),
    /// More than [`MAX_KEYS`].
    #[error("the key set holds {0} keys, {MAX_KEYS} at most")]
    TooMany(usize),
    /// No ES256 key with a `kid` in it.
    #[error("the key set holds no usable key: an EC key on P-256 with a kid is needed")]
    Empty,
    /// A key for ES256 that is damaged.
    #[error("key {kid}: {problem}")]
    BadKey {
        /// The damaged key.
        kid: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The same `kid` twice.
    #[error("the key set names the kid {0} twice")]
    Duplicate(String),
}

/// Keys that a verifier may use, by `kid`. Only keys for ES256 get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: BTreeMap<KeyId, Held>,
}

#[derive(Clone, Debug)]
struct Held {
    key: VerifyingKey,
    /// As it stood in the first token that the key verified: an issuer writes all of them alike.
    header: OnceLock<Box<str>>,
}

/// What was learnt of a key meanwhile makes it no other.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Held {}

impl From<VerifyingKey> for Held {
    fn from(key: VerifyingKey) -> Self {
        Self {
            key,
            header: OnceLock::new(),
        }
    }
}

/// A key of any kind, as a foreign set may hold it. Private members do not make it usable, nor is
/// anything read from them.
#[derive(Deserialize)]
struct AnyJwk {
    kty: String,
    crv: Option<String>,
    #[serde(rename = "use")]
    key_use: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<String>,
    alg: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct AnyJwkSet {
    keys: Vec<AnyJwk>,
}

impl KeySet {
    /// Reads a JWK Set. Keys for other algorithms or uses, and keys without a `kid`, are passed
    /// over, as RFC 7517 section 5 asks; a damaged ES256 key is an error.
    ///
    /// # Errors
    /// Every variant of [`JwksError`].
    pub fn parse(json: &[u8]) -> Result<Self, JwksError> {
        Self::parse_up_to(json, MAX_KEYS)
    }

    /// The keys of a set that may have any number of them: those that a zone ever had.
    ///
    /// # Errors
    /// Every variant of [`JwksError`] but the one for too many.
    pub fn parse_history(json: &[u8]) -> Result<Self, JwksError> {
        Self::parse_up_to(json, usize::MAX)
    }

    fn parse_up_to(json: &[u8], most: usize) -> Result<Self, JwksError> {
        let set: AnyJwkSet = serde_json::from_slice(json)?;
        if set.keys.len() > most {
            return Err(JwksError::TooMany(set.keys.len()));
        }
        let mut keys = BTreeMap::new();
        for jwk in set.keys {
            let Some((kid, key)) = es256_key(jwk)? else {
                continue;
            };
            if keys.insert(kid.clone(), key.into()).is_some() {
                return Err(JwksError::Duplicate(kid.to_string()));
            }
        }
        if keys.is_empty() {
            return Err(JwksError::Empty);
        }
        Ok(Self { keys })
    }

    /// The keys of a published set.
    ///
    /// # Errors
    /// Every variant of [`JwksError`].
    pub fn from_jwks(set: &JwkSet) -> Result<Self, JwksError> {
        Self::parse(&serde_json::to_vec(set)?)
    }

    /// The key named `kid`.
    pub fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        Some(&self.keys.get(kid)?.key)
    }

    /// The same, with its name.
    pub(crate) fn named(&self, kid: &str) -> Option<(&KeyId, &VerifyingKey)> {
        let (kid, held) = self.keys.get_key_value(kid)?;
        Some((kid, &held.key))
    }

    /// The key that has verified a token with just this header, which nobody has to read again.
    pub(crate) fn by_header(&self, header: &str) -> Option<(&KeyId, &VerifyingKey)> {
        let is_its = |held: &Held| held.header.get().is_some_and(|own| **own == *header);
        let (kid, held) = self.keys.iter().find(|(_, held)| is_its(held))?;
        Some((kid, &held.key))
    }

    /// The key named `kid` has verified a token with this header.
    pub(crate) fn remember_header(&self, kid: &KeyId, header: &str) {
        if let Some(held) = self.keys.get(kid)
            && held.header.get().is_none()
            && header.len() <= MAX_HEADER_BYTES
        {
            let _ = held.header.set(header.into());
        }
    }

    /// The same keys, [made ready](VerifyingKey::prepared) for many verifications; those that are ready in
    /// `previous` are taken from there. Of more than [`MAX_PREPARED_KEYS`] the rest stays as it is.
    #[must_use]
    pub fn prepared(self, previous: &Self) -> Self {
        let prepare = |(place, (kid, held)): (usize, (KeyId, Held))| {
            let ready = previous
                .keys
                .get(&kid)
                .filter(|known| **known == held && known.key.is_prepared());
            let held = match ready {
                Some(ready) => ready.clone(),
                None if place < MAX_PREPARED_KEYS => held.key.prepared().into(),
                None => held,
            };
            (kid, held)
        };
        let keys = self.keys.into_iter().enumerate().map(prepare).collect();
        Self { keys }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn es256_key(jwk: AnyJwk) -> Result<Option<(KeyId, VerifyingKey)>, JwksError> {
    let for_signatures = jwk
        .key_use
        .as_deref()
        .is_none_or(|key_use| key_use == "sig")
        && jwk
            .key_ops
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let for_es256 = jwk.kty == "EC"
        && jwk.crv.as_deref() == Some("P-256")
        && jwk.alg.as_deref().is_none_or(|alg| alg == "ES256");
    let Some(kid) = jwk.kid.filter(|_| for_signatures && for_es256) else {
        return Ok(None);
    };
    let bad = |problem: String| JwksError::BadKey {
        kid: kid.clone(),
        problem,
    };
    let x = coordinate("x", jwk.x.as_deref()).map_err(&bad)?;
    let y = coordinate("y", jwk.y.as_deref()).map_err(&bad)?;
    let key =
        VerifyingKey::from_coordinates(&x, &y).map_err(|error: KeyError| bad(error.to_string()))?;
    Ok(Some((kid.into(), key)))
}

fn coordinate(name: &str, value: Option<&str>) -> Result<[u8; 32], String> {
    let text = value.ok_or_else(|| format!("{name} is missing"))?;
    let mut bytes = [0u8; 32];
    // RFC 7518 section 6.2.1.2: exactly the full size of a coordinate, leading zeros included.
    match Base64UrlUnpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == 32 => Ok(bytes),
        _ => Err(format!(
            "{name} is not 32 bytes in base64url without padding"
        )),
    }
}
