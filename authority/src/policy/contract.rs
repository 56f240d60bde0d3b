//! The decision contract: Caracal's own Rego, and the data documents that it reads.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use regorus::{Engine, Value};

use super::{Module, PolicyKind, compile::rule_root, lexical};

/// What a data document may define.
pub(super) const DATA_DOCUMENTS: [&str; 6] = [
    "app_ids",
    "grants",
    "confinement",
    "restrict",
    "risk",
    "approval_tiers",
];

/// A file of the contract: its name in a set, and its text.
pub type ContractFile = (&'static str, &'static str);

macro_rules! contract_file {
    ($name:literal) => {
        (
            concat!("contract/", $name),
            include_str!(concat!("../../../policies/contract/", $name)),
        )
    };
}

/// Makes the contract the decision, in sets that bring data only.
pub const CONTRACT_ENTRY: ContractFile = contract_file!("entry.rego");

/// The contract's rules, in packages that a user's own policy may import.
pub const CONTRACT: &[ContractFile] = &[
    contract_file!("index.rego"),
    contract_file!("forms.rego"),
    contract_file!("facts.rego"),
    contract_file!("bootstrap.rego"),
    contract_file!("delegated.rego"),
    contract_file!("workload.rego"),
    contract_file!("use.rego"),
    contract_file!("direct.rego"),
    contract_file!("confinement.rego"),
    contract_file!("risk.rego"),
    contract_file!("reasons.rego"),
    contract_file!("result.rego"),
];

/// The file whose rules depend on the data documents alone, its package, and its rules.
const INDEX: (&str, &str, [&str; 6]) = (
    "contract/index.rego",
    "caracal.index",
    [
        "keys_of",
        "restricted",
        "tiers_of",
        "malformed_confinement",
        "malformed_risk",
        "malformed_approval",
    ],
);

/// The packages of [`CONTRACT`], as a policy refers to them.
const PACKAGES: [&str; 2] = ["data.caracal.contract", "data.caracal.index"];

/// What of the contract becomes part of a set.
pub(super) fn joining(kind: PolicyKind, modules: &[Module]) -> Vec<ContractFile> {
    let refers = |module: &Module| refers_to_contract(&module.source);
    match kind {
        PolicyKind::Data => [CONTRACT_ENTRY].iter().chain(CONTRACT).copied().collect(),
        PolicyKind::Authored if modules.iter().any(refers) => CONTRACT.to_vec(),
        PolicyKind::Authored => Vec::new(),
    }
}

/// The index with values in place of its rules, if `name` is the index: what does not depend on the
/// input is answered once, by the interpreter, and looked up from then on.
pub(super) fn answered(
    name: &str,
    engine: &mut Engine,
    modules: &[Module],
) -> Result<Option<String>, String> {
    let (file, package, rules) = INDEX;
    if name != file || !documents_stand_alone(engine, modules) {
        return Ok(None);
    }
    let mut text = format!("package {package}\n\nimport rego.v1\n");
    for rule in rules {
        let value = engine
            .eval_rule(format!("data.{package}.{rule}"))
            .map_err(|error| error.to_string())?;
        if value != Value::Undefined {
            let value = value.to_json_str().map_err(|error| error.to_string())?;
            text.push_str(&format!("\n{rule} := {value}\n"));
        }
    }
    Ok(Some(text))
}

/// Whether no data document depends on anything but its own text: not on the input, not on other
/// packages, not on a rule that stands beside it in a user's own policy.
fn documents_stand_alone(engine: &mut Engine, modules: &[Module]) -> bool {
    let roots = |parsed: &regorus::unstable::Module| -> BTreeSet<String> {
        parsed.policy.iter().map(|rule| rule_root(rule)).collect()
    };
    let is_document = |root: &String| DATA_DOCUMENTS.contains(&root.as_str());
    let roots: Vec<_> = engine.get_modules().iter().map(|one| roots(one)).collect();
    let others: BTreeSet<&String> = roots
        .iter()
        .flatten()
        .filter(|it| !is_document(it))
        .collect();
    let outside = |word: &str| {
        let root = word.split('.').next().unwrap_or_default();
        matches!(root, "input" | "data") || others.contains(&root.to_owned())
    };
    modules.iter().zip(&roots).all(|(module, roots)| {
        !roots.iter().any(is_document)
            || (lexical::is_data_document(&module.source)
                && !lexical::words(&module.source)
                    .iter()
                    .any(|(_, word)| outside(word)))
    })
}

/// Whether a policy's text refers to the contract, outside comments and strings.
pub fn refers_to_contract(source: &str) -> bool {
    lexical::words(source).into_iter().any(|(_, word)| {
        PACKAGES.iter().any(|package| {
            word.strip_prefix(package)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    })
}
