//! Rows of policy inputs: what recent exchanges were decided on, for trying other policies on it. An
//! input holds claims and never a token.

use authority::{decision::shadow::Verdict, ids::ZoneId};
use serde::Serialize;
use serde_json::Value;
use sqlx::FromRow;

use super::{Result, Store};
use crate::clock::Moment;

/// How many inputs of a zone are sure to be kept.
pub(crate) const KEPT_INPUTS: u16 = 1000;

/// What one resource of an exchange was decided on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyInputRow {
    /// The resource's identifier.
    pub(crate) resource: String,
    /// What the policy in force said.
    pub(crate) verdict: Verdict,
    /// The input document.
    pub(crate) input: Value,
}

/// An input with the exchange that it belongs to.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct RecordedInput {
    /// The exchange's request id.
    pub(crate) request_id: String,
    /// When it was.
    pub(crate) occurred_at: Moment,
    /// The resource's identifier.
    pub(crate) resource: String,
    /// What the policy said that was in force then.
    #[sqlx(json)]
    pub(crate) verdict: Verdict,
    /// The input document.
    #[sqlx(json)]
    pub(crate) input: Value,
}

impl Store {
    /// The newest `most` inputs of a zone, newest first.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::StoreError::Database), here and below.
    pub(crate) async fn recorded_inputs(
        &self,
        zone: &ZoneId,
        most: u16,
    ) -> Result<Vec<RecordedInput>> {
        let sql = "SELECT request_id, occurred_at, resource, verdict, input FROM policy_inputs
                   WHERE zone_id = ? ORDER BY id DESC LIMIT ?";
        Ok(sqlx::query_as(sql)
            .bind(zone.as_str())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await?)
    }
}
