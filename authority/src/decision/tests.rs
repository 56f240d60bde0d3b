//! The whole decision over a snapshot: what passes, and for each way not to pass its reason.

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    binding::{BindingSpec, Bindings},
    jwks::{Jwk, JwkSet, KeySet},
    policy::{Module, compile},
    resource::ResourceSpec,
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
    };
    bundle
        .resources
        .push(open(RPC, OperationEnforcement::TransportUniform));
    bundle
        .resources
        .push(open(UNBOUND, OperationEnforcement::Enforced));
    bundle.archived_applications = vec!["app-9".into()];
    let mut snapshot = Snapshot::from_bundle(bundle, bindings.unwrap()).unwrap();
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
    snapshot.keep_mandates(100, None);
    snapshot
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
        let (mut authorization, mut resource) = (SingleHeader::default(), SingleHeader::default());
        self.authorization
            .iter()
            .for_each(|value| authorization.push(value));
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
        decide(snapshot, &request, now)
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
            "an archived application",
            Call::with(json!({"client_id": "app-9"})),
            Reason::ApplicationArchived,
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

fn own(reason: &str) -> Reason {
    Reason::PolicyDenied(reason.to_owned())
}

#[test]
fn the_scope_that_is_missing_is_named() {
    let refusal = deny(
        "write",
        read().to("POST", "/demo/items"),
        Reason::ScopeMissing,
    );
    assert_eq!(refusal.scope(), Some("write"));
    assert_eq!(
        (refusal.reason().status(), refusal.reason().error()),
        (403, "insufficient_scope")
    );
}

#[test]
fn only_a_valid_mandate_learns_which_resources_there_are() {
    let unknown = |call: Call| call.to("GET", "/x").naming(&["resource://nowhere"]);
    for (name, call, reason) in [
        ("nobody", read().authorized_by(&[]), Reason::TokenMissing),
        ("a stranger", Call::bearing("a.b.c"), Reason::TokenMalformed),
        (
            "a forger",
            Call::bearing(&forged()),
            Reason::SignatureInvalid,
        ),
        (
            "someone of the past",
            Call::with(json!({"exp": 1})),
            Reason::TokenExpired,
        ),
        (
            "an archived application",
            Call::with(json!({"client_id": "app-9"})),
            Reason::ApplicationArchived,
        ),
        ("a caller", read(), Reason::ResourceUnknown),
    ] {
        deny(name, unknown(call.clone()), reason.clone());
        // A binding to what the zone does not have says no more than a header does.
        deny(name, call.to("GET", "/gone/x"), reason);
    }
    let known = read().to("GET", "/x").naming(&[UNBOUND]);
    deny("a known one", known, Reason::AudienceMismatch);
    let mut request = Request {
        method: "GET",
        target: "/x",
        authority: "x",
        authorization: SingleHeader::Absent,
        resource: SingleHeader::One(b"resource://\xff"),
    };
    denied(
        "no UTF-8",
        decide(&mut snapshot(), &request, NOW),
        Reason::ResourceUnknown,
    );
    request.resource = SingleHeader::Absent;
    denied(
        "none",
        decide(&mut snapshot(), &request, NOW),
        Reason::ResourceMissing,
    );
}

fn forged() -> String {
    jws(
        &header_with(json!({})).to_string(),
        claims_with(json!({})).to_string().as_bytes(),
        &key(2),
    )
}

#[test]
fn there_is_exactly_one_authorization() {
    let token = token(json!({}));
    let once = format!("Bearer {token}");
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let call = read().authorized_by(&[&format!("{scheme} {token}")]);
        allowed(scheme, call.decided_by(&mut snapshot()));
    }
    for spaced in [format!("Bearer  {token}"), format!(" Bearer {token} ")] {
        allowed(
            "spaces",
            read().authorized_by(&[&spaced]).decided_by(&mut snapshot()),
        );
    }
    let joined = format!("{once}, {once}");
    for values in [
        &[once.as_str(), once.as_str()][..],
        &[&once, "Basic eDp5"],
        &[&once, ""],
        &[&once, &once, &once],
        &[&joined],
        &[&format!("{once},")],
        &[&format!("Basic eDp5,{once}")],
    ] {
        let call = read().authorized_by(values);
        deny(&format!("{values:?}"), call, Reason::AuthorizationAmbiguous);
    }
    let glued = format!("Bearer{token}");
    for value in [
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "Token x",
        &token,
        &glued,
        "DPoP x",
    ] {
        deny(value, read().authorized_by(&[value]), Reason::TokenMissing);
    }
    let trailing = format!("{once} x");
    for value in ["Bearer x", "Bearer Bearer x", &trailing] {
        deny(
            value,
            read().authorized_by(&[value]),
            Reason::TokenMalformed,
        );
    }
    let mut call = read();
    call.authorization = vec![b"Bearer \xff\xfe".to_vec()];
    deny("no UTF-8", call, Reason::TokenMalformed);
}

fn rpc() -> Call {
    Call::with(json!({"target": [RPC], "scope": "call"}))
        .to("POST", "/mcp")
        .at("rpc.example.com")
}

#[test]
fn a_uniform_transport_takes_any_scope_of_its_resource_and_no_other() {
    allowed("call", rpc().decided_by(&mut snapshot()));
    allowed(
        "any path",
        rpc().to("PUT", "/a/b").decided_by(&mut snapshot()),
    );
    for scope in [json!(null), json!("write"), json!("agent:lifecycle")] {
        let mut call = Call::with(json!({"target": [RPC], "scope": scope})).to("POST", "/mcp");
        call.host = "rpc.example.com";
        let refusal = deny("another scope", call, Reason::ScopeMissing);
        assert_eq!(refusal.scope(), None);
    }
    let enforced = Call::with(json!({"target": [UNBOUND]}))
        .to("GET", "/x")
        .naming(&[UNBOUND]);
    deny(
        "no operations at all",
        enforced,
        Reason::OperationNotPermitted,
    );
}

#[test]
fn a_zone_without_a_policy_denies_everything() {
    let mut snapshot = snapshot_with(None);
    assert!(snapshot.policy_origin().is_none());
    denied(
        "read",
        read().decided_by(&mut snapshot),
        Reason::NoActivePolicySet,
    );
}

#[test]
fn only_a_complete_yes_of_the_policy_is_a_yes() {
    let result = |decision: &str, rest: &str| {
        authored(&format!(
            r#"result := {{"decision": "{decision}", "determining_policies": [], {rest}}}"#
        ))
    };
    let complete = r#""evaluation_status": "complete", "diagnostics": []"#;
    let endless = r#"r := numbers.range(1, 100)
        result := count([1 | some a in r; some b in r; some c in r; some d in r])"#;
    for (name, policy, reason) in [
        ("deny", result("deny", complete), own("policy_denied")),
        (
            "deny with a reason",
            result(
                "deny",
                r#""evaluation_status": "complete", "diagnostics": [{"note": 1}, {"reason": "too_late"}]"#,
            ),
            own("too_late"),
        ),
        (
            "undefined",
            authored("result := 1 if input.action.id == \"Nothing\""),
            Reason::PolicyUndefined,
        ),
        (
            "another decision",
            result("maybe", complete),
            Reason::PolicyEvalFailed,
        ),
        (
            "incomplete",
            result(
                "allow",
                r#""evaluation_status": "partial", "diagnostics": []"#,
            ),
            Reason::PolicyEvalFailed,
        ),
        (
            "no status",
            result("allow", r#""diagnostics": []"#),
            Reason::PolicyEvalFailed,
        ),
        ("true", authored("result := true"), Reason::PolicyEvalFailed),
        (
            "over its bound",
            authored(endless),
            Reason::PolicyEvalFailed,
        ),
    ] {
        let mut snapshot = snapshot_with(Some(&policy));
        for _ in 0..2 {
            let refusal = denied(name, read().decided_by(&mut snapshot), reason.clone());
            assert_eq!(refusal.reason().status(), 403, "{name}");
            let told = refusal.description().contains("bound");
            assert_eq!(told, name == "over its bound", "{refusal}");
        }
    }
    let mut snapshot = snapshot_with(Some(&result("allow", complete)));
    allowed("allow", read().decided_by(&mut snapshot));
}

#[test]
fn the_policy_sees_the_call() {
    let policy = authored(
        r#"result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [],
            "diagnostics": [{"reason": json.marshal([input.action, input.context.subject_claims.tier, input.principal.id])}]}"#,
    );
    let call = Call::with(json!({"tier": 3})).to("GET", "/demo/items/%37?secret=1");
    let Decision::Deny(refusal) = call.decided_by(&mut snapshot_with(Some(&policy))) else {
        panic!("passed");
    };
    let seen: Value = serde_json::from_str(refusal.reason().code()).unwrap();
    let action = json!({
        "id": "Request",
        "method": "GET",
        "path": "/demo/items/7",
        "host": "gateway.example.com:8081",
        "operation": {"method": "GET", "path": "/demo/items/{id}", "scope": "read"},
    });
    assert_eq!(seen, json!([action, 3, APP]));
}

#[test]
fn a_kept_mandate_is_checked_anew_in_all_but_its_signature() {
    let mut snapshot = snapshot();
    let call = read();
    assert_eq!(snapshot.cached_mandates(), 0);
    allowed("fresh", call.decided_by(&mut snapshot));
    assert_eq!(snapshot.cached_mandates(), 1);
    allowed("kept", call.decided_at(&mut snapshot, NOW.plus(959)));
    denied(
        "another operation",
        call.clone()
            .to("POST", "/demo/items")
            .decided_by(&mut snapshot),
        Reason::ScopeMissing,
    );
    denied(
        "another resource",
        rpc_with(&call).decided_by(&mut snapshot),
        Reason::AudienceMismatch,
    );
    denied(
        "expired",
        call.decided_at(&mut snapshot, NOW.plus(960)),
        Reason::TokenExpired,
    );
    assert_eq!(
        snapshot.cached_mandates(),
        0,
        "an expired mandate is forgotten"
    );
    allowed("earlier", call.decided_by(&mut snapshot));
    snapshot.archived.insert(APP.into());
    denied(
        "archived",
        call.decided_by(&mut snapshot),
        Reason::ApplicationArchived,
    );
    snapshot.archived.clear();
    snapshot.replace_keys(KeySet::from_jwks(&other_jwks()).unwrap());
    denied(
        "other keys",
        call.decided_by(&mut snapshot),
        Reason::SignatureInvalid,
    );
    assert_eq!(snapshot.cached_mandates(), 0);
}

fn rpc_with(call: &Call) -> Call {
    call.clone().to("POST", "/mcp").at("rpc.example.com")
}

fn other_jwks() -> JwkSet {
    let keys = vec![Jwk::new(&kid(KID), &key(2).verifying_key())];
    JwkSet { keys }
}

#[test]
fn what_is_refused_is_not_kept() {
    let mut snapshot = snapshot();
    for token in [
        forged(),
        token(json!({"exp": 1})),
        token(json!({"use": "session"})),
    ] {
        assert!(matches!(
            Call::bearing(&token).decided_by(&mut snapshot),
            Decision::Deny(_)
        ));
    }
    assert_eq!(snapshot.cached_mandates(), 0);
}

#[test]
fn mandates_are_kept_across_snapshots_only_under_the_same_keys() {
    let kept = |change: fn(&mut Snapshot), capacity: usize| {
        let mut first = snapshot();
        allowed("first", read().decided_by(&mut first));
        let mut next = snapshot();
        change(&mut next);
        next.keep_mandates(capacity, Some(first));
        next.cached_mandates()
    };
    assert_eq!(kept(|_| {}, 100), 1);
    assert_eq!(kept(|_| {}, 50), 0);
    assert_eq!(
        kept(|next| next.issuer = "https://x.example".to_owned(), 100),
        0
    );
    assert_eq!(kept(|next| next.zone = "zone-2".into(), 100), 0);
    let rotated = |next: &mut Snapshot| next.keys = KeySet::from_jwks(&other_jwks()).unwrap();
    assert_eq!(kept(rotated, 100), 0);
}

#[cfg(not(target_arch = "wasm32"))]
mod random {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    thread_local! {
        static SNAPSHOT: RefCell<Snapshot> = RefCell::new(snapshot());
    }

    fn decision(target: &str, authorization: &[u8], resource: Option<&[u8]>) -> Decision {
        let request = Request {
            method: "GET",
            target,
            authority: "gateway.example.com",
            authorization: SingleHeader::One(authorization),
            resource: resource.map_or(SingleHeader::Absent, SingleHeader::One),
        };
        SNAPSHOT.with_borrow_mut(|snapshot| decide(snapshot, &request, NOW))
    }

    proptest! {
        #[test]
        fn bytes_are_no_mandate(token in prop::collection::vec(any::<u8>(), 0..400)) {
            let header = [b"Bearer ", token.as_slice()].concat();
            for header in [header.as_slice(), &token] {
                prop_assert!(matches!(decision("/demo/items", header, None), Decision::Deny(_)));
            }
        }

        #[test]
        fn text_in_the_shape_of_a_mandate_is_none(
            header in any::<String>(), payload in any::<String>(), signature in prop::collection::vec(any::<u8>(), 0..70),
        ) {
            let token = format!("Bearer {}.{}", signing_input(&header, payload.as_bytes()), base64(&signature));
            prop_assert!(matches!(decision("/demo/items", token.as_bytes(), None), Decision::Deny(_)));
        }

        #[test]
        fn a_mandate_with_any_byte_changed_is_none(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut token = token(json!({})).into_bytes();
            let place = place.index(token.len());
            prop_assume!(token[place] != byte);
            token[place] = byte;
            let header = [b"Bearer ", token.as_slice()].concat();
            prop_assert!(matches!(decision("/demo/items", &header, None), Decision::Deny(_)));
        }

        #[test]
        fn rightly_signed_nonsense_is_no_mandate(payload in prop::collection::vec(any::<u8>(), 0..400)) {
            let token = format!("Bearer {}", payload_token(&payload));
            prop_assert!(matches!(decision("/demo/items", token.as_bytes(), None), Decision::Deny(_)));
        }

        #[test]
        fn a_path_outside_the_operations_is_denied(path in "[/.%;\\\\a-z0-9?#]{0,40}|\\PC{0,40}", named: bool) {
            let header = format!("Bearer {}", token(json!({})));
            let name = named.then_some(DEMO.as_bytes());
            for target in [path.clone(), format!("/demo/{path}"), format!("/demo/items/{path}/x")] {
                let plain = target.split('?').next().unwrap();
                let covered = matches!(plain.split('/').collect::<Vec<_>>()[..], ["", "demo", "items"] | ["", "demo", "items", _]);
                let outcome = decision(&target, header.as_bytes(), name);
                prop_assert!(covered || matches!(outcome, Decision::Deny(_)), "{target}");
            }
        }

        #[test]
        fn a_routing_header_does_not_change_what_is_bound(name in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assume!(name != DEMO.as_bytes());
            let header = format!("Bearer {}", token(json!({})));
            let outcome = decision("/demo/items", header.as_bytes(), Some(&name));
            prop_assert!(matches!(outcome, Decision::Deny(_)));
        }
    }
}

#[test]
fn scratch_conflict() {
    for p in [
        "result := 1 if input.action.id\nresult := 2 if input.action.id",
        r#"blocked := true if input.action.id == "Request"
blocked := false if input.action.method == "GET"
result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if not blocked"#,
        r#"f(x) := true if x == "Request"
f(x) := false if x != ""
result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if not f(input.action.id)"#,
    ] {
        let mut s = snapshot_with(Some(&authored(p)));
        println!("{p}\n => {:?}", read().decided_by(&mut s));
    }
}
