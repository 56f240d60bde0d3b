//! What counts as a test, what becomes of it, and what joins the files of a directory.

use std::{fs, path::PathBuf, time::Duration};

use super::*;

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn run_with(files: &[(&str, &str)], options: &Options) -> Result<Report, SuiteError> {
    run(&[directory(files).path().to_owned()], options)
}

fn outcomes(files: &[(&str, &str)]) -> Vec<(String, &'static str)> {
    let report = run_with(files, &Options::default()).unwrap();
    let brief = |result: &TestResult| (result.name.clone(), result.outcome.word());
    report.results.iter().map(brief).collect()
}

const GRANTS: &str = r#"# caracal:data-document
package caracal.authz
import rego.v1
app_ids := {"reader": "app-r"}
grants := {"resource://demo": {"application": "owner", "applications": {"reader": ["read"]}}}
"#;

const GRANTS_TEST: &str = r#"package caracal.authz_test
import rego.v1
asks(scope) := {
	"principal": {"type": "Application", "id": "app-r", "zone_id": "z"},
	"resource": {"type": "Resource", "id": "r", "identifier": "resource://demo", "scopes": ["read"]},
	"action": {"id": "TokenExchange"},
	"context": {"requested_scopes": [scope], "challenge_resolved": false},
}
test_reads if data.caracal.authz.result.decision == "allow" with input as asks("read")
test_writes_not if data.caracal.authz.result.diagnostics[0].reason == "role_scope_mismatch" with input as asks("write")
"#;

#[test]
fn a_test_passes_if_its_rule_is_true_and_fails_otherwise() {
    let tests = r#"package t_test
import rego.v1
test_true if 1 == 1
test_undefined if input.missing
test_false := false
test_text := "true"
test_set contains "x"
test_builtin if { x := {1, 2}; object.get(x, 1, 1) == 1 }
test_error if conflict == 1
conflict := 1
conflict := 2
todo_test_later if input.missing
test_function(x) if x
helper if true
"#;
    assert_eq!(
        outcomes(&[("t_test.rego", tests)]),
        [
            ("test_true", "PASS"),
            ("test_undefined", "FAIL"),
            ("test_false", "FAIL"),
            ("test_text", "FAIL"),
            ("test_set", "FAIL"),
            ("test_builtin", "FAIL"),
            ("test_error", "ERROR"),
            ("todo_test_later", "SKIPPED"),
        ]
        .map(|(name, outcome)| (name.to_owned(), outcome))
    );
}

#[test]
fn data_documents_are_tested_against_the_decision_contract() {
    let report = run_with(
        &[
            ("grants.rego", GRANTS),
            ("deep/grants_test.rego", GRANTS_TEST),
        ],
        &Options::default(),
    )
    .unwrap();
    assert!(report.contract_joined);
    assert!(report.passed(), "{:?}", report.results);
    assert_eq!(report.count(&Outcome::Pass), 2);
    assert_eq!(report.results[0].package, "data.caracal.authz_test");
    assert_eq!(report.results[0].line, 9);
}

#[test]
fn json_documents_stand_in_data_as_opa_puts_them() {
    let authz = r#"{"caracal": {"authz": {"app_ids": {"reader": "app-r"},
        "grants": {"resource://demo": {"application": "owner", "applications": {"reader": ["read"]}}}}}}"#;
    let report = run_with(
        &[("data.json", authz), ("grants_test.rego", GRANTS_TEST)],
        &Options::default(),
    )
    .unwrap();
    assert!(report.passed(), "{:?}", report.results);
    let nested = "package t_test\nimport rego.v1\ntest_nested if data.a.b.x == 1\n";
    let files = [("t_test.rego", nested), ("a/b/any.json", r#"{"x": 1}"#)];
    assert_eq!(outcomes(&files), [("test_nested".to_owned(), "PASS")]);
}

#[test]
fn contradicting_or_broken_documents_are_errors_of_the_files() {
    let test = (
        "t_test.rego",
        "package t_test\nimport rego.v1\ntest_x if true\n",
    );
    for (one, other) in [(r#"{"x": 1}"#, r#"{"x": 2}"#), ("[1]", "{}"), ("{", "{}")] {
        let error = run_with(
            &[test, ("a.json", one), ("b.json", other)],
            &Options::default(),
        );
        assert!(matches!(error, Err(SuiteError::Data { .. })), "{one}");
    }
}

#[test]
fn a_policy_of_ones_own_gets_the_contract_only_if_it_refers_to_it() {
    let policy = |body: &str| format!("package caracal.authz\nimport rego.v1\nresult := {body}\n");
    let test = "package caracal.authz_test\nimport rego.v1\ntest_x if data.caracal.authz.result\n";
    let joined = |policy: &str| {
        let files = [("p.rego", policy), ("p_test.rego", test)];
        run_with(&files, &Options::default())
            .unwrap()
            .contract_joined
    };
    assert!(!joined(&policy("{\"decision\": \"deny\"}")));
    assert!(!joined(&policy("\"data.caracal.contract\"")));
    assert!(joined(&policy("data.caracal.contract.deny(\"closed\")")));
    let plain = "package t_test\nimport rego.v1\ntest_x if true\n";
    let report = run_with(&[("t_test.rego", plain)], &Options::default()).unwrap();
    assert!(!report.contract_joined);
}

#[test]
fn errors_in_files_are_placed_and_all_reported() {
    let broken = "package caracal.authz\nimport rego.v1\n\nresult := {\n  \"a\": ]\n}\n";
    let error = run_with(
        &[("a.rego", broken), ("b.rego", broken)],
        &Options::default(),
    );
    let Err(SuiteError::Policy(errors)) = error else {
        panic!("{error:?}");
    };
    let places: Vec<_> = errors
        .iter()
        .map(|error| (error.line, error.column))
        .collect();
    assert_eq!(places, [(5, 8), (5, 8)]);
    let unsafe_variable = "package t_test\nimport rego.v1\ntest_x if x == 1\n";
    let error = run_with(&[("t_test.rego", unsafe_variable)], &Options::default());
    let Err(SuiteError::Policy(errors)) = error else {
        panic!("{error:?}");
    };
    assert_eq!(errors[0].line, 3, "{errors:?}");
}

#[test]
fn a_filter_is_a_part_of_the_name_or_a_glob_over_it() {
    for (filter, names) in [
        ("reads", vec!["test_reads"]),
        ("authz_test", vec!["test_reads", "test_writes_not"]),
        ("*_not", vec!["test_writes_not"]),
        ("data.*.test_r*", vec!["test_reads"]),
    ] {
        let options = Options {
            filter: Some(filter.to_owned()),
            ..Options::default()
        };
        let report = run_with(
            &[("grants.rego", GRANTS), ("g_test.rego", GRANTS_TEST)],
            &options,
        );
        let found: Vec<_> = report
            .unwrap()
            .results
            .into_iter()
            .map(|it| it.name)
            .collect();
        assert_eq!(found, names, "{filter}");
    }
    let options = Options {
        filter: Some("nothing".to_owned()),
        ..Options::default()
    };
    let error = run_with(&[("g_test.rego", GRANTS_TEST)], &options);
    assert!(matches!(error, Err(SuiteError::NoTests(_))));
}

#[test]
fn a_rule_that_does_not_end_is_an_error_and_the_next_one_runs() {
    let tests = "package t_test
import rego.v1
test_long if count([1 | some a in numbers.range(1, 10000); some b in numbers.range(1, 10000); a == b]) == 0
test_short if true
";
    let options = Options {
        timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let report = run_with(&[("t_test.rego", tests)], &options).unwrap();
    assert!(
        matches!(&report.results[0].outcome, Outcome::Error(why) if why.contains("time")),
        "{:?}",
        report.results
    );
    assert_eq!(report.results[1].outcome, Outcome::Pass);
}

#[test]
fn coverage_names_the_rules_and_lines_that_no_test_reached() {
    let policy = "package p
import rego.v1
constant := 1
allow if input.x == 1
allow if {
\tinput.x == 2
\tinput.y == 3
}
unused if input.z
";
    let test = "package p_test\nimport rego.v1\ntest_x if data.p.allow with input as {\"x\": 1}\n";
    let options = Options {
        coverage: true,
        ..Options::default()
    };
    let report = run_with(&[("p.rego", policy), ("p_test.rego", test)], &options).unwrap();
    let coverage = report.coverage.unwrap();
    assert_eq!(coverage.files.len(), 1);
    let rules: Vec<_> = coverage.files[0]
        .rules
        .iter()
        .map(|rule| (rule.name.as_str(), rule.line, rule.hit))
        .collect();
    assert_eq!(
        rules,
        [("allow", 4, true), ("allow", 5, true), ("unused", 9, false)]
    );
    assert!(coverage.files[0].not_covered.contains(&9));
    assert!(coverage.percent() < 100.0);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let error = run(&[PathBuf::from("/nowhere/at/all")], &Options::default());
    assert!(matches!(error, Err(SuiteError::File { .. })));
}
