//! One request: translated for the decision, and its outcome translated back.

use std::{cell::RefCell, rc::Rc};

use authority::{
    decision::{self, Permit, RESOURCE_HEADER, Request, SingleHeader, shadow::ShadowVerdict},
    refusal::{Reason, Refusal},
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, Bytes, MapType, Status},
};

use crate::{config::Forward, host, identity, response, root::Worker};

/// The filter for one request.
pub(crate) struct Filter {
    worker: Rc<RefCell<Worker>>,
    context_id: u32,
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
}

impl Context for Filter {}

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
            .and_then(|permit| forward(permit, worker.config.forward, &headers, &request_id));
        match outcome {
            Ok(()) => {
                worker.metrics.decided(None);
                Action::Continue
            }
            Err(refusal) => {
                worker.metrics.decided(Some(refusal.reason().metric()));
                let answer = response::refusal(&refusal, &worker.config.challenge, &request_id);
                let headers = answer
                    .headers
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .collect();
                // If even the answer fails, the request stays where it is until the host ends it.
                let _ = hostcalls::send_http_response(
                    answer.status.into(),
                    headers,
                    Some(answer.body.as_bytes()),
                );
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

/// Uses up the permit: rewrites the headers to what the upstream may see.
fn forward(
    permit: Permit,
    authorization: Forward,
    headers: &[(String, Bytes)],
    request_id: &str,
) -> Result<(), Refusal> {
    let rewrite = || -> Result<(), Status> {
        remove_reserved(MapType::HttpRequestHeaders, Some(headers))?;
        if authorization == Forward::None {
            hostcalls::remove_map_value(MapType::HttpRequestHeaders, "authorization")?;
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
