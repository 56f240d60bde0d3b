//! The decision contract: Caracal's own Rego, and the data documents that it reads.

#[cfg(test)]
mod tests;

use super::{Module, PolicyKind, lexical};

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

/// The packages of [`CONTRACT`], as a policy refers to them.
pub(super) const PACKAGES: [&str; 2] = ["data.caracal.contract", "data.caracal.index"];

/// What of the contract becomes part of a set.
pub(super) fn joining(kind: PolicyKind, modules: &[Module]) -> Vec<ContractFile> {
    let refers = |module: &Module| refers_to_contract(&module.source);
    match kind {
        PolicyKind::Data => [CONTRACT_ENTRY].iter().chain(CONTRACT).copied().collect(),
        PolicyKind::Authored if modules.iter().any(refers) => CONTRACT.to_vec(),
        PolicyKind::Authored => Vec::new(),
    }
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
