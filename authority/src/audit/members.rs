//! How an event is written: its members in the order of RFC 8785 section 3.2.3, so that what a gateway sends is
//! in canonical form as it stands, but for what a policy said in numbers with a fraction or names beyond ASCII.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Event, MandateFacts, PolicyFacts};

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            id,
            zone_id,
            event_type,
            action,
            request_id,
            traceparent,
            decision,
            reason,
            evaluation_status,
            policy:
                PolicyFacts {
                    policy_set_id,
                    policy_set_version_id,
                    manifest_sha,
                },
            determining_policies_json,
            diagnostics_json,
            mandate:
                MandateFacts {
                    client_id,
                    sub,
                    sid,
                    root_sid,
                    jti,
                    mandate_use,
                    agent_session_id,
                    session_path,
                    delegation_path,
                    delegation_chain,
                },
            resource,
            method,
            path,
            gateway_id,
            stands_for,
            requested_scopes,
            resources,
            actor,
            object,
            before,
            after,
            metadata_json,
            latency_us,
            occurred_at,
        } = self;
        let mut map = serializer.serialize_map(None)?;
        let to = &mut map;
        some(to, "action", action)?;
        some(to, "actor", actor)?;
        some(to, "after", after)?;
        some(to, "agent_session_id", agent_session_id)?;
        some(to, "before", before)?;
        some(to, "client_id", client_id)?;
        to.serialize_entry("decision", decision)?;
        any(to, "delegation_chain", delegation_chain)?;
        any(to, "delegation_path", delegation_path)?;
        to.serialize_entry("determining_policies_json", determining_policies_json)?;
        to.serialize_entry("diagnostics_json", diagnostics_json)?;
        to.serialize_entry("evaluation_status", evaluation_status)?;
        to.serialize_entry("event_type", event_type)?;
        some(to, "gateway_id", gateway_id)?;
        to.serialize_entry("id", id)?;
        some(to, "jti", jti)?;
        some(to, "latency_us", latency_us)?;
        some(to, "manifest_sha", manifest_sha)?;
        some(to, "metadata_json", metadata_json)?;
        some(to, "method", method)?;
        some(to, "object", object)?;
        to.serialize_entry("occurred_at", occurred_at)?;
        some(to, "path", path)?;
        some(to, "policy_set_id", policy_set_id)?;
        some(to, "policy_set_version_id", policy_set_version_id)?;
        some(to, "reason", reason)?;
        to.serialize_entry("request_id", request_id)?;
        any(to, "requested_scopes", requested_scopes)?;
        some(to, "resource", resource)?;
        any(to, "resources", resources)?;
        some(to, "root_sid", root_sid)?;
        any(to, "session_path", session_path)?;
        some(to, "sid", sid)?;
        some(to, "stands_for", stands_for)?;
        some(to, "sub", sub)?;
        some(to, "traceparent", traceparent)?;
        some(to, "use", mandate_use)?;
        to.serialize_entry("zone_id", zone_id)?;
        map.end()
    }
}

/// A member that some events have.
fn some<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: &Option<impl Serialize>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

/// A list that not every event has.
fn any<M: SerializeMap>(map: &mut M, name: &str, items: &[impl Serialize]) -> Result<(), M::Error> {
    if items.is_empty() {
        return Ok(());
    }
    map.serialize_entry(name, items)
}
