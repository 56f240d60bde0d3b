//! Rows of shadow policies: one run a zone, and the distinct disagreements that were seen in it.

use authority::{
    decision::shadow::{Disagreement, Report},
    ids::{PolicySetId, PolicySetVersionId, ZoneId},
};
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, PolicySetVersion, Result, Store};
use crate::clock::Moment;

/// Most distinct disagreements that are listed; those past it are only counted.
const MAX_DISAGREEMENTS: i64 = 1000;

/// A zone's shadow, that of today or the last one there was.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct ShadowRun {
    /// The set.
    #[sqlx(try_from = "String")]
    pub(crate) policy_set_id: PolicySetId,
    /// Its version.
    #[sqlx(try_from = "String")]
    pub(crate) version_id: PolicySetVersionId,
    /// When it began.
    pub(crate) since: Moment,
    /// When it ended, if it has.
    pub(crate) ended_at: Option<Moment>,
    /// Decisions on which it agreed.
    pub(crate) same: i64,
    /// Decisions on which it did not.
    pub(crate) different: i64,
}

/// A disagreement and how often it was seen.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct DisagreementRow {
    /// What was decided differently.
    #[sqlx(json)]
    #[serde(flatten)]
    pub(crate) disagreement: Disagreement,
    /// How often.
    pub(crate) count: i64,
    /// First.
    pub(crate) first_seen: Moment,
    /// Last.
    pub(crate) last_seen: Moment,
}

impl Store {
    /// The zone's shadow, and where it disagreed, most often first.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn shadow_run(
        &self,
        zone: &ZoneId,
    ) -> Result<Option<(ShadowRun, Vec<DisagreementRow>)>> {
        let mut view = self.readers.begin().await?;
        let run = sqlx::query_as("SELECT * FROM shadow_runs WHERE zone_id = ?")
            .bind(zone.as_str())
            .fetch_optional(&mut *view)
            .await?;
        let Some(run) = run else { return Ok(None) };
        let sql = "SELECT * FROM shadow_disagreements WHERE zone_id = ?
                   ORDER BY count DESC, last_seen DESC, disagreement";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .fetch_all(&mut *view)
            .await?;
        Ok(Some((run, rows)))
    }
}

impl Change {
    /// Makes `version` the shadow of the zone, and forgets the one before.
    pub(crate) async fn begin_shadow(
        &mut self,
        zone: &ZoneId,
        version: &PolicySetVersion,
        now: Moment,
    ) -> Result<()> {
        sqlx::query("UPDATE zones SET shadow_policy_set_version_id = ? WHERE id = ?")
            .bind(version.id.as_str())
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        sqlx::query("DELETE FROM shadow_disagreements WHERE zone_id = ?")
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        let sql = "INSERT OR REPLACE INTO shadow_runs (zone_id, policy_set_id, version_id, since)
                   VALUES (?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(zone.as_str())
            .bind(version.policy_set_id.as_str())
            .bind(version.id.as_str())
            .bind(now)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Ends the shadow `version` of the zone; what was seen stays. Whether it was the shadow.
    pub(crate) async fn end_shadow(
        &mut self,
        zone: &ZoneId,
        version: &PolicySetVersionId,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE zones SET shadow_policy_set_version_id = NULL
                   WHERE id = ? AND shadow_policy_set_version_id = ?";
        let done = sqlx::query(sql)
            .bind(zone.as_str())
            .bind(version.as_str())
            .execute(&mut *self.0)
            .await?;
        sqlx::query("UPDATE shadow_runs SET ended_at = ? WHERE zone_id = ? AND version_id = ? AND ended_at IS NULL")
            .bind(now)
            .bind(zone.as_str())
            .bind(version.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Adds what was seen of the zone's shadow. False if the report is on another shadow than today's.
    pub(crate) async fn add_shadow_report(
        &mut self,
        zone: &ZoneId,
        report: &Report,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE shadow_runs SET same = same + ?, different = different + ?
                   WHERE zone_id = ? AND version_id = ? AND ended_at IS NULL";
        let done = sqlx::query(sql)
            .bind(integer(report.same))
            .bind(integer(report.different))
            .bind(zone.as_str())
            .bind(report.version_id.as_str())
            .execute(&mut *self.0)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for row in &report.rows {
            let sql = "INSERT INTO shadow_disagreements (zone_id, disagreement, count, first_seen, last_seen)
                       SELECT ?1, ?2, ?3, ?4, ?4
                       WHERE (SELECT count(*) FROM shadow_disagreements WHERE zone_id = ?1) < ?5
                       OR EXISTS (SELECT 1 FROM shadow_disagreements WHERE zone_id = ?1 AND disagreement = ?2)
                       ON CONFLICT (zone_id, disagreement) DO UPDATE
                       SET count = count + excluded.count, last_seen = excluded.last_seen";
            sqlx::query(sql)
                .bind(zone.as_str())
                .bind(sqlx::types::Json(&row.disagreement))
                .bind(integer(row.count))
                .bind(now)
                .bind(MAX_DISAGREEMENTS)
                .execute(&mut *self.0)
                .await?;
        }
        Ok(true)
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
