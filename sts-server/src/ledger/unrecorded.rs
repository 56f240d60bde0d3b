//! Refusals past a limit: a flood of them becomes no flood of events, but one event that says how many
//! there were.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use authority::{
    audit::{Decision, EventType},
    ids::ZoneId,
};

use super::new_event;
use crate::{error::Result, provenance::Provenance, sts::Sts};

/// How many there were since it was last written down.
#[derive(Default)]
pub(crate) struct Unrecorded(Mutex<BTreeMap<ZoneId, u64>>);

impl Unrecorded {
    /// One more.
    pub(crate) fn count(&self, zone: &ZoneId) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(zone.clone()).or_default() += 1;
    }

    fn take(&self) -> BTreeMap<ZoneId, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, zone: ZoneId, count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(zone).or_default() += count;
    }
}

impl Sts {
    /// Writes down how many refusals there were past the limits.
    pub(super) async fn record_unrecorded(&self) -> Result<()> {
        for (zone, count) in self.unrecorded.take() {
            let request_id = Provenance::present().request_id().to_owned();
            let mut event = new_event(&zone, EventType::TokenExchange, request_id);
            event.decision = Decision::Deny;
            event.reason = Some("rate_limited".to_owned());
            event.evaluation_status = "rate_limited".to_owned();
            event.stands_for = Some(count);
            let written = async {
                let mut change = self.store.begin().await?;
                change.append(&zone, &[event]).await?;
                change.commit().await
            };
            if let Err(error) = written.await {
                self.unrecorded.put_back(zone, count);
                return Err(error.into());
            }
        }
        Ok(())
    }
}
