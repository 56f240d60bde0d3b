//! OPA's own compliance cases, through the same road as a user's policy: compiled as a set, on the
//! machine that the compiler chooses and on the interpreter. Each gives OPA's answer or is refused when
//! it is compiled; `testdata/opa/outcomes.txt` says which, and may only get better.

use std::{collections::BTreeMap, fmt::Write as _};

use regorus::Value;
use serde::Deserialize;
use serde_json::Value as Json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::{Module, Policy, compile::compile_for};
use crate::testing::use_clock;

const CASES: &str = include_str!("../../testdata/opa/cases.json");
const OUTCOMES: &str = include_str!("../../testdata/opa/outcomes.txt");

#[derive(Deserialize)]
struct Case {
    note: String,
    query: String,
    #[serde(default)]
    modules: Vec<String>,
    data: Option<Json>,
    input: Option<Json>,
    input_term: Option<String>,
    want_result: Option<Vec<BTreeMap<String, Json>>>,
    want_error_code: Option<String>,
    want_error: Option<String>,
    #[serde(default)]
    strict_error: bool,
}

/// What came of a case, as a line of the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// OPA's answer, and on which machine.
    Pass(&'static str),
    /// Refused when it was compiled, for this.
    Refused(String),
    /// It asks for something that Caracal does not do.
    NotApplicable(&'static str),
    /// Another answer than OPA's.
    Wrong(String),
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pass(machine) => write!(f, "pass {machine}"),
            Self::Refused(why) => write!(f, "refused {why}"),
            Self::NotApplicable(why) => write!(f, "n/a {why}"),
            Self::Wrong(what) => write!(f, "WRONG {what}"),
        }
    }
}

impl Case {
    fn modules(&self) -> Vec<Module> {
        let mut modules: Vec<Module> = self
            .modules
            .iter()
            .enumerate()
            .map(|(place, source)| Module {
                name: format!("module-{place}.rego"),
                source: source.clone(),
            })
            .collect();
        let body = match self.query.strip_suffix(" = x") {
            Some(path) if path.starts_with("data.") => format!("x := {path}"),
            _ => self.query.clone(),
        };
        let names: Vec<String> = match self.want_result.iter().flatten().next() {
            Some(bindings) => bindings.keys().cloned().collect(),
            None if self.query.ends_with(" = x") => vec!["x".to_owned()],
            None => Vec::new(),
        };
        let fields: Vec<String> = names
            .iter()
            .map(|name| format!("{name:?}: {name}"))
            .collect();
        modules.push(Module {
            name: "query.rego".to_owned(),
            source: format!(
                "package caracal.authz\n\nresult := {{{}}} if {{\n\t{body}\n}}\n",
                fields.join(", ")
            ),
        });
        modules.extend(
            self.data
                .as_ref()
                .filter(|data| data.is_object())
                .map(|data| Module {
                    name: "data.json".to_owned(),
                    source: data.to_string(),
                }),
        );
        modules
    }

    fn input(&self) -> Value {
        if let Some(term) = &self.input_term {
            let results = regorus::Engine::new()
                .eval_query(term.clone(), false)
                .unwrap();
            return results.result[0].expressions[0].value.clone();
        }
        self.input.clone().map_or(Value::Undefined, Value::from)
    }

    fn not_applicable(&self) -> Option<&'static str> {
        if self.query.starts_with("data = ") {
            return Some("asks for all of data, where the decision is too");
        }
        if self.strict_error && self.want_result.is_none() {
            return Some("errors of builtins are undefined here, as in OPA's server");
        }
        None
    }

    fn outcome(&self) -> Outcome {
        if let Some(why) = self.not_applicable() {
            return Outcome::NotApplicable(why);
        }
        let wants_error =
            !self.strict_error && (self.want_error_code.is_some() || self.want_error.is_some());
        let modules = self.modules();
        let compiled = match compile_for(&modules, false) {
            Ok(compiled) => compiled,
            Err(_) if wants_error => return Outcome::Pass("refused"),
            Err(errors) => return Outcome::Refused(errors[0].message.replace('\n', " ")),
        };
        let machine = if compiled.notes.is_empty() {
            "bytecode"
        } else {
            "interpreter"
        };
        let interpreted = compile_for(&modules, true).unwrap();
        for program in [&compiled.program, &interpreted.program] {
            let mut evaluator = match Policy::load(program) {
                Ok(policy) => policy.evaluator(),
                Err(error) => return Outcome::Wrong(error.to_string()),
            };
            let answer = evaluator.value(self.input());
            let right = match &answer {
                Err(_) => wants_error,
                Ok(_) if wants_error => false,
                Ok(Value::Undefined) => self.want_result.as_ref().is_none_or(Vec::is_empty),
                Ok(value) => self.wants(value),
            };
            if !right {
                return Outcome::Wrong(format!("{machine}: {answer:?}"));
            }
        }
        Outcome::Pass(machine)
    }

    /// OPA's bindings, in which sets are sorted arrays.
    fn wants(&self, value: &Value) -> bool {
        let Ok(found) = serde_json::to_value(value) else {
            return false;
        };
        let found = unordered(&found);
        self.want_result.iter().flatten().any(|bindings| {
            let wanted: serde_json::Map<String, Json> = bindings
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            unordered(&Json::Object(wanted)) == found
        })
    }
}

/// Arrays in one order, for what was a set cannot be told from what was an array; numbers by value.
fn unordered(json: &Json) -> Json {
    match json {
        Json::Array(items) => {
            let mut items: Vec<Json> = items.iter().map(unordered).collect();
            items.sort_by_key(ToString::to_string);
            Json::Array(items)
        }
        Json::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), unordered(value)))
            .collect(),
        Json::Number(number) => number.as_f64().map_or_else(|| json.clone(), Json::from),
        scalar => scalar.clone(),
    }
}

fn outcomes() -> String {
    use_clock();
    let suites: BTreeMap<String, Vec<Case>> = serde_json::from_str(CASES).unwrap();
    let mut lines = String::new();
    for (suite, cases) in &suites {
        for (place, case) in cases.iter().enumerate() {
            let note = case.note.replace('\n', " ");
            writeln!(lines, "{suite}\t{place}\t{}\t{note}", case.outcome()).unwrap();
        }
    }
    lines
}

/// The page that tells users which Rego is supported has these outcomes, suite by suite.
#[cfg(not(target_arch = "wasm32"))]
fn table(outcomes: &str) -> String {
    let mut suites: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for line in outcomes.lines() {
        let mut fields = line.split('\t');
        let suite = fields.next().unwrap_or_default();
        let place = match fields.nth(1).unwrap_or_default() {
            "pass bytecode" => 0,
            outcome if outcome.starts_with("pass") => 1,
            outcome if outcome.starts_with("refused") => 2,
            _ => 3,
        };
        suites.entry(suite).or_default()[place] += 1;
    }
    let mut table = String::from(
        "| suite | as OPA, bytecode | as OPA, interpreter | refused | does not apply |\n|---|---|---|---|---|\n",
    );
    let mut total = [0; 4];
    for (suite, counts) in suites {
        total
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
        let [bytecode, interpreter, refused, other] = counts;
        writeln!(
            table,
            "| {suite} | {bytecode} | {interpreter} | {refused} | {other} |"
        )
        .unwrap();
    }
    let [bytecode, interpreter, refused, other] = total;
    writeln!(
        table,
        "| **all** | {bytecode} | {interpreter} | {refused} | {other} |"
    )
    .unwrap();
    table
}

#[cfg(not(target_arch = "wasm32"))]
#[test]
fn the_page_on_rego_has_the_outcomes() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/rego.md");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once("<!-- outcomes -->\n").unwrap();
    let (found, after) = rest.split_once("<!-- end of outcomes -->").unwrap();
    let expected = table(OUTCOMES);
    if std::env::var_os("CARACAL_WRITE_OUTCOMES").is_some() {
        let page = format!("{before}<!-- outcomes -->\n{expected}<!-- end of outcomes -->{after}");
        std::fs::write(PAGE, page).unwrap();
        return;
    }
    assert_eq!(found, expected);
}

#[test]
fn every_case_gives_opas_answer_or_is_refused_when_it_is_compiled() {
    let found = outcomes();
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("CARACAL_WRITE_OUTCOMES").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/opa/outcomes.txt");
        std::fs::write(path, &found).unwrap();
        return;
    }
    let wrong: Vec<&str> = found
        .lines()
        .filter(|line| line.contains("\tWRONG "))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (line, (found, listed)) in found.lines().zip(OUTCOMES.lines()).enumerate() {
        assert_eq!(found, listed, "line {}", line + 1);
    }
    assert_eq!(found.lines().count(), OUTCOMES.lines().count());
}
