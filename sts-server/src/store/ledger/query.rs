//! Looking for events. A search walks from the newest event on over those that have all that is asked for, and stops after
//! a bounded number of steps (see [`Walk`]).

use authority::{
    audit::{Decision, Event, EventType, OccurredAt},
    ids::ZoneId,
};

use super::{
    super::{Result, Store},
    Entry, fetch, signed,
    terms::{TermKind, term},
    walk::{MOST_STEPS, Walk},
};

/// What is looked for: events that fit everything that is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditFilter {
    /// Not before.
    pub(crate) since: Option<OccurredAt>,
    /// Not at this time or after.
    pub(crate) until: Option<OccurredAt>,
    pub(crate) request_id: Option<String>,
    pub(crate) decision: Option<Decision>,
    pub(crate) event_type: Option<EventType>,
    pub(crate) reason: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) jti: Option<String>,
    /// This session alone.
    pub(crate) agent_session_id: Option<String>,
    /// This session and those below it.
    pub(crate) session_tree: Option<String>,
    pub(crate) delegation_id: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) policy_set_version_id: Option<String>,
    pub(crate) object_id: Option<String>,
}

/// Where a search goes on: before this event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    at: i64,
    place: i64,
}

/// What was found, newest first.
#[derive(Debug)]
pub(crate) struct AuditPage {
    pub(crate) entries: Vec<(Entry, Event)>,
    pub(crate) next: Option<Cursor>,
}

impl Cursor {
    const NEWEST: Self = Self {
        at: i64::MAX,
        place: i64::MAX,
    };

    /// As it is given to clients.
    pub(crate) fn to_text(self) -> String {
        format!("{:x}-{:x}", self.at, self.place)
    }

    /// What [`to_text`](Self::to_text) gave.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (at, place) = text.split_once('-')?;
        Some(Self {
            at: i64::from_str_radix(at, 16).ok()?,
            place: i64::from_str_radix(place, 16).ok()?,
        })
    }
}

impl AuditFilter {
    /// What is looked for.
    fn terms(&self, zone: &ZoneId) -> Vec<i64> {
        use TermKind as K;
        let texts = [
            (K::Request, &self.request_id),
            (K::Mandate, &self.jti),
            (K::Object, &self.object_id),
            (K::Delegation, &self.delegation_id),
            (K::Session, &self.agent_session_id),
            (K::Session, &self.session_tree),
            (K::Client, &self.client_id),
            (K::Subject, &self.sub),
            (K::Reason, &self.reason),
            (K::Resource, &self.resource),
            (K::PolicyVersion, &self.policy_set_version_id),
        ];
        let mut asked: Vec<i64> = texts
            .into_iter()
            .filter_map(|(kind, value)| Some(term(zone, kind, value.as_ref()?)))
            .collect();
        let event_type = self.event_type.map(EventType::name);
        let decision = self.decision.map(Decision::name);
        asked.extend(event_type.map(|name| term(zone, K::Type, name)));
        asked.extend(decision.map(|name| term(zone, K::Decision, name)));
        if asked.is_empty() {
            asked.push(term(zone, K::Zone, ""));
        }
        asked
    }

    /// Whether `event` is what is looked for.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        let mandate = &event.mandate;
        let is =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let among = |wanted: &Option<String>, found: &[String]| {
            wanted.as_ref().is_none_or(|wanted| found.contains(wanted))
        };
        self.since.is_none_or(|since| event.occurred_at >= since)
            && self.until.is_none_or(|until| event.occurred_at < until)
            && self
                .request_id
                .as_ref()
                .is_none_or(|id| *id == event.request_id)
            && self
                .decision
                .is_none_or(|decision| decision == event.decision)
            && self.event_type.is_none_or(|kind| kind == event.event_type)
            && is(&self.reason, &event.reason)
            && is(&self.client_id, &mandate.client_id)
            && is(&self.sub, &mandate.sub)
            && is(&self.jti, &mandate.jti)
            && is(&self.agent_session_id, &mandate.agent_session_id)
            && (among(&self.session_tree, &mandate.session_path)
                || is(&self.session_tree, &mandate.agent_session_id))
            && among(&self.delegation_id, &mandate.delegation_path)
            && is(
                &self.policy_set_version_id,
                &event.policy.policy_set_version_id,
            )
            && self.resource.as_ref().is_none_or(|wanted| {
                let among = |resource: &serde_json::Map<String, serde_json::Value>| {
                    resource.get("identifier").and_then(|id| id.as_str()) == Some(wanted)
                };
                event.resource.as_ref() == Some(wanted) || event.resources.iter().any(among)
            })
            && self.object_id.as_ref().is_none_or(|wanted| {
                event
                    .object
                    .as_ref()
                    .is_some_and(|object| object.id == *wanted)
            })
    }
}

impl Store {
    /// Up to `limit` events that fit `filter`, newest first, from `cursor` on.
    ///
    /// # Errors
    /// [`StoreError::Database`](super::super::StoreError::Database).
    pub(crate) async fn find_events(
        &self,
        zone: &ZoneId,
        filter: &AuditFilter,
        cursor: Option<Cursor>,
        limit: u16,
    ) -> Result<AuditPage> {
        let limit = usize::from(limit);
        let from = cursor.unwrap_or(Cursor::NEWEST);
        let until = filter.until.map_or(i64::MAX, |until| signed(until.0));
        let start = (from.at, from.place).min((until, i64::MIN));
        let since = filter.since.map_or(i64::MIN, |since| signed(since.0));
        let terms = filter.terms(zone);
        let walk = Walk::over(self, zone, &terms, start, since, MOST_STEPS).await?;
        let (places, next) = walk.find(limit).await?;
        let entries = fetch(self, &places).await?.into_iter().filter_map(|entry| {
            let event: Event = serde_json::from_str(&entry.event).ok()?;
            filter.matches(&event).then_some((entry, event))
        });
        Ok(AuditPage {
            entries: entries.collect(),
            next: next.map(|(at, place)| Cursor { at, place }),
        })
    }
}
