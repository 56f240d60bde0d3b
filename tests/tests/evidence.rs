//! Evidence of what gateways decide: every decision once, whatever becomes of the STS meanwhile, and no
//! decision without.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use e2e::{
    Load, eventually,
    http::{Connection, Request},
    parts,
    refusals::unavailable,
    site::Site,
    sts::{Sts, Zone},
    upstream::Upstream,
};
use serde_json::{Value, json};

/// A site of `zone` with its plugin configured so.
fn site(zone: &Zone<'_>, workers: u32, audit: Value, access_log: Option<Value>) -> Site {
    let upstream = Upstream::start();
    let mut spec = zone.gateway_spec(workers, upstream.address());
    spec.plugin["audit"] = audit;
    // These tests are about an STS that is gone for longer.
    spec.plugin["max_staleness_seconds"] = json!(300);
    spec.access_log = access_log;
    Site {
        gateway: spec.start(),
        upstream,
    }
}

/// The one event of a request, once it is there.
fn event(zone: &Zone<'_>, request_id: &str) -> Value {
    let mut found = eventually(&format!("evidence of {request_id}"), || {
        let found = zone.audit(&format!("request_id={request_id}"));
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn every_decision_is_in_the_ledger_once_though_the_sts_is_killed_again_and_again() {
    let mut sts = Sts::start();
    let (site, mandate, id) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        let mandate = zone.mint(&application, "demo:read");
        (
            site(&zone, 4, json!({"flush_ms": 20}), None),
            mandate,
            zone.id,
        )
    };
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    let sent = AtomicU64::new(0);
    let load = Load::default();
    thread::scope(|scope| {
        for client in 0..4 {
            let (load, sent, mandate) = (&load, &sent, &mandate);
            let address = site.gateway.address();
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                load.run(|| {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let request = Request::get("/demo/items")
                        .header("x-request-id", &format!("load-{client}-{number}"));
                    // Every seventh has no mandate.
                    let request = match number % 7 {
                        0 => request,
                        _ => request.bearer(mandate),
                    };
                    let response = connection.exchange(&request).unwrap();
                    assert!(matches!(response.status, 200 | 401), "{response}");
                });
            });
        }
        let _ending = load.ending();
        for round in 1..=3 {
            let so_far = sent.load(Ordering::Relaxed);
            eventually("some load", || {
                load.check();
                (sent.load(Ordering::Relaxed) > so_far + 300).then_some(())
            });
            sts.stop();
            let so_far = sent.load(Ordering::Relaxed);
            eventually("some load without an STS", || {
                load.check();
                (sent.load(Ordering::Relaxed) > so_far + 300 * round).then_some(())
            });
            sts.resume();
        }
    });
    let sent = sent.load(Ordering::Relaxed);
    let zone = sts.known_zone(&id, "demo");
    let found = eventually("all of it has arrived", || {
        let found = zone.audit("event_type=gateway_request");
        let of_load = |event: &&Value| event["request_id"].as_str().unwrap().starts_with("load-");
        let count = u64::try_from(found.iter().filter(of_load).count()).unwrap();
        assert!(count <= sent, "{count} of {sent}");
        (count == sent).then_some(found)
    });
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for event in &found {
        *times
            .entry(event["request_id"].as_str().unwrap())
            .or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1));
    let denied = found.iter().filter(|event| event["decision"] == "deny");
    let denied = u64::try_from(
        denied
            .filter(|event| event["reason"] == "token_missing")
            .count(),
    );
    assert_eq!(denied.unwrap(), sent.div_ceil(7));
    assert!(zone.audit("event_type=audit_gap").is_empty());
    verify(&sts, "demo");
}

/// As an auditor does it, with the command line.
fn verify(sts: &Sts, zone: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (file, keys) = (
        dir.path().join("export.jsonl"),
        dir.path().join("keys.json"),
    );
    let run = |arguments: &[&str]| {
        let done = Command::new(parts::caracal())
            .args(arguments)
            .args(["--data-dir".as_ref(), sts.data_dir().as_os_str()])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {told}");
        String::from_utf8(done.stdout).unwrap()
    };
    let (file, keys) = (file.to_str().unwrap(), keys.to_str().unwrap());
    run(&[
        "audit", "export", "--zone", zone, "--to", file, "--keys", keys,
    ]);
    let told = run(&["audit", "verify", file, "--keys", keys]);
    assert!(told.contains("unaltered"), "{told}");
}

#[test]
fn an_event_tells_who_called_what_and_by_which_policy() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let line = json!({
        "request": "%REQ(X-REQUEST-ID)%",
        "status": "%RESPONSE_CODE%",
        "caracal": "%FILTER_STATE(wasm.caracal:PLAIN)%",
    });
    let site = site(&zone, 1, json!({"filter_state": true}), Some(line));
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let call = |id: &str| {
        Request::get("/demo/items?secret=of-the-query")
            .header("x-request-id", id)
            .header("traceparent", traceparent)
    };
    site.allowed(call("told-allow").bearer(&mandate));
    let allowed = event(&zone, "told-allow");
    let claims = |name: &str| {
        let payload = mandate.split('.').nth(1).unwrap();
        use base64ct::{Base64UrlUnpadded, Encoding};
        let claims: Value =
            serde_json::from_slice(&Base64UrlUnpadded::decode_vec(payload).unwrap()).unwrap();
        claims[name].clone()
    };
    for name in ["client_id", "sub", "sid", "root_sid", "jti", "use"] {
        assert_eq!(allowed[name], claims(name), "{name}");
    }
    for (name, value) in [
        ("event_type", json!("gateway_request")),
        ("decision", json!("allow")),
        ("evaluation_status", json!("complete")),
        ("resource", json!("resource://demo")),
        ("method", json!("GET")),
        ("path", json!("/demo/items")),
        ("traceparent", json!(traceparent)),
        (
            "determining_policies_json",
            json!([{"id": "caracal-direct-use"}]),
        ),
    ] {
        assert_eq!(allowed[name], value, "{name}");
    }
    let manifest = allowed["manifest_sha"].as_str().unwrap();
    assert!(manifest.starts_with("sha256:") && manifest.len() == 71);
    assert!(allowed["policy_set_version_id"].is_string() && allowed["gateway_id"].is_string());
    let all = allowed.to_string();
    assert!(!all.contains("of-the-query") && !all.contains(&mandate));

    // Without a good mandate nothing that it says is repeated.
    let forged = format!("{mandate}x");
    let response = site.send(call("told-deny").bearer(&forged)).0;
    assert_eq!(response.status, 401);
    let denied = event(&zone, "told-deny");
    assert_eq!(denied["decision"], "deny");
    assert_eq!(denied["reason"], response.json()["reason"]);
    assert_eq!(
        (&denied["client_id"], &denied["jti"]),
        (&Value::Null, &Value::Null)
    );

    let line = eventually("the access log", || {
        let lines = site.gateway.access_log();
        lines
            .into_iter()
            .find(|line| line["request"] == "told-allow")
    });
    let carried: Value = serde_json::from_str(line["caracal"].as_str().unwrap()).unwrap();
    for name in [
        "id",
        "decision",
        "client_id",
        "jti",
        "policy_set_version_id",
        "path",
    ] {
        assert_eq!(carried[name], allowed[name], "{name}");
    }
}

#[test]
fn without_room_for_evidence_nothing_is_decided_and_the_gap_is_told() {
    let mut sts = Sts::start();
    let (site, mandate, id) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        let mandate = zone.mint(&application, "demo:read");
        let audit = json!({"buffer_events": 100, "on_overflow": "deny"});
        (site(&zone, 1, audit, None), mandate, zone.id)
    };
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);
    eventually("the buffer is empty", || {
        let zone = sts.known_zone(&id, "demo");
        (!zone
            .audit("event_type=gateway_request&decision=allow")
            .is_empty())
        .then_some(())
    });
    thread::sleep(std::time::Duration::from_millis(500));
    sts.stop();
    // Strangers fill half of the room, and not what belongs to those with a mandate.
    let mut stranger = 0;
    while site.send(Request::get("/demo/items")).0.status == 401 {
        stranger += 1;
        assert!(stranger <= 50, "strangers fill more than half");
    }
    let mut allowed = 0;
    while site.send(call()).0.status == 200 {
        allowed += 1;
        assert!(allowed <= 60, "more is decided than there is evidence of");
    }
    for _ in 0..10 {
        site.refused(call(), &unavailable("audit_unavailable"));
    }
    sts.resume();
    site.until_allowed(call);
    let zone = sts.known_zone(&id, "demo");
    // One of the strangers, one that ended the second loop, ten after that, and those before it recovered.
    let gaps = eventually("the gap is told", || {
        let gaps = zone.audit("event_type=audit_gap");
        let missed = gaps
            .iter()
            .filter_map(|gap| gap["metadata_json"]["requests"].as_u64());
        (missed.sum::<u64>() >= 12).then_some(gaps)
    });
    for gap in gaps.iter().map(|gap| &gap["metadata_json"]) {
        assert_eq!(gap["answered"], "audit_unavailable");
        assert!(gap["since"].as_str() <= gap["until"].as_str(), "{gap}");
    }
    let found = zone
        .audit("event_type=gateway_request&decision=allow")
        .len();
    assert!(found >= allowed, "{found} of {allowed}");
    verify(&sts, "demo");
}

#[test]
fn a_gateway_that_may_drop_goes_on_and_tells_how_much_it_dropped() {
    let mut sts = Sts::start();
    let (site, mandate, id) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        let mandate = zone.mint(&application, "demo:read");
        let audit = json!({"buffer_events": 100, "on_overflow": "drop"});
        (site(&zone, 1, audit, None), mandate, zone.id)
    };
    let call = |number: u64| {
        Request::get("/demo/items")
            .bearer(&mandate)
            .header("x-request-id", &format!("call-{number}"))
    };
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    sts.stop();
    for number in 0..250 {
        site.allowed(call(number));
    }
    sts.resume();
    let zone = sts.known_zone(&id, "demo");
    let found = eventually("what was kept and what was dropped", || {
        let kept = zone.audit("event_type=gateway_request&decision=allow");
        let of_calls = |event: &&Value| event["request_id"].as_str().unwrap().starts_with("call-");
        let kept = u64::try_from(kept.iter().filter(of_calls).count()).unwrap();
        let gaps = zone.audit("event_type=audit_gap");
        let dropped: u64 = gaps
            .iter()
            .filter_map(|gap| gap["metadata_json"]["requests"].as_u64())
            .sum();
        (kept + dropped >= 250).then_some((kept, dropped))
    });
    assert!(found.0 <= 100 && found.0 + found.1 <= 255, "{found:?}");
}

#[test]
fn of_a_hot_resource_the_ledger_says_how_many_calls_an_event_stands_for() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let audit = json!({"sample_allows": [{"resource": "resource://demo", "one_in": 10}]});
    let site = site(&zone, 1, audit, None);
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    for _ in 0..100 {
        site.allowed(Request::get("/demo/items").bearer(&mandate));
    }
    for _ in 0..5 {
        let denied = Request::new("POST", "/demo/items").bearer(&mandate);
        assert_eq!(site.send(denied).0.status, 403);
    }
    eventually("every denial and one in ten of the others", || {
        let denied = zone.audit("reason=scope_missing&event_type=gateway_request");
        let allowed = zone.audit("decision=allow&event_type=gateway_request");
        assert!(allowed.iter().all(|event| event["stands_for"] == 10));
        assert!(denied.iter().all(|event| event["stands_for"].is_null()));
        (denied.len() == 5 && allowed.len() >= 10).then_some(())
    });
}

#[test]
fn a_stream_that_is_cut_is_on_record_as_let_pass_and_as_cut() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let site = zone.site(1);
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));
    let mut connection = Connection::open(site.gateway.address()).unwrap();
    let flow = Request::get("/demo/items?events")
        .bearer(&mandate)
        .header("x-request-id", "a-flow");
    assert_eq!(connection.begin(&flow).unwrap(), 200);
    let revoked = json!({"anchor_type": "client_id", "id": application.id});
    zone.admin("POST", "/revocations", &revoked).ok();
    connection.until_cut();
    let found = eventually("both are told", || {
        let found = zone.audit("request_id=a-flow");
        (found.len() == 2).then_some(found)
    });
    assert_eq!(
        (&found[0]["decision"], &found[0]["action"]),
        (&json!("allow"), &Value::Null)
    );
    assert_eq!(
        (&found[1]["reason"], &found[1]["action"]),
        (&json!("token_revoked"), &json!("cut"))
    );
    assert_eq!(found[0]["jti"], found[1]["jti"]);
}
