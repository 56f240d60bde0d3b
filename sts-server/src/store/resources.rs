//! Rows of resources.

use authority::{
    ids::{ApplicationId, ResourceId, ZoneId},
    resource::{Forward, Operation, OperationEnforcement, ResourceSpec},
};
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A resource.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct ResourceRow {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) id: ResourceId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// Name for people.
    pub(crate) name: String,
    /// URI that mandates name it by.
    pub(crate) identifier: String,
    /// Its scopes.
    #[sqlx(json)]
    pub(crate) scopes: Vec<String>,
    /// Its operations.
    #[sqlx(json)]
    pub(crate) operations: Vec<Operation>,
    /// What happens outside its operations.
    #[sqlx(json)]
    pub(crate) operation_enforcement: OperationEnforcement,
    /// Whether a mandate for it is good for one request only.
    pub(crate) single_use: bool,
    /// Whether an answer that goes on and on ends with the mandate.
    pub(crate) end_streams_at_expiry: bool,
    /// Applications that must be in the chain of whoever calls.
    #[sqlx(json)]
    pub(crate) require_chain_contains: Vec<ApplicationId>,
    /// What the upstream sees in `Authorization`.
    #[sqlx(json(nullable))]
    pub(crate) forward: Option<Forward>,
    /// Where it really is; for people and tools, nothing is sent there from here.
    pub(crate) upstream_url: Option<String>,
    /// Time of creation.
    pub(crate) created_at: Moment,
}

impl ResourceRow {
    /// The resource as the decision core knows it.
    pub(crate) fn spec(&self) -> ResourceSpec {
        ResourceSpec {
            id: self.id.clone(),
            identifier: self.identifier.clone(),
            scopes: self.scopes.clone(),
            operations: self.operations.clone(),
            operation_enforcement: self.operation_enforcement,
            single_use: self.single_use,
            end_streams_at_expiry: self.end_streams_at_expiry,
            require_chain_contains: self.require_chain_contains.clone(),
            forward: self.forward,
        }
    }
}

const ONE: &str = "SELECT * FROM resources WHERE id = ? AND zone_id = ? AND archived_at IS NULL";

impl Store {
    /// The resource with this id in this zone.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn resource(&self, zone: &ZoneId, id: &str) -> Result<Option<ResourceRow>> {
        Ok(sqlx::query_as(ONE)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The resource with this identifier in this zone.
    pub(crate) async fn resource_by_identifier(
        &self,
        zone: &ZoneId,
        identifier: &str,
    ) -> Result<Option<ResourceRow>> {
        let sql =
            "SELECT * FROM resources WHERE identifier = ? AND zone_id = ? AND archived_at IS NULL";
        let read = async {
            Ok(sqlx::query_as(sql)
                .bind(identifier)
                .bind(zone.as_str())
                .fetch_optional(&self.readers)
                .await?)
        };
        let key = (zone.clone(), identifier.to_owned());
        self.kept.resources.get(key, read).await
    }

    /// The resources of a zone.
    pub(crate) async fn resources(
        &self,
        zone: &ZoneId,
        page: &PageRequest,
    ) -> Result<Page<ResourceRow>> {
        let sql = "SELECT * FROM resources WHERE zone_id = ? AND id > ? AND archived_at IS NULL
                   ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &ResourceRow| {
            row.id.to_string()
        }))
    }
}

impl Change {
    /// The resource with this id in this zone, as it stands within this change.
    pub(crate) async fn resource(
        &mut self,
        zone: &ZoneId,
        id: &str,
    ) -> Result<Option<ResourceRow>> {
        Ok(sqlx::query_as(ONE)
            .bind(id)
            .bind(zone.as_str())
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// A new resource.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the identifier.
    pub(crate) async fn insert_resource(&mut self, row: &ResourceRow) -> Result<()> {
        let sql = "INSERT INTO resources (id, zone_id, name, identifier, scopes, operations,
                   operation_enforcement, upstream_url, created_at, single_use, require_chain_contains, forward,
                   end_streams_at_expiry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.id.as_str())
            .bind(row.zone_id.as_str())
            .bind(&row.name)
            .bind(&row.identifier)
            .bind(sqlx::types::Json(&row.scopes))
            .bind(sqlx::types::Json(&row.operations))
            .bind(sqlx::types::Json(row.operation_enforcement))
            .bind(&row.upstream_url)
            .bind(row.created_at)
            .bind(row.single_use)
            .bind(sqlx::types::Json(&row.require_chain_contains))
            .bind(row.forward.map(sqlx::types::Json))
            .bind(row.end_streams_at_expiry)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Writes a resource anew; false if there is none any more.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](super::StoreError::Conflict): the identifier.
    pub(crate) async fn update_resource(&mut self, row: &ResourceRow) -> Result<bool> {
        let sql = "UPDATE resources SET name = ?, identifier = ?, scopes = ?, operations = ?,
                   operation_enforcement = ?, upstream_url = ?, single_use = ?,
                   require_chain_contains = ?, forward = ?, end_streams_at_expiry = ? WHERE id = ? AND archived_at IS NULL";
        let done = sqlx::query(sql)
            .bind(&row.name)
            .bind(&row.identifier)
            .bind(sqlx::types::Json(&row.scopes))
            .bind(sqlx::types::Json(&row.operations))
            .bind(sqlx::types::Json(row.operation_enforcement))
            .bind(&row.upstream_url)
            .bind(row.single_use)
            .bind(sqlx::types::Json(&row.require_chain_contains))
            .bind(row.forward.map(sqlx::types::Json))
            .bind(row.end_streams_at_expiry)
            .bind(row.id.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Archives a resource; false if there is none any more.
    pub(crate) async fn archive_resource(
        &mut self,
        zone: &ZoneId,
        id: &str,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE resources SET archived_at = ? WHERE id = ? AND zone_id = ? AND archived_at IS NULL";
        let done = sqlx::query(sql)
            .bind(now)
            .bind(id)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
