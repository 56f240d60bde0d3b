//! Policy documents held against the schemas that they were published with.

use serde_json::{Value, json};

use crate::{
    audit::{Decision, Event, EventType, MandateFacts, OccurredAt},
    decision::{Account, Decided},
    ids::ZoneId,
    path::NormalPath,
    policy::{
        PolicyDecision, PolicyResult, Reads,
        input::{Call, DelegationFacts, Exchange, PolicyInput, SessionFacts},
    },
    resource::Resource,
    testing::*,
};

const INPUT_SCHEMA: &str =
    include_str!("../testdata/interop/schemas/caracal-policy-input-2026-05-20.schema.json");
const EVENT_SCHEMA: &str =
    include_str!("../testdata/interop/schemas/caracal-audit-event-2026-05-21.schema.json");
const RESULT_SCHEMA: &str =
    include_str!("../testdata/interop/schemas/caracal-policy-result-2026-05-20.schema.json");

/// Mandates of every make: bare, of a session, and delegated within one.
fn mandates() -> Vec<String> {
    let session = json!({
        "agent_session_id": "s2",
        "session_path": ["s1", "s2"],
        "labels": ["nightly"],
    });
    let delegated = json!({
        "agent_session_id": "s2",
        "session_path": ["s1", "s2"],
        "labels": ["nightly"],
        "delegation_edge_id": "d1",
        "source_session_id": "s1",
        "target_session_id": "s2",
        "delegation_path": ["d1"],
        "hop_count": 1,
    });
    [json!({}), session, delegated].map(token).to_vec()
}

#[test]
fn what_a_policy_is_given_fits_the_published_schema() {
    let validator = validator(INPUT_SCHEMA);
    let resource = Resource::new(demo_resource()).unwrap();
    let path = NormalPath::parse("/demo/items/7").unwrap();
    let requested = ["read".to_owned()];
    let exchange = Exchange {
        client_id: APP,
        zone_id: ZONE,
        registration_method: "managed",
        resource: &resource,
        requested_scopes: &requested,
        subject: None,
        session: None,
        delegation: None,
        now: NOW,
        trace_id: None,
    };
    let document = PolicyInput::exchange(&exchange).to_json().unwrap();
    assert_valid(&validator, &document);
    let expected = json!({
        "schema_version": "2026-05-20",
        "principal": {"type": "Application", "id": APP, "zone_id": ZONE, "registration_method": "managed"},
        "resource": {"type": "Resource", "id": "res-1", "identifier": DEMO, "scopes": ["read", "write"]},
        "action": {"id": "TokenExchange"},
        "context": {
            "actor_claims": {"caracal_client_id": APP},
            "challenge_resolved": false,
            "requested_scopes": ["read"],
            "time": NOW.seconds(),
        },
    });
    assert_eq!(document, expected);

    let labels = ["nightly".to_owned()];
    let path_ids = ["d1".to_owned(), "d2".to_owned()];
    let delegated = PolicyInput::exchange(&Exchange {
        session: Some(SessionFacts {
            id: "s2",
            lifecycle: "task",
            labels: &labels,
        }),
        delegation: Some(DelegationFacts {
            id: "d2",
            source_session_id: "s1",
            target_session_id: "s2",
            issuer_application_id: "app-0",
            receiver_application_id: APP,
            root_application_id: "app-0",
            scopes: &requested,
            path: &path_ids,
            constraints_json: "{}",
        }),
        ..exchange
    });
    let document = delegated.to_json().unwrap();
    assert_valid(&validator, &document);
    assert_eq!(document["principal"]["labels"], json!(["nightly"]));
    assert_eq!(document["delegation_edge"]["path"], json!(["d1", "d2"]));
    assert_eq!(document["context"]["delegation_edge_id"], "d2");

    for token in mandates() {
        let mandate = verified(&token).unwrap();
        let presented = PolicyInput::exchange(&Exchange {
            subject: Some(&mandate),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            ..exchange
        });
        assert_valid(&validator, &presented.to_json().unwrap());
        for operation in [resource.operation("GET", &path), None] {
            let call = Call {
                mandate: &mandate,
                seen: false,
                reads: &Reads::all(),
                resource: &resource,
                method: "GET",
                path: &path,
                host: "gateway.example.com",
                now: NOW,
                operation,
            };
            let document = PolicyInput::call(&call).to_json().unwrap();
            // What is kept of the mandate has nothing of the call in it.
            let other = NormalPath::parse("/demo/items").unwrap();
            let kept = PolicyInput::call(&Call {
                seen: true,
                method: "POST",
                path: &other,
                now: NOW.plus(1),
                operation: None,
                ..call
            });
            assert_eq!(kept.to_json().unwrap()["context"]["time"], NOW.0 + 1);
            let again = PolicyInput::call(&call).to_json().unwrap();
            assert_eq!(again, document);
            assert_valid(&validator, &document);
            assert_eq!(document["action"]["id"], "Request");
            assert_eq!(document["action"]["path"], "/demo/items/7");
            assert_eq!(document["session"]["id"], "sid-1");
            assert_eq!(document["context"]["subject_claims"]["scope"], "read");
        }
    }
}

#[test]
fn the_published_input_is_one_that_a_policy_may_be_given() {
    let fixture = include_str!("../testdata/interop/fixtures/policy-input.sts.valid.json");
    let document: Value = serde_json::from_str(fixture).unwrap();
    assert_valid(&validator(INPUT_SCHEMA), &document);
    let input = PolicyInput::from_json(document.clone());
    assert_eq!(input.to_json().unwrap(), document);
}

#[test]
fn an_audit_event_fits_the_published_schema_whatever_it_tells_of() {
    let validator = validator(EVENT_SCHEMA);
    let zone = ZoneId::from(ZONE);
    let decided = Decided {
        id: "01980000-0000-7000-8000-000000000001".to_owned(),
        at: OccurredAt(1_790_000_000_000_000),
        reason: Some("token_missing".to_owned()),
        latency_us: 7,
        stands_for: None,
        cut: false,
    };
    let stranger = Account {
        request_id: "request-1".to_owned(),
        ..Account::default()
    };
    let mut events = vec![stranger.event(&zone, &decided)];
    for token in mandates() {
        let mandate = verified(&token).unwrap();
        let mut minted = Event::new(
            decided.id.clone(),
            zone.clone(),
            EventType::TokenExchange,
            "request-2".to_owned(),
            decided.at,
        );
        minted.mandate = MandateFacts::from(mandate.claims());
        events.push(minted);
    }
    for event_type in EventType::ALL {
        let id = decided.id.clone();
        let mut event = Event::new(id, zone.clone(), event_type, "r".to_owned(), decided.at);
        event.decision = Decision::Deny;
        events.push(event);
    }
    for event in events {
        let written = serde_json::to_value(&event).unwrap();
        assert_valid(&validator, &written);
        // The name in queries is the one in events.
        assert_eq!(written["event_type"], event.event_type.name());
        assert_eq!(written["decision"], event.decision.name());
        assert_eq!(serde_json::from_value::<Event>(written).unwrap(), event);
    }
}

#[test]
fn a_result_is_read_and_written_as_published() {
    let validator = validator(RESULT_SCHEMA);
    let fixture = include_str!("../testdata/interop/fixtures/policy-result.allow.valid.json");
    let result: PolicyResult = serde_json::from_str(fixture).unwrap();
    assert_eq!(result.decision, PolicyDecision::Allow);
    let written = serde_json::to_value(&result).unwrap();
    assert_valid(&validator, &written);
    assert_eq!(written, serde_json::from_str::<Value>(fixture).unwrap());
}
