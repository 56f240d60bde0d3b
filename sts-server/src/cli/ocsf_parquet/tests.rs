//! Events of every kind in OCSF, and what is read back of a file of them.

use std::fs::File;

use authority::{
    audit::{
        Actor, Decision, EntryLine, Event, EventType, MandateFacts, Object, OccurredAt, PolicyFacts,
    },
    ids::ZoneId,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use super::*;
use crate::cli::ocsf::ocsf;

fn new(event_type: EventType) -> Event {
    Event::new(
        "01a2097e-9510-71ff-b62e-8c329594501a".to_owned(),
        ZoneId::from("zone-1"),
        event_type,
        "req-1".to_owned(),
        OccurredAt(1_790_000_000_123_456),
    )
}

/// A refused call with all that may be said of one.
fn call() -> Event {
    let text = |text: &str| Some(text.to_owned());
    let mut event = new(EventType::GatewayRequest);
    event.traceparent = text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    event.decision = Decision::Deny;
    event.reason = text("scope_missing");
    event.policy = PolicyFacts {
        policy_set_id: text("set-1"),
        policy_set_version_id: text("version-1"),
        manifest_sha: text("sha256:00"),
    };
    let policy = json!({"id": "caracal-orders-use"});
    event.determining_policies_json = vec![policy.as_object().cloned().unwrap()];
    event.mandate = MandateFacts {
        client_id: text("app-1"),
        sub: text("alice"),
        sid: text("sid-1"),
        root_sid: text("root-1"),
        jti: text("jti-1"),
        mandate_use: Some(authority::mandate::MandateUse::Gateway),
        agent_session_id: text("session-2"),
        session_path: vec!["session-1".to_owned(), "session-2".to_owned()],
        delegation_path: vec!["delegation-1".to_owned()],
        delegation_chain: vec!["app-0".to_owned(), "app-1".to_owned()],
    };
    event.resource = text("resource://orders");
    event.method = text("DELETE");
    event.path = text("/orders/7");
    event.gateway_id = text("gateway-1");
    event.stands_for = Some(3);
    event.latency_us = Some(41);
    event
}

fn all_kinds() -> Vec<Event> {
    let mut exchange = new(EventType::TokenExchange);
    exchange.requested_scopes = vec!["orders:read".to_owned()];
    let asked = json!({"identifier": "resource://orders", "decision": "allow"});
    exchange.resources = vec![asked.as_object().cloned().unwrap()];
    let mut change = new(EventType::AdminChange);
    change.action = Some("application.archive".to_owned());
    change.actor = Some(Actor::Operator);
    change.object = Some(Object {
        kind: "application".to_owned(),
        id: "app-1".to_owned(),
    });
    change.before = Some(json!({"name": "reader", "weight": 0.1}));
    let plain = EventType::ALL.into_iter().map(new);
    plain.chain([call(), exchange, change]).collect()
}

fn entry(seq: u64, event: &Event) -> EntryLine {
    EntryLine {
        seq,
        hash: authority::audit::GENESIS,
        recorded_at: OccurredAt(1_790_000_000_200_000),
        event: serde_json::to_value(event).unwrap(),
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(drop_nulls);
            members.retain(|_, member| !member.is_null());
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[test]
fn a_member_without_a_column_is_an_error_and_a_list_may_be_empty() {
    let mut file = OcsfParquet::begin(Vec::new()).unwrap();
    let error = file.push(&json!({"actor": {"shoe_size": 44}})).unwrap_err();
    assert!(error.to_string().contains("shoe_size"), "{error}");
    for wrong in [
        json!({"actor": 1}),
        json!({"time": "now"}),
        json!({"resources": {}}),
        json!([]),
    ] {
        let mut file = OcsfParquet::begin(Vec::new()).unwrap();
        let pushed = file.push(&wrong);
        assert!(pushed.is_err() || file.end(&[]).is_err(), "{wrong}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lists.parquet");
    let events = [
        json!({"resources": []}),
        json!({"resources": [{"uid": "a"}, {}, {"type": "t"}], "unmapped": {"session_path": ["1", "2"]}}),
        json!({"actor": {"authorizations": [{"policy": {}}, {"decision": "no"}]}}),
        json!({}),
    ];
    let mut file = OcsfParquet::begin(File::create(&path).unwrap()).unwrap();
    events.iter().for_each(|event| file.push(event).unwrap());
    file.end(&[]).unwrap();
    let open = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let rows = open.get_row_iter(None).unwrap();
    let mut read: Vec<Value> = rows.map(|row| row.unwrap().to_json_value()).collect();
    read.iter_mut().for_each(drop_nulls);
    assert_eq!(read, events);
}

#[test]
fn what_is_written_as_columns_is_read_as_it_was() {
    let events: Vec<Value> = (1..)
        .zip(all_kinds().iter().cycle().take(ROWS_OF_A_GROUP + 100))
        .map(|(seq, event)| ocsf(&entry(seq, event)).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.parquet");
    let mut file = OcsfParquet::begin(File::create(&path).unwrap()).unwrap();
    for event in &events {
        file.push(event).unwrap();
    }
    file.end(&[("caracal.zone_id", "zone-1".to_owned())])
        .unwrap();

    let open = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let said = open.metadata().file_metadata().key_value_metadata();
    assert!(
        said.unwrap()
            .iter()
            .any(|said| said.key == "caracal.zone_id")
    );
    assert!(open.num_row_groups() > 1);
    let rows = open.get_row_iter(None).unwrap();
    let mut read: Vec<Value> = rows.map(|row| row.unwrap().to_json_value()).collect();
    for event in &mut read {
        // Columns hold a time, not the text of one.
        let time = event["time_dt"].as_str().unwrap().to_owned();
        assert!(time.starts_with("2026-09-21 "), "{time}");
        assert!(time.contains(":20.123456"), "{time}");
        event["time_dt"] = json!("2026-09-21T14:13:20.123456Z");
        drop_nulls(event);
    }
    assert_eq!(read, events);
}

#[test]
fn every_kind_of_event_has_what_ocsf_requires() {
    for (seq, event) in (1..).zip(all_kinds()) {
        let mapped = ocsf(&entry(seq, &event)).unwrap();
        for required in [
            "/activity_id",
            "/actor",
            "/api/operation",
            "/category_uid",
            "/class_uid",
            "/metadata/product",
            "/metadata/version",
            "/severity_id",
            "/src_endpoint/uid",
            "/time",
            "/type_uid",
        ] {
            assert!(mapped.pointer(required).is_some(), "{required}: {mapped}");
        }
        let original: Value = serde_json::from_str(mapped["raw_data"].as_str().unwrap()).unwrap();
        assert_eq!(original, serde_json::to_value(&event).unwrap());
    }
}

#[test]
fn a_refused_call_is_a_denied_delete_by_somebody_on_something() {
    let mapped = ocsf(&entry(7, &call())).unwrap();
    assert_eq!(mapped["type_uid"], 600_304);
    assert_eq!(mapped["action"], "Denied");
    assert_eq!(mapped["status_code"], "scope_missing");
    assert_eq!(mapped["count"], 3);
    assert_eq!(mapped["actor"]["app_uid"], "app-1");
    assert_eq!(mapped["actor"]["user"]["uid"], "alice");
    assert_eq!(mapped["actor"]["session"]["uid"], "session-2");
    assert_eq!(
        mapped["actor"]["authorizations"],
        json!([{"decision": "denied", "policy": {"uid": "caracal-orders-use"}}])
    );
    assert_eq!(mapped["api"]["operation"], "DELETE /orders/7");
    assert_eq!(
        mapped["resources"],
        json!([{"uid": "resource://orders", "type": "resource"}])
    );
    assert_eq!(mapped["metadata"]["sequence"], 7);
    assert_eq!(mapped["trace"]["uid"], "4bf92f3577b34da6a3ce929d0e0e4736");
}
