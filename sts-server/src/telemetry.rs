//! Traces for OpenTelemetry: a span for each request to the STS with what takes time in it, and one for each
//! decision that a gateway tells of, all in the trace of whoever asked. Off unless a collector is named.

use std::{collections::HashMap, fmt, future::Future, time::Duration};

use async_trait::async_trait;
use authority::audit::Event;
use axum::http::{Request, Response};
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{FutureExt, SpanKind, Status, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use ureq::Agent;
use url::Url;

/// How long a collector may take for a batch. Spans that come meanwhile wait, and those for which there is
/// no room are left out.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(10);
/// Most that is read of a collector's answer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Where traces go. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Telemetry(Option<Exporting>);

#[derive(Clone, Debug)]
struct Exporting {
    sts: Source,
    gateways: Source,
}

/// Who spans speak of: one service each, so that a trace shows where time went.
#[derive(Clone)]
struct Source {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter holds headers, which may be credentials.
        f.write_str("Source(..)")
    }
}

/// Why no traces can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The address.
    #[error("the OTLP endpoint is not an http or https URL without user, query and fragment")]
    Endpoint,
    /// The exporter.
    #[error("traces cannot be exported: {0}")]
    Exporter(String),
}

impl Telemetry {
    /// Sends traces by OTLP over HTTP to `endpoint`, to which `/v1/traces` is added. Headers, sampling and
    /// batches follow the variables that the OpenTelemetry specification names.
    ///
    /// # Errors
    /// Every variant of [`TelemetryError`].
    pub fn start(endpoint: &str) -> Result<Self, TelemetryError> {
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(endpoint).ok().filter(fits);
        let url = url.ok_or(TelemetryError::Endpoint)?;
        let url = format!("{}/v1/traces", url.as_str().trim_end_matches('/'));
        Ok(Self(Some(Exporting {
            sts: Source::new("caracal-sts", &url)?,
            gateways: Source::new("caracal-gateway", &url)?,
        })))
    }

    /// Begins the span of a request, as a child of what its `traceparent` names.
    pub(crate) fn request(
        &self,
        method: &'static str,
        route: &str,
        traceparent: Option<&str>,
    ) -> RequestSpan {
        RequestSpan(self.0.as_ref().map(|exporting| {
            let parent = remote(traceparent);
            let span = exporting
                .sts
                .tracer
                .span_builder(format!("{method} {route}"))
                .with_kind(SpanKind::Server)
                .with_attributes([
                    KeyValue::new("http.request.method", method),
                    KeyValue::new("http.route", route.to_owned()),
                ])
                .start_with_context(&exporting.sts.tracer, &parent);
            let context = parent.with_span(span);
            context.with_value(OfRequest(context.clone()))
        }))
    }

    /// Does `work` in a span below the request's.
    pub(crate) async fn within<F: Future>(&self, name: &'static str, work: F) -> F::Output {
        let present = Context::current();
        match &self.0 {
            Some(exporting) if present.span().is_recording() => {
                let tracer = &exporting.sts.tracer;
                let span = tracer.start_with_context(name, &present);
                let context = present.with_span(span);
                let output = work.with_context(context.clone()).await;
                context.span().end();
                output
            }
            _ => work.await,
        }
    }

    /// The span of what a gateway decided, if its caller traces: `text` is the event.
    pub(crate) fn decided(&self, traceparent: Option<&str>, text: &str) {
        let (Some(exporting), Some(traceparent)) = (&self.0, traceparent) else {
            return;
        };
        let parent = remote(Some(traceparent));
        if !parent.span().span_context().is_sampled() {
            return;
        }
        let Ok(event) = serde_json::from_str::<Event>(text) else {
            return;
        };
        let end = std::time::UNIX_EPOCH + Duration::from_micros(event.occurred_at.0);
        let took = Duration::from_micros(event.latency_us.unwrap_or_default());
        let tracer = &exporting.gateways.tracer;
        let span = tracer
            .span_builder("gateway_request")
            .with_kind(SpanKind::Server)
            .with_start_time(end.checked_sub(took).unwrap_or(end))
            .with_attributes(attributes(&event))
            .start_with_context(tracer, &parent);
        parent.with_span(span).span().end_with_timestamp(end);
    }

    /// Sends what is left. Blocks until the collector has it, or for as long as it may take.
    pub(crate) fn shutdown(&self) {
        for source in self.0.iter().flat_map(|it| [&it.sts, &it.gateways]) {
            if let Err(error) = source.provider.shutdown() {
                tracing::warn!(%error, "the last traces could not be sent");
            }
        }
    }
}

/// The present request is an event of evidence: its span says which and what was decided.
pub(crate) fn describe(event: &Event) {
    Context::map_current(|context| {
        if let Some(OfRequest(context)) = context.get() {
            context.span().set_attributes(attributes(event));
        }
    });
}

/// In a context: that of the request's own span, whatever span below it is being worked in.
struct OfRequest(Context);

impl Source {
    fn new(service: &'static str, url: &str) -> Result<Self, TelemetryError> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(COLLECTOR_TIMEOUT))
            .max_redirects(0)
            .build();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client(agent.into()))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url)
            .with_timeout(COLLECTOR_TIMEOUT)
            .build()
            .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        let tracer = provider.tracer("caracal");
        Ok(Self { provider, tracer })
    }
}

/// The span of a request to the STS, if there is one.
pub(crate) struct RequestSpan(Option<Context>);

impl RequestSpan {
    /// Answers the request in it.
    pub(crate) async fn around<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Ends it.
    pub(crate) fn answered(&self, request_id: &str, status: u16) {
        let Some(context) = &self.0 else {
            return;
        };
        let span = context.span();
        span.set_attribute(KeyValue::new("caracal.request_id", request_id.to_owned()));
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

/// The caller's place in its trace.
fn remote(traceparent: Option<&str>) -> Context {
    let headers: HashMap<String, String> = traceparent
        .map(|text| ("traceparent".to_owned(), text.to_owned()))
        .into_iter()
        .collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

fn attributes(event: &Event) -> Vec<KeyValue> {
    let mandate = &event.mandate;
    [
        ("caracal.event_id", Some(&event.id)),
        ("caracal.request_id", Some(&event.request_id)),
        ("caracal.reason", event.reason.as_ref()),
        (
            "caracal.policy_set_version_id",
            event.policy.policy_set_version_id.as_ref(),
        ),
        ("caracal.client_id", mandate.client_id.as_ref()),
        ("caracal.jti", mandate.jti.as_ref()),
        ("caracal.sid", mandate.sid.as_ref()),
        (
            "caracal.agent_session_id",
            mandate.agent_session_id.as_ref(),
        ),
        ("caracal.resource", event.resource.as_ref()),
        ("caracal.gateway_id", event.gateway_id.as_ref()),
        ("http.request.method", event.method.as_ref()),
        ("url.path", event.path.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(KeyValue::new(name, value?.clone())))
    .chain([
        KeyValue::new("caracal.zone_id", event.zone_id.to_string()),
        KeyValue::new("caracal.decision", event.decision.name()),
    ])
    .collect()
}

/// Batches are sent by a thread of the SDK's own, which may wait.
#[derive(Debug)]
struct Client(Agent);

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = Request::from_parts(head, body.as_ref());
        let (head, mut body) = self.0.run(request)?.into_parts();
        let answer = body.with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(head, answer.into()))
    }
}
