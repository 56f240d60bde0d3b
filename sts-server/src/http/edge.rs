//! What surrounds every request: its id, its log line, its metric, and the one place where an error
//! becomes a body.

use std::{sync::Arc, time::Instant};

use authority::audit::is_traceparent;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use crate::{
    entropy,
    error::{Code, Error, Result},
    provenance::Provenance,
    sts::Sts,
    telemetry::Telemetry,
};

const REQUEST_ID: &str = "x-request-id";
const MAX_REQUEST_ID_CHARS: usize = 128;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// The id of a request: the client's own if it is fit, else a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

pub(super) async fn edge(
    State(sts): State<Arc<Sts>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = method_label(request.method());
    // The pattern and never the path: what a client wrongly puts into it stays out of the log.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());

    let span = tracing::info_span!("request", request_id = %id, method, route);
    let traceparent = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .filter(|text| is_traceparent(text))
        .map(str::to_owned);
    let traced = match is_background(&route) {
        true => Telemetry::default().request(method, &route, None),
        false => sts
            .telemetry
            .request(method, &route, traceparent.as_deref()),
    };
    let answering = Provenance::of_request(id.clone(), traceparent)
        .of(next.run(request))
        .instrument(span.clone());
    let mut response = traced.around(answering).await;
    if let Some(error) = response.extensions_mut().remove::<Error>() {
        response = with_body(&error, &id, &response);
    }
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    sts.metrics.request(method, &route, status);
    traced.answered(&id, status);
    let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| match route.as_str() {
        "/health" | "/ready" | "/metrics" => tracing::debug!(status, elapsed_ms, "answered"),
        _ => tracing::info!(status, elapsed_ms, "answered"),
    });
    response
}

/// What comes again and again by itself, and would bury the traces of what somebody asked for.
fn is_background(route: &str) -> bool {
    matches!(route, "/health" | "/ready" | "/metrics") || route.contains("/gateway/")
}

/// Refuses headers over the bound.
pub(super) async fn limit_headers(request: Request, next: Next) -> Result<Response> {
    let headers: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers + request.uri().to_string().len() > MAX_HEADER_BYTES {
        let text = format!("the headers are over {MAX_HEADER_BYTES} bytes");
        return Err(Error::new(Code::HEADERS_TOO_LARGE, text));
    }
    Ok(next.run(request).await)
}

fn with_body(error: &Error, id: &str, bare: &Response) -> Response {
    let mut response = (bare.status(), axum::Json(error.body(id))).into_response();
    for (name, value) in bare.headers() {
        if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn request_id(request: &Request) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok()) // visible ASCII, spaces and tabs
        .filter(|id| (1..=MAX_REQUEST_ID_CHARS).contains(&id.len()) && !id.contains('\t'))
        .map_or_else(entropy::id, str::to_owned)
}

fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
