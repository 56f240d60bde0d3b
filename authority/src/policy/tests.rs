//! What policies may be, what is refused and where, and what the decision contract answers.

use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{input::PolicyInput, *};
use crate::testing::use_clock;

fn module(source: &str) -> Module {
    Module {
        name: "policy.rego".to_owned(),
        source: source.to_owned(),
    }
}

fn evaluate(sources: &[&str], input: &Value) -> Result<PolicyResult, EvalError> {
    let modules: Vec<Module> = sources
        .iter()
        .enumerate()
        .map(|(place, source)| Module {
            name: format!("m{place}.rego"),
            source: (*source).to_owned(),
        })
        .collect();
    use_clock();
    let compiled = compile(&modules).unwrap_or_else(|errors| panic!("{errors:?}"));
    let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
    evaluator.evaluate(&PolicyInput::from_json(input.clone()))
}

fn authored(rules: &str) -> String {
    format!("package caracal.authz\nimport rego.v1\n{rules}\n")
}

const ALLOW: &str = r#"{"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"id": "own"}], "diagnostics": []}"#;

#[test]
fn an_authored_policy_decides() {
    let policy = authored(&format!(
        "result := {ALLOW} if input.action.id == \"Request\""
    ));
    let result = evaluate(&[&policy], &json!({"action": {"id": "Request"}})).unwrap();
    assert_eq!(result.decision, PolicyDecision::Allow);
    assert_eq!(result.determining_policies[0]["id"], "own");
    let other = evaluate(&[&policy], &json!({"action": {"id": "TokenExchange"}}));
    assert_eq!(other, Err(EvalError::Undefined));
}

#[test]
fn a_result_of_the_wrong_shape_is_an_error() {
    for result in [
        r#""allow""#,
        "true",
        r#"{"decision": "allow"}"#,
        r#"{"decision": "maybe", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}"#,
        r#"{"decision": "allow", "evaluation_status": "partial", "determining_policies": [], "diagnostics": []}"#,
        r#"{"decision": "allow", "evaluation_status": "complete", "determining_policies": ["x"], "diagnostics": []}"#,
    ] {
        let answer = evaluate(&[&authored(&format!("result := {result}"))], &json!({}));
        assert!(
            matches!(answer, Err(EvalError::Malformed(_))),
            "{result}: {answer:?}"
        );
    }
}

#[test]
fn a_failing_policy_and_one_over_its_bound_are_errors_and_leave_nothing_behind() {
    let policy = authored(&format!(
        "result := {ALLOW} if input.n == 0\n\
         result := 1 if input.n == 1\n\
         result := 2 if input.n == 1\n\
         result := {ALLOW} if {{ input.n == 2; r := [1,2,3,4,5,6,7,8,9,10]; \
         count([1 | some a in r; some b in r; some c in r; some d in r; some e in r; some f in r]) > 0 }}"
    ));
    use_clock();
    let compiled = compile(&[module(&policy)]).unwrap();
    let mut evaluator = Policy::load(&compiled.program).unwrap().evaluator();
    let mut run = |n: u32| evaluator.evaluate(&PolicyInput::from_json(json!({"n": n})));
    for _ in 0..3 {
        assert_eq!(run(0).unwrap().decision, PolicyDecision::Allow);
        assert!(run(1).is_err(), "conflicting values decided");
        assert_eq!(run(2), Err(EvalError::OverBound));
        assert_eq!(run(3), Err(EvalError::Undefined));
    }
}

#[test]
fn errors_are_placed() {
    let errors = check(&module(
        "package caracal.authz\nimport rego.v1\n\nresult := {\n  \"a\": ]\n}\n",
    ))
    .unwrap_err();
    assert_eq!(
        (errors[0].file.as_str(), errors[0].line, errors[0].column),
        ("policy.rego", 5, 8),
        "{errors:?}"
    );
    assert_eq!(errors[0].snippet.as_deref(), Some("  \"a\": ]"));
    let unsafe_variable = compile(&[module(&authored("result := x"))]).unwrap_err();
    assert_eq!(
        (unsafe_variable[0].line, unsafe_variable[0].column),
        (3, 11),
        "{unsafe_variable:?}"
    );
}

#[test]
fn forbidden_builtins_are_refused_by_name_and_place() {
    for builtin in [
        "http.send",
        "opa.runtime",
        "rand.intn",
        "time.now_ns",
        "net.lookup_ip_addr",
    ] {
        let source = authored(&format!(
            "# {builtin} in a comment\nx := \"{builtin}\"\nresult := {builtin}({{}})"
        ));
        let errors = check(&module(&source)).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!((errors[0].line, errors[0].column), (5, 11));
        assert!(errors[0].message.contains(builtin), "{errors:?}");
    }
}

#[test]
fn a_set_without_a_decision_is_refused() {
    for source in [
        authored("allow := true"),
        "package other\nresult := 1\n".to_owned(),
    ] {
        let errors = compile(&[module(&source)]).unwrap_err();
        assert!(
            errors[0].message.contains("data.caracal.authz.result"),
            "{errors:?}"
        );
    }
    assert!(compile(&[]).is_err());
    assert!(
        compile(&[
            module(&authored("result := 1")),
            module(&authored("x := 1"))
        ])
        .is_err()
    );
    let large = authored(&format!("result := 1\n#{}", "x".repeat(MAX_MODULE_BYTES)));
    assert!(
        check(&module(&large)).unwrap_err()[0]
            .message
            .contains("262144 at most")
    );
}

#[test]
fn a_data_document_holds_data_and_nothing_else() {
    let data = |rules: &str| {
        format!("# caracal:data-document\npackage caracal.authz\nimport rego.v1\n{rules}\n")
    };
    assert_eq!(check(&module(&data("app_ids := {}"))), Ok(PolicyKind::Data));
    for rules in [
        "result := 1",
        "app_ids := {}\nallowed_by := \"me\"",
        "",
        "principal_keys contains \"x\"",
    ] {
        assert!(check(&module(&data(rules))).is_err(), "{rules:?} passed");
    }
    let other_package = "# caracal:data-document\npackage other\napp_ids := {}\n";
    assert!(
        check(&module(other_package)).unwrap_err()[0]
            .message
            .contains("package caracal.authz")
    );
}

#[test]
fn bytecode_of_another_kind_is_not_loaded() {
    let compiled = compile(&[module(&authored("result := 1"))]).unwrap();
    for bytes in [
        &[][..],
        b"REGO",
        b"not bytecode at all",
        &compiled.program[..compiled.program.len() / 2],
    ] {
        assert!(Policy::load(bytes).is_err());
    }
    for place in (0..compiled.program.len()).step_by(7) {
        let mut damaged = compiled.program.clone();
        damaged[place] ^= 0x55;
        if let Ok(policy) = Policy::load(&damaged) {
            let _ = policy
                .evaluator()
                .evaluate(&PolicyInput::from_json(json!({})));
        }
    }
}

/// Rego's own answer, the interpreter's, and ours have to be one: whether `result` is defined.
#[test]
fn an_undefined_value_fails_the_body_wherever_it_is_declared() {
    let cases = [
        ("result := 1 if { x := input.missing }", false),
        ("result := 1 if { x := input.missing.deeper; true }", false),
        ("result := 1 if { x := data.nothing.here }", false),
        ("result := 1 if { x := data.caracal.authz.nothing }", false),
        (
            "result := 1 if { x := rule }\nrule := 1 if input.n == 2",
            false,
        ),
        (
            "result := 1 if { x := rule }\nrule := 1 if input.n == 1",
            true,
        ),
        ("result := 1 if { x := {\"a\": 1}; y := x.b }", false),
        ("result := 1 if { x := {\"a\": 1}; y := x.a }", true),
        ("result := 1 if x := input.missing", false),
        ("result := 1 if x := input.n", true),
        ("result := 1 if\n  x := input.missing # x := 1", false),
        (
            "result := 1 if { x := input.n # a comment; x := 2\n  x == 1 }",
            true,
        ),
        ("result := 1 if { x := input.missing # }\n}", false),
        (
            "result := 1 if { x := \"a; b := c }\"; y := `}\n;`; x != y }",
            true,
        ),
        (
            "result := 1 if { x := input.n; y := input.missing; true }",
            false,
        ),
        ("result := 1 if { x := f(2) }\nf(a) := 1 if a == 1", false),
        ("result := 1 if { x := f(1) }\nf(a) := 1 if a == 1", true),
        (
            "result := 1 if { x := f(1) }\nf(a) := b if { b := input.missing }",
            false,
        ),
        ("result := 1 if { x := to_number(\"x\") }", false),
        ("result := 1 if { x := (input.missing) }", false),
        ("result := 1 if { x := (input.n) }", true),
        ("result := 1 if { x := false }", true),
        ("result := 1 if { x := null }", true),
        ("result := 1 if { x := input.list[_]; x == 2 }", true),
        ("result := 1 if { x := input.list[5] }", false),
        (
            "result := 1 if { count([y | some i in input.list; y := i.a]) == 0 }",
            true,
        ),
        (
            "result := 1 if { count([1 | y := input.missing]) == 0 }",
            true,
        ),
        (
            "result := 1 if { count({y | y := input.list[_]}) == 2 }",
            true,
        ),
        (
            "result := 1 if { count({k: v | some k in input.list; v := input.missing}) == 0 }",
            true,
        ),
        (
            "result := 1 if { every i in input.list { x := input.missing } }",
            false,
        ),
        (
            "result := 1 if { every i in input.list { x := i; x > 0 } }",
            true,
        ),
        (
            "result := 1 if { not g }\ng if { x := input.missing }",
            true,
        ),
        ("result := 1 if { not g }\ng if { x := input.n }", false),
        (
            "result := 1 if { x := input.missing } else := 2 if { y := input.n }",
            true,
        ),
        (
            "result := 1 if { x := input.missing } else := 2 if { y := input.missing }",
            false,
        ),
        ("result := 1 if { [x, y] := input.missing }", false),
        ("result := 1 if { [x, y] := input.list }", true),
        (
            "result := 1 if { [x, y] := [input.n, input.missing] }",
            false,
        ),
        ("result := 1 if { {\"a\": x} := input.missing }", false),
        ("result := 1 if { x := [input.missing] }", false),
        ("result := 1 if { x := {\"a\": input.missing} }", false),
        ("result := 1 if { x := input.missing == 1 }", false),
        ("result := 1 if { x := input.n + input.missing }", false),
        ("result := 1 if { x = input.missing }", false),
        ("result := 1 if { input.missing == input.missing }", false),
        ("result := 1 if { input.missing != 1 }", false),
        ("result := 1 if { not input.missing }", true),
        (
            "result := 1 if { object.get(input, \"missing\", 3) == 3 }",
            true,
        ),
        ("result := x if { x := input.missing }", false),
        (
            "default result := 0\nresult := 1 if { x := input.missing }",
            true,
        ),
        ("result := 1 if { p[input.missing] }\np contains 1", false),
        (
            "result := 1 if { x := p[1] }\np contains 1 if { y := input.missing }",
            false,
        ),
        (
            "result := 1 if { s == {\"a\"} }\ns contains k if { k := \"a\" }",
            true,
        ),
        (
            "result := 1 if { s == {\"a\"} }\ns contains k if { k := `a` }",
            true,
        ),
        (
            "result := 1 if { s == {\"é\"} }\ns contains k if { x := \"é\"; k := x # é\n }",
            true,
        ),
        ("result := 1 if { x := \"\"; x == \"\" }", true),
        ("result := 1 if x := \"\"", true),
        (
            "result := 1 if { m.a == 1 }\nm[k] := v if { k := \"a\"; v := input.n }",
            true,
        ),
    ];
    let input = json!({"n": 1, "list": [1, 2]});
    for (rules, defined) in cases {
        let source = authored(rules);
        let mut engine = regorus::Engine::new();
        engine.add_policy("m".to_owned(), source.clone()).unwrap();
        engine.set_input(input.clone().into());
        let interpreted = engine
            .eval_rule(ENTRY_POINT.to_owned())
            .unwrap_or(regorus::Value::Undefined);
        assert_eq!(
            interpreted != regorus::Value::Undefined,
            defined,
            "interpreter: {rules}"
        );
        let compiled = evaluate(&[&source], &input);
        let found = matches!(compiled, Err(EvalError::Malformed(_)));
        assert_eq!(found, defined, "bytecode: {rules}: {compiled:?}");
    }
}

mod contract {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::{PolicyDecision, evaluate, json};
    use serde_json::Value;

    const DATA: &str = r#"# caracal:data-document
package caracal.authz
import rego.v1

app_ids := {"reader": "app-r", "writer": "app-w", "owner": "app-o", "alias": "app-r"}

grants := {
	"resource://demo": {"application": "owner", "applications": {"reader": ["read"], "writer": ["read", "write"]}},
	"resource://other": {"application": "owner", "applications": {"alias": ["peek"]}},
}
"#;

    fn exchange(app: &str, resource: &str, scopes: &[&str]) -> Value {
        json!({
            "schema_version": "2026-05-20",
            "principal": {"type": "Application", "id": app, "zone_id": "z"},
            "resource": {"type": "Resource", "id": "r", "identifier": resource, "scopes": ["read", "write"]},
            "action": {"id": "TokenExchange"},
            "context": {"actor_claims": {}, "challenge_resolved": false, "requested_scopes": scopes},
        })
    }

    fn call(app: &str, resource: &str, scope: &str, target: &str) -> Value {
        let mut input = exchange(app, resource, &[]);
        input["action"]["id"] = json!("Request");
        input["context"]["subject_claims"] =
            json!({"scope": scope, "target": [target], "sub": app});
        input
    }

    fn answer(extra: &str, input: &Value) -> String {
        let data = format!("{DATA}\n{extra}");
        let result = evaluate(&[&data], input).unwrap();
        match result.decision {
            PolicyDecision::Allow => result.determining_policies[0]["id"]
                .as_str()
                .unwrap()
                .to_owned(),
            PolicyDecision::Deny => result.reason().unwrap().to_owned(),
        }
    }

    #[test]
    fn each_path_and_each_reason_has_its_case() {
        let demo = "resource://demo";
        for (input, expected) in [
            (exchange("app-r", demo, &["read"]), "caracal-direct-mint"),
            (
                exchange("app-w", demo, &["read", "write"]),
                "caracal-direct-mint",
            ),
            (
                exchange("app-r", "resource://other", &["peek"]),
                "caracal-direct-mint",
            ),
            (
                exchange("app-r", demo, &["read", "write"]),
                "role_scope_mismatch",
            ),
            (exchange("app-r", demo, &["write"]), "role_scope_mismatch"),
            (exchange("app-r", demo, &[]), "no_rule_matched"),
            (
                exchange("app-r", demo, &["agent:lifecycle", "read"]),
                "no_rule_matched",
            ),
            (exchange("app-x", demo, &["read"]), "resource_not_granted"),
            (
                exchange("app-r", "resource://none", &["read"]),
                "resource_not_granted",
            ),
            (
                exchange("app-o", demo, &["agent:lifecycle"]),
                "caracal-bootstrap",
            ),
            (
                exchange("app-r", demo, &["agent:lifecycle"]),
                "caracal-bootstrap",
            ),
            (
                exchange("app-x", demo, &["agent:lifecycle"]),
                "resource_not_granted",
            ),
            (exchange("app-o", demo, &["read"]), "role_scope_mismatch"),
            (call("app-r", demo, "read", demo), "caracal-direct-use"),
            (
                call("app-w", demo, "write read", demo),
                "caracal-direct-use",
            ),
            (call("app-r", demo, "write", demo), "role_scope_mismatch"),
            (
                call("app-r", demo, "read", "resource://other"),
                "mandate_target_mismatch",
            ),
            (call("app-r", demo, "", demo), "no_rule_matched"),
            (call("app-x", demo, "read", demo), "resource_not_granted"),
        ] {
            assert_eq!(answer("", &input), expected, "{input}");
        }
    }

    #[test]
    fn delegations_and_sessions_do_not_pass_as_direct_use() {
        let demo = "resource://demo";
        let mut delegated = call("app-r", demo, "read", demo);
        delegated["context"]["subject_claims"]["delegation_edge_id"] = json!("d1");
        assert_eq!(answer("", &delegated), "no_rule_matched");
        let mut in_session = exchange("app-r", demo, &["read"]);
        in_session["principal"]["agent_session_id"] = json!("s1");
        assert_eq!(answer("", &in_session), "no_rule_matched");
    }

    #[test]
    fn any_restriction_closes_the_zone_and_a_malformed_one_too() {
        let input = exchange("app-r", "resource://demo", &["read"]);
        for open in ["restrict := []", "restrict := {}", "restrict := set()"] {
            assert_eq!(answer(open, &input), "caracal-direct-mint", "{open}");
        }
        for closed in [
            "restrict := [1]",
            "restrict := true",
            "restrict := null",
            "restrict := {\"a\": 1}",
            "restrict := \"x\"",
        ] {
            assert_eq!(answer(closed, &input), "restriction_active", "{closed}");
        }
    }
}

#[test]
fn an_allow_that_needs_an_approval_is_none_before_it() {
    let data = r#"# caracal:data-document
package caracal.authz
app_ids := {"a": "app"}
grants := {"resource://demo": {"application": "a", "applications": {"a": ["read", "pay"]}}}
risk := [{"scope": "pay", "tier": "high"}]
approval_tiers := [{"tier": "high"}]
"#;
    let ask = |scope: &str| {
        json!({
            "principal": {"type": "Application", "id": "app"},
            "resource": {"identifier": "resource://demo"},
            "action": {"id": "TokenExchange"},
            "context": {"requested_scopes": [scope], "challenge_resolved": false},
        })
    };
    let read = evaluate(&[data], &ask("read")).unwrap();
    assert!(read.allows() && read.reason().is_none());
    let pay = evaluate(&[data], &ask("pay")).unwrap();
    assert_eq!(pay.decision, PolicyDecision::Allow);
    assert!(!pay.allows());
    assert_eq!(pay.reason(), Some("step_up_required"));
}

#[test]
fn rules_refer_to_rules_thirty_times_and_no_further() {
    let chain = |length: usize| {
        let links: String = (1..length)
            .map(|link| format!("r{link} := x if x := r{}\n", link - 1))
            .collect();
        authored(&format!(
            "r0 := input.n\n{links}result := {ALLOW} if r{} == 1",
            length - 1
        ))
    };
    let result = evaluate(&[&chain(30)], &json!({"n": 1})).unwrap();
    assert!(result.allows());
    let errors = compile(&[module(&chain(34))]).unwrap_err();
    assert!(errors[0].message.contains("32 in a row"), "{errors:?}");
}

#[test]
fn a_result_that_shares_its_parts_without_end_is_a_denial() {
    let parts: String = (1..40)
        .map(|step| format!("d{step} := [d{0}, d{0}]\n", step - 1))
        .collect();
    let policy = authored(&format!(
        "d := d39 if {{\nd0 := input.n\n{parts}}}\nresult := {{\"decision\": \"allow\", \"evaluation_status\": \"complete\", \
         \"determining_policies\": [{{\"id\": d}}], \"diagnostics\": []}}"
    ));
    assert_eq!(
        evaluate(&[&policy], &json!({"n": 1})),
        Err(EvalError::OverBound)
    );
}

#[test]
fn the_contract_runs_as_bytecode() {
    let data = "# caracal:data-document\npackage caracal.authz\napp_ids := {\"a\": \"1\"}\n";
    let compiled = compile(&[module(data)]).unwrap();
    assert_eq!(compiled.kind, PolicyKind::Data);
    assert_eq!(compiled.notes, []);
}

#[test]
fn a_compiled_policy_says_what_it_reads() {
    let data = "# caracal:data-document\npackage caracal.authz\nimport rego.v1\nrestrict := []\n";
    let reads = |source: &str| {
        let compiled = compile(&[module(source)]).unwrap();
        let evaluator = Policy::load(&compiled.program).unwrap().evaluator();
        assert_eq!(compiled.reads_the_call(), evaluator.reads_the_call());
        let claims = |reads: &Reads| {
            let claims = reads.member("context")?.member("subject_claims")?;
            Some(claims.member("unknown").is_some())
        };
        (compiled.reads_the_call(), claims(evaluator.reads()))
    };
    // The contract is not told all that a mandate claims.
    assert_eq!(reads(data), (false, Some(false)));
    assert_eq!(
        reads(&authored("result := input.action.path")),
        (true, None)
    );
    assert_eq!(reads(&authored("result := input")), (true, Some(true)));
}
