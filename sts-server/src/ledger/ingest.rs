//! What gateways decided, as they tell of it: in batches, each event once however often it is sent.

use std::collections::{BTreeMap, BTreeSet};

use authority::audit::{Event, EventType};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    error::{Code, Error, Result},
    store::Gateway,
    sts::Sts,
};

/// Most events in one batch.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Largest event in canonical form.
const MAX_EVENT_BYTES: usize = 16 * 1024;
/// Events that one change adds, so that it keeps nobody waiting.
const TOGETHER: usize = 250;

/// A batch of events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    events: Vec<Event>,
}

/// What became of a batch.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Taken {
    /// Written to the ledger.
    accepted: usize,
    /// Written before.
    duplicates: usize,
}

impl Sts {
    /// Writes a gateway's events to the ledger of its zone. When it returns they are on disk.
    pub(crate) async fn take_decisions(&self, gateway: &Gateway, batch: Batch) -> Result<Taken> {
        if batch.events.len() > MAX_EVENTS {
            return Err(Error::new(
                Code::PAYLOAD_TOO_LARGE,
                format!("events: {MAX_EVENTS} at most"),
            ));
        }
        let mut seen = BTreeSet::new();
        let mut events = Vec::with_capacity(batch.events.len());
        let mut taken = Taken::default();
        for event in batch.events {
            let (event, text) = checked(gateway, event)?;
            if seen.insert(event.id.clone()) {
                events.push((event, text));
            } else {
                taken.duplicates += 1;
            }
        }
        for events in events.chunks(TOGETHER) {
            let mut change = self.store.begin().await?;
            let ids: Vec<&str> = events.iter().map(|(event, _)| event.id.as_str()).collect();
            let known: BTreeMap<String, String> =
                change.known_events(&ids).await?.into_iter().collect();
            let mut new = Vec::with_capacity(events.len());
            for (event, text) in events {
                match known.get(&event.id) {
                    None => new.push((event, text.as_str())),
                    Some(known) if known == text => {}
                    Some(_) => {
                        return Err(Error::new(
                            Code::AUDIT_EVENT_CONFLICT,
                            format!("another event has the id {}", event.id),
                        ));
                    }
                }
            }
            taken.duplicates += events.len() - new.len();
            if new.is_empty() {
                continue;
            }
            let accepted = new.len();
            let ledger = change.append_written(&gateway.zone_id, &new).await?;
            change.commit().await?;
            for (event, _) in new {
                self.telemetry.decided(event);
            }
            taken.accepted += accepted;
            self.recorded(&ledger, accepted);
        }
        Ok(taken)
    }
}

/// What a gateway may say, and under its own name only; with its canonical form.
fn checked(gateway: &Gateway, mut event: Event) -> Result<(Event, String)> {
    let invalid = |text: String| Err(Error::invalid(format!("events: {}: {text}", event.id)));
    let Ok(id) = Uuid::try_parse(&event.id) else {
        return Err(Error::invalid("events: an id that is no UUID"));
    };
    if event.zone_id != gateway.zone_id {
        return invalid("of another zone".to_owned());
    }
    if !matches!(
        event.event_type,
        EventType::GatewayRequest | EventType::AuditGap
    ) {
        return invalid("a gateway tells of requests and of gaps".to_owned());
    }
    if event.actor.is_some() || event.object.is_some() {
        return invalid("a gateway changes nothing".to_owned());
    }
    event.id = id.to_string();
    event.gateway_id = Some(gateway.id.clone());
    let text = event.canonical().map_err(Error::internal)?;
    if text.len() > MAX_EVENT_BYTES {
        let (size, id) = (text.len(), &event.id);
        return Err(Error::invalid(format!(
            "events: {id}: {size} bytes, {MAX_EVENT_BYTES} at most"
        )));
    }
    Ok((event, text))
}
