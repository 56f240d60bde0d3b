//! Evaluation: bytecode, an input document, and a result that is either well-formed or an error.

use std::{fmt, sync::Arc};

use regorus::{
    Value,
    rvm::{
        RegoVM,
        program::{DeserializationResult, Program},
        vm::VmError,
    },
};
use serde::{Deserialize, Serialize};

use super::{ENTRY_POINT, input::PolicyInput};

/// Most instructions that one evaluation may run.
pub const INSTRUCTION_LIMIT: usize = 100_000;

/// Why bytecode cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Damaged, or of another compiler.
    #[error("the policy's bytecode is not one that this version runs: {0}")]
    Unusable(String),
    /// Without the entry point.
    #[error("the policy's bytecode has no {ENTRY_POINT}")]
    NoEntryPoint,
}

/// A policy, ready to be evaluated by any number of [`Evaluator`]s.
#[derive(Clone)]
pub struct Policy(Arc<Program>);

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} instructions)", self.0.instructions.len())
    }
}

impl Policy {
    /// Reads bytecode.
    ///
    /// # Errors
    /// Every variant of [`LoadError`].
    pub fn load(program: &[u8]) -> Result<Self, LoadError> {
        let program = match Program::deserialize_binary(program).map_err(LoadError::Unusable)? {
            DeserializationResult::Complete(program) => program,
            DeserializationResult::Partial(_) => {
                return Err(LoadError::Unusable(
                    "written by another version of the compiler".to_owned(),
                ));
            }
        };
        program.validate_limits().map_err(LoadError::Unusable)?;
        if program.get_entry_point(ENTRY_POINT).is_none() {
            return Err(LoadError::NoEntryPoint);
        }
        Ok(Self(Arc::new(program)))
    }

    /// A machine of its own for this policy. Keep it: it is made once and used for many decisions.
    pub fn evaluator(&self) -> Evaluator {
        Evaluator {
            policy: self.clone(),
            machine: self.machine(),
        }
    }

    fn machine(&self) -> RegoVM {
        let mut machine = RegoVM::new();
        machine.load_program(Arc::clone(&self.0));
        machine.set_max_instructions(INSTRUCTION_LIMIT);
        // Without a base document, a reference to data that nothing defines would be null, not undefined.
        // An empty one cannot conflict with any rule, the only error there is.
        let _ = machine.set_data(Value::new_object());
        machine
    }
}

/// The verdict of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyDecision {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// A policy's result document, known to be well-formed and complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyResult {
    /// The verdict.
    pub decision: PolicyDecision,
    /// `complete`: other values never get here.
    evaluation_status: Complete,
    /// The policies that decided.
    pub determining_policies: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Remarks, the reason of a denial among them.
    pub diagnostics: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Complete {
    Complete,
}

impl PolicyResult {
    /// The first `reason` among the diagnostics.
    pub fn reason(&self) -> Option<&str> {
        self.diagnostics
            .iter()
            .find_map(|remark| remark.get("reason")?.as_str())
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No rule for `result` applies to the input.
    #[error("the policy has no result for this input")]
    Undefined,
    /// Over [`INSTRUCTION_LIMIT`].
    #[error("the policy exceeded its bound of {INSTRUCTION_LIMIT} instructions")]
    OverBound,
    /// The evaluation itself failed.
    #[error("the policy failed: {0}")]
    Failed(String),
    /// A result of the wrong shape.
    #[error("the policy's result is malformed: {0}")]
    Malformed(String),
}

/// Evaluates one policy, over and over.
pub struct Evaluator {
    policy: Policy,
    machine: RegoVM,
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Evaluator").field(&self.policy).finish()
    }
}

impl Evaluator {
    /// Evaluates the policy on `input`.
    ///
    /// # Errors
    /// Every variant of [`EvalError`]; each of them is a denial.
    pub fn evaluate(&mut self, input: &PolicyInput) -> Result<PolicyResult, EvalError> {
        self.machine.set_input(input.document().clone());
        match self.machine.execute_entry_point_by_name(ENTRY_POINT) {
            Ok(Value::Undefined) => Err(EvalError::Undefined),
            Ok(value) => read_result(&value),
            Err(error) => {
                // What an aborted run leaves behind must not reach the next decision.
                self.machine = self.policy.machine();
                Err(match error {
                    VmError::InstructionLimitExceeded { .. } => EvalError::OverBound,
                    other => EvalError::Failed(other.to_string()),
                })
            }
        }
    }
}

fn read_result(value: &Value) -> Result<PolicyResult, EvalError> {
    let malformed = |error: serde_json::Error| EvalError::Malformed(error.to_string());
    serde_json::from_value(serde_json::to_value(value).map_err(malformed)?).map_err(malformed)
}
