//! The contract in a few lines of Rust: documents, requests, and what ought to be answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub(super) const KEYS: [&str; 3] = ["k1", "k2", "k3"];
pub(super) const APPLICATIONS: [&str; 2] = ["app-1", "app-2"];
pub(super) const RESOURCES: [&str; 2] = ["resource://1", "resource://2"];
pub(super) const LABELS: [&str; 3] = ["clerk", "clerk:eu", "auditor"];
pub(super) const SCOPES: [&str; 3] = ["read", "write", "agent:lifecycle"];
pub(super) const BUSINESS: [&str; 2] = ["read", "write"];

/// A document that may be malformed, as JSON, and whether it can be read.
pub(super) type Readable = (Value, bool);
pub(super) type Texts = Vec<&'static str>;

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) application: &'static str,
    pub(super) roles: BTreeMap<&'static str, Texts>,
    pub(super) applications: BTreeMap<&'static str, Texts>,
}

#[derive(Clone, Debug)]
pub(super) struct Documents {
    pub(super) app_ids: BTreeMap<&'static str, &'static str>,
    pub(super) grants: BTreeMap<&'static str, Grant>,
    pub(super) confinement: Vec<(&'static str, Texts)>,
    pub(super) unreadable_confinement: Option<Value>,
    pub(super) restrict: Option<Value>,
    pub(super) risk: Option<Readable>,
    pub(super) approval_tiers: Option<Readable>,
}

#[derive(Clone, Debug)]
pub(super) struct Claims {
    pub(super) scopes: Texts,
    pub(super) target: Texts,
    pub(super) edge: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) action: &'static str,
    pub(super) kind: &'static str,
    pub(super) application: &'static str,
    pub(super) resource: &'static str,
    pub(super) session: bool,
    pub(super) labels: Texts,
    pub(super) edge: Option<Option<Texts>>,
    pub(super) claims: Option<Claims>,
    pub(super) requested: Texts,
}

/// What the contract ought to answer: the policy that allows, or the reason of the denial.
pub(super) fn model(data: &Documents, ask: &Ask) -> String {
    let (mint, call) = (ask.action == "TokenExchange", ask.action == "Request");
    let is_application = ask.kind == "Application";
    let claims = ask.claims.as_ref();
    let presented: &[_] = claims.map_or(&[], |claims| &claims.scopes);
    let wanted: &[_] = if call { presented } else { &ask.requested };
    let covers = |scopes: &Texts| wanted.iter().all(|scope| scopes.contains(scope));
    let is_own = |key: &&str| data.app_ids.get(*key) == Some(&ask.application);
    let grant = data.grants.get(ask.resource);
    let owner = grant.filter(|grant| is_own(&grant.application));
    let direct: Texts = grant
        .iter()
        .flat_map(|grant| &grant.applications)
        .filter(|(key, _)| is_own(key))
        .flat_map(|(_, scopes)| scopes.clone())
        .collect();
    let delegated = ask.edge.is_some() || claims.is_some_and(|claims| claims.edge);
    let exceeded = mint && delegated && {
        let passed = ask.edge.clone().flatten().unwrap_or_default();
        ask.requested.iter().any(|scope| !passed.contains(scope))
    };
    let in_role = owner.is_some_and(|grant| {
        let mut roles = ask.labels.iter().filter_map(|label| grant.roles.get(label));
        roles.any(covers)
    });
    let targeted = claims.is_some_and(|claims| claims.target.contains(&ask.resource));
    let lifecycle = ask.requested.contains(&"agent:lifecycle");
    let confined = data.unreadable_confinement.is_some()
        || data.confinement.iter().any(|(prefix, scopes)| {
            ask.labels.iter().any(|label| label.starts_with(prefix)) && !covers(scopes)
        });
    let granted = owner.is_some() || !direct.is_empty() || ask.kind == "Workload";
    let unreadable = |document: &Option<Readable>| {
        !call && document.as_ref().is_some_and(|(_, readable)| !readable)
    };
    let uncovered = if delegated {
        owner.is_some() && !lifecycle && !wanted.is_empty() && !in_role
    } else {
        let business = |scope: &&&str| **scope != "agent:lifecycle";
        is_application
            && wanted
                .iter()
                .filter(business)
                .any(|scope| !direct.contains(scope))
    };
    let none = [
        (data.restrict.is_some(), "restriction_active"),
        (unreadable(&data.risk), "malformed_risk_data"),
        (unreadable(&data.approval_tiers), "malformed_approval_data"),
    ];
    if let Some((_, reason)) = none.iter().find(|(holds, _)| *holds) {
        return (*reason).to_owned();
    }
    let asks = !ask.requested.is_empty() && !lifecycle;
    let uses =
        call && is_application && ask.requested.is_empty() && !presented.is_empty() && targeted;
    let alone = !delegated && !ask.session;
    if !confined {
        let bare = alone && claims.is_none();
        if mint && is_application && bare && granted && ask.requested == ["agent:lifecycle"] {
            return "caracal-bootstrap".to_owned();
        }
        let by_session = mint && is_application && claims.is_none() && ask.session;
        let may_mint = by_session && ask.edge.is_some() && asks && !exceeded && in_role;
        if let Some(grant) = owner.filter(|_| may_mint) {
            return format!("caracal-{}-mint", grant.application);
        }
        if ask.kind == "Workload" && ask.action == "CredentialInjection" && bare && asks {
            return "caracal-workload-mint".to_owned();
        }
        if let Some(grant) = owner.filter(|_| uses && claims.is_some_and(|it| it.edge) && in_role) {
            return format!("caracal-{}-use", grant.application);
        }
        if mint && is_application && alone && asks && covers(&direct) {
            return "caracal-direct-mint".to_owned();
        }
        if uses && alone && covers(&direct) {
            return "caracal-direct-use".to_owned();
        }
    }
    let reasons = [
        (!granted, "resource_not_granted"),
        (exceeded, "delegation_scope_exceeded"),
        (confined, "confinement_violation"),
        (uncovered, "role_scope_mismatch"),
        (call && !targeted, "mandate_target_mismatch"),
        (true, "no_rule_matched"),
    ];
    let reason = reasons.iter().find(|(holds, _)| *holds);
    reason.map_or(String::new(), |(_, reason)| (*reason).to_owned())
}

impl Documents {
    pub(super) fn source(&self) -> String {
        let grant = |(resource, grant): (&&str, &Grant)| {
            let grant = json!({"application": grant.application, "roles": grant.roles, "applications": grant.applications});
            ((*resource).to_owned(), grant)
        };
        let confinement = self
            .confinement
            .iter()
            .map(|(prefix, scopes)| json!({"label_prefix": prefix, "scopes": scopes}))
            .collect();
        let confinement = self.unreadable_confinement.clone().unwrap_or(confinement);
        let readable = |document: &Option<Readable>| document.clone().map(|(document, _)| document);
        let documents = [
            ("app_ids", Some(json!(self.app_ids))),
            ("grants", Some(self.grants.iter().map(grant).collect())),
            ("confinement", Some(confinement)),
            ("restrict", self.restrict.clone()),
            ("risk", readable(&self.risk)),
            ("approval_tiers", readable(&self.approval_tiers)),
        ];
        let mut source =
            "# caracal:data-document\npackage caracal.authz\nimport rego.v1\n".to_owned();
        for (name, document) in documents {
            if let Some(document) = document {
                source.push_str(&format!("{name} := {document}\n"));
            }
        }
        source
    }
}

impl Ask {
    pub(super) fn input(&self) -> Value {
        let mut input = json!({
            "schema_version": "2026-05-20",
            "principal": {"type": self.kind, "id": self.application, "zone_id": "z", "labels": self.labels},
            "resource": {"type": "Resource", "id": "r", "identifier": self.resource, "scopes": BUSINESS},
            "action": {"id": self.action},
            "context": {"actor_claims": {}, "challenge_resolved": false, "requested_scopes": self.requested},
        });
        if self.session {
            input["principal"]["agent_session_id"] = json!("s1");
        }
        if let Some(edge) = &self.edge {
            input["delegation_edge"] = json!({"id": "d1", "path": ["d1"]});
            if let Some(scopes) = edge {
                input["delegation_edge"]["scopes"] = json!(scopes);
            }
        }
        if let Some(claims) = &self.claims {
            let scope = claims.scopes.join(" ");
            input["context"]["subject_claims"] =
                json!({"sub": self.application, "scope": scope, "target": claims.target});
            if claims.edge {
                input["context"]["subject_claims"]["delegation_edge_id"] = json!("d1");
            }
        }
        input
    }
}
