//! From Rego text to bytecode, with every error placed.

use std::{
    collections::BTreeSet,
    num::{NonZeroU32, NonZeroUsize},
};

use regorus::{Engine, PolicyLengthConfig, Rc, languages::rego::compiler::Compiler};
use serde::{Deserialize, Serialize};

use super::{
    ENTRY_POINT, PolicyError,
    contract::{self, ContractFile, DATA_DOCUMENTS},
    definedness, lexical,
};
use crate::bundle::content_sha256;

/// The compiler and the bytecode it writes; a gateway runs what was compiled by the same.
pub const COMPILER: &str = "regorus-0.14.1/rvm-6";
/// Largest module, in bytes.
pub const MAX_MODULE_BYTES: usize = 256 * 1024;
/// Most modules in a set.
pub const MAX_MODULES: usize = 256;

/// The package that modules of a set live in.
const PACKAGE: &str = "data.caracal.authz";
/// A Rego module: its name, for errors and evidence, and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Name, such as a file's.
    pub name: String,
    /// Rego v1 text.
    pub source: String,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// The decision contract, over data documents.
    Data,
    /// The user's own Rego.
    Authored,
}

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
    /// Bytecode, for [`Policy::load`](super::Policy::load).
    pub program: Vec<u8>,
    /// Who decides.
    pub kind: PolicyKind,
    /// Every module that went in, the contract's included.
    pub modules: Vec<ModuleDigest>,
    /// [`COMPILER`].
    pub compiler: String,
}

/// Checks one module by itself: size, forbidden builtins, syntax, package, and for a data document
/// that it holds data and nothing else.
///
/// # Errors
/// All that is wrong with it, placed.
pub fn check(module: &Module) -> Result<PolicyKind, Vec<PolicyError>> {
    parse(&mut new_engine(), module).map(|parsed| parsed.kind)
}

/// Compiles a set of modules. If all of them are data documents, the decision contract joins them and
/// decides; its rules also join a set that refers to them.
///
/// # Errors
/// All that is wrong with the modules, or with their whole, placed.
pub fn compile(modules: &[Module]) -> Result<Compiled, Vec<PolicyError>> {
    if modules.is_empty() || modules.len() > MAX_MODULES {
        let problem = format!(
            "a policy set has 1 to {MAX_MODULES} modules, this one has {}",
            modules.len()
        );
        return Err(vec![PolicyError::whole("set", problem)]);
    }
    let mut engine = new_engine();
    let (mut authored, mut decides) = (false, false);
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for module in modules {
        if !names.insert(module.name.as_str()) {
            errors.push(PolicyError::whole(
                &module.name,
                "two modules have this name",
            ));
        }
        match parse(&mut engine, module) {
            Ok(parsed) => {
                authored |= parsed.kind == PolicyKind::Authored;
                decides |= parsed.decides;
            }
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut digests: Vec<_> = modules
        .iter()
        .map(|module| digest(&module.name, &module.source))
        .collect();
    let kind = if authored {
        PolicyKind::Authored
    } else {
        PolicyKind::Data
    };
    if kind == PolicyKind::Authored && !decides {
        let problem = format!("no module defines {ENTRY_POINT}, so there would be no decision");
        return Err(vec![PolicyError::whole("set", problem)]);
    }
    let contract = contract::joining(kind, modules);
    for &(name, source) in &contract {
        engine
            .add_policy(name.to_owned(), source.to_owned())
            .map_err(|error| vec![PolicyError::from_regorus(name, &error.to_string())])?;
        digests.push(digest(name, source));
    }
    // The user's own text first: its errors are at the places that the user knows.
    engine
        .compile_with_entrypoint(&Rc::from(ENTRY_POINT))
        .map_err(|error| placed(modules, &error.to_string()))?;
    let program = assemble(&mut guarded(&mut engine, modules, &contract)?)
        .map_err(|report| placed(modules, &report))?;
    Ok(Compiled {
        program,
        kind,
        modules: digests,
        compiler: COMPILER.to_owned(),
    })
}

fn assemble(engine: &mut Engine) -> Result<Vec<u8>, String> {
    let policy = engine
        .compile_with_entrypoint(&Rc::from(ENTRY_POINT))
        .map_err(|error| error.to_string())?;
    let program = Compiler::compile_from_policy(&policy, &[ENTRY_POINT])
        .map_err(|error| error.to_string())?;
    program.serialize_binary()
}

/// The parsed modules of `engine` again, with their declarations guarded.
fn guarded(
    engine: &mut Engine,
    modules: &[Module],
    contract: &[ContractFile],
) -> Result<Engine, Vec<PolicyError>> {
    let texts = modules
        .iter()
        .map(|module| (module.name.as_str(), module.source.as_str()))
        .chain(contract.iter().copied());
    let mut guarded = new_engine();
    let mut answering = engine.clone();
    for ((name, source), parsed) in texts.zip(engine.get_modules()) {
        let answered = contract::answered(name, &mut answering, modules)
            .map_err(|error| placed(modules, &error))?;
        if let Some(text) = answered {
            guarded
                .add_policy(name.to_owned(), text)
                .map_err(|error| placed(modules, &error.to_string()))?;
            continue;
        }
        let text = definedness::guard(source, parsed).map_err(|at| {
            let problem = "this declaration names nothing; give its value a name, or leave := out";
            vec![PolicyError::at(name, source, at, problem)]
        })?;
        guarded
            .add_policy(name.to_owned(), text)
            .map_err(|error| placed(modules, &error.to_string()))?;
    }
    Ok(guarded)
}

/// What regorus reports, with the line as the user wrote it.
fn placed(modules: &[Module], report: &str) -> Vec<PolicyError> {
    let first = modules.first().map_or("set", |module| module.name.as_str());
    let mut error = PolicyError::from_regorus(first, report);
    if let Some(module) = modules.iter().find(|module| module.name == error.file) {
        let before = usize::try_from(error.line.saturating_sub(1)).unwrap_or(usize::MAX);
        error.snippet = module.source.lines().nth(before).map(str::to_owned);
    }
    vec![error]
}

/// An engine without bounds of its own on lines and columns: programs write data documents as one line,
/// and the size of a module is bounded here.
fn new_engine() -> Engine {
    let mut engine = Engine::new();
    engine.set_rego_v0(false);
    engine.set_policy_length_config(PolicyLengthConfig {
        max_col: NonZeroU32::MAX,
        max_file_bytes: NonZeroUsize::MAX,
        max_lines: NonZeroUsize::MAX,
    });
    engine
}

/// What a module turned out to be.
struct Parsed {
    kind: PolicyKind,
    decides: bool,
}

fn parse(engine: &mut Engine, module: &Module) -> Result<Parsed, Vec<PolicyError>> {
    let Module { name, source } = module;
    if source.len() > MAX_MODULE_BYTES {
        let problem = format!("{} bytes, {MAX_MODULE_BYTES} at most", source.len());
        return Err(vec![PolicyError::whole(name, problem)]);
    }
    let forbidden = lexical::forbidden_builtins(name, source);
    if !forbidden.is_empty() {
        return Err(forbidden);
    }
    let package = engine
        .add_policy(name.clone(), source.clone())
        .map_err(|error| vec![PolicyError::from_regorus(name, &error.to_string())])?;
    let roots: BTreeSet<String> = engine
        .get_modules()
        .last()
        .map(|parsed| parsed.policy.iter().map(|rule| rule_root(rule)).collect())
        .unwrap_or_default();
    if !lexical::is_data_document(source) {
        let decides = package == PACKAGE && roots.contains("result");
        return Ok(Parsed {
            kind: PolicyKind::Authored,
            decides,
        });
    }
    if package != PACKAGE {
        let problem = format!("a data document lives in package caracal.authz, not in {package}");
        return Err(vec![PolicyError::whole(name, problem)]);
    }
    if roots.is_empty()
        || !roots
            .iter()
            .all(|root| DATA_DOCUMENTS.contains(&root.as_str()))
    {
        let problem = format!(
            "a data document defines one or more of {} and nothing else",
            DATA_DOCUMENTS.join(", ")
        );
        return Err(vec![PolicyError::whole(name, problem)]);
    }
    Ok(Parsed {
        kind: PolicyKind::Data,
        decides: false,
    })
}

/// The first component of the name that a rule defines.
pub(super) fn rule_root(rule: &regorus::unstable::Rule) -> String {
    use regorus::unstable::{Expr, Rule, RuleHead};
    let head = match rule {
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. }
            | RuleHead::Set { refr, .. }
            | RuleHead::Func { refr, .. } => refr,
        },
        Rule::Default { refr, .. } => refr,
    };
    let mut expression = head.as_ref();
    loop {
        match expression {
            Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => expression = refr.as_ref(),
            other => return other.span().text().to_owned(),
        }
    }
}

fn digest(name: &str, source: &str) -> ModuleDigest {
    ModuleDigest {
        name: name.to_owned(),
        sha256: content_sha256(source.as_bytes()),
    }
}
