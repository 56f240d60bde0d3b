//! Detached signatures over what the STS publishes (RFC 7515 appendix F). Each kind of artifact has
//! a `typ` of its own, and none is `JWT`: nothing published can pass for a mandate or for another
//! artifact.

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::{Algorithm, AlgorithmSignature};
use serde::{Deserialize, Serialize};

use crate::{
    ids::KeyId,
    jwks::KeySet,
    key::{Es256, SigningKey},
};

/// Longest signature that is looked at, in bytes.
const MAX_SIGNATURE_BYTES: usize = 1024;

/// What a signature is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// A bundle for gateways.
    Bundle,
}

impl Artifact {
    fn typ(self) -> &'static str {
        match self {
            Artifact::Bundle => "caracal-bundle+jws",
        }
    }
}

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not `header..signature` in base64url, or a header with other than `alg`, `kid` and `typ`.
    #[error("the signature is not a detached JWS of the expected form")]
    Malformed,
    /// Signed for another kind of artifact, or by another algorithm.
    #[error("the signature is not one for {expected}")]
    WrongType {
        /// The `typ` that was expected.
        expected: &'static str,
    },
    /// By a key that is not known.
    #[error("the signature is by the key {0:?}, which is not known")]
    UnknownKey(String),
    /// Does not verify.
    #[error("the signature does not verify")]
    Invalid,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Signs `body`: `header..signature`.
pub fn sign(artifact: Artifact, body: &[u8], kid: &KeyId, key: &SigningKey) -> String {
    let header = serde_json::json!({"alg": "ES256", "kid": kid, "typ": artifact.typ()});
    let header = Base64UrlUnpadded::encode_string(header.to_string().as_bytes());
    let signature = Es256.sign(key, signing_input(&header, body).as_bytes());
    format!(
        "{header}..{}",
        Base64UrlUnpadded::encode_string(&signature.as_bytes())
    )
}

/// Checks that `signature` is over `body`, as an `artifact`, by one of `keys`.
///
/// # Errors
/// Every variant of [`SignatureError`].
pub fn verify(
    artifact: Artifact,
    body: &[u8],
    signature: &str,
    keys: &KeySet,
) -> Result<(), SignatureError> {
    if signature.len() > MAX_SIGNATURE_BYTES {
        return Err(SignatureError::Malformed);
    }
    let (encoded, signature) = signature
        .split_once("..")
        .ok_or(SignatureError::Malformed)?;
    let decode =
        |text: &str| Base64UrlUnpadded::decode_vec(text).map_err(|_| SignatureError::Malformed);
    let header: Header =
        serde_json::from_slice(&decode(encoded)?).map_err(|_| SignatureError::Malformed)?;
    if header.typ != artifact.typ() || header.alg != Es256.name() {
        return Err(SignatureError::WrongType {
            expected: artifact.typ(),
        });
    }
    let signature = decode(signature)?;
    let Some(key) = keys.get(&header.kid) else {
        return Err(SignatureError::UnknownKey(header.kid));
    };
    if key.verifies(signing_input(encoded, body).as_bytes(), &signature) {
        Ok(())
    } else {
        Err(SignatureError::Invalid)
    }
}

fn signing_input(header: &str, body: &[u8]) -> String {
    format!("{header}.{}", Base64UrlUnpadded::encode_string(body))
}
