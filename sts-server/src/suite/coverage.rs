//! Which rules and lines the tests of a suite reach.

use std::collections::{BTreeMap, BTreeSet};

use regorus::{
    Engine,
    unstable::{Expr, Rule, RuleHead},
};

/// Coverage of a suite, test files aside.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// One for each file.
    pub files: Vec<FileCoverage>,
}

/// Coverage of a file.
#[derive(Clone, Debug)]
pub struct FileCoverage {
    /// File.
    pub file: String,
    /// Lines that were evaluated.
    pub covered: BTreeSet<u32>,
    /// Lines with something to evaluate that no test reached.
    pub not_covered: BTreeSet<u32>,
    /// Its rules.
    pub rules: Vec<RuleCoverage>,
}

/// A rule, and whether a test reached it.
#[derive(Clone, Debug)]
pub struct RuleCoverage {
    /// Name.
    pub name: String,
    /// Line, from 1.
    pub line: u32,
    /// Whether anything of it was evaluated.
    pub hit: bool,
}

impl Coverage {
    /// The share of lines that were evaluated, in percent.
    pub fn percent(&self) -> f64 {
        let sum = |lines: fn(&FileCoverage) -> usize| self.files.iter().map(lines).sum();
        percent(
            sum(|file| file.covered.len()),
            sum(|file| file.not_covered.len()),
        )
    }
}

impl FileCoverage {
    /// The share of lines that were evaluated, in percent.
    pub fn percent(&self) -> f64 {
        percent(self.covered.len(), self.not_covered.len())
    }
}

fn percent(covered: usize, not_covered: usize) -> f64 {
    let exact = |lines: usize| f64::from(u32::try_from(lines).unwrap_or(u32::MAX));
    match covered + not_covered {
        0 => 100.0,
        all => exact(covered) / exact(all) * 100.0,
    }
}

/// What the engines of single tests have seen.
#[derive(Default)]
pub(super) struct Gathered {
    files: BTreeMap<String, Lines>,
}

#[derive(Default)]
struct Lines {
    covered: BTreeSet<u32>,
    not_covered: BTreeSet<u32>,
}

impl Gathered {
    /// Takes in what one engine has evaluated.
    pub(super) fn add(&mut self, engine: &Engine) {
        // The report fails on a module that the engine cannot have loaded.
        let Ok(report) = engine.get_coverage_report() else {
            return;
        };
        for file in report.files {
            let lines = self.files.entry(file.path).or_default();
            lines.covered.extend(file.covered);
            lines.not_covered.extend(file.not_covered);
        }
    }

    /// The sum, over the modules with these names.
    pub(super) fn report(mut self, engine: &mut Engine, names: &[String]) -> Coverage {
        let mut files = Vec::new();
        for module in engine.get_modules() {
            let file = module.package.span.source.file().to_string();
            if !names.contains(&file) || file.ends_with("_test.rego") {
                continue;
            }
            let lines = self.files.remove(&file).unwrap_or_default();
            let starts: Vec<u32> = module.policy.iter().map(|rule| span(rule).line).collect();
            let mut rules = Vec::new();
            for (index, rule) in module.policy.iter().enumerate() {
                let line = span(rule).line;
                let end = starts
                    .get(index + 1)
                    .map_or(u32::MAX, |next| *next.max(&(line + 1)));
                let hit = lines.covered.range(line..end).next().is_some();
                // A constant has nothing to evaluate, and so nothing to miss.
                if hit || has_body(rule) {
                    let name = name(rule);
                    rules.push(RuleCoverage { name, line, hit });
                }
            }
            let not_covered = lines
                .not_covered
                .difference(&lines.covered)
                .copied()
                .collect();
            files.push(FileCoverage {
                file,
                covered: lines.covered,
                not_covered,
                rules,
            });
        }
        Coverage { files }
    }
}

fn span(rule: &Rule) -> &regorus::unstable::Span {
    match rule {
        Rule::Spec { span, .. } | Rule::Default { span, .. } => span,
    }
}

fn name(rule: &Rule) -> String {
    let refr = match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. }
            | RuleHead::Set { refr, .. }
            | RuleHead::Func { refr, .. } => refr,
        },
        Rule::Default { refr, .. } => refr,
    };
    let mut expression = refr.as_ref();
    loop {
        match expression {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => expression = refr.as_ref(),
            other => return other.span().text().to_owned(),
        }
    }
}

fn has_body(rule: &Rule) -> bool {
    match rule {
        Rule::Spec { bodies, .. } => bodies.iter().any(|body| !body.query.stmts.is_empty()),
        Rule::Default { .. } => false,
    }
}
