//! The Rust client against a real STS and through a real gateway.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use caracal_client::{Client, Error, MandateLayer, Narrow};
use e2e::{
    mandates::{RESOURCE, claims_of},
    sts::{Application, Sts, Zone},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

fn governed(zone: &Zone<'_>) -> Application {
    let agent = zone.application("agent");
    zone.resource(RESOURCE, "/demo/");
    let content = e2e::mandates::roles(&agent.id);
    zone.activate(&zone.policy("roles", &content));
    agent
}

fn client(sts: &Sts, zone: &Zone<'_>, agent: &Application) -> Client {
    Client::new(&sts.issuer(), &zone.id, &agent.id, agent.secret.as_str())
        .unwrap()
        .bootstrap_on(RESOURCE)
}

#[tokio::test]
async fn a_child_calls_by_what_it_was_given_until_that_is_taken_back() {
    let sts = Sts::start();
    let zone = sts.zone("rust");
    let agent = governed(&zone);
    let site = zone.site(1);
    let gateway_url = format!("http://{}", site.gateway.address());
    let client = client(&sts, &zone, &agent);
    let lead = client
        .session()
        .label("lead")
        .note("task", "report")
        .start()
        .await
        .unwrap();
    let narrow = || Narrow::to(["demo:read"]).on(RESOURCE).for_seconds(300);
    let child = lead
        .child()
        .label("lead")
        .narrow(narrow())
        .start()
        .await
        .unwrap();
    let token = child
        .mandates(RESOURCE, ["demo:read"])
        .token()
        .await
        .unwrap();
    site.until_allowed(|| e2e::http::Request::get("/demo/items").bearer(token.token()));

    let gateway = child.gateway(&gateway_url, RESOURCE, ["demo:read"]);
    for _ in 0..3 {
        let answer = gateway
            .get("/demo/items")
            .await
            .unwrap()
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "upstream");
    }
    let post = gateway
        .request("POST".parse().unwrap(), "/demo/items")
        .await
        .unwrap();
    assert_eq!(post.send().await.unwrap().status(), 403);
    let wider = child
        .mandates(RESOURCE, ["demo:write"])
        .token()
        .await
        .unwrap_err();
    assert_eq!(wider.reason(), Some("delegation_scope_exceeded"));

    // One mandate for as long as it lasts, whoever asks at once.
    let source = Arc::new(child.mandates(RESOURCE, ["demo:read"]));
    let (one, other) = tokio::join!(source.token(), source.token());
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.token(), other.token());
    let claims = claims_of(one.token());
    assert_eq!(claims["agent_session_id"], child.id());
    assert_eq!(
        claims["delegation_path"],
        json!([child.delegation().unwrap()])
    );
    assert!(!format!("{client:?} {one:?} {source:?} {child:?}").contains(&agent.secret));

    let edge = child.delegation().unwrap();
    lead.revoke(edge).await.unwrap();
    source.forget(&one).await;
    let revoked = source.token().await.unwrap_err();
    assert_eq!(revoked.reason(), Some("delegation_inactive"));
    // What cannot be delegated leaves no session behind.
    let more = Narrow::to(["demo:admin"]).on(RESOURCE);
    let refused = lead.child().narrow(more).start().await.unwrap_err();
    assert_eq!(refused.reason(), Some("delegation_scopes_exceed_resource"));
    child.end().await.unwrap();
    lead.end().await.unwrap();
    lead.end().await.unwrap();
    let live = zone
        .governed("GET", "/agents?status=active", &Value::Null)
        .ok();
    assert_eq!(live["items"], json!([]));
}

#[tokio::test]
async fn a_layer_puts_a_mandate_on_every_request_and_another_after_a_refusal() {
    let sts = Sts::start();
    let zone = sts.zone("layer");
    let agent = governed(&zone);
    let client = client(&sts, &zone, &agent);
    let lead = client.session().label("lead").start().await.unwrap();
    let peer = client.session().label("lead").start().await.unwrap();
    let given = lead
        .delegate(&peer, Narrow::to(["demo:read"]).on(RESOURCE))
        .await
        .unwrap();
    let mandates = Arc::new(peer.accept(&given.id).mandates(RESOURCE, ["demo:read"]));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = MandateLayer::new(mandates).layer(service_fn({
        let seen = Arc::clone(&seen);
        move |request: http::Request<()>| {
            let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
            let (bearer, resource) = (header("authorization"), header("x-caracal-resource"));
            let mut seen = seen.lock().unwrap();
            seen.push((bearer, resource));
            let status = if seen.len() == 2 { 401 } else { 200 };
            let response = http::Response::builder().status(status).body(()).unwrap();
            async move { Ok::<_, Infallible>(response) }
        }
    }));
    for _ in 0..3 {
        service
            .clone()
            .oneshot(http::Request::new(()))
            .await
            .unwrap();
    }
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|(_, resource)| resource == RESOURCE));
    assert_eq!(seen[0].0, seen[1].0);
    assert_ne!(seen[1].0, seen[2].0);
}

#[tokio::test]
async fn a_service_keeps_its_lease_and_learns_that_it_lost_it() {
    let sts = Sts::start();
    let zone = sts.zone("service");
    let agent = governed(&zone);
    let client = client(&sts, &zone, &agent);
    let service = client
        .session()
        .label("lead")
        .service()
        .start()
        .await
        .unwrap();
    service.heartbeat().await.unwrap();
    drop(service.keep_alive());
    let path = format!("/agents/{}/lease", service.id());
    zone.governed("POST", &path, &Value::Null).ok();
    let fenced = service.heartbeat().await.unwrap_err();
    assert_eq!(fenced.reason(), Some("session_lease_fenced"));
    assert_eq!(
        service.end().await.unwrap_err().reason(),
        Some("session_lease_fenced")
    );
}

#[test]
fn a_secret_does_not_travel_in_the_clear() {
    for url in [
        "http://sts.example.com",
        "ftp://127.0.0.1",
        "http://127.0.0.1.example.com:8080",
    ] {
        let refused = Client::new(url, "z", "a", "secret").unwrap_err();
        assert!(matches!(refused, Error::InsecureUrl(_)), "{url}: {refused}");
    }
    for url in [
        "https://sts.example.com",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://localhost",
    ] {
        assert!(Client::new(url, "z", "a", "secret").is_ok(), "{url}");
    }
}
