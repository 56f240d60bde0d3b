//! The decision on a request: who calls, for what, and whether the policy lets it. Deny is the
//! default; an [`Allow`](Decision::Allow) is reached only by passing every check.

mod account;
mod alike;
mod bearer;
mod known;
pub mod shadow;
#[cfg(test)]
mod tests;
mod written;

use std::sync::Arc;

pub use self::account::{Account, Decided, Evaluated};
pub(crate) use self::{alike::Answers, known::Known};
use self::{
    known::{Question, Said},
    shadow::{Disagreement, Moment, ShadowVerdict, Text, Verdict},
};

use crate::{
    audit::Event,
    mandate::{Mandate, MandateUse},
    path::NormalPath,
    policy::{
        EvalError, Evaluator, PolicyResult, Reads,
        input::{Call, PolicyInput},
    },
    refusal::{Reason, Refusal},
    resource::{Forward, Operation, OperationEnforcement, Resource},
    revocation::{Anchor, Filter, Finding},
    snapshot::Snapshot,
    time::Timestamp,
};

/// The header that names the resource where no binding does.
pub const RESOURCE_HEADER: &str = "x-caracal-resource";

/// A header that may occur once: its value, or where that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingleHeader<V> {
    /// Not sent.
    #[default]
    Absent,
    /// Sent once.
    One(V),
    /// Sent more than once.
    Many,
}

impl<V> SingleHeader<V> {
    /// Takes in one more occurrence.
    pub fn push(&mut self, value: V) {
        *self = match self {
            SingleHeader::Absent => SingleHeader::One(value),
            _ => SingleHeader::Many,
        };
    }
}

/// What a decision needs to know of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// HTTP method.
    pub method: &'a str,
    /// Request target in origin form: path and query.
    pub target: &'a str,
    /// `:authority` or `Host`, with or without a port.
    pub authority: &'a str,
    /// `Authorization`.
    pub authorization: SingleHeader<&'a [u8]>,
    /// [`RESOURCE_HEADER`].
    pub resource: SingleHeader<&'a [u8]>,
}

/// The outcome.
#[derive(Debug)]
pub enum Decision {
    /// The request may pass.
    Allow(Permit),
    /// It may not.
    Deny(Refusal),
}

/// Leave for one request to pass. Only a decision makes one.
#[derive(Debug)]
pub struct Permit {
    mandate: Arc<Mandate>,
    identifier: String,
    forward: Option<Forward>,
    ends_with_mandate: bool,
}

impl Permit {
    /// The mandate under which the request passes.
    pub fn mandate(&self) -> &Arc<Mandate> {
        &self.mandate
    }

    /// The resource that is called.
    pub fn resource(&self) -> &str {
        &self.identifier
    }

    /// Whether the answer, however long it takes, ends with the mandate.
    pub fn ends_with_mandate(&self) -> bool {
        self.ends_with_mandate
    }

    /// What the resource wants the upstream to see in `Authorization`.
    pub fn forward(&self) -> Option<Forward> {
        self.forward
    }
}

/// A call whose caller is known: the mandate is verified and is for the resource.
#[derive(Debug)]
pub struct IdentifiedCall {
    mandate: Arc<Mandate>,
    identifier: String,
    path: NormalPath,
    cached: bool,
    now: Timestamp,
}

impl IdentifiedCall {
    /// The mandate.
    pub fn mandate(&self) -> &Arc<Mandate> {
        &self.mandate
    }

    /// Whether the mandate had been verified before.
    pub fn was_cached(&self) -> bool {
        self.cached
    }
}

/// A mandate of which the filter says that it may be revoked, and only the STS knows.
#[derive(Debug)]
pub struct Suspect {
    mandate: Arc<Mandate>,
    places: Vec<usize>,
}

impl Suspect {
    /// Its anchors that the STS is to be asked about.
    pub fn anchors(&self) -> Vec<Anchor<'_>> {
        let anchors = self.mandate.anchors();
        let suspected = self.places.iter().filter_map(|place| anchors.get(*place));
        suspected.copied().collect()
    }
}

/// How far a request is known.
#[derive(Debug)]
pub enum Identified {
    /// The caller is known, and not revoked.
    Call(IdentifiedCall),
    /// The caller is known, and may be revoked.
    Suspect(Suspect),
}

/// Decides on `request`. Beside the decision stands what the shadow policy says, where there is one
/// and the decision was the policy's. What the filter only suspects is denied here; who can ask the
/// STS takes the two halves one after the other.
pub fn decide(
    snapshot: &mut Snapshot,
    filter: Option<&Filter>,
    request: &Request<'_>,
    now: Timestamp,
) -> (Decision, Option<ShadowVerdict>) {
    let mut account = Account::default();
    let (outcome, shadow) = match identify(snapshot, filter, request, now, &mut account) {
        Ok(Identified::Call(call)) => authorise(snapshot, request, call, &mut account),
        Ok(Identified::Suspect(_)) => (Err(Reason::TokenRevoked.into()), None),
        Err(refusal) => (Err(refusal), None),
    };
    match outcome {
        Ok(permit) => (Decision::Allow(permit), shadow),
        Err(refusal) => (Decision::Deny(refusal), shadow),
    }
}

/// The first half of [`decide`]: which resource is called, and by whose mandate. Without a filter nothing
/// is revoked: for a gateway that has all it knows in its configuration. What comes to light on the way
/// is noted in `account`.
///
/// # Errors
/// The first check that fails, as a [`Refusal`].
pub fn identify(
    snapshot: &mut Snapshot,
    filter: Option<&Filter>,
    request: &Request<'_>,
    now: Timestamp,
    account: &mut Account,
) -> Result<Identified, Refusal> {
    let path = NormalPath::parse(request.target)
        .map_err(|error| Refusal::with_detail(Reason::PathAmbiguous, error.to_string()))?;
    account.path = Some(Event::text(path.as_str()));
    let identifier = called_resource(snapshot, request, &path)?.to_owned();
    account.resource = Some(Event::text(&identifier));
    let (mandate, cached) = bearer::mandate(snapshot, request.authorization, now)?;
    account.mandate = Some(Arc::clone(&mandate));
    let claims = mandate.claims();
    let findings = filter.map_or(Finding::Clear, |filter| filter.find(&mandate));
    match findings {
        Finding::Clear => {}
        Finding::Revoked => return Err(Reason::TokenRevoked.into()),
        Finding::Suspect(places) => {
            return Ok(Identified::Suspect(Suspect { mandate, places }));
        }
    }
    // Only those who may call something learn which resources there are.
    let resource = snapshot
        .resources
        .get(&identifier)
        .ok_or(Reason::ResourceUnknown)?;
    let addressed = match claims.mandate_use {
        MandateUse::Gateway => {
            claims.is_addressed_to(&snapshot.issuer) && claims.has_target(&identifier)
        }
        MandateUse::Resource => claims.is_addressed_to(&identifier),
        MandateUse::Session => false,
    };
    if !addressed {
        return Err(Reason::AudienceMismatch.into());
    }
    let required = &resource.spec().require_chain_contains;
    if !required.iter().all(|id| claims.chain_contains(id)) {
        return Err(Reason::ChainMismatch.into());
    }
    Ok(Identified::Call(IdentifiedCall {
        mandate,
        identifier,
        path,
        cached,
        now,
    }))
}

/// The second half of [`decide`]: whether the mandate covers the operation, and the policy allows it.
/// A refusal is the first check that fails. The shadow is asked once the outcome is known.
pub fn authorise(
    snapshot: &mut Snapshot,
    request: &Request<'_>,
    call: IdentifiedCall,
    account: &mut Account,
) -> (Result<Permit, Refusal>, Option<ShadowVerdict>) {
    let number = snapshot.number();
    let Snapshot {
        resources,
        policy,
        shadow,
        last_said,
        answers: alike,
        ..
    } = snapshot;
    let covered = resources
        .get(&call.identifier)
        .ok_or_else(|| Reason::ResourceUnknown.into())
        .and_then(|resource| {
            permitted_operation(resource, request.method, &call)
                .map(|covering| (resource, covering))
        });
    let (resource, covering) = match covered {
        Ok(covered) => covered,
        Err(refusal) => return (Err(refusal), None),
    };
    let asked = policy.as_mut().map(|(origin, evaluator)| {
        account.policy = Some(Arc::clone(origin));
        evaluator
    });
    let question = Question {
        snapshot: number,
        resource: resource.number(),
        method: request.method,
        operation: covering.map(|(place, _)| place),
    };
    // A shadow is there to be asked as well.
    let alone = shadow.is_none();
    let once = alone && asked.as_ref().is_some_and(|asked| !asked.reads_the_call());
    let answers = once.then(|| call.mandate.known());
    let known = answers.and_then(|answers| answers.answer(&question));
    account.repeated = known.is_some();
    let (said, shadow) = match known {
        Some(said) => (Ok(said), None),
        None => {
            // A shadow may read what the policy does not.
            let reads = match &asked {
                Some(asked) if alone => Arc::clone(asked.reads()),
                _ => Reads::all(),
            };
            let told = Call {
                mandate: &call.mandate,
                seen: call.cached && !once,
                reads: &reads,
                resource,
                method: request.method,
                path: &call.path,
                host: request.authority,
                now: call.now,
                operation: covering.map(|(_, operation)| operation),
            };
            // With the time in it, an input does not come again.
            let tag = (alone && !reads.the_time())
                .then(|| alike.tag(&told))
                .flatten();
            let (said, shadow) = match tag.and_then(|tag| alike.answer(tag)) {
                Some(said) => {
                    account.repeated = true;
                    (Ok(said), None)
                }
                None => {
                    let input = PolicyInput::call(&told);
                    let evaluated = asked.map(|evaluator| evaluator.evaluate(&input));
                    let shadow = shadow.as_mut().map(|(_, evaluator)| {
                        compare(evaluator, &input, evaluated.as_ref(), request, &call)
                    });
                    let said = said(evaluated, last_said);
                    if let (Some(tag), Ok(said)) = (tag, &said) {
                        alike.keep(tag, said);
                    }
                    (said, shadow)
                }
            };
            if let (Some(answers), Ok(said)) = (answers, &said) {
                answers.keep(&question, said.clone());
            }
            (said, shadow)
        }
    };
    let spec = resource.spec();
    let (forward, ends_with_mandate) = (spec.forward, spec.end_streams_at_expiry);
    let outcome = said.and_then(|said| {
        account.evaluated = Some(said.evaluated);
        match said.refusal {
            Some(reason) => Err(reason.into()),
            None => Ok(Permit {
                mandate: call.mandate,
                identifier: call.identifier,
                forward,
                ends_with_mandate,
            }),
        }
    });
    (outcome, shadow)
}

/// What a policy's result comes to. It says the same of most calls, which then share what is kept of `last`.
fn said(
    evaluated: Option<Result<PolicyResult, EvalError>>,
    last: &mut Arc<Evaluated>,
) -> Result<Said, Refusal> {
    let mut result = evaluated
        .ok_or(Reason::NoActivePolicySet)?
        .map_err(|error| match error {
            EvalError::OverBound => {
                Refusal::with_detail(Reason::PolicyEvalFailed, error.to_string())
            }
            // What failed inside a policy is its author's business, not the caller's.
            other => shadow::failure(&other).into(),
        })?;
    let refusal =
        (!result.allows()).then(|| Reason::PolicyDenied(shadow::own_reason(&result).to_owned()));
    let evaluated = Evaluated::of(&mut result);
    if **last != evaluated {
        *last = Arc::new(evaluated);
    }
    let evaluated = Arc::clone(last);
    Ok(Said { refusal, evaluated })
}

fn compare(
    evaluator: &mut Evaluator,
    input: &PolicyInput,
    enforced: Option<&Result<PolicyResult, EvalError>>,
    request: &Request<'_>,
    call: &IdentifiedCall,
) -> ShadowVerdict {
    let enforced = enforced.map_or_else(
        || Verdict::deny(Reason::NoActivePolicySet.code()),
        Verdict::of,
    );
    let shadow = Verdict::of(&evaluator.evaluate(input));
    if enforced == shadow {
        return ShadowVerdict::Same;
    }
    ShadowVerdict::Different(Box::new(Disagreement {
        moment: Moment::Request,
        client_id: Text::cut(call.mandate.claims().client_id.as_str()),
        resource: Text::cut(&call.identifier),
        method: Some(Text::cut(request.method)),
        path: Some(Text::cut(call.path.as_str())),
        enforced,
        shadow,
    }))
}

fn called_resource<'a>(
    snapshot: &'a Snapshot,
    request: &Request<'a>,
    path: &NormalPath,
) -> Result<&'a str, Refusal> {
    let bound = snapshot.bindings.resource(request.authority, path);
    let named = match request.resource {
        SingleHeader::Absent => None,
        SingleHeader::One(value) => {
            Some(std::str::from_utf8(value).map_err(|_| Reason::ResourceUnknown)?)
        }
        SingleHeader::Many => return Err(Reason::ResourceAmbiguous.into()),
    };
    match (bound, named) {
        (Some(bound), Some(named)) if bound != named => Err(Reason::ResourceConflict.into()),
        (Some(identifier), _) | (None, Some(identifier)) => Ok(identifier),
        (None, None) => Err(Reason::ResourceMissing.into()),
    }
}

/// The operation that covers the call, with its place, where the mandate has a scope that is good for it.
fn permitted_operation<'a>(
    resource: &'a Resource,
    method: &str,
    call: &IdentifiedCall,
) -> Result<Option<(usize, &'a Operation)>, Refusal> {
    let claims = call.mandate.claims();
    match resource.covering(method, &call.path) {
        Some((place, operation)) if claims.has_scope(&operation.scope) => {
            Ok(Some((place, operation)))
        }
        Some((_, operation)) => Err(Refusal::scope_missing(&operation.scope)),
        None if resource.spec().operation_enforcement == OperationEnforcement::Enforced => {
            Err(Reason::OperationNotPermitted.into())
        }
        None if claims.scopes().any(|scope| resource.has_scope(scope)) => Ok(None),
        None => Err(Reason::ScopeMissing.into()),
    }
}
