//! Tests of policies: the `test_` rules of a directory, run one by one by the interpreter, as
//! `opa test` does. Where only data documents are tested, the decision contract joins them.

mod coverage;
mod files;
#[cfg(test)]
mod tests;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::{Duration, Instant},
};

use authority::policy::{
    CONTRACT, CONTRACT_ENTRY, ContractFile, Module, PolicyError, refers_to_contract, written_out,
};
use regorus::{
    Engine, PolicyLengthConfig, Value,
    unstable::{Expr, Rule, RuleHead, Span},
    utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source},
};

pub use self::coverage::{Coverage, FileCoverage, RuleCoverage};
use self::{coverage::Gathered, files::Files};

/// How tests are run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only tests whose full name matches: a glob if it holds a `*`, a part of the name else.
    pub filter: Option<String>,
    /// Most time that one rule may take.
    pub timeout: Duration,
    /// Whether to record which rules and lines are reached.
    pub coverage: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            timeout: Duration::from_secs(5),
            coverage: false,
        }
    }
}

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The rule is true.
    Pass,
    /// It is undefined, false, or anything else.
    Fail,
    /// It could not be evaluated.
    Error(String),
    /// A `todo_test_` rule.
    Skipped,
}

impl Outcome {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Error(_) => "ERROR",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// One test and its outcome.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// Package, as `data.x.y`.
    pub package: String,
    /// The rule's name.
    pub name: String,
    /// File.
    pub file: String,
    /// Line of the rule, from 1.
    pub line: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// How long that took.
    pub duration: Duration,
    /// What the rule printed.
    pub printed: Vec<String>,
}

/// All results, in the order of files and lines.
#[derive(Debug)]
pub struct Report {
    /// One for each test.
    pub results: Vec<TestResult>,
    /// Which rules and lines were reached, if that was asked for.
    pub coverage: Option<Coverage>,
    /// Whether the decision contract joined the files.
    pub contract_joined: bool,
}

impl Report {
    /// How many tests have this outcome, errors alike whatever they say.
    pub fn count(&self, outcome: &Outcome) -> usize {
        let same = |result: &&TestResult| result.outcome.word() == outcome.word();
        self.results.iter().filter(same).count()
    }

    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.results
            .iter()
            .all(|result| matches!(result.outcome, Outcome::Pass | Outcome::Skipped))
    }
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// A file or directory that cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON document that is not one, or contradicts another.
    #[error("{}: {problem}", path.display())]
    Data {
        /// Where.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Too much to read.
    #[error("{0}")]
    Bound(String),
    /// Rego that does not compile.
    #[error("{} errors in the policies", .0.len())]
    Policy(Vec<PolicyError>),
    /// Nothing to run.
    #[error("no test_ rules {0}")]
    NoTests(String),
}

/// Runs the tests under `paths`.
///
/// # Errors
/// Every variant of [`SuiteError`]; a test that fails is not an error but a result.
pub fn run(paths: &[PathBuf], options: &Options) -> Result<Report, SuiteError> {
    let files = Files::read(paths)?;
    let contract = joining(&files);
    let mut engine = load(&files, &contract)?;
    let tests = find(&mut engine)?;
    let selected: Vec<Test> = tests
        .into_iter()
        .filter(|test| {
            let filter = options.filter.as_deref();
            filter.is_none_or(|filter| matches(filter, &test.full_name()))
        })
        .collect();
    if selected.is_empty() {
        let places: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let matching = options.filter.as_ref();
        let matching = matching.map_or(String::new(), |filter| format!(" that match {filter:?}"));
        return Err(SuiteError::NoTests(format!(
            "in {}{matching}",
            places.join(" ")
        )));
    }
    let mut gathered = options.coverage.then(Gathered::default);
    let mut results = Vec::with_capacity(selected.len());
    for test in selected {
        let mut own = engine.clone();
        own.set_enable_coverage(options.coverage);
        results.push(test.run(&mut own, options.timeout));
        if let Some(gathered) = &mut gathered {
            gathered.add(&own);
        }
    }
    Ok(Report {
        results,
        coverage: gathered.map(|gathered| gathered.report(&mut engine, &files.names())),
        contract_joined: !contract.is_empty(),
    })
}

/// What of the decision contract the files need and do not bring along.
fn joining(files: &Files) -> Vec<ContractFile> {
    let packages = |wanted: &str| files.modules.iter().any(|own| package(own) == wanted);
    if packages("caracal.contract") {
        return Vec::new();
    }
    let of_a_test = |module: &&Module| {
        module.name.ends_with("_test.rego") || package(module).ends_with("_test")
    };
    let mut policies = files.modules.iter().filter(|module| !of_a_test(module));
    if policies.all(is_data_document) && files.mention_decision() {
        return [CONTRACT_ENTRY].iter().chain(CONTRACT).copied().collect();
    }
    if files
        .modules
        .iter()
        .any(|own| refers_to_contract(&own.source))
    {
        return CONTRACT.to_vec();
    }
    Vec::new()
}

fn is_data_document(module: &Module) -> bool {
    authority::policy::is_data_document(&module.source)
}

/// The package of a module, as its text says; nothing that runs depends on it.
fn package(module: &Module) -> &str {
    module
        .source
        .lines()
        .find_map(|line| line.trim().strip_prefix("package "))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_default()
}

fn load(files: &Files, contract: &[ContractFile]) -> Result<Engine, SuiteError> {
    let mut engine = Engine::new();
    engine.set_rego_v0(false);
    // Files are bounded as they are read; programs write data documents as one line.
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MAX,
        max_lines: NonZeroUsize::MAX,
    });
    // As in OPA, a builtin that cannot answer is undefined.
    engine.set_strict_builtin_errors(false);
    // A test that prints says so in its result, not in the middle of the report.
    engine.set_gather_prints(true);
    let modules: Vec<(&str, &str)> = files
        .modules
        .iter()
        .map(|module| (module.name.as_str(), module.source.as_str()))
        .chain(contract.iter().copied())
        .collect();
    // What is wrong with a file is told of the file as it stands.
    let mut parser = engine.clone();
    let wrong = |(name, source): &(&str, &str)| {
        let error = parser
            .add_policy((*name).to_owned(), (*source).to_owned())
            .err()?;
        Some(PolicyError::from_regorus(name, &error.to_string()))
    };
    let errors: Vec<PolicyError> = modules.iter().filter_map(wrong).collect();
    if !errors.is_empty() {
        return Err(SuiteError::Policy(errors));
    }
    for (name, source) in modules {
        engine
            .add_policy(name.to_owned(), written_out(source))
            .map_err(|error| {
                SuiteError::Policy(vec![PolicyError::from_regorus(name, &error.to_string())])
            })?;
    }
    for (path, document) in &files.documents {
        engine
            .add_data(document.clone())
            .map_err(|error| SuiteError::Data {
                path: path.clone(),
                problem: error.to_string(),
            })?;
    }
    // Whatever is wrong with the modules as a whole comes to light before the first test.
    engine
        .eval_query("true".to_owned(), false)
        .map_err(|error| {
            let first = files.modules.first().map_or("", |module| &module.name);
            SuiteError::Policy(vec![PolicyError::from_regorus(first, &error.to_string())])
        })?;
    Ok(engine)
}

/// A `test_` rule.
struct Test {
    package: Vec<String>,
    name: String,
    file: String,
    line: u32,
}

impl Test {
    /// `data.package.name`, in the form that is printed and filtered.
    fn full_name(&self) -> String {
        format!("{}.{}", self.package_name(), self.name)
    }

    fn package_name(&self) -> String {
        format!("data.{}", self.package.join("."))
    }

    /// The same in the form that the engine finds whatever the names are.
    fn path(&self) -> String {
        let mut path = String::from("data");
        for component in self.package.iter().chain([&self.name]) {
            path.push_str(&format!(
                "[{}]",
                serde_json::Value::from(component.as_str())
            ));
        }
        path
    }

    fn run(self, engine: &mut Engine, timeout: Duration) -> TestResult {
        let started = Instant::now();
        let outcome = if self.name.starts_with("todo_") {
            Outcome::Skipped
        } else {
            bound(engine, timeout);
            match engine.eval_rule(self.path()) {
                Ok(Value::Bool(true)) => Outcome::Pass,
                Ok(_) => Outcome::Fail,
                Err(error) => Outcome::Error(
                    PolicyError::from_regorus(&self.file, &error.to_string()).to_string(),
                ),
            }
        };
        TestResult {
            package: self.package_name(),
            outcome,
            duration: started.elapsed(),
            printed: engine.take_prints().unwrap_or_default(),
            name: self.name,
            file: self.file,
            line: self.line,
        }
    }
}

/// Every `test_` rule once, however many bodies it has.
fn find(engine: &mut Engine) -> Result<Vec<Test>, SuiteError> {
    let packages = engine.get_policy_package_components().map_err(|error| {
        SuiteError::Policy(vec![PolicyError::from_regorus("", &error.to_string())])
    })?;
    let mut tests: Vec<Test> = Vec::new();
    for (module, package) in engine.get_modules().iter().zip(packages) {
        for rule in &module.policy {
            let Some((name, span)) = test_name(rule) else {
                continue;
            };
            let known = |test: &Test| test.package == package.components && test.name == name;
            if !tests.iter().any(known) {
                tests.push(Test {
                    package: package.components.clone(),
                    name,
                    file: package.source_file.clone(),
                    line: span.line,
                });
            }
        }
    }
    Ok(tests)
}

fn test_name(rule: &Rule) -> Option<(String, &Span)> {
    let (refr, span) = match rule {
        Rule::Spec { head, span, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => (refr, span),
            RuleHead::Func { .. } => return None,
        },
        Rule::Default { refr, span, .. } => (refr, span),
    };
    match refr.as_ref() {
        Expr::Var { span: name, .. } => {
            let name = name.text();
            let is_test = name.starts_with("test_") || name.starts_with("todo_test_");
            is_test.then(|| (name.to_owned(), span))
        }
        _ => None,
    }
}

/// Whether a name fits a filter. In a glob, `*` stands for any text.
fn matches(filter: &str, name: &str) -> bool {
    let mut parts = filter.split('*');
    let first = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return name.contains(filter);
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// Limits the time of the engine's next evaluation.
fn bound(engine: &mut Engine, timeout: Duration) {
    struct Monotonic;
    impl TimeSource for Monotonic {
        fn now(&self) -> Option<Duration> {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            Some(START.get_or_init(Instant::now).elapsed())
        }
    }
    // One source serves the whole process; another that is there already does as well.
    let _ = set_time_source(&Monotonic);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: timeout,
        check_interval: NonZeroU32::MIN.saturating_add(63),
    });
}
