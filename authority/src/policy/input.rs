//! The input document of a policy, schema version `2026-05-20`: the same for both moments of a
//! decision, told apart by `action.id`.

use std::{collections::BTreeMap, sync::Arc};

use regorus::Value;

use super::{
    distinct::Distinct,
    reads::Reads,
    telling::{Members, Told},
};
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
    /// What is read of the document.
    pub reads: &'a Arc<Reads>,
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
        let reads = Reads::all();
        let claims = exchange.subject.map(|subject| subject.claims());
        let sid = claims.map(|claims| claims.sid.as_str());
        let mut told = BTreeMap::new();
        let mut document = Members::new(&reads, &mut told);
        document.add("schema_version", || SCHEMA_VERSION.into());
        document.add_object("principal", |principal| {
            tell_principal(principal, exchange.client_id, exchange.zone_id, claims);
            if let Some(session) = exchange.session {
                principal.add("agent_session_id", || session.id.into());
                principal.add("lifecycle", || session.lifecycle.into());
                if !session.labels.is_empty() {
                    principal.add("labels", || texts(session.labels).into());
                }
            }
            principal.add("registration_method", || {
                exchange.registration_method.into()
            });
        });
        document.add("resource", || Told::Resource(exchange.resource));
        document.add_object("action", |action| {
            action.add("id", || "TokenExchange".into());
        });
        document.add_object("context", |context| {
            tell_actor(context, exchange.client_id);
            context.add("challenge_resolved", || false.into());
            context.add("requested_scopes", || {
                texts(exchange.requested_scopes).into()
            });
            context.add("time", || exchange.now.0.into());
            if let Some(subject) = exchange.subject {
                subject.tell_claims(context, "subject_claims");
            }
            context.add_if("trace_id", exchange.trace_id, Told::Text);
            context.add_if("session_id", sid, Told::Text);
            let session = exchange.session.map(|session| session.id);
            context.add_if("agent_session_id", session, Told::Text);
            let edge = exchange.delegation.map(|edge| edge.id);
            context.add_if("delegation_edge_id", edge, Told::Text);
        });
        if let Some(sid) = sid {
            document.add_object("session", |session| session.add("id", || sid.into()));
        }
        match (exchange.delegation, claims) {
            (Some(edge), _) => document.add("delegation_edge", || passed_on(&edge).into()),
            (None, Some(claims)) => tell_delegation(&mut document, claims),
            (None, None) => {}
        }
        Self(told.into())
    }

    /// The document for a call, as far as it is read.
    pub fn call(call: &Call<'_>) -> Self {
        let MandateInput {
            mut document,
            mut context,
            ..
        } = call.mandate.input(call.reads, call.seen);
        tell_call(&mut Members::new(call.reads, &mut document), call);
        if let Some(reads) = call.reads.member("context") {
            tell_moment(&mut Members::new(reads, &mut context), call);
            document.insert("context".into(), context.into());
        }
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
}

impl Call<'_> {
    /// Writes the [document](PolicyInput::call) for the call so that it is told from every other, without making it.
    pub(crate) fn write(&self, to: &mut Distinct) {
        let mut document = Members::new(self.reads, to);
        tell_mandate(&mut document, self.mandate);
        tell_call(&mut document, self);
        document.add_object("context", |context| {
            tell_caller(context, self.mandate);
            tell_moment(context, self);
        });
    }
}

/// What a policy is told of a mandate at a gateway, whatever it is used for.
#[derive(Clone, Debug)]
pub(crate) struct MandateInput {
    reads: Arc<Reads>,
    document: BTreeMap<Value, Value>,
    context: BTreeMap<Value, Value>,
}

impl MandateInput {
    /// Of a mandate, as far as it is read.
    pub(crate) fn new(mandate: &Mandate, reads: &Arc<Reads>) -> Self {
        let (mut document, mut context) = (BTreeMap::new(), BTreeMap::new());
        tell_mandate(&mut Members::new(reads, &mut document), mandate);
        if let Some(reads) = reads.member("context") {
            tell_caller(&mut Members::new(reads, &mut context), mandate);
        }
        Self {
            reads: Arc::clone(reads),
            document,
            context,
        }
    }

    /// Whether it was made for a policy that reads this.
    pub(crate) fn is_for(&self, reads: &Arc<Reads>) -> bool {
        Arc::ptr_eq(&self.reads, reads)
    }
}

/// What a document tells of the mandate.
fn tell_mandate(document: &mut Members<'_>, mandate: &Mandate) {
    let claims = mandate.claims();
    document.add("schema_version", || SCHEMA_VERSION.into());
    document.add_object("principal", |principal| {
        let (client_id, zone_id) = (claims.client_id.as_str(), claims.zone_id.as_str());
        tell_principal(principal, client_id, zone_id, Some(claims));
    });
    document.add_object("session", |session| {
        session.add("id", || claims.sid.as_str().into());
    });
    tell_delegation(document, claims);
}

/// What its context tells of the mandate.
fn tell_caller(context: &mut Members<'_>, mandate: &Mandate) {
    let claims = mandate.claims();
    tell_actor(context, claims.client_id.as_str());
    mandate.tell_claims(context, "subject_claims");
    context.add("challenge_resolved", || false.into());
    context.add("requested_scopes", || Value::new_array().into());
    context.add("session_id", || claims.sid.as_str().into());
    let session = claims.agent_session_id.as_ref();
    context.add_if("agent_session_id", session, |id| id.as_str().into());
    let edge = claims.delegation_edge_id.as_ref();
    context.add_if("delegation_edge_id", edge, |id| id.as_str().into());
}

/// What a document tells of the call.
fn tell_call(document: &mut Members<'_>, call: &Call<'_>) {
    document.add("resource", || Told::Resource(call.resource));
    document.add_object("action", |action| {
        action.add("id", || "Request".into());
        action.add("method", || call.method.into());
        action.add("path", || call.path.as_str().into());
        action.add("host", || call.host.into());
        if let Some(operation) = call.operation {
            action.add_object("operation", |told| {
                told.add("method", || operation.method.as_str().into());
                told.add("path", || operation.path.as_str().into());
                told.add("scope", || operation.scope.as_str().into());
            });
        }
    });
}

/// What its context tells of the call.
fn tell_moment(context: &mut Members<'_>, call: &Call<'_>) {
    context.add("time", || call.now.0.into());
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

fn tell_principal(
    principal: &mut Members<'_>,
    client_id: &str,
    zone_id: &str,
    claims: Option<&Claims>,
) {
    principal.add("type", || "Application".into());
    principal.add("id", || client_id.into());
    principal.add("zone_id", || zone_id.into());
    if let Some(claims) = claims {
        let session = claims.agent_session_id.as_ref();
        principal.add_if("agent_session_id", session, |id| id.as_str().into());
        if !claims.labels.is_empty() {
            principal.add("labels", || texts(&claims.labels).into());
        }
    }
}

fn tell_actor(context: &mut Members<'_>, client_id: &str) {
    context.add("actor_claims", || {
        object([("caracal_client_id", client_id.into())]).into()
    });
}

/// The delegation that a mandate rests on, if it rests on one.
fn tell_delegation(document: &mut Members<'_>, claims: &Claims) {
    let Some(id) = &claims.delegation_edge_id else {
        return;
    };
    document.add_object("delegation_edge", |edge| {
        edge.add("id", || id.as_str().into());
        let source = claims.source_session_id.as_ref();
        edge.add_if("source_session_id", source, |id| id.as_str().into());
        let target = claims.target_session_id.as_ref();
        edge.add_if("target_session_id", target, |id| id.as_str().into());
        edge.add("path", || {
            let path = claims.delegation_path.iter();
            let path: Vec<_> = path.map(|id| Value::from(id.as_str())).collect();
            Told::Value(path.into())
        });
        let root = claims.delegation_chain.first();
        edge.add_if("root_application_id", root, |hop| {
            hop.application_id.as_str().into()
        });
    });
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

fn texts(texts: &[impl AsRef<str>]) -> Value {
    texts
        .iter()
        .map(|text| Value::from(text.as_ref()))
        .collect::<Vec<_>>()
        .into()
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields.into_iter();
    let fields: BTreeMap<Value, Value> = fields
        .map(|(name, value)| (Value::from(name), value))
        .collect();
    fields.into()
}
