//! Authority records, one for every mandate. They are only ever added.

use authority::ids::{ApplicationId, AuthorityRecordId, ZoneId};
use sqlx::FromRow;

use super::{Application, Change, Result, Store, Zone};
use crate::clock::Moment;

/// The record of a mint.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct AuthorityRecord {
    /// `sid`.
    #[sqlx(try_from = "String")]
    pub(crate) id: AuthorityRecordId,
    /// `root_sid`.
    #[sqlx(try_from = "String")]
    pub(crate) root_id: AuthorityRecordId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// The record of the mandate that was presented.
    pub(crate) parent_id: Option<String>,
    /// To whom.
    #[sqlx(try_from = "String")]
    pub(crate) application_id: ApplicationId,
    /// `sub`.
    pub(crate) subject: String,
    /// `jti`.
    pub(crate) jti: String,
    /// `use`.
    pub(crate) mandate_use: String,
    /// `scope`.
    pub(crate) scope: String,
    /// `target`.
    #[sqlx(json)]
    pub(crate) targets: Vec<String>,
    /// `iat`.
    pub(crate) issued_at: Moment,
    /// `exp`.
    pub(crate) expires_at: Moment,
    /// `agent_session_id`.
    pub(crate) agent_session_id: Option<String>,
    /// `delegation_edge_id`.
    pub(crate) delegation_edge_id: Option<String>,
}

impl Store {
    /// The record of a mandate of this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn authority_record(
        &self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<AuthorityRecord>> {
        let sql = "SELECT * FROM authority_records WHERE id = ?";
        let read = async {
            Ok(sqlx::query_as(sql)
                .bind(id)
                .fetch_optional(&self.readers)
                .await?)
        };
        let record: Option<AuthorityRecord> = self.kept.records.get(id.to_owned(), read).await?;
        Ok(record.filter(|record| record.zone_id == *zone))
    }
}

impl Change {
    /// Whether what an exchange was decided on still stands: the application is live with the same
    /// secret, and its zone with the same policy.
    pub(crate) async fn still_stands(
        &mut self,
        zone: &Zone,
        application: &Application,
    ) -> Result<bool> {
        let kept = &self.2;
        let key = (zone.id.clone(), application.id.to_string());
        let same_secret = kept
            .applications
            .certain(&key, |known| known.secret_hash == application.secret_hash);
        let policy = &zone.active_policy_set_version_id;
        let same_policy = [zone.id.as_str(), &zone.slug].iter().find_map(|name| {
            kept.zones.certain(&(*name).to_owned(), |in_force| {
                (in_force.id == zone.id).then_some(in_force.active_policy_set_version_id == *policy)
            })?
        });
        if let (Some(same_secret), Some(same_policy)) = (same_secret, same_policy) {
            return Ok(same_secret && same_policy);
        }
        let sql = "SELECT count(*) FROM applications JOIN zones ON zones.id = zone_id
                   WHERE applications.id = ? AND secret_hash = ? AND applications.archived_at IS NULL
                   AND zones.archived_at IS NULL AND active_policy_set_version_id IS ?";
        let found: i64 = sqlx::query_scalar(sql)
            .bind(application.id.as_str())
            .bind(&application.secret_hash)
            .bind(&zone.active_policy_set_version_id)
            .fetch_one(&mut *self.0)
            .await?;
        Ok(found > 0)
    }
}
