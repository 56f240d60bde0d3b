//! Rows of policy sets and their versions. A version never changes; what was compiled is kept with it.

use authority::{
    ids::{PolicySetId, PolicySetVersionId, ZoneId},
    policy::{Compiled, ModuleDigest, PolicyKind},
};
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A policy set: a name for a sequence of manifests.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct PolicySet {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: PolicySetId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// Name, unique in the zone.
    pub(crate) name: String,
    /// Its version that is in force, if it is the zone's set.
    pub(crate) active_version_id: Option<String>,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

const SETS: &str = "SELECT s.*, v.id AS active_version_id FROM policy_sets AS s
    JOIN zones AS z ON z.id = s.zone_id
    LEFT JOIN policy_set_versions AS v ON v.id = z.active_policy_set_version_id AND v.policy_set_id = s.id
    WHERE s.zone_id = ?";

/// One version of a policy set.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct PolicySetVersion {
    /// Id.
    #[sqlx(try_from = "String")]
    #[serde(rename = "version_id")]
    pub(crate) id: PolicySetVersionId,
    /// Its set.
    #[sqlx(try_from = "String")]
    pub(crate) policy_set_id: PolicySetId,
    /// From 1.
    pub(crate) version: i64,
    /// Policy versions, in order.
    #[sqlx(json)]
    pub(crate) manifest: Vec<ManifestEntry>,
    /// SHA-256 over the manifest.
    pub(crate) manifest_sha256: String,
    /// Data or authored.
    #[sqlx(json)]
    pub(crate) kind: PolicyKind,
    /// What was compiled.
    #[sqlx(json)]
    pub(crate) modules: Vec<ModuleDigest>,
    /// By what.
    pub(crate) compiler: String,
    /// Bytecode.
    #[serde(skip)]
    pub(crate) program: Vec<u8>,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestEntry {
    /// The policy version.
    pub(crate) policy_version_id: String,
}

impl Store {
    /// The policy set with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn policy_set(&self, zone: &ZoneId, id: &str) -> Result<Option<PolicySet>> {
        let sql = format!("{SETS} AND s.id = ?");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(zone.as_str())
            .bind(id)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The policy sets of a zone.
    pub(crate) async fn policy_sets(
        &self,
        zone: &ZoneId,
        page: &PageRequest,
    ) -> Result<Page<PolicySet>> {
        let sql = format!("{SETS} AND s.id > ? ORDER BY s.id LIMIT ?");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &PolicySet| {
            row.id.to_string()
        }))
    }

    /// The versions of a policy set.
    pub(crate) async fn policy_set_versions(
        &self,
        set: &PolicySetId,
        page: &PageRequest,
    ) -> Result<Page<PolicySetVersion>> {
        let sql = "SELECT * FROM policy_set_versions WHERE policy_set_id = ? AND id > ? ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(set.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &PolicySetVersion| {
            row.id.to_string()
        }))
    }

    /// A version of any policy set of this zone.
    pub(crate) async fn policy_set_version(
        &self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<PolicySetVersion>> {
        let sql = "SELECT * FROM policy_set_versions WHERE id = ? AND zone_id = ?";
        Ok(sqlx::query_as(sql)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The active versions and shadows of all zones that another compiler made, as zone and version.
    pub(crate) async fn used_versions_not_by(
        &self,
        compiler: &str,
    ) -> Result<Vec<(String, String)>> {
        let sql = "SELECT zones.id, policy_set_versions.id FROM zones JOIN policy_set_versions
                   ON policy_set_versions.id IN (active_policy_set_version_id, shadow_policy_set_version_id)
                   WHERE compiler <> ? AND zones.archived_at IS NULL";
        Ok(sqlx::query_as(sql)
            .bind(compiler)
            .fetch_all(&self.readers)
            .await?)
    }
}

impl Change {
    /// A new policy set.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the name.
    pub(crate) async fn insert_policy_set(&mut self, row: &PolicySet) -> Result<()> {
        sqlx::query("INSERT INTO policy_sets (id, zone_id, name, created_at) VALUES (?, ?, ?, ?)")
            .bind(row.id.as_str())
            .bind(row.zone_id.as_str())
            .bind(&row.name)
            .bind(row.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// The version of a set that this compiler made of this manifest.
    pub(crate) async fn policy_set_version_of_manifest(
        &mut self,
        set: &PolicySetId,
        manifest_sha256: &str,
        compiler: &str,
    ) -> Result<Option<PolicySetVersion>> {
        let sql =
            "SELECT * FROM policy_set_versions WHERE policy_set_id = ? AND manifest_sha256 = ?
                   AND compiler = ? ORDER BY version DESC LIMIT 1";
        Ok(sqlx::query_as(sql)
            .bind(set.as_str())
            .bind(manifest_sha256)
            .bind(compiler)
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// A new version, which gets the next number.
    pub(crate) async fn insert_policy_set_version(
        &mut self,
        zone: &ZoneId,
        row: &mut PolicySetVersion,
    ) -> Result<()> {
        let sql = "INSERT INTO policy_set_versions (id, policy_set_id, zone_id, version, manifest,
                   manifest_sha256, kind, modules, compiler, program, created_at)
                   VALUES (?1, ?2, ?3, 1 + (SELECT coalesce(max(version), 0) FROM policy_set_versions
                   WHERE policy_set_id = ?2), ?4, ?5, ?6, ?7, ?8, ?9, ?10) RETURNING version";
        row.version = sqlx::query_scalar(sql)
            .bind(row.id.as_str())
            .bind(row.policy_set_id.as_str())
            .bind(zone.as_str())
            .bind(sqlx::types::Json(&row.manifest))
            .bind(&row.manifest_sha256)
            .bind(sqlx::types::Json(row.kind))
            .bind(sqlx::types::Json(&row.modules))
            .bind(&row.compiler)
            .bind(&row.program)
            .bind(row.created_at)
            .fetch_one(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Keeps what another compiler made of a version.
    pub(crate) async fn recompile_policy_set_version(
        &mut self,
        row: &PolicySetVersion,
    ) -> Result<()> {
        let sql =
            "UPDATE policy_set_versions SET modules = ?, compiler = ?, program = ? WHERE id = ?";
        sqlx::query(sql)
            .bind(sqlx::types::Json(&row.modules))
            .bind(&row.compiler)
            .bind(&row.program)
            .bind(row.id.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}

impl PolicySetVersion {
    /// What was compiled, as the decision core knows it.
    pub(crate) fn compiled(&self) -> Compiled {
        Compiled {
            program: self.program.clone(),
            kind: self.kind,
            modules: self.modules.clone(),
            compiler: self.compiler.clone(),
            notes: Vec::new(), // told when it was compiled
        }
    }
}
