//! Zones: made with their first signing key, found by id or slug, archived for good.

use authority::{
    ids::ZoneId,
    revocation::{Anchor, AnchorKind},
};
use serde::Deserialize;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    store::{StoreError, Zone},
    sts::Sts,
};

/// A zone to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewZone {
    name: String,
    slug: Option<String>,
}

/// A change to a zone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZonePatch {
    name: Option<String>,
}

impl Sts {
    /// The zone with this id or slug.
    pub(crate) async fn zone(&self, id_or_slug: &str) -> Result<Zone> {
        self.store
            .zone(id_or_slug)
            .await?
            .ok_or_else(|| not_found(id_or_slug))
    }

    pub(crate) async fn create_zone(&self, new: NewZone) -> Result<Zone> {
        let name = name::name(&new.name)?;
        let slug = match new.slug {
            Some(slug) => name::slug(&slug)?,
            None => name::slug_from(&name)?,
        };
        let zone = Zone {
            id: ZoneId::from(entropy::id()),
            slug,
            name,
            sequence: 1,
            active_policy_set_version_id: None,
            shadow_policy_set_version_id: None,
            created_at: Moment::now(),
        };
        let key = self.keyring.generate(&zone.id, zone.created_at)?;
        let mut change = self.store.begin().await?;
        change
            .insert_zone(&zone)
            .await
            .map_err(|error| match error {
                StoreError::Conflict => Error::new(
                    Code::ZONE_SLUG_CONFLICT,
                    format!(
                        "the slug {} is taken, or was; give another with \"slug\"",
                        zone.slug
                    ),
                ),
                other => other.into(),
            })?;
        change.insert_key(&key).await?;
        let created = Changed::new("zone.create", &zone.id).after(&zone);
        change.record(&zone.id, created).await?;
        change.commit().await?;
        Ok(zone)
    }

    pub(crate) async fn patch_zone(&self, mut zone: Zone, patch: ZonePatch) -> Result<Zone> {
        if let Some(name) = patch.name {
            let renamed = Changed::new("zone.update", &zone.id).before(&zone);
            zone.name = name::name(&name)?;
            let mut change = self.store.begin().await?;
            change.rename_zone(&zone.id, &zone.name).await?;
            change.record(&zone.id, renamed.after(&zone)).await?;
            change.commit().await?;
        }
        Ok(zone)
    }

    pub(crate) async fn archive_zone(&self, zone: &Zone) -> Result<()> {
        let mut change = self.store.begin().await?;
        let now = Moment::now();
        change.archive_zone(&zone.id, now).await?;
        let anchor = Anchor {
            kind: AnchorKind::Zone,
            id: zone.id.as_str(),
        };
        change
            .revoke_for_good(&zone.id, anchor, "zone archived", now)
            .await?;
        change
            .record(&zone.id, Changed::new("zone.archive", &zone.id))
            .await?;
        self.publish(change, &zone.id).await?;
        self.revocation_news.announce(&zone.id);
        tracing::info!(zone = %zone.id, "zone archived");
        Ok(())
    }
}

pub(crate) fn not_found(id_or_slug: &str) -> Error {
    let shown: String = id_or_slug.chars().take(80).collect();
    Error::new(
        Code::ZONE_NOT_FOUND,
        format!("no zone has the id or slug {shown:?}"),
    )
}
