//! One request: translated for the decision, and its outcome translated back.

use std::{cell::RefCell, rc::Rc};

use authority::{
    decision::{self, Permit, RESOURCE_HEADER, Request, SingleHeader, shadow::ShadowVerdict},
    mandate::MandateUse,
    refusal::{Reason, Refusal},
    resource::Forward,
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, Bytes, MapType, Status},
};

use crate::{
    exchanges::{Failure, Found, Key, Question},
    host, identity, response,
    root::Worker,
};

/// The filter for one request.
pub(crate) struct Filter {
    worker: Rc<RefCell<Worker>>,
    context_id: u32,
}

/// A request that may pass once the resource mandate is there that its upstream needs.
pub(crate) struct Waiter {
    context_id: u32,
    permit: Permit,
    headers: Vec<(String, Bytes)>,
    request_id: String,
}

/// What the upstream is to see in `Authorization`.
enum Authorization {
    Removed,
    AsSent,
    Mandate(String),
}

/// What becomes of a request now.
enum Outcome {
    Passes,
    Waits,
}

impl Filter {
    pub(crate) fn new(worker: Rc<RefCell<Worker>>, context_id: u32) -> Self {
        Self { worker, context_id }
    }

    fn request_id(&self, headers: &[(String, Bytes)]) -> String {
        let sent = headers
            .iter()
            .find(|(name, value)| name == "x-request-id" && identity::is_request_id(value))
            .and_then(|(_, value)| String::from_utf8(value.clone()).ok());
        // The host makes one unless it is told not to; then time and context are as good as unique.
        sent.unwrap_or_else(|| format!("{:x}-{:x}", host::now_nanos(), self.context_id))
    }

    /// Lets a permitted request go, or wait.
    fn pass(
        &self,
        worker: &mut Worker,
        permit: Permit,
        headers: Vec<(String, Bytes)>,
        request_id: &str,
    ) -> Result<Outcome, Refusal> {
        let claims = permit.mandate().claims();
        // Before anything else is done with it: a mandate whose exchange fails has been used all the same.
        if claims.once {
            worker.use_up(claims)?;
        }
        let authorization = match permit.forward().unwrap_or(worker.config.forward) {
            Forward::None => Authorization::Removed,
            Forward::Mandate => Authorization::AsSent,
            // The client has asked for it already, and it is good for nothing else.
            Forward::ResourceMandate
                if claims.mandate_use == MandateUse::Resource && claims.aud.len() == 1 =>
            {
                Authorization::AsSent
            }
            Forward::ResourceMandate => {
                let question = Question {
                    key: Key {
                        jti: claims.jti.clone(),
                        resource: permit.resource().to_owned(),
                    },
                    token: presented(&headers),
                };
                let now = host::to_timestamp(host::now_nanos());
                let found = worker.exchanges.find(&question, claims.exp, now);
                worker.ring();
                match found {
                    Found::Held(token) => Authorization::Mandate(token),
                    Found::Missing => {
                        let waiter = Waiter {
                            context_id: self.context_id,
                            permit,
                            headers,
                            request_id: request_id.to_owned(),
                        };
                        worker
                            .exchanges
                            .wait(question, waiter)
                            .map_err(|_| Reason::ExchangeUnavailable)?;
                        worker.ring();
                        return Ok(Outcome::Waits);
                    }
                }
            }
        };
        forward(&permit, authorization, &headers, request_id)?;
        Ok(Outcome::Passes)
    }
}

impl Waiter {
    pub(crate) fn is_of(&self, context_id: u32) -> bool {
        self.context_id == context_id
    }

    /// Goes on where the request stopped, in its own context.
    pub(crate) fn resume(self, worker: &mut Worker, answer: &Result<String, Failure>) {
        // A request that is gone waits for nothing.
        if hostcalls::set_effective_context(self.context_id).is_err() {
            return;
        }
        let now = host::to_timestamp(host::now_nanos());
        let outcome = match answer {
            Ok(token) => self.permit.mandate().check_time(now).and_then(|()| {
                let authorization = Authorization::Mandate(token.clone());
                forward(&self.permit, authorization, &self.headers, &self.request_id)
            }),
            Err(Failure::Refused(reason)) => Err(Refusal::with_detail(
                Reason::PolicyDenied(reason.clone()),
                "the STS refuses the resource mandate that the upstream needs",
            )),
            Err(Failure::Unavailable) => Err(Reason::ExchangeUnavailable.into()),
        };
        match outcome {
            Ok(()) => {
                worker.metrics.decided(None);
                let _ = hostcalls::resume_http_request();
            }
            Err(refusal) => refuse(worker, &refusal, &self.request_id),
        }
    }
}

/// Answers a refused request. If even the answer fails, the request stays where it is until the host
/// ends it.
fn refuse(worker: &mut Worker, refusal: &Refusal, request_id: &str) {
    worker.metrics.decided(Some(refusal.reason().metric()));
    let answer = response::refusal(refusal, &worker.config.challenge, request_id);
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let _ =
        hostcalls::send_http_response(answer.status.into(), headers, Some(answer.body.as_bytes()));
}

impl Context for Filter {
    fn on_done(&mut self) -> bool {
        if let Ok(mut worker) = self.worker.try_borrow_mut()
            && worker.exchanges.waiting() > 0
        {
            worker
                .exchanges
                .forget(|waiter| waiter.is_of(self.context_id));
        }
        true
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let Ok(headers) = hostcalls::get_map_bytes(MapType::HttpRequestHeaders) else {
            return Action::Pause; // nothing is known of the request, so it goes nowhere
        };
        let request_id = self.request_id(&headers);
        let Ok(mut worker) = self.worker.try_borrow_mut() else {
            return Action::Pause;
        };
        let outcome = decide(&mut worker, &headers)
            .and_then(|permit| self.pass(&mut worker, permit, headers, &request_id));
        match outcome {
            Ok(Outcome::Passes) => {
                worker.metrics.decided(None);
                Action::Continue
            }
            Ok(Outcome::Waits) => Action::Pause,
            Err(refusal) => {
                refuse(&mut worker, &refusal, &request_id);
                Action::Pause
            }
        }
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        match remove_reserved(MapType::HttpRequestTrailers, None) {
            Ok(()) => Action::Continue,
            Err(_) => Action::Pause,
        }
    }
}

fn decide(worker: &mut Worker, headers: &[(String, Bytes)]) -> Result<Permit, Refusal> {
    let started = host::now_nanos();
    let stale = worker.is_stale(host::to_millis(started));
    let snapshot = worker.snapshot.as_mut().ok_or(Reason::NotReady)?;
    if stale {
        return Err(Reason::StaleState.into());
    }
    let request = read_request(headers)?;
    let identified = decision::identify(snapshot, &request, host::to_timestamp(started));
    let verified = host::now_nanos();
    let call = match identified {
        Ok(call) => call,
        Err(refusal) => {
            if *refusal.reason() == Reason::KeyUnknown {
                worker.wish_for_keys(host::to_millis(verified));
            }
            return Err(refusal);
        }
    };
    if call.was_cached() {
        worker.metrics.count("caracal_mandate_cache_hits");
    } else {
        worker.metrics.count("caracal_mandate_cache_misses");
        worker.metrics.time("caracal_verify_us", started, verified);
    }
    let (outcome, verdict) = decision::authorise(snapshot, &request, call);
    worker
        .metrics
        .time("caracal_policy_us", verified, host::now_nanos());
    if let (Some(verdict), Some(origin)) = (verdict, snapshot.shadow_origin()) {
        worker.metrics.count(match verdict {
            ShadowVerdict::Same => "caracal_shadow_decisions.agreement.same",
            ShadowVerdict::Different(_) => "caracal_shadow_decisions.agreement.different",
        });
        worker.shadow.add(&origin.policy_set_version_id, verdict);
    }
    outcome
}

fn read_request(headers: &[(String, Bytes)]) -> Result<Request<'_>, Refusal> {
    let (mut method, mut target, mut authority) = ("", "", "");
    let (mut authorization, mut resource) = (SingleHeader::Absent, SingleHeader::Absent);
    for (name, value) in headers {
        match name.as_str() {
            ":method" => method = text(value)?,
            ":path" => target = text(value)?,
            ":authority" => authority = text(value)?,
            "authorization" => authorization.push(value),
            RESOURCE_HEADER => resource.push(value),
            _ => {}
        }
    }
    Ok(Request {
        method,
        target,
        authority,
        authorization,
        resource,
    })
}

fn text(value: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(value).map_err(|_| Reason::PathAmbiguous.into())
}

/// The mandate as it was sent; the decision has seen that there is one, and in this form.
fn presented(headers: &[(String, Bytes)]) -> String {
    headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .and_then(|(_, value)| std::str::from_utf8(value).ok())
        .and_then(|value| value.trim().split_once(' '))
        .map(|(_, token)| token.trim_start().to_owned())
        .unwrap_or_default()
}

/// Acts on the permit: rewrites the headers to what the upstream may see.
fn forward(
    permit: &Permit,
    authorization: Authorization,
    headers: &[(String, Bytes)],
    request_id: &str,
) -> Result<(), Refusal> {
    let rewrite = || -> Result<(), Status> {
        remove_reserved(MapType::HttpRequestHeaders, Some(headers))?;
        match authorization {
            Authorization::AsSent => {}
            Authorization::Removed => {
                hostcalls::remove_map_value(MapType::HttpRequestHeaders, "authorization")?;
            }
            Authorization::Mandate(token) => hostcalls::set_map_value(
                MapType::HttpRequestHeaders,
                "authorization",
                Some(&format!("Bearer {token}")),
            )?,
        }
        for (name, value) in identity::headers(permit.mandate().claims()) {
            hostcalls::add_map_value(MapType::HttpRequestHeaders, name, &value)?;
        }
        hostcalls::set_map_value(
            MapType::HttpRequestHeaders,
            "x-request-id",
            Some(request_id),
        )
    };
    rewrite().map_err(|_| Reason::InternalFault.into())
}

fn remove_reserved(map: MapType, known: Option<&[(String, Bytes)]>) -> Result<(), Status> {
    let read;
    let headers = match known {
        Some(headers) => headers,
        None => {
            read = hostcalls::get_map_bytes(map)?;
            &read
        }
    };
    for (name, _) in headers
        .iter()
        .filter(|(name, _)| identity::is_reserved(name))
    {
        hostcalls::remove_map_value(map, name)?;
    }
    Ok(())
}
