//! Rows of idempotency receipts.

use authority::ids::ZoneId;
use serde_json::Value;
use sqlx::FromRow;

use super::{Change, Result};
use crate::clock::Moment;

/// Whose request, to do what, under which key.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptKey {
    /// An application, or empty for the operator.
    pub(crate) owner: String,
    /// What was to be made.
    pub(crate) operation: &'static str,
    /// SHA-256 of the client's key.
    pub(crate) key_sha256: String,
    /// Whether the client made the key up for this request alone.
    pub(crate) generated: bool,
}

/// What a request was answered with.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct Receipt {
    /// SHA-256 of the request.
    pub(crate) request_sha256: String,
    /// The id of what was made.
    pub(crate) made_id: String,
    /// The body.
    #[sqlx(json)]
    pub(crate) answer: Value,
    /// How long it is kept.
    pub(crate) expires_at: Moment,
}

impl Change {
    /// The receipt under this key, if it is still kept at `now`.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn receipt(
        &mut self,
        zone: &ZoneId,
        key: &ReceiptKey,
        now: Moment,
    ) -> Result<Option<Receipt>> {
        let sql =
            "SELECT * FROM idempotency_receipts WHERE zone_id = ? AND owner = ? AND operation = ?
                   AND key_sha256 = ? AND expires_at > ?";
        Ok(sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(&key.owner)
            .bind(key.operation)
            .bind(&key.key_sha256)
            .bind(now)
            .fetch_optional(&mut *self.0)
            .await?)
    }

    /// How many receipts an owner has for an operation, of keys that it chose to keep.
    pub(crate) async fn count_receipts(&mut self, zone: &ZoneId, key: &ReceiptKey) -> Result<i64> {
        let sql = "SELECT count(*) FROM idempotency_receipts WHERE zone_id = ? AND owner = ?
                   AND operation = ? AND generated = ?";
        Ok(sqlx::query_scalar(sql)
            .bind(zone.as_str())
            .bind(&key.owner)
            .bind(key.operation)
            .bind(key.generated)
            .fetch_one(&mut *self.0)
            .await?)
    }

    /// A new receipt, in the place of one that is not kept any more.
    pub(crate) async fn insert_receipt(
        &mut self,
        zone: &ZoneId,
        key: &ReceiptKey,
        receipt: &Receipt,
    ) -> Result<()> {
        let sql =
            "INSERT OR REPLACE INTO idempotency_receipts (zone_id, owner, operation, key_sha256,
                   generated, request_sha256, made_id, answer, expires_at)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
        sqlx::query(sql)
            .bind(zone.as_str())
            .bind(&key.owner)
            .bind(key.operation)
            .bind(&key.key_sha256)
            .bind(key.generated)
            .bind(&receipt.request_sha256)
            .bind(&receipt.made_id)
            .bind(sqlx::types::Json(&receipt.answer))
            .bind(receipt.expires_at)
            .execute(&mut *self.0)
            .await?;
        Ok(())
    }

    /// Forgets receipts that need not be kept at `now`.
    pub(crate) async fn sweep_receipts(&mut self, now: Moment) -> Result<u64> {
        let sql = "DELETE FROM idempotency_receipts WHERE expires_at <= ?";
        let done = sqlx::query(sql).bind(now).execute(&mut *self.0).await?;
        Ok(done.rows_affected())
    }
}
