//! The mandate that a request brings: found, if its text is known, and verified if it is not.

use std::sync::Arc;

use super::SingleHeader;
use crate::{
    mandate::{Expected, MAX_TOKEN_BYTES, Mandate, MandateCache, MandateUse, Tagged, verify},
    refusal::{Reason, Refusal},
    snapshot::Snapshot,
    time::Timestamp,
};

/// The scheme of `Authorization`, and what stands behind it.
const BEARER: &[u8] = b"Bearer ";
/// The classes of mandate that a gateway accepts.
const GATEWAY_USES: [MandateUse; 2] = [MandateUse::Gateway, MandateUse::Resource];

/// The mandate in `authorization`, and whether it was known.
///
/// # Errors
/// The first check that fails, as a [`Refusal`].
pub(super) fn mandate(
    snapshot: &mut Snapshot,
    authorization: SingleHeader<&[u8]>,
    now: Timestamp,
) -> Result<(Arc<Mandate>, bool), Refusal> {
    let authorization = sent_once(authorization)?;
    let cache = &mut snapshot.cache;
    let plain = plain_bearer(authorization).map(|token| cache.tagged(token));
    if let Some(known) = plain.and_then(|token| known(cache, &token, now)) {
        return Ok((known?, true));
    }
    let token = bearer_token(authorization)?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Reason::TokenTooLarge.into());
    }
    let tagged = match plain {
        Some(plain) if plain.is_of(token) => plain,
        _ => {
            let tagged = cache.tagged(token.as_bytes());
            if let Some(known) = known(cache, &tagged, now) {
                return Ok((known?, true));
            }
            tagged
        }
    };
    if cache.is_refused(&tagged) {
        return Err(Reason::SignatureInvalid.into());
    }
    let expected = Expected {
        issuer: &snapshot.issuer,
        zone: &snapshot.zone,
        uses: &GATEWAY_USES,
    };
    let verified = verify(token, &snapshot.keys, &expected, now).inspect_err(|refusal| {
        // What else is wrong costs little to find again, or may be right tomorrow.
        if *refusal.reason() == Reason::SignatureInvalid {
            cache.refuse(&tagged);
        }
    })?;
    cache.insert(&tagged, Arc::clone(&verified));
    Ok((verified, false))
}

/// The mandate that `token` was verified to be, forgotten if its time is over.
fn known(
    cache: &mut MandateCache,
    token: &Tagged<'_>,
    now: Timestamp,
) -> Option<Result<Arc<Mandate>, Refusal>> {
    let known = Arc::clone(cache.get(token)?);
    let in_time = known.check_time(now);
    Some(in_time.map(|()| known).inspect_err(|_| cache.remove(token)))
}

/// What was sent as `Authorization`.
fn sent_once(authorization: SingleHeader<&[u8]>) -> Result<&[u8], Refusal> {
    match authorization {
        SingleHeader::Absent => Err(Reason::TokenMissing.into()),
        SingleHeader::One(value) => Ok(value),
        SingleHeader::Many => Err(Reason::AuthorizationAmbiguous.into()),
    }
}

/// RFC 6750 section 2.1, with the scheme in any case (RFC 9110 section 11.1).
fn bearer_token(authorization: &[u8]) -> Result<&str, Refusal> {
    // A proxy may have joined several headers into one; no token has a comma.
    if authorization.contains(&b',') {
        return Err(Reason::AuthorizationAmbiguous.into());
    }
    let value = std::str::from_utf8(authorization).map_err(|_| Reason::TokenMalformed)?;
    match value.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_start()),
        _ => Err(Reason::TokenMissing.into()),
    }
}

/// The same of what is written as nearly everybody writes it, not looked at any closer than that it is not too long.
fn plain_bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(BEARER.len())?;
    (scheme.eq_ignore_ascii_case(BEARER) && token.len() <= MAX_TOKEN_BYTES).then_some(token)
}
