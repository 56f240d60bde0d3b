//! The example policies as bytecode: each decides as its own tests say, which run on the interpreter.

use std::{fs, path::PathBuf};

use regorus::Engine;
use serde_json::{Value, json};

use super::super::{CONTRACT, CONTRACT_ENTRY, refers_to_contract};
use crate::{
    policy::{ENTRY_POINT, Module, Policy, compile, input::PolicyInput, written_out},
    testing::use_clock,
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/examples");

/// The modules of an example, its tests aside.
fn modules(example: &str) -> Vec<Module> {
    let mut files: Vec<PathBuf> = fs::read_dir(PathBuf::from(EXAMPLES).join(example))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().ends_with("_test.rego"))
        .collect();
    files.sort();
    let module = |path: &PathBuf| Module {
        name: path.display().to_string(),
        source: fs::read_to_string(path).unwrap(),
    };
    files.iter().map(module).collect()
}

fn asks(application: &str, resource: &str, scopes: &[&str]) -> Value {
    json!({
        "principal": {"type": "Application", "id": application, "zone_id": "z"},
        "resource": {"type": "Resource", "id": "r", "identifier": resource, "scopes": []},
        "action": {"id": "TokenExchange"},
        "context": {"requested_scopes": scopes, "challenge_resolved": false},
    })
}

fn calls(application: &str, resource: &str, scope: &str) -> Value {
    let action = json!({"id": "Request", "method": "GET", "path": "/", "host": "api"});
    let claims = json!({"scope": scope, "target": [resource], "iat": 1000});
    with(
        asks(application, resource, &[]),
        &json!({"action": action, "context": {"subject_claims": claims, "time": 1030}}),
    )
}

/// In a session with these labels, under a delegation of these hops.
fn delegated(mut input: Value, labels: &[&str], path: &[&str]) -> Value {
    let scopes = input["context"]["requested_scopes"].clone();
    if input["action"]["id"] == "Request" {
        let claims = json!({"delegation_edge_id": "d1", "delegation_path": path});
        input = with(input, &json!({"context": {"subject_claims": claims}}));
    }
    let principal = json!({"agent_session_id": "s1", "labels": labels});
    let edge = json!({"id": "d1", "path": path, "scopes": scopes});
    with(
        input,
        &json!({"principal": principal, "delegation_edge": edge}),
    )
}

fn with(mut document: Value, changes: &Value) -> Value {
    merge(&mut document, changes);
    document
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

#[test]
fn every_example_is_bytecode() {
    for example in fs::read_dir(EXAMPLES).unwrap() {
        let example = example.unwrap().file_name().into_string().unwrap();
        let compiled = compile(&modules(&example)).unwrap();
        assert_eq!(compiled.notes, [], "{example}");
    }
}

#[test]
fn every_example_decides_as_bytecode_as_on_the_interpreter() {
    use_clock();
    let (orders, payments, tickets) = (
        "resource://orders",
        "resource://payments",
        "resource://tickets",
    );
    let (payroll, directory) = ("resource://payroll", "resource://directory");
    let action = |method: &str, path: &str| json!({"action": {"method": method, "path": path}});
    let time = |time: u32| json!({"context": {"time": time}});
    let chain = |id: &str| json!({"context": {"subject_claims": {"delegation_chain": [{"application_id": id}]}}});
    let write = calls("app-shop", orders, "orders:write");
    let clerk = |input: Value| delegated(input, &["clerk"], &["d1"]);
    let payroll_call = delegated(
        calls("app-hr", payroll, "payroll:read"),
        &["assistant"],
        &["d1"],
    );
    let ai = |input: Value| delegated(input, &["clerk", "ai:x"], &["d1"]);
    let support = |labels: &[&str], scope: &str| {
        delegated(calls("app-support", tickets, scope), labels, &["d1"])
    };
    let hops = |hops: usize, scope: &str| {
        delegated(
            calls("app-shop", orders, scope),
            &["clerk"],
            &["d"; 5][..hops],
        )
    };
    let cases = [
        (
            "role-grants",
            clerk(asks("app-shop", orders, &["orders:write"])),
            "caracal-shop-mint",
        ),
        ("role-grants", clerk(write.clone()), "caracal-shop-use"),
        (
            "role-grants",
            asks("app-reporting", orders, &["orders:write"]),
            "role_scope_mismatch",
        ),
        (
            "time-boxed",
            calls("app-billing", payments, "payments:approve"),
            "caracal-direct-use",
        ),
        (
            "time-boxed",
            with(
                calls("app-billing", payments, "payments:approve"),
                &time(1061),
            ),
            "mandate_too_old",
        ),
        (
            "time-boxed",
            asks("app-billing", payments, &["payments:approve"]),
            "caracal-direct-mint",
        ),
        (
            "tenant-confinement",
            support(&["agent", "tenant:acme"], "acme:read"),
            "caracal-support-use",
        ),
        (
            "tenant-confinement",
            support(&["agent", "tenant:acme"], "globex:read"),
            "confinement_violation",
        ),
        ("method-path", write.clone(), "caracal-direct-use"),
        (
            "method-path",
            with(write.clone(), &action("PUT", "/orders/drafts/1")),
            "caracal-direct-use",
        ),
        (
            "method-path",
            with(write.clone(), &action("PUT", "/orders/1")),
            "method_or_path_not_permitted",
        ),
        (
            "method-path",
            with(write.clone(), &action("DELETE", "/orders/drafts/1")),
            "method_or_path_not_permitted",
        ),
        (
            "method-path",
            with(
                write.clone(),
                &json!({"action": {"method": "DELETE", "path": "/orders/drafts/1", "host": "orders.internal"}}),
            ),
            "caracal-direct-use",
        ),
        (
            "method-path",
            with(
                write,
                &json!({"action": {"method": "DELETE", "path": "/orders/drafts/1/2", "host": "orders.internal"}}),
            ),
            "method_or_path_not_permitted",
        ),
        (
            "method-path",
            asks("app-shop", orders, &["orders:write"]),
            "caracal-direct-mint",
        ),
        (
            "break-glass",
            calls("app-shop", orders, "orders:read"),
            "restriction_active",
        ),
        (
            "break-glass",
            calls("app-responder", orders, "orders:read"),
            "break-glass",
        ),
        (
            "break-glass",
            asks("app-responder", orders, &["orders:read"]),
            "break-glass",
        ),
        (
            "break-glass",
            asks("app-responder", orders, &["orders:write"]),
            "restriction_active",
        ),
        (
            "break-glass",
            calls("app-responder", tickets, "orders:read"),
            "restriction_active",
        ),
        (
            "read-only-agents",
            ai(calls("app-shop", orders, "orders:read")),
            "caracal-shop-use",
        ),
        (
            "read-only-agents",
            ai(with(
                calls("app-shop", orders, "orders:read"),
                &action("POST", "/"),
            )),
            "agents_are_read_only",
        ),
        (
            "read-only-agents",
            ai(asks("app-shop", orders, &["orders:write"])),
            "agents_are_read_only",
        ),
        (
            "read-only-agents",
            clerk(asks("app-shop", orders, &["orders:write"])),
            "caracal-shop-mint",
        ),
        (
            "delegation-depth",
            hops(3, "orders:read"),
            "caracal-shop-use",
        ),
        (
            "delegation-depth",
            hops(4, "orders:read"),
            "delegated_too_often",
        ),
        (
            "delegation-depth",
            hops(1, "orders:refund"),
            "caracal-shop-use",
        ),
        (
            "delegation-depth",
            hops(2, "orders:refund"),
            "delegated_too_often",
        ),
        (
            "delegation-depth",
            clerk(asks("app-shop", orders, &["orders:read"])),
            "caracal-shop-mint",
        ),
        (
            "required-application",
            payroll_call.clone(),
            "required_application_missing",
        ),
        (
            "required-application",
            with(payroll_call.clone(), &chain("app-other")),
            "required_application_missing",
        ),
        (
            "required-application",
            with(payroll_call, &chain("app-approvals")),
            "caracal-hr-use",
        ),
        (
            "required-application",
            calls("app-hr", directory, "directory:read"),
            "caracal-direct-use",
        ),
    ];
    for (example, input, expected) in cases {
        let modules = modules(example);
        let compiled = compile(&modules).unwrap_or_else(|errors| panic!("{example}: {errors:?}"));
        let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
        let run = evaluator
            .evaluate(&PolicyInput::from_json(input.clone()))
            .unwrap_or_else(|error| panic!("{example}: {error}: {input}"));
        let named = run.determining_policies.first();
        let answer = named
            .and_then(|policy| policy["id"].as_str())
            .or(run.reason());
        assert_eq!(answer, Some(expected), "{example}: {input}");

        let mut interpreter = Engine::new();
        interpreter.set_strict_builtin_errors(false);
        let authored = modules.iter().any(|own| refers_to_contract(&own.source));
        let entry = [CONTRACT_ENTRY].into_iter().filter(|_| !authored);
        let own = modules
            .iter()
            .map(|own| (own.name.as_str(), own.source.as_str()));
        for (name, source) in own.chain(entry).chain(CONTRACT.iter().copied()) {
            interpreter
                .add_policy(name.to_owned(), written_out(source))
                .unwrap();
        }
        interpreter.set_input(input.clone().into());
        let interpreted = interpreter.eval_rule(ENTRY_POINT.to_owned()).unwrap();
        let run = serde_json::to_value(&run).unwrap();
        assert_eq!(
            serde_json::to_value(&interpreted).unwrap(),
            run,
            "{example}: {input}"
        );
    }
}
