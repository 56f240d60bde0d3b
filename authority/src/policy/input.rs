//! The input document of a policy, schema version `2026-05-20`: the same for both moments of a
//! decision, told apart by `action.id`.

use std::collections::BTreeMap;

use regorus::Value;

use crate::{
    mandate::{Claims, Mandate},
    path::NormalPath,
    resource::{Operation, Resource, ResourceSpec},
    time::Timestamp,
};

/// The version of the document's schema.
pub const SCHEMA_VERSION: &str = "2026-05-20";

/// An input document.
#[derive(Clone, Debug)]
pub struct PolicyInput(Value);

/// An exchange, before a mandate exists: `action.id` is `TokenExchange`.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The application that asks.
    pub client_id: &'a str,
    /// Its zone.
    pub zone_id: &'a str,
    /// How it was registered: `managed` or `dcr`.
    pub registration_method: &'a str,
    /// The resource that it asks for.
    pub resource: &'a Resource,
    /// The scopes that it asks for.
    pub requested_scopes: &'a [String],
    /// The mandate that it presents as `subject_token`.
    pub subject: Option<&'a Mandate>,
    /// The governed session that it acts in.
    pub session: Option<SessionFacts<'a>>,
    /// The delegation that it acts under.
    pub delegation: Option<DelegationFacts<'a>>,
    /// When it is decided.
    pub now: Timestamp,
    /// Request id or trace id, for the policy's diagnostics.
    pub trace_id: Option<&'a str>,
}

/// A governed session, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// Id.
    pub id: &'a str,
    /// `task` or `service`.
    pub lifecycle: &'a str,
    /// Labels.
    pub labels: &'a [String],
}

/// A delegation, as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct DelegationFacts<'a> {
    /// Id.
    pub id: &'a str,
    /// The session that delegated.
    pub source_session_id: &'a str,
    /// The session that was delegated to.
    pub target_session_id: &'a str,
    /// The application of the source.
    pub issuer_application_id: &'a str,
    /// The application of the target.
    pub receiver_application_id: &'a str,
    /// The application with which the path began.
    pub root_application_id: &'a str,
    /// The scopes that were passed on.
    pub scopes: &'a [String],
    /// The ids of the delegations that it rests on, itself last.
    pub path: &'a [String],
    /// The constraints as JSON text.
    pub constraints_json: &'a str,
}

/// A call at the gateway: `action.id` is `Request`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The mandate of the call.
    pub mandate: &'a Mandate,
    /// Whether it was called with before, so that what is made of it is worth keeping.
    pub seen: bool,
    /// The resource that is called.
    pub resource: &'a Resource,
    /// HTTP method.
    pub method: &'a str,
    /// Normalised path.
    pub path: &'a NormalPath,
    /// Host, as the client sent it.
    pub host: &'a str,
    /// When it is decided.
    pub now: Timestamp,
    /// The operation that covers the call.
    pub operation: Option<&'a Operation>,
}

impl PolicyInput {
    /// The document for an exchange.
    pub fn exchange(exchange: &Exchange<'_>) -> Self {
        let claims = exchange.subject.map(Mandate::claims);
        let mut principal = principal(exchange.client_id, exchange.zone_id, claims);
        if let Some(session) = exchange.session {
            principal.push(("agent_session_id", session.id.into()));
            principal.push(("lifecycle", session.lifecycle.into()));
            if !session.labels.is_empty() {
                principal.push(("labels", texts(session.labels)));
            }
        }
        principal.push(("registration_method", exchange.registration_method.into()));
        let mut context = vec![
            ("actor_claims", actor(exchange.client_id)),
            ("challenge_resolved", false.into()),
            ("requested_scopes", texts(exchange.requested_scopes)),
            ("time", exchange.now.0.into()),
        ];
        context.extend(
            exchange
                .subject
                .map(|mandate| ("subject_claims", mandate.document())),
        );
        context.extend(exchange.trace_id.map(|id| ("trace_id", id.into())));
        context.extend(claims.map(|claims| ("session_id", claims.sid.as_str().into())));
        context.extend(
            exchange
                .session
                .map(|session| ("agent_session_id", session.id.into())),
        );
        context.extend(
            exchange
                .delegation
                .map(|edge| ("delegation_edge_id", edge.id.into())),
        );
        Self::assemble(
            principal,
            exchange.resource,
            vec![("id", "TokenExchange".into())],
            claims.map(|claims| claims.sid.as_str()),
            match exchange.delegation {
                Some(edge) => Some(passed_on(&edge)),
                None => claims.and_then(delegation),
            },
            context,
        )
    }

    /// The document for a call.
    pub fn call(call: &Call<'_>) -> Self {
        let MandateInput {
            mut document,
            mut context,
        } = call.mandate.input(call.seen);
        let mut action = vec![
            ("id", "Request".into()),
            ("method", call.method.into()),
            ("path", call.path.as_str().into()),
            ("host", call.host.into()),
        ];
        action.extend(call.operation.map(|operation| {
            let fields = [
                ("method", &operation.method),
                ("path", &operation.path),
                ("scope", &operation.scope),
            ];
            (
                "operation",
                object(fields.map(|(name, text)| (name, text.as_str().into()))),
            )
        }));
        context.extend(members([("time", call.now.0.into())]));
        document.extend(members([
            ("resource", call.resource.document().clone()),
            ("action", object(action)),
            ("context", context.into()),
        ]));
        Self(document.into())
    }

    /// Any document, for trying a policy out.
    pub fn from_json(document: serde_json::Value) -> Self {
        Self(Value::from(document))
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// If it holds what JSON cannot, which a document made here never does.
    pub fn to_json(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(&self.0)
    }

    pub(super) fn document(&self) -> &Value {
        &self.0
    }

    fn assemble(
        principal: Vec<(&str, Value)>,
        resource: &Resource,
        action: Vec<(&str, Value)>,
        sid: Option<&str>,
        delegation: Option<Value>,
        context: Vec<(&str, Value)>,
    ) -> Self {
        let mut document = vec![
            ("schema_version", SCHEMA_VERSION.into()),
            ("principal", object(principal)),
            ("resource", resource.document().clone()),
            ("action", object(action)),
            ("context", object(context)),
        ];
        document.extend(sid.map(|sid| ("session", object([("id", sid.into())]))));
        document.extend(delegation.map(|edge| ("delegation_edge", edge)));
        Self(object(document))
    }
}

/// What a policy is told of a mandate at a gateway, whatever it is used for.
#[derive(Clone, Debug)]
pub(crate) struct MandateInput {
    document: Members,
    context: Members,
}

type Members = BTreeMap<Value, Value>;

impl MandateInput {
    /// Of a mandate with these claims, and all of them as a document.
    pub(crate) fn new(claims: &Claims, all: Value) -> Self {
        let sid = claims.sid.as_str();
        let session = claims.agent_session_id.as_ref();
        let edge = claims.delegation_edge_id.as_ref();
        let principal = principal(
            claims.client_id.as_str(),
            claims.zone_id.as_str(),
            Some(claims),
        );
        let mut context = vec![
            ("actor_claims", actor(claims.client_id.as_str())),
            ("subject_claims", all),
            ("challenge_resolved", false.into()),
            ("requested_scopes", Value::new_array()),
            ("session_id", sid.into()),
        ];
        context.extend(session.map(|id| ("agent_session_id", id.as_str().into())));
        context.extend(edge.map(|id| ("delegation_edge_id", id.as_str().into())));
        let mut document = vec![
            ("schema_version", SCHEMA_VERSION.into()),
            ("principal", object(principal)),
            ("session", object([("id", sid.into())])),
        ];
        document.extend(delegation(claims).map(|edge| ("delegation_edge", edge)));
        Self {
            document: members(document).collect(),
            context: members(context).collect(),
        }
    }
}

/// A resource as the policy sees it.
pub(crate) fn resource_document(spec: &ResourceSpec) -> Value {
    object([
        ("type", "Resource".into()),
        ("id", spec.id.as_str().into()),
        ("identifier", spec.identifier.as_str().into()),
        ("scopes", texts(&spec.scopes)),
    ])
}

fn principal<'a>(client_id: &str, zone_id: &str, claims: Option<&Claims>) -> Vec<(&'a str, Value)> {
    let mut principal = vec![
        ("type", "Application".into()),
        ("id", client_id.into()),
        ("zone_id", zone_id.into()),
    ];
    if let Some(claims) = claims {
        principal.extend(
            claims
                .agent_session_id
                .iter()
                .map(|id| ("agent_session_id", id.as_str().into())),
        );
        if !claims.labels.is_empty() {
            principal.push(("labels", texts(&claims.labels)));
        }
    }
    principal
}

fn delegation(claims: &Claims) -> Option<Value> {
    let mut edge = vec![(
        "id",
        Value::from(claims.delegation_edge_id.as_ref()?.as_str()),
    )];
    edge.extend(
        claims
            .source_session_id
            .iter()
            .map(|id| ("source_session_id", id.as_str().into())),
    );
    edge.extend(
        claims
            .target_session_id
            .iter()
            .map(|id| ("target_session_id", id.as_str().into())),
    );
    let path: Vec<Value> = claims
        .delegation_path
        .iter()
        .map(|id| id.as_str().into())
        .collect();
    edge.push(("path", path.into()));
    edge.extend(
        claims
            .delegation_chain
            .first()
            .map(|hop| ("root_application_id", hop.application_id.as_str().into())),
    );
    Some(object(edge))
}

fn passed_on(edge: &DelegationFacts<'_>) -> Value {
    object([
        ("id", edge.id.into()),
        ("source_session_id", edge.source_session_id.into()),
        ("target_session_id", edge.target_session_id.into()),
        ("issuer_application_id", edge.issuer_application_id.into()),
        (
            "receiver_application_id",
            edge.receiver_application_id.into(),
        ),
        ("root_application_id", edge.root_application_id.into()),
        ("scopes", texts(edge.scopes)),
        ("path", texts(edge.path)),
        ("constraints_json", edge.constraints_json.into()),
    ])
}

fn actor(client_id: &str) -> Value {
    object([("caracal_client_id", client_id.into())])
}

fn texts(texts: &[String]) -> Value {
    texts
        .iter()
        .map(|text| Value::from(text.as_str()))
        .collect::<Vec<_>>()
        .into()
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    members(fields).collect::<Members>().into()
}

fn members<'a>(
    fields: impl IntoIterator<Item = (&'a str, Value)>,
) -> impl Iterator<Item = (Value, Value)> {
    fields
        .into_iter()
        .map(|(name, value)| (Value::from(name), value))
}
