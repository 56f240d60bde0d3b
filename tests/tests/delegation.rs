//! Delegated mandates on the data path: a child acts by what was delegated to it, a resource may want a
//! certain application in the chain, take a mandate once only, or want one of its own at the upstream.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use e2e::{
    gateway::GatewaySpec,
    http::{Connection, Request},
    mandates::{RESOURCE, claims_of},
    refusals::{denied, scope_missing, unauthorized, unavailable},
    site::Site,
    sts::{Application, Sts, Zone},
};
use serde_json::{Value, json};

const RESOURCE_MANDATE: &str = "urn:caracal:params:oauth:token-type:resource-mandate";

fn get(token: &str) -> Request {
    Request::get("/demo/items").bearer(token)
}

fn post(token: &str) -> Request {
    Request::new("POST", "/demo/items").bearer(token).body("{}")
}

/// Roles on the resource of all tests, which belongs to the agent.
fn roles(zone: &Zone<'_>, agent: &Application, more: &Value) {
    zone.resource_with(RESOURCE, "/demo/", more);
    let content = e2e::mandates::roles(&agent.id);
    zone.activate(&zone.policy("roles", &content));
}

/// A mandate in a session under a delegation.
fn mint(
    zone: &Zone<'_>,
    application: &Application,
    scope: &str,
    session: &str,
    edge: &str,
) -> String {
    let more = [("agent_session_id", session), ("delegation_edge_id", edge)];
    zone.try_mint(application, scope, &more)
        .text("access_token")
}

#[test]
fn a_child_acts_by_what_was_delegated_to_it_and_the_upstream_sees_its_session() {
    let sts = Sts::start();
    let zone = sts.zone("delegation");
    let agent = zone.application("agent");
    roles(&zone, &agent, &json!({}));
    let lead = zone.session(&agent, "lead", None);
    let worker = zone.session(&agent, "lead", Some(&lead));
    let reader = zone.session(&agent, "reader", Some(&worker));
    let first = zone.delegate(
        (&agent, &lead),
        (&agent, &worker),
        &["demo:read", "demo:write"],
    );
    let body = json!({
        "issuer_application_id": agent.id, "source_session_id": worker,
        "receiver_application_id": agent.id, "target_session_id": reader,
        "resource_id": RESOURCE, "scopes": ["demo:read"], "ttl_seconds": 600,
    });
    let second = zone.governed("POST", "/delegations", &body).text("id");

    let site = zone.site(2);
    let both = mint(&zone, &agent, "demo:read demo:write", &worker, &first);
    site.until_allowed(|| post(&both));
    let narrow = mint(&zone, &agent, "demo:read", &reader, &second);
    let arrival = site.allowed(get(&narrow));
    assert_eq!(arrival.header("x-caracal-session"), [reader.as_str()]);
    assert_eq!(arrival.header("x-caracal-scope"), ["demo:read"]);
    site.refused(post(&narrow), &scope_missing());
    let more = [
        ("agent_session_id", reader.as_str()),
        ("delegation_edge_id", &second),
    ];
    let wider = zone.try_mint(&agent, "demo:write", &more);
    assert_eq!(wider.body["reason"], "delegation_scope_exceeded");
    zone.governed(
        "PATCH",
        &format!("/delegations/{first}/revoke"),
        &Value::Null,
    )
    .ok();
    let revoked = zone.try_mint(&agent, "demo:read", &more);
    assert_eq!(revoked.body["reason"], "delegation_inactive");
}

#[test]
fn a_resource_may_want_an_application_in_the_chain() {
    let sts = Sts::start();
    let zone = sts.zone("chain");
    let (agent, broker) = (zone.application("agent"), zone.application("broker"));
    roles(
        &zone,
        &agent,
        &json!({"require_chain_contains": [broker.id]}),
    );
    let (lead, own) = (
        zone.session(&agent, "lead", None),
        zone.session(&agent, "lead", None),
    );
    let theirs = zone.session(&broker, "reader", None);
    let to_own = zone.delegate((&agent, &lead), (&agent, &own), &["demo:read"]);
    let to_theirs = zone.delegate((&agent, &lead), (&broker, &theirs), &["demo:read"]);
    let site = zone.site(2);
    let through = mint(&zone, &broker, "demo:read", &theirs, &to_theirs);
    let arrival = site.until_allowed(|| get(&through));
    assert_eq!(arrival.header("x-caracal-client-id"), [broker.id.as_str()]);
    assert_eq!(arrival.header("x-caracal-subject"), [agent.id.as_str()]);
    let around = mint(&zone, &agent, "demo:read", &own, &to_own);
    site.refused(get(&around), &denied("chain_mismatch"));
}

#[test]
fn a_mandate_for_a_single_use_is_used_once_whichever_worker_it_comes_to() {
    let sts = Sts::start();
    let zone = sts.zone("once");
    let agent = zone.govern_with(&json!({"single_use": true}));
    let site = zone.site(4);
    site.until_allowed(|| get(&zone.mint(&agent, "demo:read")));
    for _ in 0..5 {
        let token = zone.mint(&agent, "demo:read");
        assert_eq!(claims_of(&token)["once"], true);
        // What is refused for another reason does not use it up.
        site.refused(post(&token), &scope_missing());
        let passed: usize = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let (response, arrival) = site.send(get(&token));
                        assert_eq!(response.status == 200, arrival.is_some());
                        usize::from(arrival.is_some())
                    })
                })
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).sum()
        });
        assert_eq!(passed, 1);
        site.until_refused(|| get(&token), &unauthorized("token_replayed"));
    }
    assert!(site.workers_with_connections() <= 4);
}

#[test]
fn an_upstream_gets_a_mandate_of_its_own() {
    let mut sts = Sts::start();
    let site: Site;
    let (crowd, late);
    {
        let zone = sts.zone("forward");
        let agent = zone.govern_with(&json!({"forward": "resource_mandate"}));
        site = zone.site(2);
        site.until_allowed(|| get(&zone.mint(&agent, "demo:read")));
        let token = zone.mint(&agent, "demo:read");
        late = zone.mint(&agent, "demo:read");
        let arrival = site.allowed(get(&token));
        let sent = arrival.header("authorization");
        let bearer = sent[0].strip_prefix("Bearer ").unwrap();
        assert_ne!(bearer, token);
        let (own, presented) = (claims_of(bearer), claims_of(&token));
        assert_eq!(own["use"], "resource");
        assert_eq!(own["aud"], json!([RESOURCE]));
        for claim in ["client_id", "scope", "sub", "zone_id", "root_sid"] {
            assert_eq!(own[claim], presented[claim], "{claim}");
        }
        assert!(own["exp"].as_u64() <= presented["exp"].as_u64());
        // A body waits with its request.
        let body = "x".repeat(100_000);
        let writing = zone.mint(&agent, "demo:write");
        let request = Request::new("POST", "/demo/items").bearer(&writing);
        assert_eq!(site.allowed(request.body(&body)).body, body);
        // However many come at once, each worker asks once, and each request arrives.
        crowd = zone.mint(&agent, "demo:read");
        let granted = || count(&site, "granted");
        let before = granted();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut connection = Connection::open(site.gateway.address()).unwrap();
                    for _ in 0..4 {
                        let (response, arrival) = site.send_on(&mut connection, get(&crowd));
                        assert_eq!(response.status, 200, "{response}");
                        let arrival = arrival.unwrap();
                        let sent = arrival.header("authorization")[0];
                        assert_eq!(claims_of(&sent["Bearer ".len()..])["use"], "resource");
                    }
                });
            }
        });
        let asked = granted() - before;
        assert!(
            (1..=2).contains(&asked),
            "asked {asked} times for two workers"
        );
        // What is addressed to the resource alone is what the upstream wants.
        let more = [("requested_token_type", RESOURCE_MANDATE)];
        let direct = zone
            .try_mint(&agent, "demo:read", &more)
            .text("access_token");
        let arrival = site.allowed(get(&direct));
        assert_eq!(
            arrival.header("authorization"),
            [format!("Bearer {direct}")]
        );
    }
    // Away, the STS can be asked for nothing more; what is held goes on.
    sts.stop();
    site.refused(get(&late), &unavailable("exchange_unavailable"));
    site.allowed(get(&crowd));
}

fn count(site: &Site, outcome: &str) -> u64 {
    let stats = site.gateway.stats("caracal_exchanges");
    let counted = stats.iter().filter(|(name, _)| name.contains(outcome));
    counted.map(|(_, count)| count).sum()
}

#[test]
fn what_the_sts_refuses_for_the_upstream_is_refused_to_the_client() {
    let sts = Sts::start();
    let zone = sts.zone("refused-forward");
    let agent = zone.application("agent");
    roles(&zone, &agent, &json!({"forward": "resource_mandate"}));
    let (lead, child) = (
        zone.session(&agent, "lead", None),
        zone.session(&agent, "reader", None),
    );
    let edge = zone.delegate((&agent, &lead), (&agent, &child), &["demo:read"]);
    let site = zone.site(1);
    let token = mint(&zone, &agent, "demo:read", &child, &edge);
    let arrival = site.until_allowed(|| get(&token));
    let own = claims_of(&arrival.header("authorization")[0]["Bearer ".len()..]);
    assert_eq!(
        own["delegation_chain"],
        claims_of(&token)["delegation_chain"]
    );
    let second = mint(&zone, &agent, "demo:read", &child, &edge);
    zone.governed("DELETE", &format!("/agents/{child}"), &Value::Null)
        .ok();
    // The gateway refuses what it knows to be revoked, and until then the STS has the last word.
    let (response, arrival) = site.send(get(&second));
    let refused = (
        response.status,
        response.json()["reason"].as_str() == Some("token_revoked"),
    );
    assert!([(401, true), (403, true)].contains(&refused), "{response}");
    assert!(arrival.is_none(), "it arrived");
    for token in [&token, &second] {
        site.until_refused(|| get(token), &unauthorized("token_revoked"));
    }
}

#[test]
fn a_gateway_without_an_sts_cannot_be_told_to_ask_it() {
    let issuer = e2e::mandates::Issuer::new("key-1", 7);
    let mut plugin = e2e::mandates::stand_alone(&issuer);
    plugin["forward"] = json!("resource_mandate");
    let upstream = e2e::upstream::Upstream::start();
    let log = GatewaySpec::new(plugin, upstream.address()).refused();
    assert!(
        log.contains("forward: resource_mandate needs an STS"),
        "{log}"
    );
}
