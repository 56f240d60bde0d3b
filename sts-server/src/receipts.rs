//! Idempotency: a request that carries a key is answered once, and again with the same answer.

use std::time::Duration;

use authority::bundle::content_sha256;
use serde::Serialize;
use serde_json::Value;

use crate::{
    clock::Moment,
    error::{Code, Error, Result},
    presented::Caller,
    store::{Change, Receipt, ReceiptKey, Zone},
};

/// How long a receipt is kept under a key that the client chose.
const CHOSEN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// And under one that it made up for this request, for as long as it may try again.
const GENERATED_FOR: Duration = Duration::from_secs(600);
const MAX_KEY_BYTES: usize = 255;

/// `Idempotency-Key`, as it was sent.
#[derive(Debug)]
pub(crate) struct IdempotencyKey {
    key: String,
    generated: bool,
}

impl IdempotencyKey {
    /// A key as it stands in its header.
    pub(crate) fn new(key: &str, generated: bool) -> Result<Self> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "Idempotency-Key: expected 1 to {MAX_KEY_BYTES} bytes without control characters"
            )));
        }
        Ok(Self {
            key: key.to_owned(),
            generated,
        })
    }
}

/// The place of an answer among the receipts.
pub(crate) struct Slot {
    key: ReceiptKey,
    request_sha256: String,
}

/// What was answered before.
pub(crate) struct Replay {
    pub(crate) made_id: String,
    pub(crate) answer: Value,
}

impl Slot {
    /// Where the answer to `request` belongs.
    pub(crate) fn new(
        idempotency: IdempotencyKey,
        caller: &Caller,
        operation: &'static str,
        request: &impl Serialize,
    ) -> Result<Self> {
        let request = serde_json::to_vec(request).map_err(Error::internal)?;
        Ok(Self {
            key: ReceiptKey {
                owner: caller.owner(),
                operation,
                key_sha256: content_sha256(idempotency.key.as_bytes()),
                generated: idempotency.generated,
            },
            request_sha256: content_sha256(&request),
        })
    }

    /// What this request was answered with before, if it was.
    pub(crate) async fn replay(&self, change: &mut Change, zone: &Zone) -> Result<Option<Replay>> {
        let Some(receipt) = change.receipt(&zone.id, &self.key, Moment::now()).await? else {
            return Ok(None);
        };
        if receipt.request_sha256 != self.request_sha256 {
            return Err(Error::new(
                Code::IDEMPOTENCY_KEY_CONFLICT,
                "this Idempotency-Key was used for another request",
            ));
        }
        Ok(Some(Replay {
            made_id: receipt.made_id,
            answer: receipt.answer,
        }))
    }

    /// Keeps `answer`, as a part of the change that makes it true.
    pub(crate) async fn keep(
        self,
        change: &mut Change,
        zone: &Zone,
        most: u32,
        made_id: &str,
        answer: &Value,
    ) -> Result<()> {
        let now = Moment::now();
        change.sweep_receipts(now).await?;
        if change.count_receipts(&zone.id, &self.key).await? >= i64::from(most) {
            return Err(Error::new(
                Code::IDEMPOTENCY_RECEIPT_LIMIT_EXCEEDED,
                format!("{most} requests with an Idempotency-Key are remembered already"),
            ));
        }
        let receipt = Receipt {
            request_sha256: self.request_sha256,
            made_id: made_id.to_owned(),
            answer: answer.clone(),
            expires_at: now.plus(if self.key.generated {
                GENERATED_FOR
            } else {
                CHOSEN_FOR
            }),
        };
        Ok(change.insert_receipt(&zone.id, &self.key, &receipt).await?)
    }
}

/// The error where what was made before is not live any more.
pub(crate) fn inactive() -> Error {
    Error::new(
        Code::IDEMPOTENCY_RESULT_INACTIVE,
        "what was made under this Idempotency-Key has ended; use another key",
    )
}
