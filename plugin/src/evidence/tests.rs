use serde_json::Value;

use super::{held::MOST_BYTES, *};

const NOW: Millis = 1_790_000_000_000;

fn evidence(buffer_events: usize, on_overflow: OnOverflow) -> Evidence {
    let settings = Audit {
        buffer_events,
        on_overflow,
        ..Audit::default()
    };
    Evidence::new(settings, b"worker 1")
}

fn account(request: &str) -> Rc<Account> {
    Rc::new(Account {
        request_id: request.to_owned(),
        method: "GET".to_owned(),
        path: Some("/demo/items".to_owned()),
        resource: Some("resource://demo".to_owned()),
        ..Account::default()
    })
}

fn add(evidence: &mut Evidence, request: &str, reason: Option<&str>) -> Result<bool, NoRoom> {
    let nanos = NOW * 1_000_000;
    evidence
        .add(
            Some(&zone()),
            account(request),
            reason,
            false,
            (nanos - 7_000, nanos),
        )
        .map(|decided| decided.is_some())
}

fn events(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["events"].as_array().unwrap().clone()
}

fn zone() -> ZoneId {
    ZoneId::from("zone-1")
}

/// The next batch once it is due, as if it were sent under `call`.
fn send(evidence: &mut Evidence, call: u32, now: Millis) -> Vec<Value> {
    evidence.batch(&zone(), now);
    let (body, count) = evidence.batch(&zone(), now + 1_000).unwrap();
    let events = events(&body);
    drop(body);
    evidence.sent(call, count);
    events
}

fn requests(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["request_id"].as_str())
        .collect()
}

#[test]
fn what_was_decided_is_held_until_the_sts_has_it() {
    let mut evidence = evidence(10, OnOverflow::Deny);
    assert!(evidence.batch(&zone(), NOW).is_none());
    add(&mut evidence, "r1", Some("token_missing")).unwrap();
    assert!(evidence.batch(&zone(), NOW).is_none(), "waits for more");
    assert!(evidence.batch(&zone(), NOW + 199).is_none());
    let first = send(&mut evidence, 1, NOW);
    assert_eq!(requests(&first), ["r1"]);
    assert_eq!(first[0]["reason"], "token_missing");
    assert_eq!(first[0]["latency_us"], 7);
    add(&mut evidence, "r2", Some("token_missing")).unwrap();
    assert!(
        evidence.batch(&zone(), NOW + 9_000).is_none(),
        "one at a time"
    );
    assert_eq!(evidence.answered(9, 200, NOW), None);
    // Not there: the same again, and then what came since.
    assert_eq!(evidence.answered(1, 503, NOW), Some(Settled::default()));
    let again = send(&mut evidence, 2, NOW + 9_000);
    assert_eq!(again, first);
    let settled = evidence.answered(2, 200, NOW).unwrap();
    assert_eq!((settled.sent, evidence.backlog()), (1, 1));
    let next = send(&mut evidence, 3, NOW + 19_000);
    assert_eq!(requests(&next), ["r2"]);
    let settled = evidence.answered(3, 200, NOW).unwrap();
    assert_eq!((settled.sent, evidence.backlog()), (1, 0));
    assert!(evidence.batch(&zone(), NOW + 99_000).is_none());
}

#[test]
fn what_was_decided_before_the_zone_was_known_is_told_with_the_rest() {
    let mut evidence = evidence(10, OnOverflow::Deny);
    for (zone, request) in [(None, "r1"), (Some(zone()), "r2")] {
        let span = (NOW * 1_000_000, NOW * 1_000_000);
        let taken = evidence.add(zone.as_ref(), account(request), None, false, span);
        assert!(matches!(taken, Ok(Some(_))));
    }
    let sent = send(&mut evidence, 1, NOW);
    assert_eq!(requests(&sent), ["r1", "r2"]);
    assert!(sent.iter().all(|event| event["zone_id"] == "zone-1"));
    assert_eq!(evidence.answered(1, 200, NOW).unwrap().sent, 2);
}

#[test]
fn past_its_room_a_worker_denies_and_tells_how_often() {
    let mut evidence = evidence(4, OnOverflow::Deny);
    // Strangers fill half of the room and no more.
    for request in ["r1", "r2"] {
        assert_eq!(add(&mut evidence, request, Some("token_missing")), Ok(true));
    }
    assert!(evidence.has_room());
    for _ in 0..3 {
        assert_eq!(add(&mut evidence, "r3", Some("token_missing")), Err(NoRoom));
    }
    let sent = send(&mut evidence, 1, NOW);
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[2]["event_type"], "audit_gap");
    assert_eq!(sent[2]["metadata_json"]["requests"], 3);
    assert_eq!(sent[2]["metadata_json"]["answered"], "audit_unavailable");
    // While that is told, more is missed; it is another gap.
    assert_eq!(add(&mut evidence, "r4", Some("token_missing")), Err(NoRoom));
    evidence.answered(1, 0, NOW);
    let again = send(&mut evidence, 2, NOW + 9_000);
    assert_eq!(again[2], sent[2]);
    evidence.answered(2, 200, NOW).unwrap();
    let next = send(&mut evidence, 3, NOW + 20_000);
    assert_eq!(
        (next.len(), &next[0]["metadata_json"]["requests"]),
        (1, &1.into())
    );
}

#[test]
fn past_its_room_a_worker_that_drops_goes_on() {
    let mut evidence = evidence(2, OnOverflow::Drop);
    assert_eq!(add(&mut evidence, "r1", Some("token_missing")), Ok(true));
    assert_eq!(add(&mut evidence, "r2", Some("token_missing")), Ok(false));
    assert!(evidence.has_room());
    let sent = send(&mut evidence, 1, NOW);
    assert_eq!(sent[1]["metadata_json"]["answered"], "as_decided");
}

#[test]
fn an_event_that_the_sts_does_not_take_holds_up_no_other() {
    let mut evidence = evidence(100, OnOverflow::Deny);
    for request in ["r1", "bad", "r3", "r4"] {
        add(&mut evidence, request, Some("token_missing")).unwrap();
    }
    let (mut taken, mut lost, mut call) = (Vec::new(), 0, 0);
    let mut now = NOW;
    while evidence.backlog() > 0 || evidence.gap.is_some() {
        call += 1;
        now += 10_000;
        let batch = send(&mut evidence, call, now);
        let is_bad = requests(&batch).contains(&"bad");
        evidence
            .answered(call, if is_bad { 400 } else { 200 }, now)
            .unwrap();
        for event in batch.iter().filter(|_| !is_bad) {
            match event["metadata_json"]["requests"].as_u64() {
                Some(requests) => lost += requests,
                None => taken.push(event["request_id"].as_str().unwrap().to_owned()),
            }
        }
    }
    assert_eq!(
        (taken, lost),
        (vec!["r1".to_owned(), "r3".to_owned(), "r4".to_owned()], 1)
    );
}

#[test]
fn of_a_hot_resource_one_in_so_many_allows_has_an_event_and_every_denial() {
    let settings = Audit {
        sampling: vec![Sampling {
            resource: "resource://demo".to_owned(),
            one_in: 3,
        }],
        buffer_events: 100,
        ..Audit::default()
    };
    let mut evidence = Evidence::new(settings, b"worker");
    for number in 0..7 {
        add(&mut evidence, &format!("r{number}"), None).unwrap();
    }
    add(&mut evidence, "no", Some("scope_missing")).unwrap();
    let sent = send(&mut evidence, 1, NOW);
    assert_eq!(requests(&sent), ["r0", "r3", "r6", "no"]);
    assert_eq!(
        (&sent[0]["stands_for"], &sent[3]["stands_for"]),
        (&3.into(), &Value::Null)
    );
}

#[test]
fn enough_for_a_batch_does_not_wait() {
    let mut evidence = evidence(10_000, OnOverflow::Deny);
    for number in 0..ENOUGH {
        assert!(evidence.batch(&zone(), NOW).is_none());
        add(&mut evidence, &number.to_string(), Some("token_missing")).unwrap();
    }
    let (body, count) = evidence.batch(&zone(), NOW).unwrap();
    assert_eq!((count, events(&body).len()), (ENOUGH, ENOUGH));
}

#[test]
fn batches_are_longer_where_much_is_held_and_have_everything_once() {
    let mut evidence = evidence(20_000, OnOverflow::Deny);
    let all: Vec<String> = (0..9_000).map(|number| number.to_string()).collect();
    let (mut sent, mut batches, mut call) = (Vec::new(), Vec::new(), 0);
    let mut more = all.iter();
    // The STS is gone for a while: what it does not answer comes again, and more with it.
    while sent.len() < all.len() {
        for request in more.by_ref().take(if call < 20 { 450 } else { 10 }) {
            add(&mut evidence, request, Some("scope_missing")).unwrap();
        }
        call += 1;
        let now = NOW + Millis::from(call) * 99_000;
        let batch = send(&mut evidence, call, now);
        let taken = call > 15 && !call.is_multiple_of(7);
        evidence.answered(call, if taken { 200 } else { 503 }, now);
        if taken {
            batches.push(batch.len());
            sent.extend(requests(&batch).into_iter().map(str::to_owned));
        }
    }
    assert_eq!((sent, evidence.backlog(), evidence.strangers), (all, 0, 0));
    assert!(batches.contains(&MOST_TOGETHER) && batches.iter().all(|one| *one <= MOST_TOGETHER));
}

#[test]
fn a_batch_is_no_larger_than_the_sts_takes() {
    let mut evidence = evidence(1_000, OnOverflow::Deny);
    let long = "x".repeat(10_000);
    for number in 0..200 {
        let request = format!("{number}{long}");
        add(&mut evidence, &request, Some("scope_missing")).unwrap();
    }
    let mut sent = 0;
    for call in 1..=4 {
        let batch = {
            evidence.batch(&zone(), NOW);
            let (body, _) = evidence.batch(&zone(), NOW + 1_000).unwrap();
            assert!(body.len() <= MOST_BYTES, "{}", body.len());
            events(&body).len()
        };
        // Of shorter ones there would be more together.
        assert!(batch < ENOUGH, "{batch}");
        evidence.sent(call, batch);
        evidence.answered(call, 200, NOW);
        sent += batch;
        if evidence.backlog() == 0 {
            break;
        }
    }
    assert_eq!((sent, evidence.backlog()), (200, 0));
}

#[test]
fn what_comes_while_a_gap_is_told_of_is_sent_next() {
    let mut evidence = evidence(4, OnOverflow::Deny);
    for request in ["r1", "r2", "missed"] {
        let _ = add(&mut evidence, request, Some("token_missing"));
    }
    let first = send(&mut evidence, 1, NOW);
    assert_eq!(
        (requests(&first)[..2].to_vec(), first.len()),
        (vec!["r1", "r2"], 3)
    );
    // They leave room for others, of which one comes before the answer.
    evidence.settings.buffer_events = 100;
    add(&mut evidence, "r3", Some("token_missing")).unwrap();
    assert_eq!(evidence.answered(1, 200, NOW).unwrap().sent, 2);
    add(&mut evidence, "r4", Some("token_missing")).unwrap();
    let next = send(&mut evidence, 2, NOW + 9_000);
    assert_eq!(requests(&next), ["r3", "r4"]);
    assert_eq!(evidence.answered(2, 200, NOW).unwrap().sent, 2);
    assert_eq!((evidence.backlog(), evidence.strangers), (0, 0));
}

#[test]
fn ids_are_uuids_of_their_time_and_no_two_are_the_same() {
    let (mut one, mut other) = (Ids::new(b"1"), Ids::new(b"2"));
    let at = OccurredAt(NOW * 1_000);
    let ids: Vec<String> = (0..1_000)
        .flat_map(|_| [one.next(at), other.next(at)])
        .collect();
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    for id in ids {
        assert_eq!(id.len(), 36);
        assert!(id.starts_with("01a0c450-6c00-7"), "{id}");
        assert!(
            matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
            "{id}"
        );
    }
}
