//! Verifying the mandates that come back to the STS: by keys that are made ready once, and each mandate once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use authority::{
    ids::ZoneId,
    jwks::{JwkSet, JwksError, KeySet},
    mandate::{Expected, Mandate, MandateCache, verify},
    refusal::Refusal,
    time::Timestamp,
};

/// Most zones whose public keys are kept ready, at a tenth of a megabyte a key.
const MAX_PREPARED: usize = 32;
/// Most mandates that are known, at some 4 KB each.
const MAX_KNOWN: usize = 1_024;

/// Verifies mandates of zones, for one issuer.
pub(crate) struct Verifier {
    prepared: Mutex<HashMap<ZoneId, (JwkSet, Arc<KeySet>)>>,
    known: Mutex<MandateCache>,
}

impl Default for Verifier {
    fn default() -> Self {
        Self {
            prepared: Mutex::default(),
            known: Mutex::new(MandateCache::new(MAX_KNOWN)),
        }
    }
}

impl Verifier {
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

    /// The mandate `token`, which is one by `keys`. One that is known was verified with everything that `expected`
    /// and the time do not change; and the key that it was verified with is what its id says, for an id is never given
    /// to another.
    ///
    /// # Errors
    /// As [`verify`].
    pub(crate) fn mandate(
        &self,
        token: &str,
        keys: &KeySet,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Arc<Mandate>, Refusal> {
        let all = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all().get(token.as_bytes());
        if let Some(known) = known
            && is_as(&known, keys, expected)
            && known.check_time(now).is_ok()
        {
            return Ok(known);
        }
        let mandate = Arc::new(verify(token, keys, expected, now)?);
        all().insert(token, Arc::clone(&mandate));
        Ok(mandate)
    }
}

fn is_as(known: &Mandate, keys: &KeySet, expected: &Expected<'_>) -> bool {
    let claims = known.claims();
    claims.iss == expected.issuer
        && claims.zone_id == *expected.zone
        && expected.uses.contains(&claims.mandate_use)
        && keys.get(known.key_id().as_str()).is_some()
}

#[cfg(test)]
mod tests {
    use authority::{
        ids::KeyId,
        jwks::Jwk,
        key::SigningKey,
        mandate::{Claims, MAX_SESSION_TTL_SECONDS, MandateUse, SubjectType, sign},
        refusal::Reason,
    };

    use super::*;

    const ISSUER: &str = "https://sts.example";
    const NOW: Timestamp = Timestamp(1_790_000_000);

    fn claims(zone: &ZoneId) -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: "app".to_owned(),
            aud: vec![ISSUER.to_owned()],
            exp: NOW.plus(MAX_SESSION_TTL_SECONDS),
            iat: NOW,
            nbf: None,
            jti: "jti".to_owned(),
            zone_id: zone.clone(),
            client_id: "app".into(),
            sid: "sid".into(),
            root_sid: "sid".into(),
            mandate_use: MandateUse::Session,
            sub_type: SubjectType::Application,
            scope: None,
            target: Vec::new(),
            agent_session_id: None,
            session_path: Vec::new(),
            granting_sessions: Vec::new(),
            labels: Vec::new(),
            delegation_edge_id: None,
            source_session_id: None,
            target_session_id: None,
            delegation_path: Vec::new(),
            delegation_chain: Vec::new(),
            hop_count: None,
            act: None,
            once: false,
        }
    }

    #[test]
    fn a_mandate_is_verified_once_and_refused_as_soon_as_it_would_be_if_it_were_not_known() {
        let key = |byte: u8| SigningKey::from_bytes(&[byte; 32]).unwrap();
        let published = |kids: &[(&str, u8)]| JwkSet {
            keys: kids
                .iter()
                .map(|(kid, byte)| Jwk::new(&KeyId::from(*kid), &key(*byte).verifying_key()))
                .collect(),
        };
        let (zone, other) = (ZoneId::from("zone"), ZoneId::from("other"));
        let verifier = Verifier::default();
        let both = published(&[("one", 1), ("two", 2)]);
        let keys = verifier.keys(&zone, both.clone()).unwrap();
        assert!(Arc::ptr_eq(&keys, &verifier.keys(&zone, both).unwrap()));
        let expected = Expected {
            issuer: ISSUER,
            zone: &zone,
            uses: &[MandateUse::Session],
        };
        let token = sign(&claims(&zone), &KeyId::from("one"), &key(1)).unwrap();
        let first = verifier.mandate(&token, &keys, &expected, NOW).unwrap();
        let again = verifier.mandate(&token, &keys, &expected, NOW).unwrap();
        assert!(Arc::ptr_eq(&first, &again));

        let refused = |keys: &KeySet, expected: &Expected<'_>, now| {
            let refusal = verifier.mandate(&token, keys, expected, now).unwrap_err();
            refusal.reason().clone()
        };
        let late = NOW.plus(2 * MAX_SESSION_TTL_SECONDS);
        assert_eq!(refused(&keys, &expected, late), Reason::TokenExpired);
        let gateway = Expected {
            uses: &[MandateUse::Gateway],
            ..expected
        };
        assert_eq!(refused(&keys, &gateway, NOW), Reason::UseNotAllowed);
        let elsewhere = Expected {
            zone: &other,
            ..expected
        };
        assert_eq!(refused(&keys, &elsewhere, NOW), Reason::ZoneMismatch);
        let issuer = Expected {
            issuer: "https://other.example",
            ..expected
        };
        assert_eq!(refused(&keys, &issuer, NOW), Reason::IssuerMismatch);
        let withdrawn = verifier.keys(&zone, published(&[("two", 2)])).unwrap();
        assert_eq!(refused(&withdrawn, &expected, NOW), Reason::KeyUnknown);
        let mut changed = token.into_bytes();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier.mandate(&changed, &keys, &expected, NOW).is_err());
        assert!(verifier.mandate(&changed, &keys, &expected, NOW).is_err());
    }
}
