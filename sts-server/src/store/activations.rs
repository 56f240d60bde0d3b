//! Rows of activations: which version was in force in a zone, one after the other. Only ever added.

use authority::ids::{PolicySetId, PolicySetVersionId, ZoneId};
use sqlx::FromRow;

use super::{Change, PolicySetVersion, Result, Store};
use crate::clock::Moment;

/// How far back one can go.
const MAX_HISTORY: i64 = 1000;

/// One activation.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(crate) struct ActivationRow {
    /// The set.
    #[sqlx(try_from = "String")]
    pub(crate) policy_set_id: PolicySetId,
    /// Its version.
    #[sqlx(try_from = "String", rename = "policy_set_version_id")]
    pub(crate) version_id: PolicySetVersionId,
    /// Whether it took the place of a later one.
    pub(crate) rolled_back: bool,
}

impl Store {
    /// The activations of a zone, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn activations(&self, zone: &ZoneId) -> Result<Vec<ActivationRow>> {
        let sql = "SELECT policy_set_id, policy_set_version_id, rolled_back FROM policy_activations
                   WHERE zone_id = ? ORDER BY id DESC LIMIT ?";
        let mut rows: Vec<ActivationRow> = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(MAX_HISTORY)
            .fetch_all(&self.readers)
            .await?;
        rows.reverse();
        Ok(rows)
    }
}

impl Change {
    /// Makes `version` the policy of the zone, if `active` still is. Whether it was.
    pub(crate) async fn activate_policy_set_version(
        &mut self,
        zone: &ZoneId,
        version: &PolicySetVersion,
        active: Option<&str>,
        rolled_back: bool,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE zones SET active_policy_set_version_id = ?
                   WHERE id = ? AND active_policy_set_version_id IS ?";
        let done = sqlx::query(sql)
            .bind(version.id.as_str())
            .bind(zone.as_str())
            .bind(active)
            .execute(&mut *self.0)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        // The sequence is that of the change that this is a part of.
        let sql = "INSERT INTO policy_activations (zone_id, policy_set_id, policy_set_version_id,
                   sequence, rolled_back, activated_at)
                   SELECT id, ?, ?, sequence + 1, ?, ? FROM zones WHERE id = ?";
        sqlx::query(sql)
            .bind(version.policy_set_id.as_str())
            .bind(version.id.as_str())
            .bind(rolled_back)
            .bind(now)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(true)
    }
}
