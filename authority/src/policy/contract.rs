//! The decision contract: Caracal's own Rego, and the data documents that it reads.

/// What a data document may define.
pub(super) const DATA_DOCUMENTS: [&str; 6] = [
    "app_ids",
    "grants",
    "confinement",
    "restrict",
    "risk",
    "approval_tiers",
];

macro_rules! contract_file {
    ($name:literal) => {
        (
            concat!("contract/", $name),
            include_str!(concat!("../../../policies/contract/", $name)),
        )
    };
}

/// The decision contract, which decides for sets that bring data only.
pub(super) const CONTRACT: &[(&str, &str)] = &[
    contract_file!("entry.rego"),
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
