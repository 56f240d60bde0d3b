//! All rows that a zone's bundle is made of, as they stood at one moment.

use authority::ids::ZoneId;

use super::{KeyRow, PolicySetVersion, ResourceRow, Result, Store, Zone};

/// What a bundle is made of.
#[derive(Clone, Debug)]
pub(crate) struct BundleRows {
    /// The zone.
    pub(crate) zone: Zone,
    /// Its keys in the order in which they sign, those out of use included.
    pub(crate) keys: Vec<KeyRow>,
    /// Its resources.
    pub(crate) resources: Vec<ResourceRow>,
    /// The active policy.
    pub(crate) policy: Option<PolicySetVersion>,
    /// The policy that is evaluated beside it and not enforced.
    pub(crate) shadow: Option<PolicySetVersion>,
}

impl Store {
    /// The rows for the bundle of `zone`, if the zone is there.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database).
    pub(crate) async fn bundle_rows(&self, zone: &ZoneId) -> Result<Option<BundleRows>> {
        // One transaction: SQLite shows all of it as of its first statement.
        let mut view = self.readers.begin().await?;
        let id = zone.as_str();
        let found: Option<Zone> =
            sqlx::query_as("SELECT * FROM zones WHERE id = ? AND archived_at IS NULL")
                .bind(id)
                .fetch_optional(&mut *view)
                .await?;
        let Some(zone) = found else { return Ok(None) };
        let keys = sqlx::query_as(
            "SELECT * FROM signing_keys WHERE zone_id = ? ORDER BY activates_at, kid",
        )
        .bind(id)
        .fetch_all(&mut *view)
        .await?;
        let resources = sqlx::query_as(
            "SELECT * FROM resources WHERE zone_id = ? AND archived_at IS NULL ORDER BY id",
        )
        .bind(id)
        .fetch_all(&mut *view)
        .await?;
        let version = "SELECT * FROM policy_set_versions WHERE id = ?";
        let policy = sqlx::query_as(version)
            .bind(&zone.active_policy_set_version_id)
            .fetch_optional(&mut *view)
            .await?;
        let shadow = sqlx::query_as(version)
            .bind(&zone.shadow_policy_set_version_id)
            .fetch_optional(&mut *view)
            .await?;
        Ok(Some(BundleRows {
            zone,
            keys,
            resources,
            policy,
            shadow,
        }))
    }
}
