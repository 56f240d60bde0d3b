//! The whole decision over a snapshot: what passes, and for each way not to pass its reason.

mod authorised;
mod identified;
mod kept;
#[cfg(not(target_arch = "wasm32"))]
mod random;
mod repeated;
mod shadowed;
mod told;

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    binding::{BindingSpec, Bindings},
    jwks::{Jwk, JwkSet, KeySet},
    policy::{Module, compile},
    resource::ResourceSpec,
    revocation::AnchorKind,
    snapshot::PolicyOrigin,
    testing::*,
};

/// The data of the zone's policy: [`APP`] may read and write, `app-2` may read.
const DATA: &str = r#"# caracal:data-document
package caracal.authz
import rego.v1
app_ids := {"one": "app-1", "two": "app-2"}
grants := {
	"resource://demo": {"application": "one", "applications": {"one": ["read", "write"], "two": ["read"]}},
	"resource://rpc": {"application": "one", "applications": {"one": ["call"]}},
}
"#;
const RPC: &str = "resource://rpc";
const UNBOUND: &str = "resource://unbound";

fn authored(rules: &str) -> String {
    format!("package caracal.authz\nimport rego.v1\n{rules}\n")
}

/// The zone of [`bundle`] with [`DATA`] as its policy, as a gateway knows it.
fn snapshot() -> Snapshot {
    snapshot_with(Some(DATA))
}

fn snapshot_with(policy: Option<&str>) -> Snapshot {
    let binding = |identifier: &str, hosts: &str, path_prefix: &str| BindingSpec {
        identifier: identifier.to_owned(),
        hosts: vec![hosts.to_owned()],
        path_prefix: path_prefix.to_owned(),
    };
    let bindings = Bindings::new(vec![
        binding(DEMO, "*", "/demo/"),
        binding(RPC, "rpc.example.com", "/"),
        binding("resource://gone", "*", "/gone/"),
    ]);
    let mut bundle = bundle();
    let open = |identifier: &str, enforcement: OperationEnforcement| ResourceSpec {
        id: identifier.into(),
        identifier: identifier.to_owned(),
        scopes: vec!["call".to_owned(), "read".to_owned()],
        operations: vec![],
        operation_enforcement: enforcement,
        single_use: false,
        end_streams_at_expiry: false,
        require_chain_contains: Vec::new(),
        forward: None,
    };
    bundle
        .resources
        .push(open(RPC, OperationEnforcement::TransportUniform));
    bundle
        .resources
        .push(open(UNBOUND, OperationEnforcement::Enforced));
    let mut snapshot = Snapshot::from_bundle(bundle, bindings.unwrap(), None).unwrap();
    use_clock();
    if let Some(source) = policy {
        let module = Module {
            name: "policy.rego".to_owned(),
            source: source.to_owned(),
        };
        let compiled = compile(&[module]).unwrap_or_else(|errors| panic!("{errors:?}"));
        snapshot
            .set_policy(PolicyOrigin::default(), &compiled)
            .unwrap();
    }
    snapshot.keep_mandates(100, TAG_KEY, None);
    snapshot
}

/// What is revoked in the zone: the application `app-9`.
fn filter() -> Filter {
    revoking(&[(AnchorKind::Application, "app-9")])
}

/// A request as a client would write it, ready to be varied.
#[derive(Clone)]
struct Call {
    method: &'static str,
    target: &'static str,
    host: &'static str,
    authorization: Vec<Vec<u8>>,
    resource: Vec<&'static str>,
}

impl Call {
    /// `GET /demo/items` with a mandate of these claims.
    fn with(changes: Value) -> Self {
        Self::bearing(&token(changes))
    }

    fn bearing(token: &str) -> Self {
        Self {
            method: "GET",
            target: "/demo/items",
            host: "gateway.example.com:8081",
            authorization: vec![format!("Bearer {token}").into_bytes()],
            resource: vec![],
        }
    }

    fn to(self, method: &'static str, target: &'static str) -> Self {
        Self {
            method,
            target,
            ..self
        }
    }

    fn at(self, host: &'static str) -> Self {
        Self { host, ..self }
    }

    fn naming(self, resource: &[&'static str]) -> Self {
        Self {
            resource: resource.to_vec(),
            ..self
        }
    }

    fn authorized_by(self, values: &[&str]) -> Self {
        Self {
            authorization: values
                .iter()
                .map(|value| value.as_bytes().to_vec())
                .collect(),
            ..self
        }
    }

    fn decided_by(&self, snapshot: &mut Snapshot) -> Decision {
        self.decided_at(snapshot, NOW)
    }

    fn decided_at(&self, snapshot: &mut Snapshot, now: Timestamp) -> Decision {
        self.judged_at(snapshot, now).0
    }

    fn judged_at(
        &self,
        snapshot: &mut Snapshot,
        now: Timestamp,
    ) -> (Decision, Option<ShadowVerdict>) {
        self.judged_with(snapshot, &filter(), now)
    }

    fn judged_with(
        &self,
        snapshot: &mut Snapshot,
        filter: &Filter,
        now: Timestamp,
    ) -> (Decision, Option<ShadowVerdict>) {
        self.request(|request| decide(snapshot, Some(filter), request, now))
    }

    /// Decides, and says whether the policy had said so before.
    fn repeated_by(&self, snapshot: &mut Snapshot) -> (Result<Permit, Reason>, bool) {
        let (outcome, account) = self.accounted_by(snapshot);
        (outcome, account.repeated)
    }

    /// Decides, and gives account of it.
    fn accounted_by(&self, snapshot: &mut Snapshot) -> (Result<Permit, Reason>, Account) {
        self.request(|request| {
            let mut account = Account::default();
            let call = match identify(snapshot, Some(&filter()), request, NOW, &mut account) {
                Ok(Identified::Call(call)) => call,
                other => panic!("{other:?}"),
            };
            let (outcome, _) = authorise(snapshot, request, call, &mut account);
            let outcome = outcome.map_err(|refusal| refusal.reason().clone());
            (outcome, account)
        })
    }

    fn request<T>(&self, with: impl FnOnce(&Request<'_>) -> T) -> T {
        let (mut authorization, mut resource) = (SingleHeader::default(), SingleHeader::default());
        self.authorization
            .iter()
            .for_each(|value| authorization.push(value.as_slice()));
        self.resource
            .iter()
            .for_each(|value| resource.push(value.as_bytes()));
        let request = Request {
            method: self.method,
            target: self.target,
            authority: self.host,
            authorization,
            resource,
        };
        with(&request)
    }
}

#[track_caller]
fn allowed(name: &str, decision: Decision) -> Permit {
    match decision {
        Decision::Allow(permit) => permit,
        Decision::Deny(refusal) => panic!("{name}: {refusal}"),
    }
}

#[track_caller]
fn denied(name: &str, decision: Decision, reason: Reason) -> Refusal {
    match decision {
        Decision::Allow(_) => panic!("{name} passed"),
        Decision::Deny(refusal) => {
            assert_eq!(refusal.reason(), &reason, "{name}: {refusal}");
            refusal
        }
    }
}

#[track_caller]
fn deny(name: &str, call: Call, reason: Reason) -> Refusal {
    denied(name, call.decided_by(&mut snapshot()), reason)
}

fn read() -> Call {
    Call::with(json!({}))
}

fn own(reason: &str) -> Reason {
    Reason::PolicyDenied(reason.to_owned())
}

fn forged() -> String {
    jws(
        &header_with(json!({})).to_string(),
        claims_with(json!({})).to_string().as_bytes(),
        &key(2),
    )
}

fn rpc() -> Call {
    Call::with(json!({"target": [RPC], "scope": "call"}))
        .to("POST", "/mcp")
        .at("rpc.example.com")
}

#[test]
fn a_call_within_scope_and_grant_passes() {
    let mut snapshot = snapshot();
    let permit = allowed("read", read().decided_by(&mut snapshot));
    assert_eq!(permit.mandate().claims(), &claims());
    for (name, call) in [
        ("one item", read().to("GET", "/demo/items/7")),
        ("a query", read().to("GET", "/demo/items?x=/../admin")),
        (
            "write",
            Call::with(json!({"scope": "read write"})).to("POST", "/demo/items"),
        ),
        (
            "another application",
            Call::with(json!({"client_id": "app-2"})),
        ),
        ("the binding's own name", read().naming(&[DEMO])),
        (
            "several targets",
            Call::with(json!({"target": [RPC, DEMO]})),
        ),
        (
            "a resource mandate",
            Call::with(json!({"use": "resource", "aud": [DEMO]})),
        ),
        (
            "one audience",
            Call::with(json!({"use": "resource", "aud": DEMO})),
        ),
        (
            "a resource named by header only",
            rpc().at("x").naming(&[RPC]),
        ),
    ] {
        allowed(name, call.decided_by(&mut snapshot));
    }
}

#[test]
fn the_first_thing_wrong_is_the_reason() {
    for (name, call, reason) in [
        (
            "a disguised path",
            read().to("GET", "/demo/../demo/items"),
            Reason::PathAmbiguous,
        ),
        (
            "an escaped slash",
            read().to("GET", "/demo%2Fitems"),
            Reason::PathAmbiguous,
        ),
        ("no path", read().to("OPTIONS", "*"), Reason::PathAmbiguous),
        (
            "no binding",
            read().to("GET", "/other"),
            Reason::ResourceMissing,
        ),
        (
            "the binding's border",
            read().to("GET", "/demo"),
            Reason::ResourceMissing,
        ),
        (
            "two routing headers",
            read().naming(&[DEMO, DEMO]),
            Reason::ResourceAmbiguous,
        ),
        (
            "a contradiction",
            read().naming(&[RPC]),
            Reason::ResourceConflict,
        ),
        (
            "a contradiction with nothing",
            read().naming(&[""]),
            Reason::ResourceConflict,
        ),
        (
            "another case",
            read().naming(&["resource://DEMO"]),
            Reason::ResourceConflict,
        ),
        ("no token", read().authorized_by(&[]), Reason::TokenMissing),
        (
            "an expired mandate",
            Call::with(json!({"exp": NOW.seconds() - 60})),
            Reason::TokenExpired,
        ),
        (
            "a session mandate",
            Call::with(json!({"use": "session"})),
            Reason::UseNotAllowed,
        ),
        (
            "another zone",
            Call::with(json!({"zone_id": "zone-2"})),
            Reason::ZoneMismatch,
        ),
        (
            "a revoked application",
            Call::with(json!({"client_id": "app-9"})),
            Reason::TokenRevoked,
        ),
        (
            "another resource",
            Call::with(json!({"target": [RPC]})),
            Reason::AudienceMismatch,
        ),
        (
            "no resource",
            Call::with(json!({"target": []})),
            Reason::AudienceMismatch,
        ),
        (
            "a gateway mandate for another issuer",
            Call::with(json!({"aud": ["https://x.example"]})),
            Reason::AudienceMismatch,
        ),
        (
            "a gateway mandate in a resource's form",
            Call::with(json!({"aud": [DEMO]})),
            Reason::AudienceMismatch,
        ),
        (
            "a resource mandate for the issuer",
            Call::with(json!({"use": "resource"})),
            Reason::AudienceMismatch,
        ),
        (
            "a resource mandate for another",
            Call::with(json!({"use": "resource", "aud": [RPC]})),
            Reason::AudienceMismatch,
        ),
        (
            "an unknown path",
            read().to("GET", "/demo/admin"),
            Reason::OperationNotPermitted,
        ),
        (
            "an unknown method",
            read().to("DELETE", "/demo/items"),
            Reason::OperationNotPermitted,
        ),
        (
            "a method in lower case",
            read().to("get", "/demo/items"),
            Reason::OperationNotPermitted,
        ),
        (
            "a trailing slash",
            read().to("GET", "/demo/items/"),
            Reason::OperationNotPermitted,
        ),
        (
            "the scope of another operation",
            read().to("POST", "/demo/items"),
            Reason::ScopeMissing,
        ),
        (
            "no scope",
            Call::with(json!({"scope": null})),
            Reason::ScopeMissing,
        ),
        (
            "a scope in another case",
            Call::with(json!({"scope": "READ"})),
            Reason::ScopeMissing,
        ),
        (
            "a scope that begins alike",
            Call::with(json!({"scope": "reader read:all"})),
            Reason::ScopeMissing,
        ),
        (
            "more than the grant",
            Call::with(json!({"client_id": "app-2", "scope": "read write"})),
            own("role_scope_mismatch"),
        ),
        (
            "no grant",
            Call::with(json!({"client_id": "app-3"})),
            own("resource_not_granted"),
        ),
        (
            "no target for the policy",
            Call::with(json!({"use": "resource", "aud": [DEMO], "target": []})),
            own("mandate_target_mismatch"),
        ),
    ] {
        deny(name, call, reason);
    }
}
