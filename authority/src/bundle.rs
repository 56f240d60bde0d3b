//! The bundle: all that a gateway needs to decide on a zone's requests without asking the STS.

#[cfg(test)]
mod tests;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    ids::{KeyId, PolicySetId, PolicySetVersionId, ZoneId},
    jwks::{JwkSet, KeySet},
    key::SigningKey,
    policy::{Compiled, ModuleDigest},
    signature::{self, Artifact, SignatureError},
};

/// The format that this version writes and reads.
pub const FORMAT: &str = "caracal-bundle/1";
/// The response header that carries the detached signature.
pub const SIGNATURE_HEADER: &str = "x-caracal-signature";
/// Largest bundle that a gateway takes in, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 16 * 1024 * 1024;

/// What the STS publishes for the gateways of a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// [`FORMAT`].
    pub format: String,
    /// The zone that the bundle is for.
    pub zone_id: ZoneId,
    /// The zone's name in URLs and configuration.
    pub zone_slug: String,
    /// The issuer of the zone's mandates.
    pub issuer: String,
    /// Grows with every change; a gateway never goes back.
    pub sequence: u64,
    /// The keys that sign mandates and bundles, those to come included.
    pub keys: JwkSet,
    /// The zone's resources.
    pub resources: Vec<crate::resource::ResourceSpec>,
    /// The active policy; without one everything is denied.
    pub policy: Option<BundlePolicy>,
    /// A policy that is evaluated beside it and never enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<BundlePolicy>,
}

/// The active policy set version: where it came from, and its bytecode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundlePolicy {
    /// The set.
    pub policy_set_id: PolicySetId,
    /// The active version.
    pub policy_set_version_id: PolicySetVersionId,
    /// SHA-256 over the manifest, hexadecimal.
    pub manifest_sha256: String,
    /// The modules that were compiled.
    pub modules: Vec<ModuleDigest>,
    /// The compiler, which must be one that the gateway can run.
    pub compiler: String,
    /// The bytecode in base64.
    pub program: String,
}

impl BundlePolicy {
    /// A compiled set as it is carried.
    pub fn new(
        policy_set_id: PolicySetId,
        policy_set_version_id: PolicySetVersionId,
        manifest_sha256: String,
        compiled: &Compiled,
    ) -> Self {
        Self {
            policy_set_id,
            policy_set_version_id,
            manifest_sha256,
            modules: compiled.modules.clone(),
            compiler: compiled.compiler.clone(),
            program: Base64::encode_string(&compiled.program),
        }
    }

    /// The bytecode.
    ///
    /// # Errors
    /// [`BundleError::Malformed`].
    pub fn program(&self) -> Result<Vec<u8>, BundleError> {
        Base64::decode_vec(&self.program)
            .map_err(|_| BundleError::Malformed("policy.program is not base64".to_owned()))
    }
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Over [`MAX_BUNDLE_BYTES`].
    #[error("the bundle is over {MAX_BUNDLE_BYTES} bytes")]
    TooLarge,
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its form.
    #[error("the bundle is malformed: {0}")]
    Malformed(String),
    /// Another zone's.
    #[error("the bundle is for the zone {found}, not for {expected}")]
    OtherZone {
        /// The zone of the bundle.
        found: String,
        /// The zone of the gateway.
        expected: String,
    },
    /// Another issuer's.
    #[error("the bundle is for the issuer {found}, not for {expected}")]
    OtherIssuer {
        /// The issuer of the bundle.
        found: String,
        /// The issuer of the gateway.
        expected: String,
    },
    /// Older than one that was accepted.
    #[error("the bundle has sequence {found}, older than {known}: a restored or rolled back STS")]
    RolledBack {
        /// The sequence of the bundle.
        found: u64,
        /// The highest sequence seen.
        known: u64,
    },
}

/// Signs the bytes of a bundle, for [`SIGNATURE_HEADER`].
pub fn sign(body: &[u8], kid: &KeyId, key: &SigningKey) -> String {
    signature::sign(Artifact::Bundle, body, kid, key)
}

/// Reads a bundle after checking its signature, zone (by id or slug), issuer and sequence.
///
/// # Errors
/// Every variant of [`BundleError`].
pub fn open(
    body: &[u8],
    signature: &str,
    keys: &KeySet,
    zone: &str,
    issuer: &str,
    known_sequence: u64,
) -> Result<Bundle, BundleError> {
    if body.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge);
    }
    signature::verify(Artifact::Bundle, body, signature, keys)?;
    let bundle: Bundle =
        serde_json::from_slice(body).map_err(|error| BundleError::Malformed(error.to_string()))?;
    if bundle.format != FORMAT {
        return Err(BundleError::Malformed(format!(
            "format {:?}, this version reads {FORMAT}",
            bundle.format
        )));
    }
    if bundle.zone_id.as_str() != zone && bundle.zone_slug != zone {
        return Err(BundleError::OtherZone {
            found: bundle.zone_slug,
            expected: zone.to_owned(),
        });
    }
    if bundle.issuer != issuer {
        return Err(BundleError::OtherIssuer {
            found: bundle.issuer,
            expected: issuer.to_owned(),
        });
    }
    if bundle.sequence < known_sequence {
        return Err(BundleError::RolledBack {
            found: bundle.sequence,
            known: known_sequence,
        });
    }
    Ok(bundle)
}

/// The hash of a manifest: SHA-256 over its policy version ids and their content hashes, in order,
/// each field followed by a unit separator (0x1f), which none of them contains.
pub fn manifest_sha256<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut hash = Sha256::new();
    for (version_id, content_sha256) in entries {
        for field in [version_id, content_sha256] {
            hash.update(field.as_bytes());
            hash.update([0x1f]);
        }
    }
    hex(&hash.finalize())
}

/// SHA-256 of `content`, hexadecimal.
pub fn content_sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
