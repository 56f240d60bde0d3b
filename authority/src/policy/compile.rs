//! From a set of modules to a program, with every error placed.

use std::{borrow::Cow, collections::BTreeSet, num::NonZeroU32};

use regorus::{
    Engine, PolicyLengthConfig, Rc, Value,
    languages::rego::compiler::Compiler,
    utils::limits::{ExecutionTimerConfig, monotonic_now},
};
use serde::{Deserialize, Serialize};

use super::{
    ENTRY_POINT, MAX_MODULES, Module, PolicyError, PolicyKind, contract, definedness, dialect,
    dialect::Text,
    imports::written_out,
    lexical,
    module::{Parsed, parse, rule_root},
    program::{Code, Program},
    reads::Reads,
    rewrite::rewrite,
};
use crate::bundle::content_sha256;

/// The compiler and the program it writes; a gateway runs what was compiled by the same.
pub const COMPILER: &str = "regorus-0.14.1/rvm-6/caracal-3";

/// The package of the contract's rules that depend on data alone.
const INDEX: &str = "data.caracal.index";
/// Longest line: the parser's counter goes no further.
const MAX_COLUMN: NonZeroU32 = NonZeroU32::new(1 << 20).unwrap();
/// Longest that the data of a set may take to work out.
const DATA_TIME_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// A module's name and the SHA-256 of its text, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleDigest {
    /// Name.
    pub name: String,
    /// SHA-256.
    pub sha256: String,
}

/// A compiled set.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What [`Policy::load`](super::Policy::load) reads.
    pub program: Vec<u8>,
    /// Who decides.
    pub kind: PolicyKind,
    /// Every module that went in, the contract's included.
    pub modules: Vec<ModuleDigest>,
    /// [`COMPILER`].
    pub compiler: String,
    /// The constructs for which the set runs on the interpreter, placed. Without any, it is bytecode.
    pub notes: Vec<PolicyError>,
}

impl Compiled {
    /// Whether it may say different things to two calls that are the same operation with the same mandate:
    /// if it reads their paths, their hosts or the time. If not, a gateway asks it once.
    pub fn reads_the_call(&self) -> bool {
        Program::reads_the_call(&self.program)
    }
}

/// Compiles a set of modules. If all of them are data documents, the decision contract decides.
///
/// # Errors
/// All that is wrong with the modules, or with their whole, placed.
pub fn compile(modules: &[Module]) -> Result<Compiled, Vec<PolicyError>> {
    compile_for(modules, false)
}

/// The same, and for the interpreter also what could be bytecode.
pub(super) fn compile_for(
    modules: &[Module],
    interpreter: bool,
) -> Result<Compiled, Vec<PolicyError>> {
    let mut set = Set::read(modules)?;
    set.check()?;
    let data = set.data()?;
    let (code, notes) = set.code(interpreter)?;
    let program = Program {
        reads: set.reads(),
        data,
        code,
    };
    Ok(Compiled {
        program: program
            .encode()
            .map_err(|problem| vec![PolicyError::whole("set", problem)])?,
        kind: set.kind,
        modules: set.digests,
        compiler: COMPILER.to_owned(),
        notes,
    })
}

/// An engine as every policy is read and run by: Rego v1; builtins that fail are undefined, as in OPA.
pub(super) fn new_engine() -> Engine {
    let mut engine = Engine::new();
    engine.set_rego_v0(false);
    engine.set_strict_builtin_errors(false);
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: MAX_COLUMN,
        ..PolicyLengthConfig::default()
    });
    engine
}

/// A set that has been parsed.
struct Set<'a> {
    kind: PolicyKind,
    /// The user's modules and the contract's.
    engine: Engine,
    /// Those that are Rego, in the engine's order.
    members: Vec<Member<'a>>,
    json: Vec<(&'a str, Value)>,
    digests: Vec<ModuleDigest>,
}

struct Member<'a> {
    name: &'a str,
    source: Cow<'a, str>,
    /// Whether it decides, rather than being worked out when the set is compiled.
    runs: bool,
}

impl<'a> Set<'a> {
    fn read(modules: &'a [Module]) -> Result<Self, Vec<PolicyError>> {
        let whole = |problem: String| vec![PolicyError::whole("set", problem)];
        if modules.is_empty() || modules.len() > MAX_MODULES {
            return Err(whole(format!(
                "a policy set has 1 to {MAX_MODULES} modules, this one has {}",
                modules.len()
            )));
        }
        let mut set = Self {
            kind: PolicyKind::Data,
            engine: new_engine(),
            members: Vec::new(),
            json: Vec::new(),
            digests: Vec::new(),
        };
        let (mut decided, mut computed, mut errors) = (false, false, Vec::new());
        let mut names = BTreeSet::new();
        for module in modules {
            if !names.insert(module.name.as_str()) {
                let problem = "two modules have this name";
                errors.push(PolicyError::whole(&module.name, problem));
            }
            match parse(&mut set.engine, module) {
                Ok(Parsed::Json(value)) => set.json.push((&module.name, value)),
                Ok(parsed) => {
                    let runs = parsed.kind() == PolicyKind::Authored;
                    if runs {
                        set.kind = PolicyKind::Authored;
                    }
                    if let Parsed::Authored { decides, documents } = parsed {
                        decided |= decides;
                        computed |= documents;
                    }
                    set.members.push(Member {
                        name: &module.name,
                        source: Cow::Borrowed(&module.source),
                        runs,
                    });
                }
                Err(more) => errors.extend(more),
            }
            set.digests.push(digest(&module.name, &module.source));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if set.kind == PolicyKind::Authored && !decided {
            return Err(whole(format!(
                "no module defines {ENTRY_POINT}, so there would be no decision"
            )));
        }
        set.add_contract(modules, computed)?;
        Ok(set)
    }

    /// Adds what of the contract belongs to the set. Its index depends on data documents alone and is
    /// worked out with them, unless the user's own rules compute documents.
    fn add_contract(&mut self, modules: &[Module], computed: bool) -> Result<(), Vec<PolicyError>> {
        for (name, source) in contract::joining(self.kind, modules) {
            let text = written_out(source);
            let package = self
                .engine
                .add_policy(name.to_owned(), text.clone())
                .map_err(|error| vec![PolicyError::from_regorus(name, &error.to_string())])?;
            self.members.push(Member {
                name,
                source: Cow::Owned(text),
                runs: computed || package != INDEX,
            });
            self.digests.push(digest(name, source));
        }
        Ok(())
    }

    fn reads(&self) -> Reads {
        let mut reads = Reads::nothing();
        for member in self.members.iter().filter(|member| member.runs) {
            lexical::reads(&member.source, &mut reads);
        }
        reads
    }

    /// What only the whole shows: names that nobody defines, types, rules that call themselves.
    fn check(&mut self) -> Result<(), Vec<PolicyError>> {
        for (name, value) in &self.json {
            let result = self.engine.add_data(value.clone());
            result.map_err(|error| vec![PolicyError::whole(name, error.to_string())])?;
        }
        let compiled = self.engine.compile_with_entrypoint(&Rc::from(ENTRY_POINT));
        compiled
            .map(drop)
            .map_err(|error| self.placed(&error.to_string()))
    }

    /// What regorus reports, with the line as it was written.
    fn placed(&self, report: &str) -> Vec<PolicyError> {
        let first = self.members.first().map_or("set", |member| member.name);
        let mut error = PolicyError::from_regorus(first, report);
        if let Some(member) = self.members.iter().find(|member| member.name == error.file) {
            let before = usize::try_from(error.line.saturating_sub(1)).unwrap_or(usize::MAX);
            error.snippet = member.source.lines().nth(before).map(str::to_owned);
        }
        vec![error]
    }

    /// The data of the set: JSON documents as they are; data documents in Rego, and what the contract
    /// derives from them, worked out once, so that a decision looks things up in it.
    fn data(&mut self) -> Result<Value, Vec<PolicyError>> {
        let mut paths = BTreeSet::new();
        for (member, module) in self.members.iter().zip(self.engine.get_modules()) {
            if !member.runs {
                let package = dialect::package(module).join(".");
                let roots = module.policy.iter().map(|rule| rule_root(rule));
                paths.extend(roots.map(|root| format!("{package}.{root}")));
            }
        }
        if monotonic_now().is_some() {
            self.engine
                .set_execution_timer_config(ExecutionTimerConfig {
                    limit: DATA_TIME_LIMIT,
                    check_interval: NonZeroU32::MIN,
                });
        }
        let mut documents = new_engine();
        documents
            .add_data(self.engine.get_data())
            .map_err(|error| self.placed(&error.to_string()))?;
        for path in paths {
            // A query and not a rule: a document may be put together from several keys.
            let mut results = self
                .engine
                .eval_query(path.clone(), false)
                .map_err(|error| self.placed(&error.to_string()))?;
            let value = results
                .result
                .pop()
                .and_then(|mut row| row.expressions.pop());
            if let Some(value) = value.map(|expression| expression.value)
                && value != Value::Undefined
            {
                documents
                    .add_data(at_path(&path, value))
                    .map_err(|error| self.placed(&error.to_string()))?;
            }
        }
        Ok(documents.get_data())
    }

    /// What runs, and why it does not run as bytecode.
    fn code(&mut self, interpreter: bool) -> Result<(Code, Vec<PolicyError>), Vec<PolicyError>> {
        let base = self.engine.get_data();
        let texts: Vec<Text<'_>> = self
            .members
            .iter()
            .zip(self.engine.get_modules())
            .map(|(member, module)| Text {
                name: member.name,
                source: &member.source,
                module,
                runs: member.runs,
            })
            .collect();
        let findings = dialect::examine(&texts, &base);
        if !findings.refused.is_empty() {
            return Err(findings.refused);
        }
        let mut modules = Vec::new();
        for (text, edits) in texts
            .iter()
            .zip(findings.edits)
            .filter(|(text, _)| text.runs)
        {
            let source = rewrite(text.source, edits).map_err(|at| {
                let problem = "this pattern cannot be rewritten";
                vec![PolicyError::at(text.name, text.source, at, problem)]
            })?;
            modules.push(Module {
                name: text.name.to_owned(),
                source: written_out(&source),
            });
        }
        if interpreter || !findings.interpreted.is_empty() {
            return Ok((Code::Text(modules), findings.interpreted));
        }
        match bytecode(&modules) {
            Ok(bytecode) => Ok((Code::Bytecode(bytecode), Vec::new())),
            Err(report) => Ok((Code::Text(modules), self.placed(&report))),
        }
    }
}

/// Bytecode that does what `modules` say; what it would miss is written into them first.
fn bytecode(modules: &[Module]) -> Result<Vec<u8>, String> {
    let read = |modules: &[Module]| {
        let mut engine = new_engine();
        for Module { name, source } in modules {
            engine
                .add_policy(name.clone(), source.clone())
                .map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(engine)
    };
    let mut plain = read(modules)?;
    let guarded: Result<Vec<Module>, String> = modules
        .iter()
        .zip(plain.get_modules())
        .map(|(module, parsed)| {
            let source = definedness::checks(&module.source, parsed)
                .and_then(|checks| rewrite(&module.source, checks))
                .map_err(|at| format!("{}: byte {at} cannot be checked", module.name))?;
            Ok(Module {
                name: module.name.clone(),
                source,
            })
        })
        .collect();
    let mut engine = read(&guarded?)?;
    let policy = engine
        .compile_with_entrypoint(&Rc::from(ENTRY_POINT))
        .map_err(|error| error.to_string())?;
    let program = Compiler::compile_from_policy(&policy, &[ENTRY_POINT])
        .map_err(|error| error.to_string())?;
    program.serialize_binary()
}

/// `value` at the place in `data` that `path` names.
fn at_path(path: &str, value: Value) -> Value {
    path.split('.')
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(value, |value, name| {
            let mut object = Value::new_object();
            if let Ok(fields) = object.as_object_mut() {
                fields.insert(Value::from(name), value);
            }
            object
        })
}

fn digest(name: &str, source: &str) -> ModuleDigest {
    ModuleDigest {
        name: name.to_owned(),
        sha256: content_sha256(source.as_bytes()),
    }
}
