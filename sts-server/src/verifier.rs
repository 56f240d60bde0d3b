//! Verifying the mandates that come back to the STS: by keys that are made ready once, and each mandate once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use authority::{
    ids::ZoneId,
    jwks::{JwkSet, JwksError, KeySet},
    mandate::{Expected, Mandate, MandateCache, verify_once},
    refusal::Refusal,
    tags::TagKey,
    time::Timestamp,
};

use crate::entropy::{self, EntropyError};

/// Most zones whose public keys are kept ready, at a tenth of a megabyte a key.
const MAX_PREPARED: usize = 32;
/// Most mandates that are known, at some 2 KB each.
const MAX_KNOWN: usize = 1_024;

/// Verifies mandates of zones, for one issuer.
pub(crate) struct Verifier {
    prepared: Mutex<HashMap<ZoneId, (JwkSet, Arc<KeySet>)>>,
    known: Mutex<MandateCache>,
}

impl Verifier {
    /// One that knows nothing yet.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub(crate) fn new() -> Result<Self, EntropyError> {
        let key = TagKey::new(*entropy::bytes()?);
        Ok(Self {
            prepared: Mutex::default(),
            known: Mutex::new(MandateCache::new(MAX_KNOWN, key)),
        })
    }

    /// The keys of a zone as they are `published`, ready to verify many mandates.
    ///
    /// # Errors
    /// They are no keys.
    pub(crate) fn keys(&self, zone: &ZoneId, published: JwkSet) -> Result<Arc<KeySet>, JwksError> {
        let all = || self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all().get(zone).cloned();
        if let Some((same, keys)) = &known
            && *same == published
        {
            return Ok(Arc::clone(keys));
        }
        let before = known.map(|(_, keys)| keys).unwrap_or_default();
        let keys = Arc::new(KeySet::from_jwks(&published)?.prepared(&before));
        let mut all = all();
        if all.len() >= MAX_PREPARED {
            all.clear();
        }
        all.insert(zone.clone(), (published, Arc::clone(&keys)));
        Ok(keys)
    }

    /// The mandate `token`, verified once. An id of a key is never given to another.
    ///
    /// # Errors
    /// As [`verify_once`].
    pub(crate) fn mandate(
        &self,
        token: &str,
        keys: &KeySet,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Arc<Mandate>, Refusal> {
        verify_once(&self.known, token, keys, expected, now)
    }
}

#[cfg(test)]
mod tests {
    use authority::{ids::KeyId, jwks::Jwk, key::SigningKey};

    use super::*;

    #[test]
    fn keys_are_made_ready_once_and_anew_when_others_are_published() {
        let published = |kids: &[(&str, u8)]| JwkSet {
            keys: kids
                .iter()
                .map(|(kid, byte)| {
                    let key = SigningKey::from_bytes(&[*byte; 32]).unwrap();
                    Jwk::new(&KeyId::from(*kid), &key.verifying_key())
                })
                .collect(),
        };
        let (zone, other) = (ZoneId::from("zone"), ZoneId::from("other"));
        let verifier = Verifier::new().unwrap();
        let of = |zone, kids: &[(&str, u8)]| verifier.keys(zone, published(kids)).unwrap();
        let both = of(&zone, &[("one", 1), ("two", 2)]);
        assert!(Arc::ptr_eq(&both, &of(&zone, &[("one", 1), ("two", 2)])));
        assert!(of(&other, &[("one", 3)]).get("two").is_none());
        let rest = of(&zone, &[("two", 2)]);
        assert!(rest.get("one").is_none() && rest.get("two").is_some());
        assert!(Arc::ptr_eq(&rest, &of(&zone, &[("two", 2)])));
    }
}
