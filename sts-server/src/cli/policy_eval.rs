//! `caracal policy eval`: policies on disk, asked by themselves.

use std::path::PathBuf;

use authority::{
    decision::shadow::Verdict,
    policy::{Policy, input::PolicyInput},
};
use clap::Args;
use serde_json::{Value, json};

use super::{
    Context,
    client::with_members,
    error::CliError,
    output::Field,
    policy_source::{compile, read_json, read_modules},
};

/// What is shown of a decision.
pub(super) const DECISION: [Field; 6] = [
    ("decision", "decision"),
    ("reason", "reason"),
    ("determined by", "determining_policies"),
    ("diagnostics", "diagnostics"),
    ("version", "version"),
    ("manifest sha256", "manifest_sha256"),
];

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caracal policy eval grants.rego --input request.json\n  \
    caracal policy eval policies/ --input - < request.json"
)]
pub(super) struct EvalArgs {
    /// Files, or directories with .rego and .json files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// JSON file with the input document (- for standard input)
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
}

/// Prints the decision, whichever it is; only the lack of one is a failure.
pub(super) fn run(arguments: &EvalArgs, context: &Context<'_>) -> Result<(), CliError> {
    let modules = read_modules(&arguments.files)?;
    let input: Value = read_json(&arguments.input)?;
    let compiled = compile(&modules).map_err(CliError::Policy)?;
    let unusable = |error: &dyn std::fmt::Display| CliError::Finding(error.to_string());
    let policy = Policy::load(&compiled.program).map_err(|error| unusable(&error))?;
    let evaluated = policy.evaluator().evaluate(&PolicyInput::from_json(input));
    let verdict = Verdict::of(&evaluated);
    let result = evaluated.map_err(|error| unusable(&error))?;
    // As it would be enforced: an allow that waits for an approval is none.
    let decision = if verdict == Verdict::Allow {
        "allow"
    } else {
        "deny"
    };
    let reason = verdict.reason().map(|reason| ("reason", json!(reason)));
    let shown = with_members(json!(result), [("decision", json!(decision))]);
    context
        .output
        .record(&with_members(shown, reason), &DECISION)
}
