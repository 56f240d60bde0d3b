//! Mandates: ES256 JWTs that carry authority. What they claim, how they are signed, and the only
//! way to come by a verified one.

mod cache;
mod claims;
mod document;
#[cfg(test)]
mod tests;
mod told;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use arcstr::ArcStr;
use data_encoding::BASE64URL_NOPAD;
use jwt_compact::{Algorithm, AlgorithmExt, AlgorithmSignature, CreationError, Header};
use serde::{Deserialize, de::IgnoredAny};

pub use self::{
    cache::{MandateCache, Tagged},
    claims::{Actor, Claims, DelegationHop, MandateUse, SubjectType},
};
use crate::{
    decision::Known,
    ids::{KeyId, ZoneId},
    jwks::KeySet,
    key::{Es256, Es256Signature, SigningKey, VerifyingKey},
    policy::input::MandateInput,
    refusal::{Reason, Refusal},
    revocation::{self, Anchor, Digest, Digests, HashKey},
    time::Timestamp,
};

/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;
/// Difference between the clocks of issuer and verifier that is forgiven, in seconds.
pub const LEEWAY_SECONDS: u64 = 60;
/// Lifetime of a mandate when the client asks for none, in seconds.
pub const DEFAULT_TTL_SECONDS: u64 = 900;
/// Longest life of a gateway or resource mandate, in seconds.
pub const MAX_TTL_SECONDS: u64 = 900;
/// Longest life of a session mandate, in seconds.
pub const MAX_SESSION_TTL_SECONDS: u64 = 3600;
/// The scope that a session mandate carries and no resource may define.
pub const LIFECYCLE_SCOPE: &str = "agent:lifecycle";

/// The `typ` of a mandate. Other signed artifacts have another, so none passes for a mandate.
const TOKEN_TYPE: &str = "JWT";
/// The `cty` of a mandate, where there is one.
const CONTENT_TYPE: &str = "json";

/// What a verifier accepts.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The one issuer.
    pub issuer: &'a str,
    /// The one zone.
    pub zone: &'a ZoneId,
    /// Classes of mandate.
    pub uses: &'a [MandateUse],
}

/// A verified mandate. Only [`verify`] makes one.
#[derive(Debug)]
pub struct Mandate {
    /// What was signed of the token, in which the claims are.
    payload: ArcStr,
    claims: Claims,
    key_id: KeyId,
    /// Of the anchors, by the zone's one key.
    digests: OnceLock<(HashKey, Box<[Digest]>)>,
    known: Known,
    /// Made when it is seen again, if a policy is asked about it then.
    input: Mutex<Option<Box<MandateInput>>>,
}

impl Mandate {
    /// The claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The key that signed it.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What it stands or falls with.
    pub fn anchors(&self) -> Vec<Anchor<'_>> {
        revocation::anchors(&self.claims, &self.key_id)
    }

    /// Calls `look` with the digests of its anchors, in their order, which are made once for a key.
    pub(crate) fn with_digests<T>(&self, by: &Digests, look: impl FnOnce(&[Digest]) -> T) -> T {
        let make = || -> Box<[Digest]> {
            let anchors = self.anchors();
            anchors.into_iter().map(|anchor| by.of(anchor)).collect()
        };
        let (known, digests) = self.digests.get_or_init(|| (by.key(), make()));
        if *known == by.key() {
            look(digests)
        } else {
            look(&make())
        }
    }

    /// What the policy said of it.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Whether [`verify`] would have it again: all that it looks at beside the token. The id of a key must never have
    /// been another key's.
    fn still_stands(&self, keys: &KeySet, expected: &Expected<'_>, now: Timestamp) -> bool {
        let claims = &self.claims;
        claims.iss == expected.issuer
            && claims.zone_id == *expected.zone
            && expected.uses.contains(&claims.mandate_use)
            && keys.get(self.key_id.as_str()).is_some()
            && self.check_time(now).is_ok()
    }

    /// Checks the times again, for a mandate that was verified earlier.
    ///
    /// # Errors
    /// [`Reason::TokenExpired`], [`Reason::TokenNotYetValid`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), Refusal> {
        check_times(self.claims.exp, self.claims.iat, self.claims.nbf, now)
    }
}

/// The header of a token (RFC 7515 section 4.1), and the parameters that a mandate never has: they would choose or
/// carry the key (4.1.2 to 4.1.6) or change the rules (4.1.11, RFC 7797).
#[derive(Deserialize)]
struct TokenHeader<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow)]
    cty: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Signs `claims` as a compact JWS.
///
/// # Errors
/// Only if the claims cannot be written as JSON, which these always can.
pub fn sign(claims: &Claims, kid: &KeyId, key: &SigningKey) -> Result<String, CreationError> {
    let header = Header::empty()
        .with_key_id(kid.as_str())
        .with_token_type(TOKEN_TYPE);
    Es256.token(&header, &jwt_compact::Claims::new(claims), key)
}

/// Verifies `token`, cheap checks first: size, form, `alg`, header, `kid`, signature, times, issuer,
/// zone, use, required claims. A session mandate must be addressed to its issuer; for the others,
/// what they may be used on is checked with the resource at hand.
///
/// # Errors
/// The first check that fails, as a [`Refusal`].
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Arc<Mandate>, Refusal> {
    let (payload, key_id) = authenticate(token, keys)?;
    let payload = std::str::from_utf8(&payload).map_err(|error| malformed_claims(&error))?;
    let payload = ArcStr::from(payload);
    let raw = claims::read(&payload).map_err(|error| malformed_claims(&error))?;
    if let (Some(exp), Some(iat)) = (raw.exp, raw.iat) {
        check_times(exp, iat, raw.nbf, now)?;
    }
    let claims = raw.complete(expected.issuer, expected.zone, expected.uses)?;
    if claims.mandate_use == MandateUse::Session && !claims.is_addressed_to(expected.issuer) {
        return Err(Reason::AudienceMismatch.into());
    }
    Ok(Arc::new(Mandate {
        payload,
        claims,
        key_id,
        digests: OnceLock::new(),
        known: Known::default(),
        input: Mutex::default(),
    }))
}

/// The same for threads that share what is `known`: a token is verified once, for as long as what it was verified
/// against is the same. Nobody else waits meanwhile.
///
/// # Errors
/// As [`verify`].
pub fn verify_once(
    known: &Mutex<MandateCache>,
    token: &str,
    keys: &KeySet,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Arc<Mandate>, Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Reason::TokenTooLarge.into());
    }
    let (tagged, found) = {
        let mut known = locked(known);
        let tagged = known.tagged(token.as_bytes());
        (tagged, known.get(&tagged).map(Arc::clone))
    };
    if let Some(found) = found
        && found.still_stands(keys, expected, now)
    {
        return Ok(found);
    }
    let verified = verify(token, keys, expected, now)?;
    locked(known).insert(&tagged, Arc::clone(&verified));
    Ok(verified)
}

fn locked<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks everything up to the signature and returns the payload, which is now the issuer's word.
fn authenticate(token: &str, keys: &KeySet) -> Result<(Vec<u8>, KeyId), Refusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Reason::TokenTooLarge.into());
    }
    // A further dot would be in the payload, where base64url has none.
    let (signed, signature) = token.rsplit_once('.').ok_or(Reason::TokenMalformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Reason::TokenMalformed)?;
    let decoded = |text: &str| {
        let decoded = BASE64URL_NOPAD.decode(text.as_bytes());
        decoded.map_err(|_| Refusal::from(Reason::TokenMalformed))
    };
    let (payload, signature) = (decoded(payload)?, decoded(signature)?);
    let (kid, key) = match keys.by_header(header) {
        Some(known) => known,
        None => key_of(&decoded(header)?, keys)?,
    };
    let signature =
        Es256Signature::try_from_slice(&signature).map_err(|_| Reason::SignatureInvalid)?;
    if !Es256.verify_signature(&signature, key, signed.as_bytes()) {
        return Err(Reason::SignatureInvalid.into());
    }
    keys.remember_header(kid, header);
    Ok((payload, kid.clone()))
}

/// The key that a token with this header is to be verified by, if it is a mandate's.
fn key_of<'k>(header: &[u8], keys: &'k KeySet) -> Result<(&'k KeyId, &'k VerifyingKey), Refusal> {
    let header: TokenHeader<'_> =
        serde_json::from_slice(header).map_err(|_| Reason::TokenMalformed)?;
    // RFC 7519 section 5.2: claims in a further token would say that they are a JWT.
    let content = header.cty.as_deref().unwrap_or(CONTENT_TYPE);
    if !content.eq_ignore_ascii_case(CONTENT_TYPE) {
        return Err(Reason::TokenMalformed.into());
    }
    // RFC 8725 section 3.1: the key decides the algorithm, the header may only agree.
    if header.alg != Es256.name() {
        return Err(Reason::AlgorithmNotAllowed.into());
    }
    if header.jku || header.jwk || header.x5u || header.x5c || header.crit || header.b64 {
        return Err(Reason::HeaderNotAllowed.into());
    }
    if header.typ.as_deref() != Some(TOKEN_TYPE) {
        return Err(Reason::TypeNotAllowed.into());
    }
    let kid = header
        .kid
        .as_deref()
        .filter(|kid| !kid.is_empty())
        .ok_or(Reason::KeyIdMissing)?;
    Ok(keys.named(kid).ok_or(Reason::KeyUnknown)?)
}

fn check_times(
    exp: Timestamp,
    iat: Timestamp,
    nbf: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Refusal> {
    if exp.plus(LEEWAY_SECONDS) <= now {
        return Err(Reason::TokenExpired.into());
    }
    let earliest = nbf.map_or(iat, |nbf| nbf.max(iat));
    if earliest > now.plus(LEEWAY_SECONDS) {
        return Err(Reason::TokenNotYetValid.into());
    }
    Ok(())
}

fn malformed_claims(error: &dyn std::error::Error) -> Refusal {
    Refusal::with_detail(
        Reason::ClaimMalformed,
        format!("the claims are malformed: {error}"),
    )
}
