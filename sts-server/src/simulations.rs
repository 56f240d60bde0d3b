//! Simulation: what a version of a policy set would say to an input, to many, or to what was decided
//! of late. Nothing of it counts.

use std::time::{Duration, Instant};

use authority::{
    decision::shadow::{Verdict, failure},
    policy::{EvalError, Policy, PolicyResult, input::PolicyInput},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    clock::Moment,
    error::{Error, Result},
    store::{KEPT_INPUTS, PolicySet, RecordedInput, Zone},
    sts::Sts,
};

/// Most inputs at once.
const MAX_INPUTS: usize = 1000;
/// Longest time for all evaluations of one request.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Which version to try, and on what: an input, some, or the newest recorded ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simulation {
    version_id: String,
    input: Option<Map<String, Value>>,
    inputs: Option<Vec<Map<String, Value>>>,
    replay: Option<u16>,
}

enum Trial {
    One(PolicyInput),
    Many(Vec<PolicyInput>),
    Replay(Vec<RecordedInput>),
}

impl Sts {
    /// What a version says to what it is tried on. An evaluation that fails is answered as what it is
    /// at a gateway: a denial, in the shape of a result, with the reason that a gateway would give.
    pub(crate) async fn simulate(
        &self,
        zone: &Zone,
        set: &PolicySet,
        simulation: Simulation,
    ) -> Result<Value> {
        let trial = match simulation {
            Simulation {
                input: Some(input),
                inputs: None,
                replay: None,
                ..
            } => Trial::One(document(input)),
            Simulation {
                input: None,
                inputs: Some(inputs),
                replay: None,
                ..
            } if inputs.len() <= MAX_INPUTS => {
                Trial::Many(inputs.into_iter().map(document).collect())
            }
            Simulation {
                input: None,
                inputs: None,
                replay: Some(most @ 1..=KEPT_INPUTS),
                ..
            } => Trial::Replay(self.store.recorded_inputs(&zone.id, most).await?),
            _ => {
                return Err(Error::invalid(format!(
                    "expected one of: input, an object; inputs, {MAX_INPUTS} objects at most; replay, 1 to {KEPT_INPUTS}"
                )));
            }
        };
        let version = self.version_of(zone, set, &simulation.version_id).await?;
        let policy = self.programs.load(&version)?.policy.clone();
        let mut answer = tokio::task::spawn_blocking(move || run(&policy, trial))
            .await
            .map_err(Error::internal)?;
        answer.insert("version_id".to_owned(), json!(version.id));
        answer.insert("version".to_owned(), json!(version.version));
        answer.insert("manifest_sha256".to_owned(), json!(version.manifest_sha256));
        Ok(Value::Object(answer))
    }
}

fn document(input: Map<String, Value>) -> PolicyInput {
    PolicyInput::from_json(Value::Object(input))
}

fn run(policy: &Policy, trial: Trial) -> Map<String, Value> {
    let mut evaluator = policy.evaluator();
    let started = Instant::now();
    let in_time = || started.elapsed() < MAX_TIME;
    let mut answer = Map::new();
    match trial {
        Trial::One(input) => answer = shown(&evaluator.evaluate(&input)),
        Trial::Many(inputs) => {
            let wanted = inputs.len();
            let results: Vec<Value> = inputs
                .iter()
                .take_while(|_| in_time())
                .map(|input| Value::Object(shown(&evaluator.evaluate(input))))
                .collect();
            answer.insert("evaluated".to_owned(), json!(results.len()));
            answer.insert("complete".to_owned(), json!(results.len() == wanted));
            answer.insert("results".to_owned(), Value::Array(results));
        }
        Trial::Replay(recorded) => {
            let wanted = recorded.len();
            let (mut evaluated, mut errors, mut changed) = (0_usize, 0_usize, Vec::new());
            for row in recorded.into_iter().take_while(|_| in_time()) {
                let result = evaluator.evaluate(&PolicyInput::from_json(row.input));
                evaluated += 1;
                errors += usize::from(
                    result
                        .as_ref()
                        .is_err_and(|why| *why != EvalError::Undefined),
                );
                let after = Verdict::of(&result);
                if after != row.verdict {
                    changed.push(change(
                        row.request_id,
                        row.occurred_at,
                        row.resource,
                        &row.verdict,
                        &after,
                    ));
                }
            }
            answer.insert("evaluated".to_owned(), json!(evaluated));
            answer.insert("complete".to_owned(), json!(evaluated == wanted));
            answer.insert("errors".to_owned(), json!(errors));
            answer.insert("changed".to_owned(), Value::Array(changed));
        }
    }
    answer
}

fn change(
    request_id: String,
    occurred_at: Moment,
    resource: String,
    before: &Verdict,
    after: &Verdict,
) -> Value {
    json!({
        "request_id": request_id,
        "occurred_at": occurred_at,
        "resource": resource,
        "before": before,
        "after": after,
    })
}

/// A result with the decision as it would be enforced, and of a denial the reason that it goes by.
fn shown(evaluated: &Result<PolicyResult, EvalError>) -> Map<String, Value> {
    let document = match evaluated {
        Ok(result) => json!(result),
        Err(error) => {
            let code = failure(error);
            let code = code.code();
            json!({
                "decision": "deny",
                "evaluation_status": code,
                "determining_policies": [],
                "diagnostics": [{"reason": code, "message": error.to_string()}],
            })
        }
    };
    let mut members = match document {
        Value::Object(members) => members,
        _ => Map::new(), // a result is an object
    };
    // The decision is what would be enforced: an allow that waits for an approval is none.
    if let Value::Object(verdict) = json!(Verdict::of(evaluated)) {
        members.extend(verdict);
    }
    members
}
