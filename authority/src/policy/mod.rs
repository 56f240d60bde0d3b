//! Policies: Rego compiled once to regorus bytecode, then evaluated on every decision.

mod compile;
mod contract;
mod definedness;
mod error;
mod evaluate;
mod imports;
pub mod input;
mod lexical;
#[cfg(test)]
mod tests;

pub use self::{
    compile::{
        COMPILER, Compiled, MAX_MODULE_BYTES, MAX_MODULES, Module, ModuleDigest, PolicyKind, check,
        compile,
    },
    contract::{CONTRACT, CONTRACT_ENTRY, ContractFile, refers_to_contract},
    error::PolicyError,
    evaluate::{
        EvalError, Evaluator, INSTRUCTION_LIMIT, LoadError, Policy, PolicyDecision, PolicyResult,
    },
    imports::written_out,
    lexical::is_data_document,
};

/// What every policy defines, and the only thing that is asked of it.
pub const ENTRY_POINT: &str = "data.caracal.authz.result";
