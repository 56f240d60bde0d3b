//! What came to light about a request while it was decided on, and the audit event that comes of it.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    audit::{Decision, Event, EventType, MandateFacts, OccurredAt, PolicyFacts},
    ids::ZoneId,
    mandate::Mandate,
    snapshot::PolicyOrigin,
};

/// What is known of a request; it fills up as checks are passed.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The request's id.
    pub request_id: String,
    /// Its trace context.
    pub traceparent: Option<String>,
    /// Its method.
    pub method: String,
    /// Its path, normalised.
    pub path: Option<String>,
    /// The resource that it is for.
    pub resource: Option<String>,
    /// The mandate, once it was verified.
    pub mandate: Option<Arc<Mandate>>,
    /// The policy that was asked.
    pub policy: Option<Arc<PolicyOrigin>>,
    /// What the policy said, if it came to a result.
    pub evaluated: Option<Evaluated>,
}

/// What a policy says of its result.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// What in it decided.
    pub determining_policies: Vec<Map<String, Value>>,
    /// What it remarked.
    pub diagnostics: Vec<Map<String, Value>>,
}

/// A decision on a request, apart from what is known of the request.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Id of the event.
    pub id: String,
    /// When.
    pub at: OccurredAt,
    /// Why not.
    pub reason: Option<String>,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// How many requests the event stands for, where that is not one.
    pub stands_for: Option<u64>,
    /// Whether the request had been let pass before.
    pub cut: bool,
}

impl Account {
    /// The event of a decision on the request, in `zone`.
    pub fn event(&self, zone: &ZoneId, decided: &Decided) -> Event {
        let mut event = Event::new(
            decided.id.clone(),
            zone.clone(),
            EventType::GatewayRequest,
            self.request_id.clone(),
            decided.at,
        );
        event.traceparent.clone_from(&self.traceparent);
        let reason = decided.reason.as_deref();
        if let Some(reason) = reason {
            event.decision = Decision::Deny;
            event.reason = Some(Event::text(reason));
        }
        match &self.evaluated {
            Some(evaluated) => {
                event
                    .determining_policies_json
                    .clone_from(&evaluated.determining_policies);
                event.diagnostics_json.clone_from(&evaluated.diagnostics);
            }
            None => event.evaluation_status = reason.unwrap_or("not_evaluated").to_owned(),
        }
        if let Some(origin) = &self.policy {
            event.policy = PolicyFacts {
                policy_set_id: None,
                policy_set_version_id: Some(origin.policy_set_version_id.clone()),
                manifest_sha: Some(format!("sha256:{}", origin.manifest_sha256)),
            };
        }
        if let Some(mandate) = &self.mandate {
            event.mandate = MandateFacts::from(mandate.claims());
        }
        event.resource = self.resource.as_deref().map(Event::text);
        event.method = Some(self.method.clone());
        event.path = self.path.as_deref().map(Event::text);
        event.latency_us = Some(decided.latency_us);
        event.stands_for = decided.stands_for;
        if decided.cut {
            event.action = Some("cut".to_owned());
        }
        event
    }
}
