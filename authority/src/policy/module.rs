//! A module by itself: what it may be, and what is wrong with it.

use std::collections::BTreeSet;

use regorus::Engine;
use serde::{Deserialize, Serialize};

use super::{
    PolicyError,
    compile::new_engine,
    contract::{self, DATA_DOCUMENTS},
    lexical,
};

/// Largest module, in bytes.
pub const MAX_MODULE_BYTES: usize = 256 * 1024;
/// Most modules in a set.
pub const MAX_MODULES: usize = 256;

/// The package that decides, and that data documents live in.
pub(super) const PACKAGE: &str = "data.caracal.authz";
/// A Rego module, or a JSON document where the name ends in `.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Name, such as a file's.
    pub name: String,
    /// Rego v1 text, or a JSON object that joins `data` at its root.
    pub source: String,
}

impl Module {
    /// Whether this is a JSON document rather than Rego.
    pub fn is_json(&self) -> bool {
        self.name.ends_with(".json")
    }
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

/// What a module turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parsed {
    /// The user's own Rego.
    Authored {
        /// Whether it defines the decision.
        decides: bool,
        /// Whether it defines what else would be a data document.
        documents: bool,
    },
    /// A data document in Rego: the names that it defines.
    Document { roots: BTreeSet<String> },
    /// A JSON document.
    Json(regorus::Value),
}

impl Parsed {
    pub(super) fn kind(&self) -> PolicyKind {
        match self {
            Self::Authored { .. } => PolicyKind::Authored,
            Self::Document { .. } | Self::Json(_) => PolicyKind::Data,
        }
    }
}

/// Checks one module by itself: size, forbidden builtins, syntax, package, and for a data document
/// that it holds data and nothing else.
///
/// # Errors
/// All that is wrong with it, placed.
pub fn check(module: &Module) -> Result<PolicyKind, Vec<PolicyError>> {
    parse(&mut new_engine(), module).map(|parsed| parsed.kind())
}

/// Reads a module; what is Rego joins `engine`.
pub(super) fn parse(engine: &mut Engine, module: &Module) -> Result<Parsed, Vec<PolicyError>> {
    let Module { name, source } = module;
    if source.len() > MAX_MODULE_BYTES {
        let problem = format!("{} bytes, {MAX_MODULE_BYTES} at most", source.len());
        return Err(vec![PolicyError::whole(name, problem)]);
    }
    if module.is_json() {
        return json(name, source).map(Parsed::Json);
    }
    let forbidden = lexical::forbidden_builtins(name, source);
    if !forbidden.is_empty() {
        return Err(forbidden);
    }
    if let Some(at) = lexical::too_deep(source) {
        let problem = "brackets are nested too deeply here";
        return Err(vec![PolicyError::at(name, source, at, problem)]);
    }
    if let Some(at) = lexical::interpolation(source) {
        let problem = "string interpolation ($\"...\") is not supported; sprintf is";
        return Err(vec![PolicyError::at(name, source, at, problem)]);
    }
    let package = engine
        .add_policy(name.clone(), source.clone())
        .map_err(|error| vec![PolicyError::from_regorus(name, &error.to_string())])?;
    let own = |own: &&str| {
        package
            .strip_prefix(*own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some(own) = contract::PACKAGES.iter().find(|package| own(package)) {
        let problem = format!("{own} is the decision contract's own package; import it instead");
        return Err(vec![PolicyError::whole(name, problem)]);
    }
    let roots: BTreeSet<String> = engine
        .get_modules()
        .last()
        .map(|parsed| parsed.policy.iter().map(|rule| rule_root(rule)).collect())
        .unwrap_or_default();
    if lexical::is_data_document(source) {
        return document(name, source, &package, roots);
    }
    Ok(Parsed::Authored {
        decides: package == PACKAGE && roots.contains("result"),
        documents: package == PACKAGE
            && roots
                .iter()
                .any(|root| DATA_DOCUMENTS.contains(&root.as_str())),
    })
}

fn json(name: &str, source: &str) -> Result<regorus::Value, Vec<PolicyError>> {
    let value: serde_json::Value = serde_json::from_str(source).map_err(|error| {
        vec![PolicyError::in_line(
            name,
            source,
            error.line(),
            error.column(),
            error.to_string(),
        )]
    })?;
    if value.is_object() {
        return Ok(regorus::Value::from(value));
    }
    let problem = "a JSON document is an object, whose members join data";
    Err(vec![PolicyError::whole(name, problem)])
}

fn document(
    name: &str,
    source: &str,
    package: &str,
    roots: BTreeSet<String>,
) -> Result<Parsed, Vec<PolicyError>> {
    let problem = if package != PACKAGE {
        format!("a data document lives in package caracal.authz, not in {package}")
    } else if let Some(unknown) = roots
        .iter()
        .find(|root| !DATA_DOCUMENTS.contains(&root.as_str()))
    {
        format!(
            "a data document defines {} and nothing else, so not {unknown}",
            DATA_DOCUMENTS.join(", ")
        )
    } else if roots.is_empty() {
        format!(
            "a data document defines one or more of {}",
            DATA_DOCUMENTS.join(", ")
        )
    } else if let Some(at) = lexical::input(source) {
        let problem = "a data document is data: it does not look at the input";
        return Err(vec![PolicyError::at(name, source, at, problem)]);
    } else {
        return Ok(Parsed::Document { roots });
    };
    Err(vec![PolicyError::whole(name, problem)])
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
