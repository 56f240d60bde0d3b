//! The chain: each event's hash joins that of the one before it, so that what is altered, left out,
//! put in or put elsewhere shows. A checkpoint is a signed statement of where the chain stood, so that
//! what is cut off its end shows as well.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{OccurredAt, canonical};
use crate::{
    ids::{KeyId, ZoneId},
    jwks::KeySet,
    key::SigningKey,
    signature::{self, Artifact, SignatureError},
};

/// Begins what is hashed, so that no other hash of ours can pass for a link.
const DOMAIN: &[u8] = b"caracal-audit-1\0";

/// SHA-256 of a link; in JSON in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash(pub [u8; 32]);

/// What the first event of a ledger joins.
pub const GENESIS: Hash = Hash([0; 32]);

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a SHA-256 as 64 digits of lower-case hexadecimal")]
pub struct ParseHashError;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = ParseHashError;

    fn try_from(text: String) -> Result<Self, ParseHashError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(ParseHashError),
        };
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(ParseHashError);
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(ParseHashError);
            };
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(hash))
    }
}

/// The hash of the event number `seq` of `zone`, whose canonical form is `content`, which was written at
/// `recorded_at` and follows the one with the hash `previous`: SHA-256 over `caracal-audit-1` and a zero
/// byte, SHA-256(zone), seq and `recorded_at` as 8 bytes each, big-endian, `previous`, SHA-256(content).
pub fn link(
    zone: &ZoneId,
    seq: u64,
    recorded_at: OccurredAt,
    previous: &Hash,
    content: &str,
) -> Hash {
    Chain::of(zone).link(seq, recorded_at, previous, content)
}

/// The chain of a zone, to which more than one link is added.
#[derive(Clone, Debug)]
pub struct Chain(Sha256);

impl Chain {
    /// That of `zone`.
    pub fn of(zone: &ZoneId) -> Self {
        Self(
            Sha256::new()
                .chain_update(DOMAIN)
                .chain_update(Sha256::digest(zone.as_str())),
        )
    }

    /// As [`link()`].
    pub fn link(&self, seq: u64, recorded_at: OccurredAt, previous: &Hash, content: &str) -> Hash {
        let mut hasher = self.0.clone();
        hasher.update(seq.to_be_bytes());
        hasher.update(recorded_at.0.to_be_bytes());
        hasher.update(previous.0);
        hasher.update(Sha256::digest(content));
        Hash(hasher.finalize().into())
    }
}

/// Where a ledger stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Whose ledger.
    pub zone_id: ZoneId,
    /// The number of its last event; 0 before the first.
    pub seq: u64,
    /// That event's hash.
    pub hash: Hash,
    /// When.
    pub at: OccurredAt,
    /// The number that the checkpoint before this one speaks of; 0 if there is none. So none can be left
    /// out unseen.
    pub previous: u64,
    /// Set in the last line of an export: the number of its first event. A checkpoint of the ledger's own
    /// can so not pass for the end of an export that was cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_export_from: Option<u64>,
}

/// A checkpoint and the zone's signature over its canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCheckpoint {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// A detached JWS with the `typ` `caracal-checkpoint+jws`.
    pub signature: String,
}

impl Checkpoint {
    fn content(&self) -> String {
        serde_json::to_value(self).map_or_else(|_| String::new(), |value| canonical(&value))
    }

    /// Signs it.
    pub fn sign(self, kid: &KeyId, key: &SigningKey) -> SignedCheckpoint {
        let content = self.content();
        SignedCheckpoint {
            signature: signature::sign(Artifact::Checkpoint, content.as_bytes(), kid, key),
            checkpoint: self,
        }
    }
}

impl SignedCheckpoint {
    /// Checks the signature.
    ///
    /// # Errors
    /// Every variant of [`SignatureError`].
    pub fn verify(&self, keys: &KeySet) -> Result<(), SignatureError> {
        let content = self.checkpoint.content();
        signature::verify(
            Artifact::Checkpoint,
            content.as_bytes(),
            &self.signature,
            keys,
        )
    }
}
