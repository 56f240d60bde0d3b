//! A zone with governed sessions: an application that owns a resource and whose sessions use it by their
//! roles, and another application beside it.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::world::{ACCESS_TOKEN, Demo, Reply, World, Zone};

/// The zone of a test about sessions and delegations.
pub(crate) struct Governed<'a> {
    pub(crate) demo: Demo<'a>,
    pub(crate) peer: String,
    pub(crate) peer_secret: String,
    /// Session mandates.
    pub(crate) token: String,
    pub(crate) peer_token: String,
}

/// The agent owns `resource://demo` and `resource://third`, where a reader reads and a writer writes as
/// well; the peer owns `resource://other`.
pub(crate) fn roles(agent: &str, peer: &str) -> String {
    format!(
        r#"# caracal:data-document
package caracal.authz
import rego.v1
app_ids := {{"agent": "{agent}", "peer": "{peer}"}}
grants := {{
    "resource://demo": {{"application": "agent", "roles": {{"reader": ["read"], "writer": ["read", "write"]}}}},
    "resource://third": {{"application": "agent", "roles": {{"reader": ["read"], "writer": ["read", "write"]}}}},
    "resource://other": {{"application": "peer", "roles": {{"reader": ["read"]}}}},
}}
"#
    )
}

impl World {
    pub(crate) fn governed(&self) -> Governed<'_> {
        static ZONES: AtomicU32 = AtomicU32::new(0);
        let number = ZONES.fetch_add(1, Ordering::Relaxed);
        let zone: Zone<'_> = self.zone(&format!("governed-{number}"));
        let (agent, secret) = zone.application("agent");
        let (peer, peer_secret) = zone.application("peer");
        for identifier in ["resource://demo", "resource://third", "resource://other"] {
            zone.resource(identifier);
        }
        zone.activate(&zone.policy(&roles(&agent, &peer)));
        let demo = Demo {
            zone,
            agent,
            secret,
        };
        let token = demo.session();
        let peer_token = demo
            .exchange(&[
                ("scope", "agent:lifecycle"),
                ("application_id", &peer),
                ("client_secret", &peer_secret),
                ("resource", "resource://other"),
            ])
            .expect(200)
            .text("access_token");
        Governed {
            demo,
            peer,
            peer_secret,
            token,
            peer_token,
        }
    }
}

impl Governed<'_> {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/zones/{}{rest}", self.demo.zone.id)
    }

    /// A request with a bearer token.
    pub(crate) fn call(&self, method: &str, rest: &str, token: &str, body: Option<Value>) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        let bytes = body.map(|body| serde_json::to_vec(&body).unwrap());
        if bytes.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let path = self.path(rest);
        self.demo
            .zone
            .world
            .send(method, &path, &headers, bytes.as_deref())
    }

    /// A session of the agent: the members of `more` over those of a reader.
    pub(crate) fn try_start(&self, more: Value) -> Reply {
        let mut body = json!({"application_id": self.demo.agent, "labels": ["reader", "writer"]});
        merge(&mut body, more);
        self.call("POST", "/agents", &self.token, Some(body))
    }

    pub(crate) fn start(&self, more: Value) -> String {
        self.try_start(more).expect(201).text("agent_session_id")
    }

    pub(crate) fn child(&self, parent: &str) -> String {
        self.start(json!({"parent_id": parent, "parent_authority": "none"}))
    }

    /// A session of the peer.
    pub(crate) fn start_peer(&self) -> String {
        let body = json!({"application_id": self.peer, "labels": ["reader"]});
        self.call("POST", "/agents", &self.peer_token, Some(body))
            .expect(201)
            .text("agent_session_id")
    }

    /// A delegation of `read` on `resource://demo`, with other members.
    pub(crate) fn try_delegate(&self, source: &str, target: &str, more: Value) -> Reply {
        let mut body = json!({
            "issuer_application_id": self.demo.agent,
            "receiver_application_id": self.demo.agent,
            "source_session_id": source,
            "target_session_id": target,
            "scopes": ["read"],
            "resource_id": "resource://demo",
            "ttl_seconds": 600,
        });
        merge(&mut body, more);
        self.call("POST", "/delegations", &self.token, Some(body))
    }

    pub(crate) fn delegate(&self, source: &str, target: &str, more: Value) -> String {
        self.try_delegate(source, target, more)
            .expect(201)
            .text("delegation_edge_id")
    }

    /// A mint of `read` on `resource://demo` in a session under a delegation.
    pub(crate) fn mint(&self, session: &str, edge: &str, changes: &[(&str, &str)]) -> Reply {
        let mut all = vec![("agent_session_id", session), ("delegation_edge_id", edge)];
        all.extend_from_slice(changes);
        self.demo.exchange(&all)
    }

    /// A session mandate that is bound to a session.
    pub(crate) fn bound(&self, session: &str) -> String {
        let changes = [("scope", "agent:lifecycle"), ("agent_session_id", session)];
        self.demo
            .exchange(&changes)
            .expect(200)
            .text("access_token")
    }

    /// An exchange on two tokens alone.
    pub(crate) fn act(&self, subject: &str, actor: &str, changes: &[(&str, &str)]) -> Reply {
        let mut all = vec![
            ("application_id", ""),
            ("client_secret", ""),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", actor),
            ("actor_token_type", ACCESS_TOKEN),
        ];
        all.extend_from_slice(changes);
        self.demo.exchange(&all)
    }

    pub(crate) fn terminate(&self, session: &str) {
        self.call("DELETE", &format!("/agents/{session}"), &self.token, None)
            .expect(204);
    }

    pub(crate) fn revoke(&self, edge: &str) -> Reply {
        let path = format!("/delegations/{edge}/revoke");
        self.call("PATCH", &path, &self.token, None)
    }
}

fn merge(body: &mut Value, more: Value) {
    let (Value::Object(body), Value::Object(more)) = (body, more) else {
        panic!("expected objects");
    };
    for (name, value) in more {
        if value.is_null() {
            body.remove(&name);
        } else {
            body.insert(name, value);
        }
    }
}
