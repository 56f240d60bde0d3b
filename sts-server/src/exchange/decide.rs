//! What is granted: each resource by itself, so that one that is denied does not cost the others.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use authority::{
    decision::Evaluated,
    decision::shadow::{Disagreement, Moment, ShadowVerdict, Text, Verdict, failure, own_reason},
    delegation::Excess,
    mandate::MandateUse,
    policy::{
        EvalError, PolicyResult,
        input::{Exchange, PolicyInput},
    },
    refusal::Reason,
    resource::Resource,
};
use serde_json::json;

use super::{Trail, client::Party, request::Request, standing::Standing};
use crate::{
    error::{Code, Error, Result},
    policy_sets::Loaded,
    store::{PolicyInputRow, Zone},
    sts::Sts,
};

/// Largest input document that is kept, in bytes: larger than any with a mandate of the largest size.
const MAX_INPUT_BYTES: usize = 32 * 1024;

/// What a zone decides by.
struct InForce {
    policy: Option<Arc<Loaded>>,
    shadow: Option<Arc<Loaded>>,
}

/// What is granted.
#[derive(Default)]
pub(super) struct Granted {
    pub(super) resources: Vec<String>,
    /// Whether one of them takes a mandate once only.
    pub(super) once: bool,
}

/// Why a resource is left out of a mandate.
enum Skipped {
    Unknown,
    ScopeMismatch,
    Denied(String),
    Limited(Duration),
}

impl Skipped {
    fn reason(&self) -> &str {
        match self {
            Skipped::Unknown => "resource_not_found",
            Skipped::ScopeMismatch => "scope_mismatch",
            Skipped::Denied(reason) => reason,
            Skipped::Limited(_) => "rate_limited",
        }
    }
}

impl Sts {
    /// The resources that are granted; not one of them is an error that says why.
    pub(super) async fn decide(
        &self,
        zone: &Zone,
        party: &Party,
        request: &Request,
        trail: &mut Trail,
    ) -> Result<Granted> {
        let in_force = InForce {
            policy: self.active_policy(zone).await?,
            shadow: self.shadow_policy(zone).await,
        };
        if let Some(policy) = &in_force.policy {
            trail.event.policy.policy_set_id = Some(policy.policy_set_id.to_string());
            trail.event.policy.policy_set_version_id = Some(policy.version_id.to_string());
            trail.event.policy.manifest_sha = Some(format!("sha256:{}", policy.manifest_sha256));
        }
        let mut granted = Granted::default();
        let mut skipped = Vec::new();
        for identifier in &request.resources {
            let (id, result, outcome) = self
                .decide_one(zone, party, request, &in_force, identifier, trail)
                .await?;
            let reason = outcome
                .as_ref()
                .err()
                .map(|skipped| skipped.reason().to_owned());
            let decided = json!({
                "identifier": identifier,
                "resource_id": id,
                "decision": if reason.is_none() { "allow" } else { "deny" },
                "reason": reason,
            });
            trail.event.resources.extend(decided.as_object().cloned());
            if let Some(mut result) = result {
                let said = Evaluated::of(&mut result);
                let event = &mut trail.event;
                event.evaluation_status = "complete".to_owned();
                event
                    .determining_policies_json
                    .extend(said.determining_policies);
                event.diagnostics_json.extend(said.diagnostics);
            } else if let Some(reason) = reason
                && trail.event.evaluation_status != "complete"
            {
                trail.event.evaluation_status = reason;
            }
            match outcome {
                Ok(single_use) => {
                    granted.resources.push(identifier.clone());
                    granted.once |= single_use;
                }
                Err(why) => skipped.push(why),
            }
        }
        if granted.resources.is_empty() {
            Err(refusal(skipped))
        } else {
            Ok(granted)
        }
    }

    async fn decide_one(
        &self,
        zone: &Zone,
        party: &Party,
        request: &Request,
        in_force: &InForce,
        identifier: &str,
        trail: &mut Trail,
    ) -> Result<(Option<String>, Option<PolicyResult>, Result<bool, Skipped>)> {
        let Some(row) = self
            .store
            .resource_by_identifier(&zone.id, identifier)
            .await?
        else {
            return Ok((None, None, Err(Skipped::Unknown)));
        };
        let id = Some(row.id.to_string());
        let resource = Resource::new(row.spec()).map_err(Error::internal)?;
        let lifecycle = request.mandate_use == MandateUse::Session;
        if !lifecycle && !party.scopes.iter().all(|scope| resource.has_scope(scope)) {
            return Ok((id, None, Err(Skipped::ScopeMismatch)));
        }
        let row_id = row.id.clone();
        // An exchange never widens: a session mandate is good for the resources that it names.
        let outside =
            |subject: &authority::mandate::Mandate| !subject.claims().has_target(identifier);
        if party.subject.as_deref().is_some_and(outside) {
            return Ok((
                id,
                None,
                Err(Skipped::Denied("mandate_target_mismatch".to_owned())),
            ));
        }
        // A session mandate is given to the application, whichever session it is bound to.
        let standing = party.standing.as_ref().filter(|_| !lifecycle);
        if let Some(Err(excess)) =
            standing.map(|standing| standing.admit(&party.scopes, &row.identifier))
        {
            let reason = match excess {
                Excess::Resource(_) => "resource_outside_delegation",
                _ => "delegation_scope_exceeded",
            };
            return Ok((id, None, Err(Skipped::Denied(reason.to_owned()))));
        }
        let input = PolicyInput::exchange(&Exchange {
            client_id: party.application.id.as_str(),
            zone_id: zone.id.as_str(),
            registration_method: &party.application.registration_method,
            resource: &resource,
            requested_scopes: &party.scopes,
            subject: party.subject.as_deref().filter(|_| party.shows_subject),
            session: standing.map(Standing::session_facts),
            delegation: standing.and_then(Standing::delegation_facts),
            now: crate::clock::Moment::now().timestamp(),
            trace_id: Some(&trail.event.request_id),
        });
        let evaluated = in_force
            .policy
            .as_ref()
            .map(|policy| self.evaluate(zone, policy, &input));
        let verdict = evaluated.as_ref().map_or_else(
            || Verdict::deny(Reason::NoActivePolicySet.code()),
            Verdict::of,
        );
        if let Some(shadow) = &in_force.shadow {
            self.ask_shadow(zone, shadow, party, identifier, &input, &verdict);
        }
        record(trail, identifier, verdict, &input);
        let result = match evaluated {
            Some(Ok(result)) => result,
            failed => {
                let reason = match failed {
                    Some(Err(error)) => failure(&error),
                    _ => Reason::NoActivePolicySet,
                };
                return Ok((id, None, Err(Skipped::Denied(reason.code().to_owned()))));
            }
        };
        let outcome = if result.allows() {
            let single_use = row.single_use && !lifecycle;
            self.mints
                .take((party.application.id.clone(), row_id))
                .map(|()| single_use)
                .map_err(Skipped::Limited)
        } else {
            Err(Skipped::Denied(own_reason(&result).to_owned()))
        };
        Ok((id, Some(result), outcome))
    }

    pub(super) fn evaluate(
        &self,
        zone: &Zone,
        policy: &Loaded,
        input: &PolicyInput,
    ) -> Result<PolicyResult, EvalError> {
        let started = Instant::now();
        let result = ask(policy, input);
        self.metrics.policy(started.elapsed());
        if let Err(error) = &result
            && *error != EvalError::Undefined
        {
            tracing::warn!(zone = %zone.id, version = %policy.version_id, %error, "policy evaluation failed");
        }
        result
    }

    fn ask_shadow(
        &self,
        zone: &Zone,
        shadow: &Loaded,
        party: &Party,
        identifier: &str,
        input: &PolicyInput,
        enforced: &Verdict,
    ) {
        let said = Verdict::of(&ask(shadow, input));
        let verdict = if said == *enforced {
            self.metrics.shadow("same");
            ShadowVerdict::Same
        } else {
            self.metrics.shadow("different");
            ShadowVerdict::Different(Box::new(Disagreement {
                moment: Moment::TokenExchange,
                client_id: Text::cut(party.application.id.as_str()),
                resource: Text::cut(identifier),
                method: None,
                path: None,
                enforced: enforced.clone(),
                shadow: said,
            }))
        };
        self.shadows.add(&zone.id, &shadow.version_id, verdict);
    }
}

fn ask(policy: &Loaded, input: &PolicyInput) -> Result<PolicyResult, EvalError> {
    policy
        .pace
        .run(|| policy.policy.evaluator().evaluate(input))
}

/// Keeps what the policy was asked, for trying other policies on it.
fn record(trail: &mut Trail, identifier: &str, verdict: Verdict, input: &PolicyInput) {
    let document = input.to_json().unwrap_or_default();
    if document.to_string().len() <= MAX_INPUT_BYTES {
        Arc::make_mut(&mut trail.inputs).push(PolicyInputRow {
            resource: identifier.to_owned(),
            verdict,
            input: document,
        });
    }
}

/// Nothing was granted: what says most comes first.
fn refusal(skipped: Vec<Skipped>) -> Error {
    let mut limited = None;
    let mut mismatch = false;
    for why in skipped {
        match why {
            Skipped::Denied(reason) => {
                return Error::new(Code::ACCESS_DENIED, format!("policy denied ({reason})"))
                    .reason(reason);
            }
            Skipped::Limited(wait) => limited = Some(wait),
            Skipped::ScopeMismatch => mismatch = true,
            Skipped::Unknown => {}
        }
    }
    if let Some(wait) = limited {
        return Error::new(
            Code::RATE_LIMITED,
            "too many mandates for this application and resource; try again after Retry-After",
        )
        .reason("rate_limited")
        .retry_after(wait);
    }
    if mismatch {
        let text = "scope: no resource that was named has all of these scopes";
        return Error::new(Code::INVALID_SCOPE, text).reason("scope_mismatch");
    }
    Error::new(Code::INVALID_TARGET, "resource: the zone has none of these")
        .reason("resource_not_found")
}
