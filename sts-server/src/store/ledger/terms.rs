//! By what an event is found.

use authority::{audit::Event, ids::ZoneId};
use sha2::{Digest, Sha256};

/// A kind of thing that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TermKind {
    Request = 1,
    Mandate,
    Object,
    Delegation,
    Session,
    Client,
    Subject,
    Reason,
    Resource,
    PolicyVersion,
    Type,
    Decision,
    Zone,
}

/// Something that can be asked for, as 64 bits: what is found is looked at again, so that two things with
/// the same bits do no harm.
pub(super) fn term(zone: &ZoneId, kind: TermKind, value: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(zone.as_str());
    hasher.update([0, kind as u8]);
    hasher.update(value);
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(hasher.finalize());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Everything that `event` is found by, each once.
pub(super) fn of(zone: &ZoneId, event: &Event) -> Vec<i64> {
    use TermKind as K;
    let mandate = &event.mandate;
    let one = |kind: K, value: &Option<String>| value.as_ref().map(|value| term(zone, kind, value));
    let mut terms = vec![
        term(zone, K::Zone, ""),
        term(zone, K::Type, event.event_type.name()),
        term(zone, K::Decision, event.decision.name()),
        term(zone, K::Request, &event.request_id),
    ];
    terms.extend(one(K::Mandate, &mandate.jti));
    terms.extend(one(K::Client, &mandate.client_id));
    terms.extend(one(K::Subject, &mandate.sub));
    terms.extend(one(K::Session, &mandate.agent_session_id));
    terms.extend(one(K::Resource, &event.resource));
    terms.extend(one(K::Reason, &event.reason));
    terms.extend(one(K::PolicyVersion, &event.policy.policy_set_version_id));
    let sessions = mandate.session_path.iter();
    terms.extend(sessions.map(|id| term(zone, K::Session, id)));
    let delegations = mandate.delegation_path.iter();
    terms.extend(delegations.map(|id| term(zone, K::Delegation, id)));
    for resource in &event.resources {
        let identifier = resource.get("identifier").and_then(|value| value.as_str());
        terms.extend(identifier.map(|identifier| term(zone, K::Resource, identifier)));
    }
    if let Some(object) = &event.object {
        terms.push(term(zone, K::Object, &object.id));
    }
    terms.sort_unstable();
    terms.dedup();
    terms
}
