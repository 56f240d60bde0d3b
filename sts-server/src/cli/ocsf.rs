//! An audit event as the Open Cybersecurity Schema Framework has it: class 6003, API Activity, of OCSF
//! 1.7.0, with the profiles for controls, traces and dates. What OCSF has no name for is in `unmapped`,
//! and the event itself, as it was hashed, in `raw_data`.

use authority::audit::{Actor, Decision, EntryLine, Event, EventType, canonical};
use serde_json::{Value, json};

use super::audit::in_short;

const OCSF_VERSION: &str = "1.7.0";
const CATEGORY: u64 = 6;
const CLASS: u64 = 6003;

/// What an API does to what it is for.
#[derive(Clone, Copy)]
enum Activity {
    Create = 1,
    Read = 2,
    Update = 3,
    Delete = 4,
    Other = 99,
}

impl Activity {
    fn of(event: &Event) -> Self {
        if let Some(method) = &event.method {
            return match method.as_str() {
                "GET" | "HEAD" | "OPTIONS" => Activity::Read,
                "POST" => Activity::Create,
                "PUT" | "PATCH" => Activity::Update,
                "DELETE" => Activity::Delete,
                _ => Activity::Other,
            };
        }
        let done = event.action.as_deref().and_then(|it| it.rsplit('.').next());
        match (event.event_type, done) {
            (EventType::TokenExchange, _) | (_, Some("create" | "start")) => Activity::Create,
            (EventType::AuditPruned, _)
            | (_, Some("archive" | "expire" | "lapse" | "revoke" | "terminate" | "withdraw")) => {
                Activity::Delete
            }
            (_, Some(_)) => Activity::Update,
            (_, None) => Activity::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Activity::Create => "Create",
            Activity::Read => "Read",
            Activity::Update => "Update",
            Activity::Delete => "Delete",
            Activity::Other => "Other",
        }
    }
}

/// An event of an export in OCSF.
///
/// # Errors
/// Those of reading an event.
pub(super) fn ocsf(entry: &EntryLine) -> Result<Value, serde_json::Error> {
    let event: Event = serde_json::from_value(entry.event.clone())?;
    let parts = [
        classification(&event),
        outcome(&event),
        call(entry, &event),
        json!({
            "actor": actor(&event),
            "resources": resources(&event),
            "policy": {
                "uid": event.policy.policy_set_version_id,
                "version": event.policy.manifest_sha,
            },
            "metadata": metadata(entry, &event),
            "trace": {"uid": event.traceparent.as_deref().and_then(|it| it.split('-').nth(1))},
            "raw_data": canonical(&entry.event),
            "unmapped": unmapped(entry, &event),
        }),
    ];
    let members = parts.into_iter().filter_map(|part| match part {
        Value::Object(members) => Some(members),
        _ => None,
    });
    let mut mapped = Value::Object(members.flatten().collect());
    drop_absent(&mut mapped);
    Ok(mapped)
}

fn classification(event: &Event) -> Value {
    let activity = Activity::of(event);
    let id = activity as u64;
    json!({
        "activity_id": id,
        "activity_name": activity.name(),
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "type_uid": CLASS * 100 + id,
        "type_name": format!("API Activity: {}", activity.name()),
        "time": event.occurred_at.0 / 1_000,
        "time_dt": event.occurred_at,
        "count": event.stands_for,
    })
}

fn outcome(event: &Event) -> Value {
    let ([id, severity_id], [severity, status, action, disposition]) = match event.decision {
        Decision::Allow => ([1, 1], ["Informational", "Success", "Allowed", "Allowed"]),
        Decision::Deny => ([2, 2], ["Low", "Failure", "Denied", "Blocked"]),
    };
    json!({
        "severity_id": severity_id,
        "severity": severity,
        "status_id": id,
        "status": status,
        "status_code": event.reason,
        "action_id": id,
        "action": action,
        "disposition_id": id,
        "disposition": disposition,
    })
}

fn call(entry: &EntryLine, event: &Event) -> Value {
    let short = in_short(entry.event.clone());
    let shown = |name: &str| {
        let text = short.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let (what, who) = (shown("what"), shown("who"));
    let message = [what, who.map(|_| "by"), who, event.reason.as_deref()];
    let message: Vec<&str> = message.into_iter().flatten().collect();
    let session = event.mandate.agent_session_id.as_deref();
    json!({
        "message": message.join(" "),
        "api": {
            "operation": what,
            "request": {"uid": event.request_id},
            "response": {"error": event.reason},
            "service": {"name": event.resource},
        },
        "src_endpoint": {"uid": session.or(who).unwrap_or("unknown")},
        "dst_endpoint": {"uid": event.gateway_id},
        "http_request": {
            "http_method": event.method,
            "url": {"path": event.path},
            "uid": event.method.as_ref().map(|_| &event.request_id),
        },
    })
}

fn metadata(entry: &EntryLine, event: &Event) -> Value {
    json!({
        "version": OCSF_VERSION,
        "product": {
            "name": "Caracal",
            "vendor_name": "Caracal",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "profiles": ["security_control", "trace", "datetime"],
        "uid": event.id,
        "original_event_uid": event.id,
        "correlation_uid": event.request_id,
        "event_code": event.event_type,
        "log_name": "audit",
        "logged_time": entry.recorded_at.0 / 1_000,
        "sequence": entry.seq,
        "tenant_uid": event.zone_id,
    })
}

fn unmapped(entry: &EntryLine, event: &Event) -> Value {
    let mandate = &event.mandate;
    json!({
        "hash": entry.hash,
        "evaluation_status": event.evaluation_status,
        "jti": mandate.jti,
        "sid": mandate.sid,
        "root_sid": mandate.root_sid,
        "use": mandate.mandate_use,
        "session_path": mandate.session_path,
        "delegation_path": mandate.delegation_path,
        "delegation_chain": mandate.delegation_chain,
        "requested_scopes": event.requested_scopes,
        "latency_us": event.latency_us,
        "traceparent": event.traceparent,
    })
}

fn actor(event: &Event) -> Value {
    let decision = match event.decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
    };
    let policies = event.determining_policies_json.iter();
    let authorizations: Vec<Value> = policies
        .filter_map(|policy| {
            Some(json!({"decision": decision, "policy": {"uid": policy.get("id")?.as_str()?}}))
        })
        .collect();
    let mandate = &event.mandate;
    let (app, user) = match &event.actor {
        Some(Actor::Operator) => (
            None,
            json!({"name": "operator", "type_id": 2, "type": "Admin"}),
        ),
        Some(Actor::Application { id } | Actor::Gateway { id }) => (Some(id), json!({})),
        Some(Actor::Sts) => (None, json!({"name": "sts", "type_id": 3, "type": "System"})),
        None => (mandate.client_id.as_ref(), json!({"uid": mandate.sub})),
    };
    // OCSF wants one of them at least; of a call without a good mandate nothing is known.
    let known = app.is_some() || event.actor.is_some() || mandate.sub.is_some();
    json!({
        "app_uid": app,
        "app_name": (!known).then_some("unknown"),
        "user": user,
        "session": {"uid": mandate.agent_session_id},
        "authorizations": authorizations,
    })
}

fn resources(event: &Event) -> Value {
    let called = event
        .resource
        .iter()
        .map(|it| json!({"uid": it, "type": "resource"}));
    let asked = event
        .resources
        .iter()
        .map(|it| json!({"uid": it.get("identifier").and_then(Value::as_str), "type": "resource"}));
    let changed = event
        .object
        .iter()
        .map(|it| json!({"uid": it.id, "type": it.kind}));
    Value::Array(called.chain(asked).chain(changed).collect())
}

/// OCSF leaves out what is not known, and so what consists of nothing else.
fn drop_absent(value: &mut Value) {
    let is_absent = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(drop_absent);
            members.retain(|_, member| !is_absent(member));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_absent),
        _ => {}
    }
}
