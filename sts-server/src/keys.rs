//! Signing keys: made, sealed, published ahead of their use, and kept until every mandate that they
//! signed has expired.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use authority::{
    ids::{KeyId, ZoneId},
    jwks::{Jwk, JwkSet},
    key::SigningKey,
    mandate::MAX_SESSION_TTL_SECONDS,
    revocation::{Anchor, AnchorKind},
};
use serde::Serialize;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    sealing::{Kek, SealError},
    store::{Change, KeyRow, Zone},
    sts::Sts,
};

/// How long a key stays after its successor began to sign: the longest life of a mandate, and the
/// leeway of a verifier's clock on either side.
const KEPT: Duration = Duration::from_secs(MAX_SESSION_TTL_SECONDS + 120);
/// Most keys of a zone that are published at once; verifiers take 64.
const MAX_PUBLISHED: usize = 60;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyState {
    /// Made known, but does not sign yet.
    Published,
    /// Signs.
    Signing,
    /// Signs no more; mandates that it signed may still be in date.
    Retiring,
}

/// A key as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyView {
    /// Id.
    pub(crate) kid: KeyId,
    /// Where it is in its life.
    pub(crate) state: KeyState,
    /// When it was made.
    pub(crate) created_at: Moment,
    /// When it begins to sign.
    pub(crate) activates_at: Moment,
    /// When it will be forgotten, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retires_at: Option<Moment>,
}

/// Keys of one zone that are published at `now`, in the order in which they sign. `rows` are all
/// keys of the zone in that order.
pub(crate) fn published(rows: &[KeyRow], now: Moment) -> Vec<(&KeyRow, KeyView)> {
    let signer = rows
        .iter()
        .rposition(|row| row.activates_at <= now)
        .unwrap_or(0);
    let views = rows.iter().enumerate().map(|(place, row)| {
        let state = match place.cmp(&signer) {
            std::cmp::Ordering::Less => KeyState::Retiring,
            std::cmp::Ordering::Equal => KeyState::Signing,
            std::cmp::Ordering::Greater => KeyState::Published,
        };
        let retires_at = rows
            .get(place + 1)
            .map(|successor| successor.activates_at.plus(KEPT));
        let view = KeyView {
            kid: row.kid.clone(),
            state,
            created_at: row.created_at,
            activates_at: row.activates_at,
            retires_at,
        };
        (row, view)
    });
    views
        .filter(|(_, view)| {
            view.state != KeyState::Retiring || view.retires_at.is_none_or(|end| now < end)
        })
        .collect()
}

/// The public halves of what is published at `now`.
pub(crate) fn jwks(rows: &[KeyRow], now: Moment) -> JwkSet {
    JwkSet {
        keys: published(rows, now)
            .into_iter()
            .map(|(row, _)| row.jwk.clone())
            .collect(),
    }
}

/// Opens private keys, and keeps those it opened.
pub(crate) struct Keyring {
    kek: Kek,
    opened: Mutex<HashMap<KeyId, SigningKey>>,
}

impl Keyring {
    pub(crate) fn new(kek: Kek) -> Self {
        Self {
            kek,
            opened: Mutex::default(),
        }
    }

    /// The private half of `row`.
    pub(crate) fn open(&self, row: &KeyRow) -> Result<SigningKey> {
        self.open_sealed(row).map_err(Error::internal)
    }

    /// The private half of `row`, or what keeps it shut.
    pub(crate) fn open_sealed(&self, row: &KeyRow) -> Result<SigningKey, SealError> {
        if let Some(key) = self
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&row.kid)
        {
            return Ok(key.clone());
        }
        let bytes = self
            .kek
            .open(&row.sealed, &purpose(&row.zone_id, &row.kid))?;
        let key = SigningKey::from_bytes(&bytes).map_err(|_| SealError::DoesNotOpen)?;
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.kid.clone(), key.clone());
        Ok(key)
    }

    fn forget(&self, kid: &KeyId) {
        self.opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(kid);
    }

    /// A new key for `zone`, sealed.
    pub(crate) fn generate(&self, zone: &ZoneId, activates_at: Moment) -> Result<KeyRow> {
        let key = loop {
            // All but one in 2^32 draws are below the order of the curve.
            if let Ok(key) = SigningKey::from_bytes(entropy::bytes::<32>()?.as_slice()) {
                break key;
            }
        };
        let kid = KeyId::from(entropy::id());
        let sealed = self
            .kek
            .seal(key.to_bytes().as_slice(), &purpose(zone, &kid))?;
        let jwk = Jwk::new(&kid, &key.verifying_key());
        Ok(KeyRow {
            jwk,
            sealed,
            zone_id: zone.clone(),
            created_at: Moment::now(),
            activates_at,
            kid,
        })
    }
}

fn purpose(zone: &ZoneId, kid: &KeyId) -> String {
    format!("caracal signing key {zone} {kid}")
}

/// What a rotation did.
#[derive(Debug, Serialize)]
pub(crate) struct Rotation {
    rotated: bool,
    zone_id: ZoneId,
    kid: KeyId,
    activates_at: Moment,
}

impl Sts {
    /// Publishes a new key for `zone`, which signs once verifiers had the time to learn of it.
    pub(crate) async fn rotate_key(&self, zone: &Zone) -> Result<Rotation> {
        let mut change = self.store.begin().await?;
        let rows = change.keys(&zone.id).await?;
        let now = Moment::now();
        let live: Vec<_> = published(&rows, now)
            .into_iter()
            .map(|(row, _)| row.kid.clone())
            .collect();
        if live.len() >= MAX_PUBLISHED {
            return Err(Error::new(
                Code::KEY_LIMIT_EXCEEDED,
                format!(
                    "{MAX_PUBLISHED} keys are published, more than verifiers take; rotate again when one has retired"
                ),
            ));
        }
        for retired in rows.iter().filter(|row| !live.contains(&row.kid)) {
            change.delete_key(&retired.kid).await?;
            self.keyring.forget(&retired.kid);
        }
        // Never before a key that was made earlier, whatever the lead was then.
        let earliest = now.plus(self.key_publish_lead);
        let activates_at = rows
            .last()
            .map_or(earliest, |last| last.activates_at.max(earliest));
        let key = self.keyring.generate(&zone.id, activates_at)?;
        change.insert_key(&key).await?;
        let rotated = Changed::new("key.rotate", &key.kid)
            .after(&serde_json::json!({"kid": key.kid, "activates_at": activates_at}));
        change.record(&zone.id, rotated).await?;
        self.publish(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, kid = %key.kid, "signing key rotated");
        Ok(Rotation {
            rotated: true,
            zone_id: zone.id.clone(),
            kid: key.kid,
            activates_at,
        })
    }

    /// The keys of `zone` that are published.
    pub(crate) async fn keys(&self, zone: &Zone) -> Result<Vec<KeyView>> {
        let rows = self.store.keys(&zone.id).await?;
        Ok(published(&rows, Moment::now())
            .into_iter()
            .map(|(_, view)| view)
            .collect())
    }

    /// The public keys of one zone, or of all.
    pub(crate) async fn jwks(&self, zone: Option<&str>) -> Result<JwkSet> {
        let now = Moment::now();
        if let Some(zone) = zone {
            let zone = self.zone(zone).await?;
            return Ok(jwks(&self.store.keys(&zone.id).await?, now));
        }
        let rows = self.store.all_keys().await?;
        let zones = rows.chunk_by(|one, next| one.zone_id == next.zone_id);
        Ok(JwkSet {
            keys: zones.flat_map(|rows| jwks(rows, now).keys).collect(),
        })
    }

    /// Of all `rows` of `zone`, the key that signs what gateways are told: the oldest that is still
    /// published. Whoever heard from us within the hour knows it, however many rotations came since and
    /// however short their lead.
    pub(crate) fn publisher(&self, zone: &ZoneId, rows: &[KeyRow]) -> Result<(KeyId, SigningKey)> {
        let published = published(rows, Moment::now());
        let (row, _) = published
            .first()
            .ok_or_else(|| Error::internal(format!("zone {zone} has no signing key")))?;
        Ok((row.kid.clone(), self.keyring.open(row)?))
    }

    /// Takes a key out of use at once: what it signed is refused. Another one signs in its place from
    /// now on, should it have been the one that signs.
    pub(crate) async fn withdraw_key(
        &self,
        change: &mut Change,
        zone: &Zone,
        kid: &str,
        reason: &str,
        now: Moment,
    ) -> Result<()> {
        let rows = change.keys(&zone.id).await?;
        let Some(withdrawn) = rows.iter().find(|row| row.kid.as_str() == kid) else {
            return Err(Error::new(
                Code::KEY_NOT_FOUND,
                "the zone has no key with this id",
            ));
        };
        let signs = published(&rows, now)
            .iter()
            .any(|(row, view)| row.kid == withdrawn.kid && view.state == KeyState::Signing);
        if signs {
            let key = self.keyring.generate(&zone.id, now)?;
            change.insert_key(&key).await?;
        }
        change.delete_key(&withdrawn.kid).await?;
        self.keyring.forget(&withdrawn.kid);
        let anchor = Anchor {
            kind: AnchorKind::Key,
            id: kid,
        };
        change.revoke_for_good(&zone.id, anchor, reason, now).await
    }

    /// The key that signs mandates of `zone` now.
    pub(crate) async fn signer(&self, zone: &ZoneId) -> Result<(KeyId, SigningKey)> {
        let rows = self.store.keys(zone).await?;
        let published = published(&rows, Moment::now());
        let (row, _) = published
            .iter()
            .find(|(_, view)| view.state == KeyState::Signing)
            .ok_or_else(|| Error::internal(format!("zone {zone} has no signing key")))?;
        Ok((row.kid.clone(), self.keyring.open(row)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rotations_leaves_every_key_known_until_its_mandates_have_expired() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::new(Kek::of_data_dir(dir.path()).unwrap());
        let start = Moment::now();
        let at = |seconds: u64| start.plus(Duration::from_secs(seconds));
        let zone = ZoneId::from("z");
        let rows: Vec<_> = [0, 300, 310, 320]
            .iter()
            .map(|&seconds| keyring.generate(&zone, at(seconds)).unwrap())
            .collect();
        let states = |seconds: u64| -> Vec<_> {
            published(&rows, at(seconds))
                .into_iter()
                .map(|(_, view)| view.state)
                .collect()
        };
        use KeyState::{Published, Retiring, Signing};
        assert_eq!(states(0), [Signing, Published, Published, Published]);
        assert_eq!(states(305), [Retiring, Signing, Published, Published]);
        assert_eq!(states(315), [Retiring, Retiring, Signing, Published]);
        assert_eq!(states(320), [Retiring, Retiring, Retiring, Signing]);
        assert_eq!(states(300 + 3719), [Retiring, Retiring, Retiring, Signing]);
        assert_eq!(states(300 + 3720), [Retiring, Retiring, Signing]);
        assert_eq!(states(320 + 3720), [Signing]);
        assert_eq!(states(1_000_000), [Signing]);
    }
}
