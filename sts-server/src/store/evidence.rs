//! Rows of evidence: authority records, one for every mandate, and audit events, one for every
//! exchange whatever its outcome. They are only ever added.

use authority::ids::{ApplicationId, AuthorityRecordId, ZoneId};
use serde_json::Value;
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
    /// The record of the mandate that was presented.
    pub(crate) parent_id: Option<String>,
    /// Zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
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

/// The record of an exchange's outcome.
#[derive(Clone, Debug)]
pub(crate) struct AuditEvent {
    /// Id.
    pub(crate) id: String,
    /// Zone.
    pub(crate) zone_id: ZoneId,
    /// What happened.
    pub(crate) event_type: &'static str,
    /// In which request.
    pub(crate) request_id: String,
    /// `allow` or `deny`.
    pub(crate) decision: &'static str,
    /// Of a denial.
    pub(crate) reason: Option<String>,
    /// Whether the policy came to a result, or what kept it from one.
    pub(crate) evaluation_status: String,
    /// The set that decided.
    pub(crate) policy_set_id: Option<String>,
    /// Its version.
    pub(crate) policy_set_version_id: Option<String>,
    /// The version's manifest.
    pub(crate) manifest_sha256: Option<String>,
    /// What in it decided.
    pub(crate) determining_policies: Vec<Value>,
    /// What it remarked.
    pub(crate) diagnostics: Vec<Value>,
    /// Who asked, as far as that was established; of a failed authentication, who it claimed to be.
    pub(crate) client_id: Option<String>,
    /// `sub` of the mandate.
    pub(crate) sub: Option<String>,
    /// The governed session that asked.
    pub(crate) agent_session_id: Option<String>,
    /// The delegations that it asked under, from the first.
    pub(crate) delegation_path: Vec<String>,
    /// `sid` of the mandate.
    pub(crate) sid: Option<String>,
    /// `root_sid` of the mandate.
    pub(crate) root_sid: Option<String>,
    /// `jti` of the mandate.
    pub(crate) jti: Option<String>,
    /// `use` of the mandate.
    pub(crate) mandate_use: Option<&'static str>,
    /// The scopes that were asked for.
    pub(crate) requested_scopes: Vec<String>,
    /// The resources that were asked for, and what was decided on each.
    pub(crate) resources: Vec<Value>,
    /// How long it took up to here, in microseconds.
    pub(crate) latency_us: i64,
    /// When.
    pub(crate) occurred_at: Moment,
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
        let sql = "SELECT * FROM authority_records WHERE id = ? AND zone_id = ?";
        Ok(sqlx::query_as(sql)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?)
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

    /// A new record.
    pub(crate) async fn insert_authority_record(&mut self, row: &AuthorityRecord) -> Result<()> {
        let sql = "INSERT INTO authority_records (id, root_id, parent_id, zone_id, application_id, subject,
                   jti, mandate_use, scope, targets, issued_at, expires_at, agent_session_id,
                   delegation_edge_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(row.root_id.as_str())
            .bind(&row.parent_id)
            .bind(row.zone_id.as_str())
            .bind(row.application_id.as_str())
            .bind(&row.subject)
            .bind(&row.jti)
            .bind(&row.mandate_use)
            .bind(&row.scope)
            .bind(sqlx::types::Json(&row.targets))
            .bind(row.issued_at)
            .bind(row.expires_at)
            .bind(&row.agent_session_id)
            .bind(&row.delegation_edge_id)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// A new event.
    pub(crate) async fn insert_audit_event(&mut self, row: &AuditEvent) -> Result<()> {
        let sql = "INSERT INTO audit_events (id, zone_id, event_type, request_id, decision, reason,
                   evaluation_status, policy_set_id, policy_set_version_id, manifest_sha256,
                   determining_policies, diagnostics, client_id, sub, sid, root_sid, jti, mandate_use,
                   requested_scopes, resources, latency_us, occurred_at, agent_session_id, delegation_path)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&row.id)
            .bind(row.zone_id.as_str())
            .bind(row.event_type)
            .bind(&row.request_id)
            .bind(row.decision)
            .bind(&row.reason)
            .bind(&row.evaluation_status)
            .bind(&row.policy_set_id)
            .bind(&row.policy_set_version_id)
            .bind(&row.manifest_sha256)
            .bind(sqlx::types::Json(&row.determining_policies))
            .bind(sqlx::types::Json(&row.diagnostics))
            .bind(&row.client_id)
            .bind(&row.sub)
            .bind(&row.sid)
            .bind(&row.root_sid)
            .bind(&row.jti)
            .bind(row.mandate_use)
            .bind(sqlx::types::Json(&row.requested_scopes))
            .bind(sqlx::types::Json(&row.resources))
            .bind(row.latency_us)
            .bind(row.occurred_at)
            .bind(&row.agent_session_id)
            .bind(sqlx::types::Json(&row.delegation_path))
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}
