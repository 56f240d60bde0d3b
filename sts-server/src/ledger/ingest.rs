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
            let event = checked(gateway, event)?;
            if seen.insert(event.id.clone()) {
                events.push(event);
            } else {
                taken.duplicates += 1;
            }
        }
        for events in events.chunks(TOGETHER) {
            let mut change = self.store.begin().await?;
            let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
            let known: BTreeMap<String, String> =
                change.known_events(&ids).await?.into_iter().collect();
            let mut new = Vec::with_capacity(events.len());
            for event in events {
                match known.get(&event.id) {
                    None => new.push(event.clone()),
                    Some(text) if event.canonical().is_ok_and(|own| own == *text) => {}
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
            let ledger = change.append(&gateway.zone_id, &new).await?;
            change.commit().await?;
            taken.accepted += new.len();
            self.recorded(&ledger, new.len());
        }
        Ok(taken)
    }
}

/// What a gateway may say, and under its own name only.
fn checked(gateway: &Gateway, mut event: Event) -> Result<Event> {
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
    let size = event.canonical().map_or(usize::MAX, |text| text.len());
    if size > MAX_EVENT_BYTES {
        return invalid(format!("{size} bytes, {MAX_EVENT_BYTES} at most"));
    }
    event.id = id.to_string();
    event.gateway_id = Some(gateway.id.clone());
    Ok(event)
}
