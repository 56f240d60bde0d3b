//! What a policy is told of a call: what it reads, and what it reads alone.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::policy::{Distinct, input::Call as Told};

/// The paths of a document that are told apart.
fn paths(document: &Value, depth: usize) -> Vec<Vec<String>> {
    let Some(members) = document.as_object().filter(|_| depth > 0) else {
        return vec![Vec::new()];
    };
    let below = |(name, member): (&String, &Value)| {
        let mut below = paths(member, depth - 1);
        for path in &mut below {
            path.insert(0, name.clone());
        }
        below
    };
    let own = std::iter::once(Vec::new());
    own.chain(members.iter().flat_map(below)).collect()
}

/// The document with nothing in it but what a path leads to.
fn only(document: &Value, path: &[String]) -> Value {
    match path {
        [] => document.clone(),
        [name, rest @ ..] => json!({name: only(&document[name], rest)}),
    }
}

#[test]
fn what_is_read_of_a_call_is_told_and_nothing_else() {
    let resource = Resource::new(demo_resource()).unwrap();
    let path = NormalPath::parse("/demo/items/7").unwrap();
    let delegated = json!({
        "agent_session_id": "s2", "session_path": ["s1", "s2"], "labels": ["nightly"],
        "delegation_edge_id": "d1", "source_session_id": "s1", "target_session_id": "s2",
        "delegation_path": ["d1"], "delegation_chain": [
            {"application_id": "app-0", "delegation_edge_id": "d1"}, {"application_id": APP},
        ], "hop_count": 1, "tier": {"level": 3},
    });
    for claims in [json!({}), delegated] {
        let mandate = verified(&token(claims)).unwrap();
        let told = |reads: &Arc<Reads>| {
            let told = PolicyInput::call(&Told {
                mandate: &mandate,
                seen: true,
                reads,
                resource: &resource,
                method: "GET",
                path: &path,
                host: "gateway.example.com",
                now: NOW,
                operation: resource.operation("GET", &path),
            });
            told.to_json().unwrap()
        };
        let all = told(&Reads::all());
        assert_eq!(told(&Arc::new(Reads::nothing())), json!({}));
        let paths = paths(&all, 3);
        assert!(paths.len() > 30, "{paths:?}");
        for path in paths {
            let mut reads = Reads::nothing();
            reads.add(path.iter().map(String::as_str));
            // A resource is made once, and told whole.
            let expected = match path.first() {
                Some(name) if name == "resource" => only(&all, &path[..1]),
                _ => only(&all, &path),
            };
            let reads = Arc::new(reads);
            for _ in 0..2 {
                assert_eq!(told(&reads), expected, "{path:?}");
            }
        }
    }
}

#[test]
fn what_is_told_is_written_the_same_if_it_is_the_same_and_otherwise_if_not() {
    let resources = [DEMO, "resource://other"].map(|identifier| {
        let spec = ResourceSpec {
            identifier: identifier.to_owned(),
            ..demo_resource()
        };
        Resource::new(spec).unwrap()
    });
    let mandates = [
        json!({}),
        json!({"jti": "another"}),
        json!({"agent_session_id": "x", "labels": ["y"]}),
        json!({"delegation_edge_id": "x", "labels": ["y", "z"]}),
        json!({"tier": 3, "scope": null}),
    ]
    .map(|claims| verified(&token(claims)).unwrap());
    let paths = ["/demo/items", "/demo/items/7"].map(|path| NormalPath::parse(path).unwrap());
    let mut calls = Vec::new();
    for (mandate, resource) in mandates
        .iter()
        .flat_map(|one| resources.iter().map(move |of| (one, of)))
    {
        for (method, path, host, now) in [
            ("GET", &paths[0], "a.example", NOW),
            ("POST", &paths[0], "a.example", NOW),
            ("GET", &paths[1], "a.example", NOW),
            ("GET", &paths[0], "b.example", NOW),
            ("GET", &paths[0], "a.example", NOW.plus(1)),
        ] {
            calls.push((mandate, resource, method, path, host, now));
        }
    }
    let mut all_of_it = Vec::new();
    for names in [
        &[][..],
        &[""],
        &["principal"],
        &["context", "subject_claims", "scope"],
        &["context", "agent_session_id"],
        &["context"],
        &["action", "method"],
        &["action"],
        &["resource"],
        &["session", "id"],
        &["delegation_edge"],
    ] {
        let mut reads = Reads::nothing();
        if !names.is_empty() {
            reads.add(names.iter().copied());
        }
        all_of_it.push(Arc::new(reads));
    }
    for reads in all_of_it {
        let told = calls
            .iter()
            .map(|&(mandate, resource, method, path, host, now)| {
                let call = Told {
                    mandate,
                    seen: false,
                    reads: &reads,
                    resource,
                    method,
                    path,
                    host,
                    now,
                    operation: resource.operation(method, path),
                };
                let mut written = Distinct::default();
                call.write(&mut written);
                let document = PolicyInput::call(&call).to_json().unwrap().to_string();
                (document, written.whole().unwrap().to_vec())
            });
        let told: Vec<_> = told.collect();
        for (document, written) in &told {
            for (other, also_written) in &told {
                assert_eq!(
                    document == other,
                    written == also_written,
                    "{document} {other}"
                );
            }
        }
    }
}

/// A policy that says what it finds of the claims.
fn saying(what: &str) -> String {
    authored(&format!(
        r#"result := {{"decision": "deny", "evaluation_status": "complete", "determining_policies": [],
	"diagnostics": [{{"reason": concat(" ", ["found", {what}, substring(input.action.path, 0, 1)])}}]}}"#
    ))
}

#[test]
fn a_mandate_that_is_known_is_told_anew_to_another_policy() {
    let mut snapshot = snapshot_with(Some(&saying("input.context.subject_claims.first")));
    let call = Call::with(json!({"first": "one", "second": "two"}));
    for _ in 0..3 {
        assert_denied(call.decided_by(&mut snapshot), "found one /");
    }
    let second = saying("input.context.subject_claims.second");
    let compiled = compile(&[Module {
        name: "policy.rego".to_owned(),
        source: second,
    }]);
    snapshot
        .set_policy(PolicyOrigin::default(), &compiled.unwrap())
        .unwrap();
    for _ in 0..3 {
        assert_denied(call.decided_by(&mut snapshot), "found two /");
    }
}

fn assert_denied(decision: Decision, reason: &str) {
    match decision {
        Decision::Deny(refusal) => assert_eq!(*refusal.reason(), own(reason)),
        Decision::Allow(_) => panic!("allowed"),
    }
}
