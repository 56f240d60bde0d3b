//! The contract as bytecode, the contract on the interpreter, and a model of it in Rust agree on
//! whatever documents and requests there are.

// proptest is not built for wasm32.
#![cfg(not(target_arch = "wasm32"))]

mod examples;
mod model;

use std::{cell::RefCell, collections::BTreeSet};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, TestRunner},
};
use regorus::Engine;
use serde_json::{Value, json};

use self::model::{
    APPLICATIONS, Ask, BUSINESS, Claims, Documents, Grant, KEYS, LABELS, RESOURCES, Readable,
    SCOPES, Texts, model,
};
use super::{CONTRACT, CONTRACT_ENTRY};
use crate::policy::{ENTRY_POINT, Module, Policy, compile, input::PolicyInput};

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Texts> {
    subsequence(all, 0..=all.len())
}

/// The first, three times in four.
fn mostly(all: &'static [&'static str; 2]) -> impl Strategy<Value = &'static str> {
    prop_oneof![1 => Just(all[0]), 1 => select(&all[..])]
}

fn documents() -> impl Strategy<Value = Documents> {
    let scopes = || prop_oneof![Just(BUSINESS.to_vec()), some_of(&SCOPES)];
    let grant = (
        select(&KEYS[..]),
        btree_map(select(&LABELS[..]), scopes(), 1..=3),
        btree_map(select(&KEYS[..]), scopes(), 0..=3),
    );
    let grant = grant.prop_map(|(application, roles, applications)| Grant {
        application,
        roles,
        applications,
    });
    let rarely = |strategy: BoxedStrategy<Value>| option::weighted(0.08, strategy);
    let closed = select(vec![
        json!(["all"]),
        json!(true),
        json!(null),
        json!({"a": 1}),
    ]);
    let not_a_list = select(vec![
        json!(null),
        json!("x"),
        json!([1]),
        json!([{}]),
        json!({"a": 1}),
    ]);
    let risk = vec((select(&SCOPES[..]), select(vec!["low", "high"])), 0..=3).prop_map(|entries| {
        let entry = |(scope, tier)| json!({"scope": scope, "tier": tier});
        (entries.into_iter().map(entry).collect(), true)
    });
    let tiers = subsequence(vec!["low", "high"], 0..=2).prop_map(|tiers| {
        let tier = |tier| json!({"tier": tier, "ttl_seconds": 60});
        (tiers.into_iter().map(tier).collect(), true)
    });
    let broken = || not_a_list.clone().prop_map(|document| (document, false));
    let or_broken =
        |readable: BoxedStrategy<Readable>| option::of(prop_oneof![9 => readable, 1 => broken()]);
    (
        btree_map(select(&KEYS[..]), mostly(&APPLICATIONS), 1..=3),
        btree_map(mostly(&RESOURCES), grant, 1..=2),
        vec((select(vec!["clerk:", "clerk", "x", ""]), scopes()), 0..=1),
        rarely(not_a_list.clone().boxed()),
        rarely(closed.boxed()),
        or_broken(risk.boxed()),
        or_broken(tiers.boxed()),
    )
        .prop_map(
            |(
                app_ids,
                grants,
                confinement,
                unreadable_confinement,
                restrict,
                risk,
                approval_tiers,
            )| Documents {
                app_ids,
                grants,
                confinement,
                unreadable_confinement,
                restrict,
                risk,
                approval_tiers,
            },
        )
}

fn wild() -> impl Strategy<Value = Ask> {
    let targets = prop_oneof![Just(RESOURCES.to_vec()), some_of(&RESOURCES)];
    let claims = (some_of(&BUSINESS), targets, any::<bool>());
    let claims = claims.prop_map(|(scopes, target, edge)| Claims {
        scopes,
        target,
        edge,
    });
    let action = prop_oneof![
        4 => Just("TokenExchange"),
        4 => Just("Request"),
        1 => Just("CredentialInjection"),
    ];
    let requested = prop_oneof![
        2 => some_of(&BUSINESS),
        1 => some_of(&SCOPES),
        1 => Just(vec!["agent:lifecycle"]),
    ];
    (
        action,
        prop_oneof![8 => Just("Application"), 1 => Just("Workload"), 1 => Just("application")],
        mostly(&APPLICATIONS),
        mostly(&RESOURCES),
        any::<bool>(),
        some_of(&LABELS),
        option::of(option::weighted(0.9, some_of(&SCOPES))),
        option::weighted(0.8, claims),
        requested,
    )
        .prop_map(
            |(action, kind, application, resource, session, labels, edge, claims, requested)| Ask {
                action,
                kind,
                application,
                resource,
                session,
                labels,
                edge,
                claims,
                requested,
            },
        )
}

/// Requests of every shape, and often enough of a shape that a path might allow.
fn ask() -> impl Strategy<Value = Ask> {
    (wild(), 0..6).prop_map(|(mut ask, shape)| {
        if shape == 0 {
            return ask;
        }
        let delegated = shape % 2 == 0;
        ask.session = delegated;
        ask.edge = ask
            .edge
            .filter(|_| delegated)
            .or(delegated.then_some(Some(SCOPES.to_vec())));
        if shape >= 4 {
            ask.edge = delegated.then_some(Some(SCOPES.to_vec()));
            ask.requested.retain(|scope| *scope != "agent:lifecycle");
        }
        if ask.action == "CredentialInjection" {
            ask.kind = "Workload";
        }
        if ask.action == "Request" {
            ask.requested.clear();
            ask.claims = ask.claims.map(|claims| Claims {
                edge: delegated,
                ..claims
            });
        } else {
            ask.claims = None;
        }
        ask
    })
}

/// Holds the three against each other, and gives the answers that came up.
fn agree(mut runner: TestRunner) -> BTreeSet<String> {
    let seen = RefCell::new(BTreeSet::new());
    let cases = (documents(), vec(ask(), 32));
    let outcome = runner.run(&cases, |(documents, asks)| {
        let module = Module {
            name: "documents.rego".to_owned(),
            source: documents.source(),
        };
        let compiled = compile(std::slice::from_ref(&module)).unwrap();
        prop_assert_eq!(&compiled.notes, &[]);
        let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
        let mut interpreter = Engine::new();
        let contract = [CONTRACT_ENTRY].iter().chain(CONTRACT).copied();
        for (name, source) in contract.chain([(module.name.as_str(), module.source.as_str())]) {
            interpreter
                .add_policy(name.to_owned(), source.to_owned())
                .unwrap();
        }
        for ask in asks {
            let input = ask.input();
            let run = evaluator
                .evaluate(&PolicyInput::from_json(input.clone()))
                .unwrap();
            interpreter.set_input(input.clone().into());
            let interpreted = interpreter.eval_rule(ENTRY_POINT.to_owned()).unwrap();
            let interpreted = serde_json::to_value(&interpreted).unwrap();
            prop_assert_eq!(
                serde_json::to_value(&run).unwrap(),
                interpreted,
                "{}",
                input
            );
            let named = run
                .determining_policies
                .first()
                .and_then(|policy| policy["id"].as_str());
            let answer = named.or(run.reason()).unwrap().to_owned();
            prop_assert_eq!(&answer, &model(&documents, &ask), "{}", input);
            let key = KEYS
                .iter()
                .fold(answer, |answer, key| answer.replace(key, "KEY"));
            seen.borrow_mut().insert(key);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    seen.into_inner()
}

#[test]
fn bytecode_interpreter_and_model_agree_on_any_documents_and_requests() {
    agree(TestRunner::new(Config::with_cases(24)));
}

#[test]
fn every_path_and_every_reason_is_among_what_they_agree_on() {
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(24)
    };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let seen = agree(TestRunner::new_with_rng(config, rng));
    let expected: BTreeSet<String> = [
        "caracal-bootstrap",
        "caracal-KEY-mint",
        "caracal-workload-mint",
        "caracal-KEY-use",
        "caracal-direct-mint",
        "caracal-direct-use",
        "restriction_active",
        "malformed_risk_data",
        "malformed_approval_data",
        "resource_not_granted",
        "delegation_scope_exceeded",
        "confinement_violation",
        "role_scope_mismatch",
        "mandate_target_mismatch",
        "no_rule_matched",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(seen, expected);
}

/// A thousand resources, ten applications on each: a decision that went through them would run into
/// the bound on instructions.
#[test]
fn a_decision_looks_up_one_grant_however_many_there_are() {
    let number = |count: usize| (0..count).map(|number| (format!("k{number}"), number));
    let app_ids: serde_json::Map<_, _> = number(1000)
        .map(|(key, number)| (key, json!(format!("app-{number}"))))
        .collect();
    let grants: serde_json::Map<_, _> = number(1000)
        .map(|(key, number)| {
            let holders = (0..10).map(|step| format!("k{}", (number + step * 7) % 1000));
            let applications: serde_json::Map<_, _> =
                holders.map(|holder| (holder, json!(["r"]))).collect();
            (key, json!({"applications": applications}))
        })
        .collect();
    let module = Module {
        name: "grants.rego".to_owned(),
        source: format!(
            "# caracal:data-document\npackage caracal.authz\napp_ids := {}\ngrants := {}\n",
            json!(app_ids),
            json!(grants),
        ),
    };
    let compiled = compile(&[module]).unwrap();
    let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
    for (application, expected) in [
        ("app-5", "caracal-direct-mint"),
        ("app-6", "resource_not_granted"),
    ] {
        let input = json!({
            "principal": {"type": "Application", "id": application, "zone_id": "z"},
            "resource": {"type": "Resource", "id": "r", "identifier": "k5", "scopes": ["r"]},
            "action": {"id": "TokenExchange"},
            "context": {"requested_scopes": ["r"], "challenge_resolved": false},
        });
        let run = evaluator.evaluate(&PolicyInput::from_json(input)).unwrap();
        let named = run.determining_policies.first();
        let answer = named
            .and_then(|policy| policy["id"].as_str())
            .or(run.reason());
        assert_eq!(answer, Some(expected));
    }
}
