//! Rows of gateways. Of a token only its SHA-256 is kept: it is random, so no slow hash is needed.

use authority::ids::ZoneId;
use serde::Serialize;
use sqlx::FromRow;

use super::{Change, Page, PageRequest, Result, Store};
use crate::clock::Moment;

/// A gateway.
#[derive(Clone, Debug, Serialize, FromRow)]
pub(crate) struct Gateway {
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

impl Store {
    /// The gateway whose token has this SHA-256.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn gateway_by_token(&self, token_sha256: &str) -> Result<Option<Gateway>> {
        let read = async {
            let sql = "SELECT * FROM gateways WHERE token_sha256 = ? AND revoked_at IS NULL";
            Ok(sqlx::query_as(sql)
                .bind(token_sha256)
                .fetch_optional(&self.readers)
                .await?)
        };
        self.kept.gateways.get(token_sha256.to_owned(), read).await
    }

    /// The gateways of a zone.
    pub(crate) async fn gateways(
        &self,
        zone: &ZoneId,
        page: &PageRequest,
    ) -> Result<Page<Gateway>> {
        let sql = "SELECT * FROM gateways WHERE zone_id = ? AND id > ? AND revoked_at IS NULL
                   ORDER BY id LIMIT ?";
        let rows = sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&page.after)
            .bind(page.rows())
            .fetch_all(&self.readers)
            .await?;
        Ok(Page::from_rows(rows, page, |row: &Gateway| row.id.clone()))
    }
}

impl Change {
    /// A new gateway.
    pub(crate) async fn insert_gateway(&mut self, row: &Gateway, token_sha256: &str) -> Result<()> {
        let sql = "INSERT INTO gateways (id, zone_id, name, token_sha256, created_at) VALUES (?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(&row.id)
            .bind(row.zone_id.as_str())
            .bind(&row.name)
            .bind(token_sha256)
            .bind(row.created_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Revokes a gateway's token; false if there is none any more.
    pub(crate) async fn revoke_gateway(
        &mut self,
        zone: &ZoneId,
        id: &str,
        now: Moment,
    ) -> Result<bool> {
        let sql = "UPDATE gateways SET revoked_at = ? WHERE id = ? AND zone_id = ? AND revoked_at IS NULL";
        let done = sqlx::query(sql)
            .bind(now)
            .bind(id)
            .bind(zone.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}
