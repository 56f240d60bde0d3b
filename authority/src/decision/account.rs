//! What came to light about a request while it was decided on, and the audit event that comes of it.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::{
    audit::{Decision, Event, EventType, MandateFacts, OccurredAt, PolicyFacts},
    ids::ZoneId,
    mandate::Mandate,
    policy::PolicyResult,
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
    /// Its path, normalised and [cut](Event::text).
    pub path: Option<String>,
    /// The resource that it is for, [cut](Event::text): nobody may have heard of it.
    pub resource: Option<String>,
    /// The mandate, once it was verified.
    pub mandate: Option<Arc<Mandate>>,
    /// The policy that was asked.
    pub policy: Option<Arc<PolicyOrigin>>,
    /// What the policy said, if it came to a result.
    pub evaluated: Option<Arc<Evaluated>>,
    /// Whether it had said so before, to a call that looked the same to it.
    pub repeated: bool,
}

/// Most that is kept of what a policy says of one decision, in bytes: a policy may repeat what a stranger
/// sent.
const MAX_SAID_BYTES: usize = 4 * 1024;

/// What a policy says of its result, as much of it as evidence holds.
#[derive(Clone, Debug, Default)]
pub struct Evaluated {
    /// What in it decided.
    pub determining_policies: Vec<Map<String, Value>>,
    /// What it remarked.
    pub diagnostics: Vec<Map<String, Value>>,
    /// Both as they stand in an event, once one was written: it says the same of most.
    written: OnceLock<String>,
}

impl PartialEq for Evaluated {
    fn eq(&self, other: &Self) -> bool {
        self.determining_policies == other.determining_policies
            && self.diagnostics == other.diagnostics
    }
}

impl Evaluated {
    /// What `result` says.
    pub fn of(result: &mut PolicyResult) -> Self {
        Self::new(
            bounded(std::mem::take(&mut result.determining_policies)),
            bounded(std::mem::take(&mut result.diagnostics)),
        )
    }

    pub(super) fn new(
        determining_policies: Vec<Map<String, Value>>,
        diagnostics: Vec<Map<String, Value>>,
    ) -> Self {
        Self {
            determining_policies,
            diagnostics,
            written: OnceLock::new(),
        }
    }

    /// The members of an event that it is.
    pub(super) fn written(&self) -> serde_json::Result<&str> {
        if let Some(written) = self.written.get() {
            return Ok(written);
        }
        let written = format!(
            "\"determining_policies_json\":{},\"diagnostics_json\":{}",
            serde_json::to_string(&self.determining_policies)?,
            serde_json::to_string(&self.diagnostics)?
        );
        Ok(self.written.get_or_init(|| written))
    }

    /// About as many bytes as it is written in.
    pub(super) fn bytes(&self) -> usize {
        let all = self.determining_policies.iter().chain(&self.diagnostics);
        all.map(members).sum()
    }
}

/// The first of `items` that fit, and how many there were beside them.
fn bounded(mut items: Vec<Map<String, Value>>) -> Vec<Map<String, Value>> {
    let mut room = MAX_SAID_BYTES;
    let fitting = items
        .iter()
        .take_while(|item| match room.checked_sub(members(item)) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        })
        .count();
    if fitting < items.len() {
        let left_out = items.len() - fitting;
        items.truncate(fitting);
        let told = [("left_out".to_owned(), Value::from(left_out))];
        items.push(Map::from_iter(told));
    }
    items
}

/// About as many bytes as it is written in.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 16,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + items.len() + 2,
        Value::Object(item) => members(item),
    }
}

fn members(item: &Map<String, Value>) -> usize {
    let each = |(name, value): (&String, &Value)| name.len() + 4 + weight(value);
    item.iter().map(each).sum::<usize>() + 2
}

/// What kept a policy from deciding where it was not asked.
pub(super) const NOT_EVALUATED: &str = "not_evaluated";

/// A decision on a request, apart from what is known of the request.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Id of the event.
    pub id: String,
    /// When.
    pub at: OccurredAt,
    /// Why not, [cut](Event::text): it may be a policy's own.
    pub reason: Option<String>,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// How many requests the event stands for, where that is not one.
    pub stands_for: Option<u64>,
    /// Whether the request had been let pass before.
    pub cut: bool,
}

impl Account {
    /// The event of a decision on the request, in `zone`. [`write`](Self::write) writes it, member for member.
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
            event.reason = Some(reason.to_owned());
        }
        match &self.evaluated {
            Some(evaluated) => {
                event
                    .determining_policies_json
                    .clone_from(&evaluated.determining_policies);
                event.diagnostics_json.clone_from(&evaluated.diagnostics);
            }
            None => event.evaluation_status = reason.unwrap_or(NOT_EVALUATED).to_owned(),
        }
        if let Some(origin) = &self.policy {
            event.policy = PolicyFacts {
                policy_set_id: None,
                policy_set_version_id: Some(origin.policy_set_version_id.clone()),
                manifest_sha: Some(origin.manifest_sha.clone()),
            };
        }
        if let Some(mandate) = &self.mandate {
            event.mandate = MandateFacts::from(mandate.claims());
        }
        event.resource.clone_from(&self.resource);
        event.method = Some(self.method.clone());
        event.path.clone_from(&self.path);
        event.latency_us = Some(decided.latency_us);
        event.stands_for = decided.stands_for;
        if decided.cut {
            event.action = Some("cut".to_owned());
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn items(texts: &[&str]) -> Vec<Map<String, Value>> {
        let item = |text: &&str| json!({"said": [text]}).as_object().cloned().unwrap();
        texts.iter().map(item).collect()
    }

    #[test]
    fn evidence_holds_so_much_of_what_a_policy_says_and_tells_of_the_rest() {
        let long = "x".repeat(3_000);
        assert_eq!(bounded(items(&["a", &long])), items(&["a", &long]));
        let cut = bounded(items(&["a", &long, &long, "b"]));
        assert_eq!(cut[..2], items(&["a", &long]));
        assert_eq!(
            cut[2..],
            [json!({"left_out": 2}).as_object().cloned().unwrap()]
        );
        let echo = "x".repeat(1_000_000);
        assert_eq!(bounded(items(&[&echo])).len(), 1);
        assert!(weight(&json!(bounded(items(&[&echo])))) < 100);
    }
}
