//! Retention: old events go in whole sealed segments, and the checkpoint at the end of the last one stays,
//! so that what is left can still be verified.

use authority::audit::EventType;
use serde_json::json;

use super::{before, new_event};
use crate::{clock, error::Result, provenance::Provenance, sts::Sts};

impl Sts {
    /// Removes the segments that were sealed longer ago than events are kept.
    pub(crate) async fn prune_ledgers(&self) -> Result<()> {
        let Some(kept) = self.ledger_settings.retention else {
            return Ok(());
        };
        let sealed_before = before(clock::occurred_now(), kept);
        for (ledger, seq) in self.store.segments_sealed_before(sealed_before).await? {
            if seq > ledger.pruned {
                let present = Provenance::present();
                let request_id = present.request_id().to_owned();
                let mut event = new_event(&ledger.zone_id, EventType::AuditPruned, request_id);
                event.actor = present.actor().cloned();
                let metadata = json!({"first_seq": ledger.pruned + 1, "last_seq": seq});
                event.metadata_json = metadata.as_object().cloned();
                let mut change = self.store.begin().await?;
                change.begin_pruning(&ledger, seq).await?;
                change.append(&ledger.zone_id, &[event]).await?;
                change.commit().await?;
                tracing::info!(zone = %ledger.zone_id, first = ledger.pruned + 1, last = seq, "old events are removed");
            }
            loop {
                let mut change = self.store.begin().await?;
                let removed = change.prune(&ledger).await?;
                change.commit().await?;
                if removed == 0 || *self.closing.borrow() {
                    break;
                }
            }
        }
        Ok(())
    }
}
