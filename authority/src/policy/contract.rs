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
/// The decision contract, which decides for sets that bring data only.
pub(super) const CONTRACT: &[(&str, &str)] = &[
    (
        "contract/result.rego",
        include_str!("../../../policies/contract/result.rego"),
    ),
    (
        "contract/facts.rego",
        include_str!("../../../policies/contract/facts.rego"),
    ),
    (
        "contract/bootstrap.rego",
        include_str!("../../../policies/contract/bootstrap.rego"),
    ),
    (
        "contract/direct.rego",
        include_str!("../../../policies/contract/direct.rego"),
    ),
];
