//! `caracal policy simulate`: what a version would decide, on an input, on what was decided of late, or
//! on a file of inputs.

use std::{fmt::Write, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{Client, path},
    error::CliError,
    output::{Field, table},
    policy_eval::DECISION,
    policy_files::{Candidate, candidate},
    policy_set::{collection, versions},
    policy_source::{read_inputs, read_json},
};

/// Most inputs, and most bytes of them, in one request.
const BATCH_INPUTS: usize = 1000;
const BATCH_BYTES: usize = 900 * 1024;

const REPLAYED: [Field; 5] = [
    ("occurred", "occurred_at"),
    ("request", "request_id"),
    ("resource", "resource"),
    ("before", "before"),
    ("after", "after"),
];
const COMPARED: [Field; 5] = [
    ("input", "input"),
    ("action", "action"),
    ("resource", "resource"),
    ("before", "before"),
    ("after", "after"),
];

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caracal policy simulate --zone demo --input request.json\n  \
    caracal policy simulate grants.rego --zone demo --replay 1000\n  \
    caracal policy simulate --version 4 --zone demo --replay inputs.jsonl"
)]
pub(super) struct SimulateArgs {
    /// Files, or directories with .rego and .json files, to try; stored, and not put in force
    #[arg(conflicts_with = "version")]
    files: Vec<PathBuf>,
    /// Version to try, by number or id [default: the one in force]
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    on: On,
    /// Policy set that the version is of, or that takes the files
    #[arg(long, value_name = "NAME", default_value = "main")]
    set: String,
    #[command(flatten)]
    zone: ZoneArg,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct On {
    /// JSON file with an input document (- for standard input)
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The newest NUMBER exchanges that were decided, or a FILE of inputs (JSON lines or an array), on
    /// which the version is compared with the one in force
    #[arg(long, value_name = "NUMBER|FILE")]
    replay: Option<String>,
}

pub(super) fn run(arguments: &SimulateArgs, context: &Context<'_>) -> Result<(), CliError> {
    let SimulateArgs {
        files,
        version,
        on,
        set,
        zone,
    } = arguments;
    let input: Option<Value> = on.input.as_deref().map(read_json).transpose()?;
    let client = context.admin()?;
    let zone = context.zone(zone)?;
    let named = candidate(&client, &zone, set, version.as_deref(), files, context)?;
    if let Some(input) = input {
        let candidate = match named {
            Some(candidate) => candidate,
            None => in_force(&client, &zone)?.ok_or_else(|| {
                CliError::Reference(format!(
                    "nothing is in force in zone {zone}; name a version or files"
                ))
            })?,
        };
        let answer = candidate.ask(&client, "input", &input)?;
        return context.output.record(&answer, &DECISION);
    }
    let candidate = named.ok_or_else(|| {
        CliError::usage("what is to be tried? Name files, or a version with --version")
    })?;
    let replay = on.replay.as_deref().unwrap_or_default();
    if let Ok(number) = replay.parse::<u64>() {
        let answer = candidate.ask(&client, "replay", &json!(number))?;
        let text = changes(&answer, &REPLAYED);
        return context.output.either(&text, &answer);
    }
    let inputs = read_inputs(&PathBuf::from(replay))?;
    let present = in_force(&client, &zone)?;
    let compared = compare(&client, present.as_ref(), &candidate, &inputs)?;
    context
        .output
        .either(&changes(&compared, &COMPARED), &compared)
}

impl Candidate {
    fn ask(&self, client: &Client, what: &str, on: &Value) -> Result<Value, CliError> {
        let request = json!({"version_id": self.version_id, what: on});
        client.post(&format!("{}/simulate", self.set), &request)
    }

    /// The results for all inputs, in as many requests as it takes.
    fn ask_all(&self, client: &Client, inputs: &[Value]) -> Result<Vec<Value>, CliError> {
        let mut results = Vec::with_capacity(inputs.len());
        while let Some(rest) = inputs.get(results.len()..).filter(|rest| !rest.is_empty()) {
            let mut bytes = 0;
            let batch: Vec<&Value> = rest
                .iter()
                .take(BATCH_INPUTS)
                .take_while(|input| {
                    let first = bytes == 0;
                    bytes += input.to_string().len() + 1;
                    first || bytes <= BATCH_BYTES
                })
                .collect();
            let mut answer = self.ask(client, "inputs", &json!(batch))?;
            match answer.get_mut("results").map(Value::take) {
                Some(Value::Array(more)) if !more.is_empty() => results.extend(more),
                _ => {
                    return Err(CliError::Finding(format!(
                        "the server evaluated none of the inputs from {} on",
                        results.len() + 1
                    )));
                }
            }
        }
        Ok(results)
    }
}

/// The version in force in `zone`, of whichever set.
fn in_force(client: &Client, zone: &str) -> Result<Option<Candidate>, CliError> {
    let found = client.get(&path(&["v1", "zones", zone]))?;
    let Some(active) = found
        .get("active_policy_set_version_id")
        .and_then(Value::as_str)
    else {
        return Ok(None);
    };
    let collection = collection(zone);
    for set in client.items(&collection)? {
        let set = format!("{collection}/{}", client.member(&set, "id")?);
        for version in versions(client, &set)? {
            if version.get("version_id").and_then(Value::as_str) == Some(active) {
                return Ok(Some(Candidate {
                    set,
                    version_id: active.to_owned(),
                    number: super::policy::number(&version),
                }));
            }
        }
    }
    Ok(None)
}

fn compare(
    client: &Client,
    present: Option<&Candidate>,
    candidate: &Candidate,
    inputs: &[Value],
) -> Result<Value, CliError> {
    let before = match present {
        Some(present) => present.ask_all(client, inputs)?,
        None => vec![json!({"decision": "deny", "reason": "no_active_policy_set"}); inputs.len()],
    };
    let after = candidate.ask_all(client, inputs)?;
    let short = |result: &Value| {
        let member = |name: &str| result.get(name).cloned();
        let reason = member("reason").map_or_else(|| json!({}), |reason| json!({"reason": reason}));
        super::client::with_members(
            reason,
            [("decision", member("decision").unwrap_or_default())],
        )
    };
    let text = |input: &Value, pointer: &str| input.pointer(pointer).cloned().unwrap_or_default();
    let mut changed = Vec::new();
    for (place, ((input, before), after)) in inputs.iter().zip(&before).zip(&after).enumerate() {
        let (before, after) = (short(before), short(after));
        if before != after {
            changed.push(json!({
                "input": place + 1,
                "action": text(input, "/action/id"),
                "resource": text(input, "/resource/identifier"),
                "before": before,
                "after": after,
            }));
        }
    }
    let failed = |result: &&Value| {
        result.get("evaluation_status").and_then(Value::as_str) == Some("policy_eval_failed")
    };
    Ok(json!({
        "evaluated": after.len(),
        "complete": true,
        "errors": after.iter().filter(failed).count(),
        "changed": changed,
        "version_id": candidate.version_id,
        "version": candidate.number,
    }))
}

/// `allow`, or `deny (reason)`.
pub(super) fn verdict(verdict: Option<&Value>) -> String {
    let member = |name: &str| verdict?.get(name)?.as_str();
    match (member("decision"), member("reason")) {
        (Some(decision), Some(reason)) => format!("{decision} ({reason})"),
        (Some(decision), None) => decision.to_owned(),
        _ => "-".to_owned(),
    }
}

fn changes(answer: &Value, fields: &[Field]) -> String {
    let changed = answer.get("changed").and_then(Value::as_array);
    let rows: Vec<Value> = changed
        .into_iter()
        .flatten()
        .map(|row| {
            let said = |name| (name, json!(verdict(row.get(name))));
            super::client::with_members(row.clone(), [said("before"), said("after")])
        })
        .collect();
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&table(&rows, fields));
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{} evaluated, {} would change, {} could not be evaluated",
        count("evaluated"),
        rows.len(),
        count("errors")
    );
    if answer.get("complete") == Some(&json!(false)) {
        text.push_str("the server ran out of time; the older ones were not evaluated\n");
    }
    text
}
