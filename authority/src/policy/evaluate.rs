//! Evaluation: a program, an input document, and a result that is either well-formed or an error.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    time::Duration,
};

use regorus::{
    Value,
    rvm::{
        RegoVM,
        program::{DeserializationResult, Program as Bytecode},
        vm::VmError,
    },
    utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source},
};
use serde::{Deserialize, Serialize};

use super::{
    ENTRY_POINT, bounded,
    input::PolicyInput,
    interpreter::Interpreter,
    program::{Code, Program},
    reads::Reads,
};

/// Most instructions that one evaluation of bytecode may run.
pub const INSTRUCTION_LIMIT: usize = 100_000;
/// Longest that one evaluation may take, on either machine.
pub const TIME_LIMIT: Duration = Duration::from_millis(250);

/// Steps between two looks at the clock: where each step is small, and where one may be a regular
/// expression over all of a request.
const SMALL_STEPS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
pub(super) const LARGE_STEPS: NonZeroU32 = NonZeroU32::new(32).unwrap();
/// Builtins that can take long by themselves.
const LARGE: [&str; 6] = ["regex.", "glob.", "graph.", "json.", "object.", "sort"];
/// Of these families, a look-up, and what is [bounded](super::bounded) in all that it makes.
const SMALL: [&str; 2] = ["object.get", "object.union"];

/// Gives evaluations a clock to be bounded by. This library has none of its own. The first call
/// counts; later ones change nothing.
pub fn set_clock(now: fn() -> Duration) {
    struct Clock(fn() -> Duration);
    impl TimeSource for Clock {
        fn now(&self) -> Option<Duration> {
            Some(self.0())
        }
    }
    static CLOCK: OnceLock<Clock> = OnceLock::new();
    // The only error is that there is a clock already.
    let _ = set_time_source(CLOCK.get_or_init(|| Clock(now)));
}

/// Why a program cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Damaged, or of another compiler.
    #[error("the policy's program is not one that this version runs: {0}")]
    Unusable(String),
    /// Without the entry point.
    #[error("the policy's program has no {ENTRY_POINT}")]
    NoEntryPoint,
    /// Nothing would bound what the interpreter does.
    #[error("no clock has been set, so that nothing bounds the policy")]
    NoClock,
    /// It is no bytecode, and this was built without the feature `text-policies`.
    #[error("the policy is no bytecode, and there is no interpreter here")]
    NoInterpreter,
}

/// A policy, ready to be evaluated by any number of [`Evaluator`]s.
#[derive(Clone)]
pub struct Policy {
    loaded: Arc<Loaded>,
    reads: Arc<Reads>,
    reads_the_call: bool,
}

enum Loaded {
    Bytecode { program: Arc<Bytecode>, data: Value },
    Text(Interpreter),
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.loaded.as_ref() {
            Loaded::Bytecode { program, .. } => {
                write!(f, "Policy({} instructions)", program.instructions.len())
            }
            Loaded::Text(_) => write!(f, "Policy(interpreted)"),
        }
    }
}

impl Policy {
    /// Reads what the compiler wrote.
    ///
    /// # Errors
    /// Every variant of [`LoadError`].
    pub fn load(program: &[u8]) -> Result<Self, LoadError> {
        let Program { reads, data, code } = Program::decode(program)?;
        let loaded = match code {
            Code::Bytecode(bytecode) => Loaded::Bytecode {
                program: Arc::new(read_bytecode(&bytecode)?),
                data,
            },
            Code::Text(modules) => Loaded::Text(Interpreter::load(modules, data)?),
        };
        Ok(Self {
            loaded: Arc::new(loaded),
            reads_the_call: reads.the_call(),
            reads: Arc::new(reads),
        })
    }

    /// A machine of its own for this policy. Keep it: it is made once and used for many decisions.
    pub fn evaluator(&self) -> Evaluator {
        Evaluator {
            policy: self.clone(),
            machine: self.machine(),
        }
    }

    fn machine(&self) -> Machine {
        match self.loaded.as_ref() {
            Loaded::Text(interpreter) => Machine::Text(interpreter.clone()),
            Loaded::Bytecode { program, data } => {
                let mut machine = RegoVM::new();
                machine.load_program(Arc::clone(program));
                machine.set_max_instructions(INSTRUCTION_LIMIT);
                let large = program
                    .builtin_info_table
                    .iter()
                    .filter(|builtin| !SMALL.contains(&builtin.name.as_str()))
                    .any(|builtin| LARGE.iter().any(|name| builtin.name.starts_with(name)));
                let steps = if large { LARGE_STEPS } else { SMALL_STEPS };
                machine.set_execution_timer_config(Some(timer(steps)));
                // Without a base document, a reference to data that nothing defines would be null, not
                // undefined. That no rule defines what is in it, the compiler has seen to.
                let _ = machine.set_data(data.clone());
                Machine::Bytecode(Box::new(machine))
            }
        }
    }
}

pub(super) fn timer(check_interval: NonZeroU32) -> ExecutionTimerConfig {
    ExecutionTimerConfig {
        limit: TIME_LIMIT,
        check_interval,
    }
}

fn read_bytecode(bytecode: &[u8]) -> Result<Bytecode, LoadError> {
    let mut program = match Bytecode::deserialize_binary(bytecode).map_err(LoadError::Unusable)? {
        DeserializationResult::Complete(program) => program,
        DeserializationResult::Partial(_) => {
            return Err(LoadError::Unusable(
                "written by another version of the compiler".to_owned(),
            ));
        }
    };
    program.validate_limits().map_err(LoadError::Unusable)?;
    bounded::in_program(&mut program);
    if program.get_entry_point(ENTRY_POINT).is_none() {
        return Err(LoadError::NoEntryPoint);
    }
    Ok(program)
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
    /// Whether this is a yes as it stands. An allow that asks for an approval is none before there is one.
    pub fn allows(&self) -> bool {
        self.decision == PolicyDecision::Allow && !self.needs_approval()
    }

    /// Why this is not a yes, if the policy says so: the first `reason` among the diagnostics.
    pub fn reason(&self) -> Option<&str> {
        if self.decision == PolicyDecision::Allow && self.needs_approval() {
            return Some(STEP_UP);
        }
        self.diagnostics
            .iter()
            .find_map(|remark| remark.get("reason")?.as_str())
    }

    fn needs_approval(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|remark| remark.contains_key(STEP_UP))
    }
}

/// The remark that an approval is needed first, and the reason while there is none.
const STEP_UP: &str = "step_up_required";

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No rule for `result` applies to the input.
    #[error("the policy has no result for this input")]
    Undefined,
    /// Over [`INSTRUCTION_LIMIT`], [`TIME_LIMIT`] or [`bounded::MAX_VALUE`].
    #[error(
        "the policy exceeded its bound of {INSTRUCTION_LIMIT} instructions, {} ms or {} bytes a value",
        TIME_LIMIT.as_millis(), bounded::MAX_VALUE
    )]
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
    machine: Machine,
}

enum Machine {
    Bytecode(Box<RegoVM>),
    Text(Interpreter),
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Evaluator").field(&self.policy).finish()
    }
}

impl Evaluator {
    /// Whether the policy may say different things to two calls that are the same operation with the same
    /// mandate.
    pub fn reads_the_call(&self) -> bool {
        self.policy.reads_the_call
    }

    /// What the policy reads of its input.
    pub(crate) fn reads(&self) -> &Arc<Reads> {
        &self.policy.reads
    }

    /// Evaluates the policy on `input`.
    ///
    /// # Errors
    /// Every variant of [`EvalError`]; each of them is a denial.
    pub fn evaluate(&mut self, input: &PolicyInput) -> Result<PolicyResult, EvalError> {
        match self.value(input.document().clone())? {
            Value::Undefined => Err(EvalError::Undefined),
            value => {
                bounded::check_result(&value).map_err(|_| EvalError::OverBound)?;
                read_result(&value)
            }
        }
    }

    /// Allows fewer instructions than usual, to find out how many an input takes.
    #[cfg(all(test, not(target_arch = "wasm32")))]
    pub(super) fn limit(&mut self, instructions: usize) {
        if let Machine::Bytecode(machine) = &mut self.machine {
            machine.set_max_instructions(instructions);
        }
    }

    /// What the entry point is on `input`.
    pub(super) fn value(&mut self, input: Value) -> Result<Value, EvalError> {
        bounded::begin();
        let value = match &mut self.machine {
            Machine::Bytecode(machine) => {
                machine.set_input(input);
                machine
                    .execute_entry_point_by_name(ENTRY_POINT)
                    .map_err(EvalError::from)
            }
            Machine::Text(interpreter) => interpreter.evaluate(input),
        };
        if value.is_err() {
            // What an aborted run leaves behind must not reach the next decision.
            self.machine = self.policy.machine();
        }
        value
    }
}

impl From<VmError> for EvalError {
    fn from(error: VmError) -> Self {
        match error {
            VmError::InstructionLimitExceeded { .. }
            | VmError::TimeLimitExceeded { .. }
            | VmError::MemoryLimitExceeded { .. } => Self::OverBound,
            other => Self::Failed(other.to_string()),
        }
    }
}

fn read_result(value: &Value) -> Result<PolicyResult, EvalError> {
    let malformed = |error: serde_json::Error| EvalError::Malformed(error.to_string());
    serde_json::from_value(serde_json::to_value(value).map_err(malformed)?).map_err(malformed)
}
