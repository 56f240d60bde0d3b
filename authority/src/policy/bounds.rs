//! What a policy may cost: pathological ones are stopped on either machine, and a decision costs what it
//! looks up, however large the data.

use std::fmt::Write as _;

use regorus::Value;
use serde_json::json;

use super::{
    EvalError, INSTRUCTION_LIMIT, Module, Policy, PolicyDecision, PolicyError,
    compile::{Compiled, compile_for},
    input::PolicyInput,
};
use crate::testing::use_clock;

fn module(name: &str, source: String) -> Module {
    Module {
        name: name.to_owned(),
        source,
    }
}

fn compiled(rules: &str, interpreter: bool) -> Result<Compiled, Vec<PolicyError>> {
    let source = format!("package caracal.authz\n\n{rules}\n");
    compile_for(&[module("policy.rego", source)], interpreter)
}

/// A thousand items, out of a text.
fn items() -> String {
    format!("items := split(\"{}\", \",\")\n", ["x"; 1000].join(","))
}

#[test]
fn pathological_policies_are_stopped_on_either_machine() {
    use_clock();
    let mut strings = String::from("s := s39 if {\ns0 := input.text\n");
    for step in 1..40 {
        let last = step - 1;
        writeln!(strings, "s{step} := concat(\"\", [s{last}, s{last}])").unwrap();
    }
    let mut shared = String::from("d := d39 if {\nd0 := input.text\n");
    for step in 1..40 {
        let last = step - 1;
        writeln!(shared, "d{step} := [d{last}, d{last}]").unwrap();
    }
    let nested = "some a in items; some b in items; some c in items; a == b; b == c";
    for (name, rules) in [
        (
            "iterations",
            format!("{}result := 1 if {{ {nested}; a != \"x\" }}", items()),
        ),
        (
            "a comprehension",
            format!("{}result := count([1 | {nested}])", items()),
        ),
        (
            "a set of rules",
            format!(
                "{}many contains [a, b, c] if {{ {nested} }}\nresult := count(many)",
                items()
            ),
        ),
        (
            "every",
            format!(
                "{}result := 1 if {{ every a in items {{ every b in items {{ every c in items {{ a == b; b == c }} }} }} }}",
                items()
            ),
        ),
        ("huge strings", format!("{strings}}}\nresult := count(s)")),
        (
            "shared parts",
            format!("{shared}}}\nresult := sprintf(\"%v\", [d])"),
        ),
        (
            "patterns over and over",
            format!(
                "{}result := count([1 | some a in items; some b in items; regex.match(\"(a|aa)+(b|bb)+$\", concat(\"\", [input.text, a, b]))])",
                items()
            ),
        ),
    ] {
        for interpreter in [false, true] {
            let compiled =
                compiled(&rules, interpreter).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
            let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
            let input = Value::from(json!({"text": "a".repeat(2000)}));
            let answer = evaluator.value(input);
            assert_eq!(
                answer,
                Err(EvalError::OverBound),
                "{name}, interpreter: {interpreter}"
            );
        }
    }
}

#[test]
fn what_would_run_for_ever_is_not_taken() {
    let deep = format!("result := {}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let long = |first: &str, again: &str| format!("result := {first}{}", again.repeat(40_000));
    let sums = long("1", "+1");
    let minus = format!("result := {}1", "-".repeat(40_000));
    let dots = long("input", ".a");
    let keys = long("input", "[1]");
    let elses = format!(
        "result := 1 if input.a {}",
        "else := 2 if input.b ".repeat(8_000)
    );
    let calls = format!("result := {}1{}", "abs(".repeat(40_000), ")".repeat(40_000));
    for (rules, word) in [
        (sums.as_str(), "deep"),
        (minus.as_str(), "deep"),
        (dots.as_str(), "deep"),
        (keys.as_str(), "deep"),
        (elses.as_str(), "deep"),
        (calls.as_str(), "deep"),
        ("result := f(1)\nf(x) := f(x)", "recurs"),
        (
            "result := test_it\ntest_it := numbers.range(1, 9)",
            "no bound",
        ),
        ("result := a\na := b\nb := a", "recurs"),
        ("result if { not result }", "recurs"),
        (deep.as_str(), "deep"),
        (
            "result := regex.match(\"((a{100}){100}){100}\", input.s)",
            "pattern",
        ),
        ("result := regex.match(input.p, input.s)", "pattern"),
        ("result := sprintf(\"%999999999d\", [1])", "not supported"),
        ("result := numbers.range(1, 1000000000)", "no bound"),
        ("result := bits.lsh(1, 1000000000)", "no bound"),
        ("result := input.n * input.n", "no bound"),
    ] {
        let errors = compiled(rules, false)
            .map(|compiled| compiled.notes)
            .unwrap_err();
        let message = &errors[0].message;
        assert!(message.contains(word), "{rules:.60}: {message}");
    }
}

/// Data documents with so many resources, each with ten roles, and an application for each.
fn documents(resources: usize) -> Vec<Module> {
    let head = "# caracal:data-document\npackage caracal.authz\n";
    let mut applications = format!("{head}app_ids := {{\n");
    for number in 0..resources {
        writeln!(applications, "\"key-{number}\": \"app-{number}\",").unwrap();
    }
    applications.push_str("}\n");
    let mut modules = vec![module("applications.rego", applications)];
    for (part, numbers) in (0..resources).collect::<Vec<_>>().chunks(250).enumerate() {
        let mut grants = head.to_owned();
        for number in numbers {
            write!(grants, "grants[\"resource://r{number}\"] := {{\"application\": \"key-{number}\", \"applications\": {{\"key-{number}\": [\"read\"]}}, \"roles\": {{").unwrap();
            for role in 0..10 {
                write!(grants, "\"role-{role}\": [\"read-{role}\"], ").unwrap();
            }
            grants.push_str("}}\n");
        }
        modules.push(module(&format!("grants-{part}.rego"), grants));
    }
    modules
}

fn ask(number: usize) -> PolicyInput {
    PolicyInput::from_json(json!({
        "schema_version": "2026-05-20",
        "principal": {"type": "Application", "id": format!("app-{number}"), "zone_id": "z"},
        "resource": {"type": "Resource", "id": "r", "identifier": format!("resource://r{number}"), "scopes": ["read"]},
        "action": {"id": "TokenExchange"},
        "context": {"actor_claims": {}, "challenge_resolved": false, "requested_scopes": ["read"]},
    }))
}

#[test]
fn a_decision_costs_what_it_looks_up_however_large_the_data() {
    use_clock();
    let cost = |resources: usize| {
        let compiled = compile_for(&documents(resources), false).unwrap();
        assert_eq!(compiled.notes, []);
        let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
        let result = evaluator.evaluate(&ask(resources - 1)).unwrap();
        assert_eq!(result.decision, PolicyDecision::Allow);
        let denied = evaluator.evaluate(&ask(resources)).unwrap();
        assert_eq!(denied.reason(), Some("resource_not_granted"));
        let mut suffices = |instructions: usize| {
            evaluator.limit(instructions);
            evaluator.evaluate(&ask(resources - 1)).is_ok()
        };
        let (mut short, mut enough) = (0, INSTRUCTION_LIMIT);
        while enough - short > 1 {
            let middle = usize::midpoint(short, enough);
            if suffices(middle) {
                enough = middle;
            } else {
                short = middle;
            }
        }
        enough
    };
    // Ten grants, and ten thousand: the same instructions, to the last one.
    let (small, large) = (cost(1), cost(1_000));
    assert_eq!(small, large);
    assert!(large < INSTRUCTION_LIMIT / 10, "{large}");
}
