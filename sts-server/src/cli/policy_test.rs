//! `caracal policy test`: runs the tests of policies and shows what became of them.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use clap::Args;
use serde_json::{Value, json};
use sts_server::suite::{self, Coverage, FileCoverage, Options, Outcome, SuiteError, TestResult};

use super::{Context, error::CliError, output::printable};

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    /// Directories (or files) with .rego modules, their tests, and .json data
    #[arg(required = true, value_name = "DIR")]
    paths: Vec<PathBuf>,
    /// Only tests whose full name contains this, or matches it as a glob if it holds a *
    #[arg(long, short, value_name = "PATTERN")]
    filter: Option<String>,
    /// Show every test, not only those that failed
    #[arg(long, short)]
    verbose: bool,
    /// Show which rules and lines no test reached
    #[arg(long, short)]
    coverage: bool,
    /// Most time that one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// Exit code 0: all passed. 1: the files could not be used. 2: tests failed.
pub(super) fn run(arguments: &TestArgs, context: &Context<'_>) -> Result<(), CliError> {
    let options = Options {
        filter: arguments.filter.clone(),
        timeout: Duration::from_secs(arguments.timeout),
        coverage: arguments.coverage,
    };
    let report = suite::run(&arguments.paths, &options).map_err(error)?;
    let text = text(&report, arguments.verbose);
    context.output.either(&text, &json(&report))?;
    if report.passed() {
        return Ok(());
    }
    let not = report.count(&Outcome::Fail) + report.count(&Outcome::Error(String::new()));
    let all = report.results.len();
    Err(CliError::Tests(format!(
        "{not} of {all} tests did not pass"
    )))
}

fn error(error: SuiteError) -> CliError {
    match error {
        SuiteError::File { path, source } => CliError::File { path, source },
        SuiteError::Policy(errors) => CliError::Policy(errors),
        other => CliError::Finding(other.to_string()),
    }
}

fn text(report: &suite::Report, verbose: bool) -> String {
    let mut text = String::new();
    let mut file = "";
    for result in &report.results {
        if !verbose && result.outcome == Outcome::Pass {
            continue;
        }
        if file != result.file {
            file = &result.file;
            let _ = writeln!(text, "{}:", printable(file));
        }
        let _ = writeln!(
            text,
            "{}.{}: {} ({:?})",
            printable(&result.package),
            printable(&result.name),
            result.outcome.word(),
            rounded(result.duration)
        );
        if let Outcome::Error(why) = &result.outcome {
            let _ = writeln!(text, "  {}", printable(why));
        }
        for line in &result.printed {
            let _ = writeln!(text, "  {}", printable(line));
        }
    }
    if !text.is_empty() {
        text.push_str("--------\n");
    }
    let all = report.results.len();
    let outcomes = [
        Outcome::Pass,
        Outcome::Fail,
        Outcome::Error(String::new()),
        Outcome::Skipped,
    ];
    for outcome in outcomes {
        let count = report.count(&outcome);
        if count > 0 {
            let _ = writeln!(text, "{}: {count}/{all}", outcome.word());
        }
    }
    if let Some(coverage) = &report.coverage {
        cover(coverage, &mut text);
    }
    text
}

/// To three digits or so: what is finer is noise.
fn rounded(duration: Duration) -> Duration {
    let nanos = duration.as_nanos();
    let mut unit = 1;
    while nanos / unit >= 10_000 {
        unit *= 10;
    }
    Duration::from_nanos(u64::try_from(nanos / unit * unit).unwrap_or(u64::MAX))
}

fn cover(coverage: &Coverage, text: &mut String) {
    let _ = writeln!(text, "coverage: {:.1}% of lines", coverage.percent());
    for file in &coverage.files {
        let hit = file.rules.iter().filter(|rule| rule.hit).count();
        let _ = writeln!(
            text,
            "  {}: {:.1}% of lines, {hit} of {} rules",
            printable(&file.file),
            file.percent(),
            file.rules.len()
        );
        for rule in file.rules.iter().filter(|rule| !rule.hit) {
            let _ = writeln!(
                text,
                "    not reached: {} (line {})",
                printable(&rule.name),
                rule.line
            );
        }
        let missed = ranges(file);
        if !missed.is_empty() {
            let _ = writeln!(text, "    lines not reached: {missed}");
        }
    }
}

/// The lines that no test reached, as `3-5, 9`.
fn ranges(file: &FileCoverage) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &line in &file.not_covered {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    let shown = ranges.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn json(report: &suite::Report) -> Value {
    let results: Vec<Value> = report.results.iter().map(result_json).collect();
    let mut json = json!({
        "results": results,
        "passed": report.count(&Outcome::Pass),
        "failed": report.count(&Outcome::Fail),
        "errors": report.count(&Outcome::Error(String::new())),
        "skipped": report.count(&Outcome::Skipped),
        "contract_joined": report.contract_joined,
    });
    if let (Some(coverage), Some(json)) = (&report.coverage, json.as_object_mut()) {
        json.insert("coverage".to_owned(), coverage_json(coverage));
    }
    json
}

fn result_json(result: &TestResult) -> Value {
    let mut json = json!({
        "location": {"file": result.file, "row": result.line},
        "package": result.package,
        "name": result.name,
        "outcome": result.outcome.word().to_lowercase(),
        "duration_ns": u64::try_from(result.duration.as_nanos()).unwrap_or(u64::MAX),
    });
    if let Some(json) = json.as_object_mut() {
        if let Outcome::Error(why) = &result.outcome {
            json.insert("error".to_owned(), why.as_str().into());
        }
        if !result.printed.is_empty() {
            json.insert("output".to_owned(), json!(result.printed));
        }
    }
    json
}

fn coverage_json(coverage: &Coverage) -> Value {
    let file = |file: &FileCoverage| {
        let rules: Vec<Value> = file
            .rules
            .iter()
            .map(|rule| json!({"name": rule.name, "row": rule.line, "hit": rule.hit}))
            .collect();
        json!({
            "file": file.file, "percent": file.percent(), "rules": rules,
            "covered": file.covered, "not_covered": file.not_covered,
        })
    };
    let files: Vec<Value> = coverage.files.iter().map(file).collect();
    json!({"percent": coverage.percent(), "files": files})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> suite::Report {
        let result = |name: &str, outcome: Outcome| TestResult {
            package: "data.p_test".to_owned(),
            name: name.to_owned(),
            file: "p_test.rego".to_owned(),
            line: 3,
            outcome,
            duration: Duration::from_nanos(1_234_567),
            printed: Vec::new(),
        };
        suite::Report {
            results: vec![result("test_a", Outcome::Pass), result("test_b", outcome)],
            coverage: None,
            contract_joined: false,
        }
    }

    #[test]
    fn what_failed_is_shown_and_what_passed_on_request() {
        let failed = report(Outcome::Fail);
        assert_eq!(
            text(&failed, false),
            "p_test.rego:\ndata.p_test.test_b: FAIL (1.234ms)\n--------\nPASS: 1/2\nFAIL: 1/2\n"
        );
        assert!(text(&failed, true).contains("test_a: PASS"));
        assert_eq!(text(&report(Outcome::Pass), false), "PASS: 2/2\n");
        let error = report(Outcome::Error("why".to_owned()));
        assert!(text(&error, false).contains("ERROR (1.234ms)\n  why\n"));
        assert_eq!(json(&error)["results"][1]["error"], "why");
    }

    #[test]
    fn lines_are_shown_as_ranges() {
        let file = FileCoverage {
            file: String::new(),
            covered: [1].into(),
            not_covered: [3, 4, 5, 9].into(),
            rules: Vec::new(),
        };
        assert_eq!(ranges(&file), "3-5, 9");
    }
}
