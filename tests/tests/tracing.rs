//! Traces: from the exchange to the data path, in the trace of whoever asked.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use e2e::{
    collector::{Collector, Span},
    eventually,
    http::{Connection, Request},
    sts::Sts,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[test]
fn an_exchange_and_the_calls_with_its_mandate_are_one_trace() {
    let collector = Collector::start();
    let sts = Sts::with(&["--otlp-endpoint", &collector.endpoint()]);
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(1);
    let traceparent = |flags: &str| format!("00-{TRACE}-{CALLER}-{flags}");

    let form = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&zone_id=demo\
         &application_id={}&client_secret={}&resource=resource://demo&scope=demo:read",
        application.id, application.secret
    );
    let exchange = Request::new("POST", b"/oauth/2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("traceparent", &traceparent("01"))
        .header("x-request-id", "traced-exchange")
        .body(&form);
    let mut to_sts = Connection::open(sts.address()).unwrap();
    let answer = to_sts.exchange(&exchange).unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let answer = answer.json();
    let mandate = answer["access_token"].as_str().unwrap();

    let call = |path: &str, id: &str| {
        Request::get(path)
            .bearer(mandate)
            .header("x-request-id", id)
    };
    site.until_allowed(|| call("/demo/items", "not-traced"));
    site.allowed(call("/demo/items", "traced-call").header("traceparent", &traceparent("01")));
    // Its caller chose not to have a trace of this one.
    site.allowed(call("/demo/items", "unsampled").header("traceparent", &traceparent("00")));
    let denied = Request::new("POST", "/demo/items")
        .bearer(mandate)
        .header("x-request-id", "traced-denial")
        .header("traceparent", &traceparent("01"))
        .body("{}");
    assert_eq!(site.send(denied).0.status, 403);

    let of_request = |spans: &[Span], id: &str| {
        let is_of = |span: &&Span| span.attribute("caracal.request_id").as_deref() == Some(id);
        spans.iter().find(is_of).cloned()
    };
    let spans = eventually("the spans arrive", || {
        let spans = collector.spans();
        let wanted = ["traced-exchange", "traced-call", "traced-denial"];
        let all = wanted.iter().all(|id| of_request(&spans, id).is_some());
        all.then_some(spans)
    });
    let [exchange, call, denial] = ["traced-exchange", "traced-call", "traced-denial"]
        .map(|id| of_request(&spans, id).unwrap());
    for span in [&exchange, &call, &denial] {
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, CALLER));
    }
    assert_eq!(exchange.service, "caracal-sts");
    assert_eq!(exchange.name, "POST /oauth/2/token");
    assert_eq!(
        exchange.attribute("http.response.status_code").as_deref(),
        Some("200")
    );
    assert_eq!(call.service, "caracal-gateway");
    assert_eq!(call.name, "gateway_request");
    // The mandate, and so its exchange, is in both.
    let jti = exchange.attribute("caracal.jti");
    assert!(jti.is_some());
    assert_eq!(call.attribute("caracal.jti"), jti);
    assert_eq!(call.attribute("caracal.decision").as_deref(), Some("allow"));
    assert_eq!(
        denial.attribute("caracal.decision").as_deref(),
        Some("deny")
    );
    assert!(denial.attribute("caracal.reason").is_some());

    // What takes time in an exchange is below it.
    let below: Vec<&Span> = spans.iter().filter(|it| it.parent == exchange.id).collect();
    let mut names: Vec<&str> = below.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["authenticate", "decide", "record"]);
    let within: u64 = below.iter().map(|span| span.nanos).sum();
    assert!(within <= exchange.nanos);

    for id in ["unsampled", "not-traced"] {
        assert!(of_request(&spans, id).is_none(), "{id}");
    }
    // Not a word that opens something.
    let told = format!("{spans:?}");
    assert!(!told.contains(&application.secret) && !told.contains(mandate));
    // Nor the polls of gateways.
    assert!(spans.iter().all(|span| !span.name.contains("/gateway/")));
}

#[test]
fn a_collector_that_is_away_keeps_nobody_from_a_mandate() {
    // Port 9 is `discard`, and nothing listens there.
    let sts = Sts::with(&["--otlp-endpoint", "http://127.0.0.1:9"]);
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(1);
    let mandate = zone.mint(&application, "demo:read");
    let traced = || {
        Request::get("/demo/items")
            .bearer(&mandate)
            .header("traceparent", &format!("00-{TRACE}-{CALLER}-01"))
    };
    site.until_allowed(traced);
    zone.mint(&application, "demo:read");
}
