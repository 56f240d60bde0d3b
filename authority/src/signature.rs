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
    /// Revoked anchors for gateways.
    Revocations,
    /// Where a ledger stands.
    Checkpoint,
}

impl Artifact {
    fn typ(self) -> &'static str {
        match self {
            Artifact::Bundle => "caracal-bundle+jws",
            Artifact::Revocations => "caracal-revocations+jws",
            Artifact::Checkpoint => "caracal-checkpoint+jws",
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

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::testing::{KID, base64, key, keys, kid, raw_signature, zone_key};

    const BODY: &[u8] = b"{\"any\": \"bytes\"}";

    fn signed(header: &str) -> String {
        let header = base64(header.as_bytes());
        let signature = raw_signature(&signing_input(&header, BODY), &zone_key());
        format!("{header}..{}", base64(&signature))
    }

    fn answer(signature: &str) -> Result<(), SignatureError> {
        verify(Artifact::Bundle, BODY, signature, &keys())
    }

    #[test]
    fn what_is_signed_verifies_and_only_so() {
        let signature = sign(Artifact::Bundle, BODY, &kid(KID), &zone_key());
        assert_eq!(answer(&signature), Ok(()));
        assert_eq!(
            verify(Artifact::Bundle, b"other", &signature, &keys()),
            Err(SignatureError::Invalid)
        );
        let strangers = sign(Artifact::Bundle, BODY, &kid(KID), &key(2));
        assert_eq!(answer(&strangers), Err(SignatureError::Invalid));
        let (header, _) = signature.split_once("..").unwrap();
        for damaged in [
            String::new(),
            base64(&[0; 64]),
            base64(&[0xff; 64]),
            base64(&[1; 63]),
        ] {
            let damaged = format!("{header}..{damaged}");
            assert_eq!(answer(&damaged), Err(SignatureError::Invalid), "{damaged}");
        }
    }

    #[test]
    fn the_header_says_alg_kid_and_typ_and_nothing_else() {
        let wrong = SignatureError::WrongType {
            expected: "caracal-bundle+jws",
        };
        let malformed = SignatureError::Malformed;
        let unknown = |kid: &str| SignatureError::UnknownKey(kid.to_owned());
        for (header, expected) in [
            (
                r#"{"alg":"ES256","kid":"key-1","typ":"caracal-bundle+jws"}"#,
                Ok(()),
            ),
            (
                r#"{"alg":"ES256","kid":"key-1","typ":"JWT"}"#,
                Err(wrong.clone()),
            ),
            (
                r#"{"alg":"none","kid":"key-1","typ":"caracal-bundle+jws"}"#,
                Err(wrong.clone()),
            ),
            (
                r#"{"alg":"HS256","kid":"key-1","typ":"caracal-bundle+jws"}"#,
                Err(wrong),
            ),
            (
                r#"{"alg":"ES256","kid":"key-2","typ":"caracal-bundle+jws"}"#,
                Err(unknown("key-2")),
            ),
            (
                r#"{"alg":"ES256","kid":"","typ":"caracal-bundle+jws"}"#,
                Err(unknown("")),
            ),
            (
                r#"{"alg":"ES256","typ":"caracal-bundle+jws"}"#,
                Err(malformed.clone()),
            ),
            (r#"{"alg":"ES256","kid":"key-1"}"#, Err(malformed.clone())),
            (
                r#"{"kid":"key-1","typ":"caracal-bundle+jws"}"#,
                Err(malformed.clone()),
            ),
            (
                r#"{"alg":"ES256","kid":"key-1","typ":"caracal-bundle+jws","b64":false,"crit":["b64"]}"#,
                Err(malformed.clone()),
            ),
            (
                r#"{"alg":"ES256","kid":"key-1","typ":"caracal-bundle+jws","jku":"https://x"}"#,
                Err(malformed.clone()),
            ),
            (
                r#"{"alg":"ES256","alg":"ES256","kid":"key-1","typ":"caracal-bundle+jws"}"#,
                Err(malformed.clone()),
            ),
            ("{}", Err(malformed.clone())),
            ("", Err(malformed)),
        ] {
            assert_eq!(answer(&signed(header)), expected, "{header}");
        }
    }

    #[test]
    fn what_is_no_detached_jws_is_malformed() {
        let good = sign(Artifact::Bundle, BODY, &kid(KID), &zone_key());
        let attached = good.replace("..", &format!(".{}.", base64(BODY)));
        for text in [
            "",
            ".",
            "..",
            "...",
            "a..b..c",
            "!..!",
            &attached,
            &good.replace("..", "..."),
            &format!("{good}="),
            &format!("{good} "),
            &format!("{good}{}", "A".repeat(MAX_SIGNATURE_BYTES)),
        ] {
            assert_eq!(answer(text), Err(SignatureError::Malformed), "{text:?}");
        }
    }
}
