//! What gateways decided, as they tell of it: in batches, each event once however often it is sent.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

use authority::audit::{EventType, Facts};
use serde::Serialize;
use uuid::Uuid;

use super::batch::{Batch, Told};
use crate::{
    error::{Code, Error, Result},
    store::{Gateway, StoreError},
    sts::Sts,
};

/// Most events in one batch.
pub(crate) const MAX_EVENTS: usize = 1_000;
/// Largest event in canonical form.
const MAX_EVENT_BYTES: usize = 16 * 1024;
/// What an event becomes longer by when it is said who brought it.
const GATEWAY_BYTES: usize = 64;
/// Events that one change adds, so that it keeps nobody waiting.
const TOGETHER: usize = 500;

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
    pub(crate) async fn take_decisions(
        &self,
        gateway: &Gateway,
        mut batch: Batch<'_>,
    ) -> Result<Taken> {
        if batch.events.len() > MAX_EVENTS {
            return Err(Error::new(
                Code::PAYLOAD_TOO_LARGE,
                format!("events: {MAX_EVENTS} at most"),
            ));
        }
        // In canonical form, one after the other.
        let mut texts = String::with_capacity(batch.size + batch.events.len() * GATEWAY_BYTES);
        let mut places: Vec<Range<usize>> = Vec::with_capacity(batch.events.len());
        for told in &mut batch.events {
            let begin = texts.len();
            check(gateway, told, &mut texts)?;
            places.push(begin..texts.len());
        }
        let told: Vec<_> = batch.events.iter().map(Told::facts).collect();
        // A gateway's ids go up, and then all are different.
        let goes_up = told.is_sorted_by(|one, other| one.id < other.id);
        let mut seen = HashSet::new();
        let events = told.iter().zip(places);
        let events: Vec<(&Facts<'_>, &str)> = events
            .filter(|(facts, _)| goes_up || seen.insert(facts.id))
            .map(|(facts, place)| (&**facts, texts.get(place).unwrap_or_default()))
            .collect();
        let mut taken = Taken {
            accepted: 0,
            duplicates: batch.events.len() - events.len(),
        };
        for events in events.chunks(TOGETHER) {
            let accepted = self.take(gateway, events).await?;
            taken.accepted += accepted;
            taken.duplicates += events.len() - accepted;
        }
        Ok(taken)
    }

    /// Writes those that are not there yet. How many.
    async fn take(&self, gateway: &Gateway, events: &[(&Facts<'_>, &str)]) -> Result<usize> {
        let zone = &gateway.zone_id;
        let change = self.store.begin_late().await?;
        let mut new = events.to_vec();
        let ledger = match change.append_written_and_commit(zone, &new).await {
            // Some are there already, which is looked into only when it happens.
            Err(StoreError::Conflict) => {
                let mut change = self.store.begin_late().await?;
                let ids: Vec<&str> = events.iter().map(|(facts, _)| facts.id).collect();
                let known = change.known_events(&ids).await?;
                let known: BTreeMap<String, String> = known.into_iter().collect();
                new.clear();
                for (facts, text) in events {
                    let id = facts.id;
                    match known.get(id) {
                        None => new.push((*facts, *text)),
                        Some(known) if known == text => {}
                        Some(_) => {
                            return Err(Error::new(
                                Code::AUDIT_EVENT_CONFLICT,
                                format!("another event has the id {id}"),
                            ));
                        }
                    }
                }
                if new.is_empty() {
                    return Ok(0);
                }
                change.append_written_and_commit(zone, &new).await?
            }
            appended => appended?,
        };
        for (facts, text) in &new {
            self.telemetry.decided(facts.traceparent, text);
        }
        self.recorded(&ledger, new.len());
        Ok(new.len())
    }
}

/// What a gateway may say, and under its own name only. Adds its canonical form to `texts`.
fn check(gateway: &Gateway, told: &mut Told<'_>, texts: &mut String) -> Result<()> {
    let facts = told.facts();
    let Ok(id) = Uuid::try_parse(facts.id) else {
        return Err(Error::invalid("events: an id that is no UUID"));
    };
    let invalid = |what: &str| Err(Error::invalid(format!("events: {id}: {what}")));
    if facts.zone_id != gateway.zone_id.as_str() {
        return invalid("of another zone");
    }
    if !matches!(
        facts.event_type,
        EventType::GatewayRequest | EventType::AuditGap
    ) {
        return invalid("a gateway tells of requests and of gaps");
    }
    let begin = texts.len();
    match told {
        // It has neither actor nor object.
        Told::Sent(sent) => sent.write(&gateway.id, texts),
        Told::Parsed(event) => {
            if event.actor.is_some() || event.object.is_some() {
                return invalid("a gateway changes nothing");
            }
            event.id = id.to_string();
            event.gateway_id = Some(gateway.id.clone());
            texts.push_str(&event.canonical().map_err(Error::internal)?);
        }
    }
    let size = texts.len() - begin;
    if size > MAX_EVENT_BYTES {
        return Err(Error::invalid(format!(
            "events: {id}: {size} bytes, {MAX_EVENT_BYTES} at most"
        )));
    }
    Ok(())
}
