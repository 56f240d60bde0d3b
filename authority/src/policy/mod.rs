//! Policies: Rego compiled once to regorus bytecode, then evaluated on every decision.

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod agreement;
mod bounded;
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod bounds;
mod builtins;
mod compile;
#[cfg(test)]
mod conformance;
mod contract;
mod definedness;
mod dialect;
mod distinct;
mod error;
mod evaluate;
mod imports;
pub mod input;
#[cfg(feature = "text-policies")]
mod interpreter;
#[cfg(not(feature = "text-policies"))]
#[path = "no_interpreter.rs"]
mod interpreter;
mod lexical;
mod module;
mod pattern;
mod program;
mod reads;
mod rewrite;
mod rules;
mod telling;
#[cfg(test)]
mod tests;

pub use self::{
    compile::{COMPILER, Compiled, ModuleDigest, compile},
    contract::{CONTRACT, CONTRACT_ENTRY, ContractFile, refers_to_contract},
    error::PolicyError,
    evaluate::{
        EvalError, Evaluator, INSTRUCTION_LIMIT, LoadError, Policy, PolicyDecision, PolicyResult,
        TIME_LIMIT, set_clock,
    },
    imports::written_out,
    lexical::is_data_document,
    module::{MAX_MODULE_BYTES, MAX_MODULES, Module, PolicyKind, check},
    reads::Reads,
    rules::{RuleText, rules_that_say},
};
pub(crate) use self::{distinct::Distinct, telling::Members};

/// What every policy defines, and the only thing that is asked of it.
pub const ENTRY_POINT: &str = "data.caracal.authz.result";
