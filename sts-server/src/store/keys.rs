//! Rows of signing keys: sealed private halves and public halves as published.

use authority::{
    ids::{KeyId, ZoneId},
    jwks::Jwk,
};
use sqlx::FromRow;

use super::{Change, Result, Store};
use crate::clock::Moment;

/// A signing key.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct KeyRow {
    /// Id.
    #[sqlx(try_from = "String")]
    pub(crate) kid: KeyId,
    /// Its zone.
    #[sqlx(try_from = "String")]
    pub(crate) zone_id: ZoneId,
    /// The private half, sealed.
    pub(crate) sealed: Vec<u8>,
    /// The public half.
    #[sqlx(json)]
    pub(crate) jwk: Jwk,
    /// Time of creation.
    pub(crate) created_at: Moment,
    /// When it begins to sign.
    pub(crate) activates_at: Moment,
}

const OF_ZONE: &str = "SELECT * FROM signing_keys WHERE zone_id = ? ORDER BY activates_at, kid";

impl Store {
    /// The keys of a zone in the order in which they sign, those out of use included.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn keys(&self, zone: &ZoneId) -> Result<Vec<KeyRow>> {
        let read = async {
            let rows: Vec<KeyRow> = sqlx::query_as(OF_ZONE)
                .bind(zone.as_str())
                .fetch_all(&self.readers)
                .await?;
            Ok((!rows.is_empty()).then_some(rows))
        };
        let rows = self.kept.keys.get(zone.clone(), read).await?;
        Ok(rows.unwrap_or_default())
    }

    /// The keys of all zones, those of one zone together and in the order in which they sign.
    pub(crate) async fn all_keys(&self) -> Result<Vec<KeyRow>> {
        let sql = "SELECT signing_keys.* FROM signing_keys JOIN zones ON zones.id = zone_id
                   WHERE archived_at IS NULL ORDER BY zone_id, activates_at, kid";
        Ok(sqlx::query_as(sql).fetch_all(&self.readers).await?)
    }

    /// Any key: if it opens, the others do.
    pub(crate) async fn any_key(&self) -> Result<Option<KeyRow>> {
        Ok(sqlx::query_as("SELECT * FROM signing_keys LIMIT 1")
            .fetch_optional(&self.readers)
            .await?)
    }
}

impl Change {
    /// The keys of a zone in the order in which they sign, those out of use included.
    pub(crate) async fn keys(&mut self, zone: &ZoneId) -> Result<Vec<KeyRow>> {
        Ok(sqlx::query_as(OF_ZONE)
            .bind(zone.as_str())
            .fetch_all(&mut *self.0)
            .await?)
    }

    /// A new key.
    pub(crate) async fn insert_key(&mut self, row: &KeyRow) -> Result<()> {
        let sql = "INSERT INTO signing_keys (kid, zone_id, sealed, jwk, created_at, activates_at)
                   VALUES (?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(row.kid.as_str())
            .bind(row.zone_id.as_str())
            .bind(&row.sealed)
            .bind(sqlx::types::Json(&row.jwk))
            .bind(row.created_at)
            .bind(row.activates_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Removes a key that is out of use for good.
    pub(crate) async fn delete_key(&mut self, kid: &KeyId) -> Result<()> {
        sqlx::query("DELETE FROM signing_keys WHERE kid = ?")
            .bind(kid.as_str())
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }
}
