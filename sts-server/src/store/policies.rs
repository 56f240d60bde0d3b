//! Rows of policies and their versions. A version never changes.

use authority::{ids::ZoneId, policy::PolicyKind};
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A policy: a name for a sequence of versions.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct Policy {
    /// Id.
    pub(crate) id: String,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// Name.
    pub(crate) name: String,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

/// One version of a policy.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct PolicyVersion {
    /// Id.
    pub(crate) id: String,
    /// Its policy.
    pub(crate) policy_id: String,
    /// From 1.
    pub(crate) version: i64,
    /// The text; left out where only the fact of the version is told.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) content: String,
    /// SHA-256 of the text.
    pub(crate) content_sha256: String,
    /// Data or authored.
    #[sqlx(json)]
    pub(crate) kind: PolicyKind,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

/// A version together with its policy's name.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct NamedVersion {
    /// The policy's name.
    pub(crate) name: String,
    /// The version.
    #[sqlx(flatten)]
    pub(crate) version: PolicyVersion,
}

impl Store {
    /// The policy with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn policy(&self, zone: &ZoneId, id: &str) -> Result<Option<Policy>> {
        let sql = "SELECT * FROM policies WHERE id = ? AND zone_id = ?";
        Ok(sqlx::query_as(sql)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The policies of a zone.
    pub(crate) async fn policies(&self, zone: &ZoneId, page: &PageRequest) -> Result<Page<Policy>> {
        let sql = "SELECT * FROM policies WHERE zone_id = ? AND id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &Policy| row.id.clone()))
    }

    /// The versions of a policy.
    pub(crate) async fn policy_versions(
        &self,
        policy: &str,
        page: &PageRequest,
    ) -> Result<Page<PolicyVersion>> {
        let sql =
            "SELECT * FROM policy_versions WHERE policy_id = ? AND id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(policy)
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &PolicyVersion| {
            row.id.clone()
        }))
    }

    /// The last versions of a policy, the newest first and without their texts.
    pub(crate) async fn latest_policy_versions(&self, policy: &str) -> Result<Vec<PolicyVersion>> {
        let sql = "SELECT id, policy_id, version, '' AS content, content_sha256, kind, created_at
                   FROM policy_versions WHERE policy_id = ? ORDER BY version DESC LIMIT 100";
        Ok(sqlx::query_as(sql)
            .bind(policy)
            .fetch_all(&self.readers)
            .await?)
    }

    /// A version of any policy of this zone, with the policy's name.
    pub(crate) async fn policy_version(
        &self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<NamedVersion>> {
        let sql = "SELECT policies.name, policy_versions.* FROM policy_versions
                   JOIN policies ON policies.id = policy_versions.policy_id
                   WHERE policy_versions.id = ? AND policy_versions.zone_id = ?";
        Ok(sqlx::query_as(sql)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?)
    }
}

impl Change {
    /// A new policy.
    pub(crate) async fn insert_policy(&mut self, row: &Policy) -> Result<()> {
        sqlx::query("INSERT INTO policies (id, zone_id, name, created_at) VALUES (?, ?, ?, ?)")
            .bind(&row.id)
            .bind(row.zone_id.as_str())
            .bind(&row.name)
            .bind(row.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// The newest version of a policy.
    pub(crate) async fn newest_policy_version(
        &mut self,
        policy: &str,
    ) -> Result<Option<PolicyVersion>> {
        let sql = "SELECT * FROM policy_versions WHERE policy_id = ? ORDER BY version DESC LIMIT 1";
        Ok(sqlx::query_as(sql)
            .bind(policy)
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// A new version, which gets the next number.
    pub(crate) async fn insert_policy_version(
        &mut self,
        zone: &ZoneId,
        row: &mut PolicyVersion,
    ) -> Result<()> {
        let sql = "INSERT INTO policy_versions
                   (id, policy_id, zone_id, version, content, content_sha256, kind, created_at)
                   VALUES (?1, ?2, ?3, 1 + (SELECT coalesce(max(version), 0) FROM policy_versions
                   WHERE policy_id = ?2), ?4, ?5, ?6, ?7) RETURNING version";
        row.version = sqlx::query_scalar(sql)
            .bind(&row.id)
            .bind(&row.policy_id)
            .bind(zone.as_str())
            .bind(&row.content)
            .bind(&row.content_sha256)
            .bind(sqlx::types::Json(row.kind))
            .bind(row.created_at)
            .fetch_one(&mut *self.0)
            .await?;
        Ok(())
    }
}
