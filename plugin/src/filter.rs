//! One request: translated for the decision, and its outcome translated back.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use authority::{
    audit::{Event, OccurredAt, is_traceparent},
    decision::{
        self, Account, Identified, Permit, Request, SingleHeader, Suspect, shadow::ShadowVerdict,
    },
    mandate::MandateUse,
    refusal::{Reason, Refusal},
    resource::Forward,
};
use proxy_wasm::{
    hostcalls,
    types::{Action, BufferType, MapType, Status},
};

use crate::{
    exchanges::{Failure, Found, Key, Question},
    head::{Head, Known},
    host, identity, metrics, raw, response,
    streams::{self, Passes},
    worker::Worker,
};

/// A request that may pass once the resource mandate is there that its upstream needs.
pub(crate) struct Waiter {
    call: Call,
    permit: Permit,
}

/// A request as it came.
pub(crate) struct Call {
    context_id: u32,
    head: Head,
    /// When it came, in nanoseconds since the Unix epoch.
    started: u64,
    account: Rc<Account>,
}

/// What waits for the STS to say whether a mandate is revoked.
pub(crate) enum Paused {
    /// A request that is not decided on yet.
    Request(Call),
    /// One that passes already, in this context.
    Stream(u32),
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
    Refused,
}

/// What a decision comes to.
enum Judged {
    Permitted(Permit),
    Suspect(Suspect),
}

impl Call {
    fn new(context_id: u32, head: Head) -> Self {
        let sent = request_id(&head);
        let started = host::now_nanos();
        // The host makes one unless it is told not to; then time and context are as good as unique.
        let request_id = sent.map_or_else(|| format!("{started:x}-{context_id:x}"), str::to_owned);
        let account = Account {
            request_id,
            traceparent: head
                .text(Known::TraceParent)
                .filter(|text| is_traceparent(text))
                .map(str::to_owned),
            method: head
                .text(Known::Method)
                .map(Event::text)
                .unwrap_or_default(),
            ..Account::default()
        };
        Self {
            context_id,
            head,
            started,
            account: Rc::new(account),
        }
    }

    /// Decides, and lets the request go, wait, or be refused. What waits comes back here, but not twice
    /// for the same.
    fn decide(mut self, worker: &mut Worker, settled: bool) -> Outcome {
        if !worker.evidence.has_room() {
            return self.unwitnessed(worker);
        }
        let decided = decide(
            worker,
            &self.head,
            self.started,
            Rc::make_mut(&mut self.account),
        );
        let permit = match decided {
            Ok(Judged::Permitted(permit)) => permit,
            Ok(Judged::Suspect(_)) if settled => {
                return self.refused(worker, &Reason::TokenRevoked.into());
            }
            Ok(Judged::Suspect(suspect)) => {
                return match worker.settle_request(&suspect, Paused::Request(self)) {
                    Err(Paused::Request(call)) => {
                        call.refused(worker, &Reason::TokenRevoked.into())
                    }
                    _ => Outcome::Waits,
                };
            }
            Err(refusal) => return self.refused(worker, &refusal),
        };
        self.pass(worker, permit)
    }

    fn refused(&self, worker: &mut Worker, refusal: &Refusal) -> Outcome {
        let code = refusal.reason().code();
        let account = Rc::clone(&self.account);
        match worker.witness(account, Some(code), false, self.started) {
            Ok(()) => refuse(worker, refusal, &self.account.request_id),
            Err(reason) => refuse(worker, &reason.into(), &self.account.request_id),
        }
        Outcome::Refused
    }

    /// Of which there could be no evidence, and which is not decided on.
    fn unwitnessed(&self, worker: &mut Worker) -> Outcome {
        worker.evidence.miss(OccurredAt(self.started / 1_000));
        worker.metrics.count("caracal_audit_lost.outcome.denied");
        let refusal = Reason::AuditUnavailable.into();
        refuse(worker, &refusal, &self.account.request_id);
        Outcome::Refused
    }

    /// Goes on where the request stopped to be looked up, in its own context.
    pub(crate) fn decide_again(self, worker: &mut Worker) {
        // A request that is gone waits for nothing.
        if hostcalls::set_effective_context(self.context_id).is_err() {
            return;
        }
        if let Outcome::Passes = self.decide(worker, true) {
            let _ = hostcalls::resume_http_request();
        }
    }

    /// Lets a permitted request go, or wait.
    fn pass(self, worker: &mut Worker, permit: Permit) -> Outcome {
        let claims = permit.mandate().claims();
        // Before anything else is done with it: a mandate whose exchange fails has been used all the same.
        if claims.once
            && let Err(reason) = worker.use_up(claims)
        {
            return self.refused(worker, &reason.into());
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
                        jti: claims.jti.to_string(),
                        resource: permit.resource().to_owned(),
                    },
                    token: presented(&self.head),
                };
                let now = host::to_timestamp(host::now_nanos());
                let found = worker.exchanges.find(&question, claims.exp, now);
                worker.ring();
                match found {
                    Found::Held(token) => Authorization::Mandate(token),
                    Found::Missing => {
                        let waiter = Waiter { call: self, permit };
                        if let Err(waiter) = worker.exchanges.wait(question, waiter) {
                            let refusal = Reason::ExchangeUnavailable.into();
                            return waiter.call.refused(worker, &refusal);
                        }
                        worker.ring();
                        return Outcome::Waits;
                    }
                }
            }
        };
        self.forward(worker, &permit, authorization)
    }

    fn forward(
        &self,
        worker: &mut Worker,
        permit: &Permit,
        authorization: Authorization,
    ) -> Outcome {
        let request_id = &self.account.request_id;
        if let Err(refusal) = forward(permit, authorization, &self.head, request_id) {
            return self.refused(worker, &refusal);
        }
        let account = Rc::clone(&self.account);
        if let Err(reason) = worker.witness(account, None, false, self.started) {
            refuse(worker, &reason.into(), request_id);
            return Outcome::Refused;
        }
        worker.metrics.decided(None);
        let passes = Passes {
            until_expiry: permit.ends_with_mandate(),
            both_ways: self.head.goes_both_ways(),
        };
        let mandate = Arc::clone(permit.mandate());
        let account = Rc::clone(&self.account);
        worker
            .streams
            .open(self.context_id, mandate, account, passes);
        Outcome::Passes
    }
}

impl Waiter {
    fn is_of(&self, context_id: u32) -> bool {
        self.call.context_id == context_id
    }

    /// Goes on where the request stopped, in its own context.
    pub(crate) fn resume(self, worker: &mut Worker, answer: &Result<String, Failure>) {
        // A request that is gone waits for nothing.
        if hostcalls::set_effective_context(self.call.context_id).is_err() {
            return;
        }
        let now = host::to_timestamp(host::now_nanos());
        let mandate = self.permit.mandate();
        let outcome = match answer {
            Ok(token) => mandate
                .check_time(now)
                .and_then(|()| Ok(worker.check_revocation(mandate)?))
                .map(|()| Authorization::Mandate(token.clone())),
            Err(Failure::Refused(reason)) => Err(Refusal::with_detail(
                Reason::PolicyDenied(reason.clone()),
                "the STS refuses the resource mandate that the upstream needs",
            )),
            Err(Failure::Unavailable) => Err(Reason::ExchangeUnavailable.into()),
        };
        let outcome = match outcome {
            Ok(authorization) => self.call.forward(worker, &self.permit, authorization),
            Err(refusal) => self.call.refused(worker, &refusal),
        };
        if let Outcome::Passes = outcome {
            let _ = hostcalls::resume_http_request();
        }
    }
}

impl Paused {
    fn is_of(&self, context_id: u32) -> bool {
        match self {
            Paused::Request(call) => call.context_id == context_id,
            Paused::Stream(context) => *context == context_id,
        }
    }
}

/// Answers a refused request. If even the answer fails, the request stays where it is until the host
/// ends it.
pub(crate) fn refuse(worker: &mut Worker, refusal: &Refusal, request_id: &str) {
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

/// Decides on a request.
pub(crate) fn on_request_headers(worker: &RefCell<Worker>, context_id: u32) -> Action {
    let Some(head) = raw::header_map(MapType::HttpRequestHeaders).and_then(Head::parse) else {
        return Action::Pause; // nothing is known of the request, so it goes nowhere
    };
    let Ok(mut worker) = worker.try_borrow_mut() else {
        return Action::Pause;
    };
    match Call::new(context_id, head).decide(&mut worker, false) {
        Outcome::Passes => Action::Continue,
        Outcome::Waits | Outcome::Refused => Action::Pause,
    }
}

/// Keeps from upstreams what is ours to say in trailers as well.
pub(crate) fn on_request_trailers() -> Action {
    match remove_reserved(MapType::HttpRequestTrailers, None) {
        Ok(()) => Action::Continue,
        Err(_) => Action::Pause,
    }
}

/// What becomes of the next part of an answer, if it is one that this worker is cutting.
pub(crate) fn on_response_body(
    worker: &RefCell<Worker>,
    context_id: u32,
    size: usize,
) -> Option<Action> {
    // Our own refusals come through here as well, while the worker is at work.
    let mut worker = worker.try_borrow_mut().ok()?;
    if !worker.streams.holds_back(context_id) {
        return None;
    }
    let body = BufferType::HttpResponseBody;
    let start = hostcalls::get_buffer(body, 0, size.min(streams::LOOKED_AT));
    let start = start.ok().flatten().unwrap_or_default();
    // What comes after this, or stops here, is reset at the next tick.
    Some(match worker.streams.last_word(context_id, &start) {
        Some(word) if hostcalls::set_buffer(body, 0, size, word.as_bytes()).is_ok() => {
            Action::Continue
        }
        _ => Action::Pause,
    })
}

/// The host is done with a request, which nothing waits for any more.
pub(crate) fn on_delete(worker: &RefCell<Worker>, context_id: u32) {
    if let Ok(mut worker) = worker.try_borrow_mut() {
        worker.streams.close(context_id);
        if worker.exchanges.waiting() > 0 {
            worker.exchanges.forget(|waiter| waiter.is_of(context_id));
        }
        if worker.checks.waiting() > 0 {
            worker.checks.forget(|paused| paused.is_of(context_id));
        }
    }
}

fn decide(
    worker: &mut Worker,
    head: &Head,
    started: u64,
    account: &mut Account,
) -> Result<Judged, Refusal> {
    let stale = worker.is_stale(host::to_millis(started));
    worker.check_ready()?;
    let snapshot = worker.snapshot.as_mut().ok_or(Reason::NotReady)?;
    if stale {
        return Err(Reason::StaleState.into());
    }
    let request = read_request(head)?;
    let now = host::to_timestamp(started);
    let identified = decision::identify(snapshot, worker.revoked.as_ref(), &request, now, account);
    let call = match identified {
        Ok(Identified::Call(call)) => call,
        Ok(Identified::Suspect(suspect)) => return Ok(Judged::Suspect(suspect)),
        Err(refusal) => {
            if *refusal.reason() == Reason::KeyUnknown {
                worker.wish_for_keys(host::to_millis(host::now_nanos()));
            }
            if *refusal.reason() == Reason::TokenRevoked {
                worker
                    .metrics
                    .count("caracal_revocation_hits.outcome.revoked");
            }
            return Err(refusal);
        }
    };
    // The clock is a call into the host as well: it is asked only where something took time.
    let mut identified = started;
    if call.was_cached() {
        worker.metrics.count_later(metrics::MANDATE_HITS);
    } else {
        identified = host::now_nanos();
        worker.metrics.count_later(metrics::MANDATE_MISSES);
        worker
            .metrics
            .time("caracal_verify_us", started, identified);
    }
    let (outcome, verdict) = decision::authorise(snapshot, &request, call, account);
    if account.repeated {
        worker.metrics.count_later(metrics::POLICY_HITS);
    } else {
        worker
            .metrics
            .time("caracal_policy_us", identified, host::now_nanos());
    }
    if let (Some(verdict), Some(origin)) = (verdict, snapshot.shadow_origin()) {
        worker.metrics.count(match verdict {
            ShadowVerdict::Same => "caracal_shadow_decisions.agreement.same",
            ShadowVerdict::Different(_) => "caracal_shadow_decisions.agreement.different",
        });
        worker.shadow.add(&origin.policy_set_version_id, verdict);
    }
    outcome.map(Judged::Permitted)
}

fn read_request(head: &Head) -> Result<Request<'_>, Refusal> {
    let once = |known| match head.single(known) {
        SingleHeader::Absent => Ok(""),
        SingleHeader::One(value) => std::str::from_utf8(value).map_err(|_| Reason::PathAmbiguous),
        SingleHeader::Many => Err(Reason::PathAmbiguous),
    };
    Ok(Request {
        method: once(Known::Method)?,
        target: once(Known::Path)?,
        authority: once(Known::Authority)?,
        authorization: head.single(Known::Authorization),
        resource: head.single(Known::Resource),
    })
}

/// The first usable one that was sent.
fn request_id(head: &Head) -> Option<&str> {
    let usable = |value: &&[u8]| identity::is_request_id(value);
    let found = match head.single(Known::RequestId) {
        SingleHeader::Absent => None,
        SingleHeader::One(value) => Some(value).filter(usable),
        SingleHeader::Many => head.values("x-request-id").find(usable),
    };
    std::str::from_utf8(found?).ok()
}

/// The mandate as it was sent; the decision has seen that there is one, and in this form.
fn presented(head: &Head) -> String {
    head.text(Known::Authorization)
        .and_then(|value| value.trim().split_once(' '))
        .map(|(_, token)| token.trim_start().to_owned())
        .unwrap_or_default()
}

/// Acts on the permit: rewrites the headers to what the upstream may see.
fn forward(
    permit: &Permit,
    authorization: Authorization,
    head: &Head,
    request_id: &str,
) -> Result<(), Refusal> {
    let rewrite = || -> Result<(), Status> {
        remove_reserved(MapType::HttpRequestHeaders, Some(head))?;
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
        if head.single(Known::RequestId) == SingleHeader::One(request_id.as_bytes()) {
            return Ok(());
        }
        hostcalls::set_map_value(
            MapType::HttpRequestHeaders,
            "x-request-id",
            Some(request_id),
        )
    };
    rewrite().map_err(|_| Reason::InternalFault.into())
}

fn remove_reserved(map: MapType, known: Option<&Head>) -> Result<(), Status> {
    let read;
    let head = match known {
        Some(head) => head,
        None => {
            read = raw::header_map(map)
                .and_then(Head::parse)
                .ok_or(Status::InternalFailure)?;
            &read
        }
    };
    for name in head.reserved() {
        // The host lets no such name through that is not text; if it did, nothing would pass.
        let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
        hostcalls::remove_map_value(map, name)?;
    }
    Ok(())
}
