//! The parts, each with all it needs at hand.

use std::{hint::black_box, sync::Arc};

use authority::{
    audit::{OccurredAt, Writer},
    binding::{BindingSpec, Bindings},
    bundle::{self, Bundle, BundlePolicy},
    decision::{
        Account, Decided, Decision, Identified, Request, SingleHeader, authorise, decide, identify,
    },
    ids::{KeyId, ZoneId},
    jwks::{Jwk, JwkSet, KeySet},
    key::{SigningKey, host},
    mandate::{Claims, Expected, Mandate, MandateUse, SubjectType, sign, verify},
    path::NormalPath,
    policy::{
        Module, Policy, Reads, compile,
        input::{Call, PolicyInput},
    },
    resource::{Resource, ResourceSpec},
    revocation::{Base, Changes, Content, Digest, Filter, HashKey, Publication},
    snapshot::{PolicyOrigin, Snapshot},
    tags::TagKey,
    time::Timestamp,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::Signer;
use serde_json::json;

const ISSUER: &str = "https://sts.test";
const RESOURCE: &str = "resource://demo";
const ZONE: &str = "zone-1";
const TARGET: &str = "/demo/items";
const NOW: Timestamp = Timestamp(1_800_000_000);
const REVOKED: u64 = 100_000;

/// A policy as somebody writes it by hand, about thirty lines.
pub const HANDWRITTEN: &str = r#"package caracal.authz

import rego.v1

readers := {"demo:read", "demo:write"}

writers := {"demo:write"}

needed := readers if {
	input.action.method in {"GET", "HEAD"}
} else := writers if {
	input.action.method in {"POST", "PUT", "DELETE"}
}

granted := split(input.context.subject_claims.scope, " ")

is_application if input.principal.type == "Application"

is_here if startswith(input.action.path, "/demo/")

may_pass if {
	is_application
	is_here
	some scope in granted
	scope in needed
}

may_pass if input.action.id == "TokenExchange"

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {
	"decision": "allow", "evaluation_status": "complete",
	"determining_policies": [{"policy_id": "handwritten"}], "diagnostics": [],
} if may_pass
"#;

const GRANTS: &str = r#"# caracal:data-document
package caracal.authz

app_ids := {"agent": "app-1"}

grants := {"resource://demo": {"application": "agent", "applications": {"agent": ["demo:read", "demo:write"]}}}
"#;

/// What is timed.
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    pub(crate) run: Box<dyn FnMut()>,
}

fn part(name: &'static str, run: impl FnMut() + 'static) -> Part {
    Part {
        name,
        run: Box::new(run),
    }
}

fn claims() -> Claims {
    let session = "01a20b84-6b21-705e-a494-f3531c6596b2";
    Claims {
        iss: ISSUER.into(),
        sub: "app-1".into(),
        aud: vec![ISSUER.into()],
        exp: NOW.plus(900),
        iat: NOW,
        nbf: None,
        jti: "01a20b84-6b21-705e-a494-f3531c6596b1".into(),
        zone_id: ZONE.into(),
        client_id: "app-1".into(),
        sid: session.into(),
        root_sid: session.into(),
        mandate_use: MandateUse::Gateway,
        sub_type: SubjectType::Application,
        scope: Some("demo:read".into()),
        target: vec![RESOURCE.into()],
        agent_session_id: None,
        session_path: Vec::new(),
        granting_sessions: Vec::new(),
        labels: Vec::new(),
        delegation_edge_id: None,
        source_session_id: None,
        target_session_id: None,
        delegation_path: Vec::new(),
        delegation_chain: Vec::new(),
        hop_count: None,
        act: None,
        once: false,
    }
}

fn spec() -> ResourceSpec {
    serde_json::from_value(json!({
        "id": "resource-1", "identifier": RESOURCE, "scopes": ["demo:read", "demo:write"],
        "operations": [
            {"method": "GET", "path": "/demo/items", "scope": "demo:read"},
            {"method": "POST", "path": "/demo/items", "scope": "demo:write"},
            {"method": "GET", "path": "/demo/items/{id}", "scope": "demo:read"},
        ],
    }))
    .unwrap()
}

fn keys() -> (SigningKey, KeyId, KeySet) {
    let (key, kid) = (
        SigningKey::from_bytes(&[7; 32]).unwrap(),
        KeyId::from("key-1"),
    );
    let jwk = Jwk::new(&kid, &key.verifying_key());
    let keys = KeySet::from_jwks(&JwkSet { keys: vec![jwk] }).unwrap();
    (key, kid, keys)
}

fn token() -> String {
    let (key, kid, _) = keys();
    sign(&claims(), &kid, &key).unwrap()
}

fn verified(token: &str, keys: &KeySet) -> Arc<Mandate> {
    let zone = ZoneId::from(ZONE);
    let expected = Expected {
        issuer: ISSUER,
        zone: &zone,
        uses: &[MandateUse::Gateway],
    };
    verify(token, keys, &expected, NOW).unwrap()
}

fn filter() -> Filter {
    let digests = (0..REVOKED)
        .map(|number| Digest(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()));
    let content = Content::Whole {
        load: REVOKED,
        base: Base::of(digests.collect()),
    };
    let publication = Publication {
        zone_id: ZoneId::from(ZONE),
        key: HashKey([7; 16]),
        epoch: REVOKED,
        changed_at: 0,
        changes: Changes::default(),
        content,
    };
    Filter::new(publication).unwrap()
}

fn compiled(source: &str) -> authority::policy::Compiled {
    let module = Module {
        name: "policy.rego".to_owned(),
        source: source.to_owned(),
    };
    compile(&[module]).unwrap()
}

fn snapshot(mandates: usize, policy: &str) -> Snapshot {
    let bindings = Bindings::new(vec![BindingSpec {
        identifier: RESOURCE.to_owned(),
        hosts: vec!["*".to_owned()],
        path_prefix: "/demo/".to_owned(),
    }]);
    let (_, _, keys) = keys();
    let zone = ZoneId::from(ZONE);
    let mut snapshot = Snapshot::new(
        zone,
        ISSUER.to_owned(),
        keys,
        vec![spec()],
        bindings.unwrap(),
    )
    .unwrap();
    snapshot
        .set_policy(PolicyOrigin::default(), &compiled(policy))
        .unwrap();
    snapshot.keep_mandates(mandates, TagKey::new([7; TagKey::BYTES]), None);
    snapshot
}

fn request(authorization: &str) -> Request<'_> {
    Request {
        method: "GET",
        target: TARGET,
        authority: "localhost",
        authorization: SingleHeader::One(authorization.as_bytes()),
        resource: SingleHeader::Absent,
    }
}

/// All parts, in the order of a request.
pub fn parts() -> Vec<Part> {
    let mut parts = verification();
    parts.extend(checks());
    parts.extend(policies());
    parts.extend(decisions());
    parts.push(event());
    parts.extend(bundles());
    parts.extend(minting());
    parts
}

fn verification() -> Vec<Part> {
    let (_, _, plain) = keys();
    let prepared = keys().2.prepared(&KeySet::default());
    let token = token();
    let (message, signature) = signed();
    let (slow, fast) = (
        plain.get("key-1").unwrap().clone(),
        prepared.get("key-1").unwrap().clone(),
    );
    let (again, signed) = (message.clone(), signature.clone());
    vec![
        part("ES256 by tables", move || {
            assert!(fast.verifies(black_box(&message), &signature));
        }),
        part("ES256 by the p256 crate", move || {
            assert!(slow.verifies(black_box(&again), &signed));
        }),
        part("verification of a mandate", move || {
            black_box(verified(black_box(&token), &prepared));
        }),
    ]
}

/// What a mint adds, which is made natively.
fn minting() -> Vec<Part> {
    let ((key, kid, _), claims) = (keys(), claims());
    let slow = p256::ecdsa::SigningKey::from_slice(&key.to_bytes()[..]).unwrap();
    let (message, _) = signed();
    vec![
        part("a mandate, signed", move || {
            black_box(sign(black_box(&claims), &kid, &key).unwrap());
        }),
        part("a signature by the p256 crate", move || {
            let signature: p256::ecdsa::Signature = slow.sign(black_box(&message));
            black_box(signature);
        }),
    ]
}

/// ES256 by the host, where there is one.
pub fn verification_by_host(call: host::Call) -> Part {
    let key = keys().0.verifying_key().by_host(call);
    let (message, signature) = signed();
    part("ES256 by the host", move || {
        assert!(key.verifies(black_box(&message), &signature));
    })
}

/// What the signature of a mandate is over, and it.
fn signed() -> (Vec<u8>, Vec<u8>) {
    let token = token();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    (message.as_bytes().to_vec(), signature)
}

fn checks() -> Vec<Part> {
    let (filter, mandate) = (filter(), verified(&token(), &keys().2));
    let resource = Resource::new(spec()).unwrap();
    vec![
        part("filter check", move || {
            black_box(filter.find(black_box(&mandate)));
        }),
        part("operation match", move || {
            let path = NormalPath::parse(black_box(TARGET)).unwrap();
            assert!(resource.operation("GET", &path).is_some());
        }),
    ]
}

fn policies() -> Vec<Part> {
    let input = || {
        let mandate = verified(&token(), &keys().2);
        let resource = Resource::new(spec()).unwrap();
        let path = NormalPath::parse(TARGET).unwrap();
        let reads = Reads::all();
        move || {
            PolicyInput::call(black_box(&Call {
                mandate: &mandate,
                seen: true,
                reads: &reads,
                resource: &resource,
                method: "GET",
                path: &path,
                host: "localhost",
                now: NOW,
                operation: resource.operation("GET", &path),
            }))
        }
    };
    let evaluation = |name, source| {
        let mut evaluator = Policy::load(&compiled(source).program).unwrap().evaluator();
        let document = input()();
        part(name, move || {
            assert!(evaluator.evaluate(black_box(&document)).unwrap().allows());
        })
    };
    let make = input();
    vec![
        part("input document", move || {
            black_box(make());
        }),
        evaluation("policy of 30 lines", HANDWRITTEN),
        evaluation("the contract", GRANTS),
    ]
}

fn decisions() -> Vec<Part> {
    let with_the_time = format!("{HANDWRITTEN}\nmay_pass if input.context.time == 0\n");
    let decision = |name, mandates, policy: &str| {
        let (mut snapshot, filter) = (snapshot(mandates, policy), filter());
        let authorization = format!("Bearer {}", token());
        part(name, move || {
            let request = request(black_box(&authorization));
            let (decision, _) = decide(&mut snapshot, Some(&filter), &request, NOW);
            assert!(matches!(decision, Decision::Allow(_)));
        })
    };
    vec![
        decision("decision, mandate new, 30 lines", 0, HANDWRITTEN),
        decision("decision, mandate new, the contract", 0, GRANTS),
        decision("decision, mandate known, 30 lines", 10, HANDWRITTEN),
        decision("decision, mandate known, the contract", 10, GRANTS),
        decision(
            "decision, mandate known, asked each time",
            10,
            &with_the_time,
        ),
    ]
}

/// A bundle as it comes, and as it is when its signature has been checked.
fn bundles() -> Vec<Part> {
    let (key, kid, keys) = keys();
    let resources: Vec<ResourceSpec> = (0..1_000)
        .map(|number| {
            let mut spec = spec();
            spec.id = format!("resource-{number}").into();
            spec.identifier = format!("{RESOURCE}{number}");
            spec
        })
        .collect();
    let grant = json!({"application": "agent", "applications": {"agent": ["demo:read"]}});
    let grants: serde_json::Map<_, _> = resources
        .iter()
        .map(|spec| (spec.identifier.clone(), grant.clone()))
        .collect();
    let policy = format!(
        "# caracal:data-document\npackage caracal.authz\n\napp_ids := {{\"agent\": \"app-1\"}}\n\ngrants := {}\n",
        json!(grants)
    );
    let bundle = Bundle {
        format: bundle::FORMAT.to_owned(),
        zone_id: ZONE.into(),
        zone_slug: ZONE.to_owned(),
        issuer: ISSUER.to_owned(),
        sequence: 1,
        keys: JwkSet {
            keys: vec![Jwk::new(&kid, &key.verifying_key())],
        },
        resources,
        policy: Some(BundlePolicy::new(
            "set".into(),
            "version".into(),
            String::new(),
            &compiled(&policy),
        )),
        shadow: None,
    };
    let body = serde_json::to_vec(&bundle).unwrap();
    let signature = bundle::sign(&body, &kid, &key);
    let keys = keys.prepared(&KeySet::default());
    let (again, other) = (bundle.clone(), bundle.clone());
    let before = Snapshot::from_bundle(bundle, Bindings::default(), None).unwrap();
    vec![
        part("a bundle of 1,000 resources, opened", move || {
            let opened = bundle::open(black_box(&body), &signature, &keys, ZONE, ISSUER, 0);
            black_box(opened.unwrap());
        }),
        part("a bundle of 1,000 resources, applied", move || {
            let made = Snapshot::from_bundle(again.clone(), Bindings::default(), None);
            black_box(made.unwrap());
        }),
        part("the same, with another policy only", move || {
            let made = Snapshot::from_bundle(other.clone(), Bindings::default(), Some(&before));
            black_box(made.unwrap());
        }),
    ]
}

fn event() -> Part {
    let mut snapshot = snapshot(10, GRANTS);
    let authorization = format!("Bearer {}", token());
    let request = request(&authorization);
    let mut account = Account {
        request_id: "01a20b84-6b21-705e-a494-f3531c6596b1".to_owned(),
        method: "GET".to_owned(),
        ..Account::default()
    };
    let identified = identify(&mut snapshot, None, &request, NOW, &mut account).unwrap();
    let Identified::Call(call) = identified else {
        unreachable!("nothing is revoked");
    };
    authorise(&mut snapshot, &request, call, &mut account)
        .0
        .unwrap();
    let account = Arc::new(account);
    let zone = ZoneId::from(ZONE);
    let decided = Decided {
        id: "01a20b84-6b21-705e-a494-f3531c6596b3".to_owned(),
        at: OccurredAt(NOW.0 * 1_000_000),
        reason: None,
        latency_us: 20,
        stands_for: None,
        cut: false,
    };
    let mut writer = Writer::default();
    part("audit event", move || {
        writer.clear();
        black_box(&account)
            .write(&zone, &decided, &mut writer)
            .unwrap();
        black_box(writer.written());
    })
}
