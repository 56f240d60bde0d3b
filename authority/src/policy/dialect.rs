//! Which Rego is supported, and by which machine. Everything here is seen in the parsed text, so a user
//! is told when a policy is written and not when it decides.
//!
//! regorus's bytecode machine is young: for some constructs its compiler has no code, for others the
//! wrong code. Those that are listed here run on its interpreter, which passes OPA's own cases; what
//! neither gets right is refused. `conformance.rs` and `agreement.rs` hold both machines to those cases and to each other.

mod look;
mod syntax;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Module, Rule, RuleHead};

use self::{
    look::Look,
    syntax::{Path, import, static_path},
    world::{World, conflicts, overlaps, recursion},
};
use super::{PolicyError, rewrite::Edit};

/// A module: its name, its text, and what the parser made of it.
pub(super) struct Text<'a> {
    pub(super) name: &'a str,
    pub(super) source: &'a str,
    pub(super) module: &'a Module,
    /// Whether it decides, rather than being worked out when the set is compiled.
    pub(super) runs: bool,
}

/// What was found in a set of modules.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What no machine runs as OPA does.
    pub(super) refused: Vec<PolicyError>,
    /// What only the interpreter runs as OPA does.
    pub(super) interpreted: Vec<PolicyError>,
    /// Changes to each of the modules, whatever the machine.
    pub(super) edits: Vec<Vec<Edit>>,
}

/// Which rules each rule refers to.
type Calls = BTreeMap<Path, BTreeSet<Path>>;

/// Looks through `texts`, which with the data documents `base` have to be the whole program.
pub(super) fn examine(texts: &[Text<'_>], base: &regorus::Value) -> Findings {
    let (findings, calls) = look_through(texts, base, false);
    // Tests never run here, unless something that does refers to one: then they are rules like any other.
    if calls.values().flatten().any(names_test) {
        return look_through(texts, base, true).0;
    }
    findings
}

fn look_through(texts: &[Text<'_>], base: &regorus::Value, with_tests: bool) -> (Findings, Calls) {
    let world = World::of(texts);
    let mut findings = Findings::default();
    let mut calls = Calls::new();
    for text in texts {
        findings.edits.push(Vec::new());
        let mut look = Look {
            world: &world,
            text,
            package: package(text.module),
            imports: text.module.imports.iter().filter_map(import).collect(),
            scopes: Vec::new(),
            bindable: Vec::new(),
            in_comprehension: 0,
            comprehensions: 0,
            arithmetic: 0,
            rule: Path::new(),
            calls: &mut calls,
            findings: &mut findings,
        };
        for rule in text
            .module
            .policy
            .iter()
            .filter(|rule| with_tests || !is_test(text, rule))
        {
            look.rule(rule);
        }
    }
    recursion(texts, &calls, &mut findings);
    conflicts(texts, &mut findings);
    overlaps(texts, base, &mut findings);
    (findings, calls)
}

fn at(text: &Text<'_>, byte: u32, message: &str) -> PolicyError {
    let byte = usize::try_from(byte).unwrap_or(usize::MAX);
    PolicyError::at(text.name, text.source, byte, message)
}

/// Whether only `caracal policy test` ever runs a rule.
fn is_test(text: &Text<'_>, rule: &Rule) -> bool {
    names_test(&definition(text, rule).0)
}

/// Whether a path is one of a test.
fn names_test(path: &Path) -> bool {
    path.last()
        .is_some_and(|name| name.starts_with("test_") || name.starts_with("todo_test_"))
}

/// The path that a rule is part of, and its number of arguments if it is a function.
fn definition(text: &Text<'_>, rule: &Rule) -> (Path, Option<usize>) {
    let (refr, arity) = match rule {
        Rule::Default { refr, args, .. } => (refr, (!args.is_empty()).then_some(args.len())),
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => (refr, None),
            RuleHead::Func { refr, args, .. } => (refr, Some(args.len())),
        },
    };
    let mut path = package(text.module);
    path.extend(static_path(refr));
    (path, arity)
}

/// The path of a module's package.
pub(super) fn package(module: &Module) -> Path {
    let mut path = vec!["data".to_owned()];
    path.extend(static_path(&module.package.refr));
    path
}
