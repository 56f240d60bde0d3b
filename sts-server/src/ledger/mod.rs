//! The ledger of a zone: what goes into it beside decisions, where it stood when, and how it is read.

mod batch;
mod checkpoints;
mod explain;
mod export;
mod ingest;
mod retention;
mod unrecorded;

use std::time::Duration;

use authority::{
    audit::{Event, EventType, MandateFacts, Object, OccurredAt},
    ids::ZoneId,
};
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::{
    batch::Batch,
    checkpoints::Checkpoints,
    explain::shown,
    export::{Export, ExportRange, Resume},
    ingest::Taken,
    unrecorded::Unrecorded,
};
use crate::{
    clock, entropy,
    error::{Error, Result},
    provenance::Provenance,
    store::{Change, DelegationRow, LedgerHead, SessionRow},
    sts::Sts,
};

/// How evidence is kept.
#[derive(Clone, Copy, Debug)]
pub struct LedgerSettings {
    /// How long sealed events are kept; without it, for ever.
    pub retention: Option<Duration>,
    /// Events after which a segment is sealed.
    pub segment_events: u64,
    /// How long a ledger that grows is without a checkpoint at most.
    pub checkpoint_interval: Duration,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            retention: None,
            segment_events: 100_000,
            checkpoint_interval: Duration::from_secs(10),
        }
    }
}

/// A change to a zone, as evidence tells of it.
pub(crate) struct Changed {
    event_type: EventType,
    /// `application.create`: what kind of thing, and what became of it.
    action: &'static str,
    id: String,
    before: Option<Value>,
    after: Option<Value>,
    mandate: MandateFacts,
}

impl Changed {
    /// Something that belongs to what a zone consists of.
    pub(crate) fn new(action: &'static str, id: impl ToString) -> Self {
        Self {
            event_type: EventType::AdminChange,
            action,
            id: id.to_string(),
            before: None,
            after: None,
            mandate: MandateFacts::default(),
        }
    }

    /// A session.
    pub(crate) fn session(action: &'static str, row: &SessionRow) -> Self {
        let mut changed = Self::new(action, &row.id).of_type(EventType::Session);
        changed.mandate = MandateFacts {
            client_id: Some(row.application_id.to_string()),
            sub: Some(row.subject.clone()),
            agent_session_id: Some(row.id.to_string()),
            session_path: row.path.clone(),
            ..MandateFacts::default()
        };
        changed
    }

    /// A delegation.
    pub(crate) fn delegation(action: &'static str, row: &DelegationRow) -> Self {
        let mut changed = Self::new(action, &row.id).of_type(EventType::Delegation);
        changed.mandate = MandateFacts {
            client_id: Some(row.issuer_application_id.to_string()),
            agent_session_id: Some(row.source_session_id.to_string()),
            delegation_path: row.path.clone(),
            ..MandateFacts::default()
        };
        changed
    }

    /// With another type of event.
    #[must_use]
    pub(crate) fn of_type(mut self, event_type: EventType) -> Self {
        self.event_type = event_type;
        self
    }

    /// With what it was before: a view that shows no secret.
    #[must_use]
    pub(crate) fn before(mut self, view: &impl Serialize) -> Self {
        self.before = serde_json::to_value(view).ok();
        self
    }

    /// With what it is now: a view that shows no secret.
    #[must_use]
    pub(crate) fn after(mut self, view: &impl Serialize) -> Self {
        self.after = serde_json::to_value(view).ok();
        self
    }

    pub(crate) fn into_event(self, zone: &ZoneId) -> Event {
        let present = Provenance::present();
        let mut event = new_event(zone, self.event_type, present.request_id().to_owned());
        event.traceparent = present.traceparent().map(str::to_owned);
        event.actor = present.actor().cloned();
        let kind = self.action.split('.').next().unwrap_or_default();
        event.object = Some(Object {
            kind: kind.to_owned(),
            id: Event::text(&self.id),
        });
        event.action = Some(self.action.to_owned());
        event.mandate = self.mandate;
        event.before = self.before;
        event.after = self.after;
        event
    }
}

/// An event that happens now.
pub(crate) fn new_event(zone: &ZoneId, event_type: EventType, request_id: String) -> Event {
    let now = clock::occurred_now();
    Event::new(entropy::id(), zone.clone(), event_type, request_id, now)
}

impl Change {
    /// Writes down a change, as a part of it.
    pub(crate) async fn record(&mut self, zone: &ZoneId, changed: Changed) -> Result<()> {
        self.record_all(zone, vec![changed]).await
    }

    /// Writes down several changes, in order.
    pub(crate) async fn record_all(&mut self, zone: &ZoneId, changed: Vec<Changed>) -> Result<()> {
        let events: Vec<Event> = changed
            .into_iter()
            .map(|changed| changed.into_event(zone))
            .collect();
        self.append(zone, &events).await.map_err(Error::from)?;
        Ok(())
    }
}

impl Sts {
    /// Decisions were written down: tells those who wait for them.
    pub(crate) fn recorded(&self, ledger: &LedgerHead, events: usize) {
        self.metrics.audited(events);
        self.checkpoints.moved(ledger, events);
        self.audit_news.announce(&ledger.zone_id);
    }
}

/// `at` as far before as `age` says.
fn before(at: OccurredAt, age: Duration) -> OccurredAt {
    let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
    OccurredAt(at.0.saturating_sub(micros))
}
