//! What a policy said before and need not be asked again, and what it has to be.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

const RESULT: &str = r#"{"evaluation_status": "complete", "determining_policies": [{"id": "p"}], "diagnostics": [{"reason": "own"}]}"#;

/// A policy that allows where `condition` holds.
fn only_if(condition: &str) -> String {
    authored(&format!(
        r#"default decision := "deny"
decision := "allow" if {{ {condition} }}
result := object.union({RESULT}, {{"decision": decision}})"#
    ))
}

fn is_allow(outcome: (Result<Permit, Reason>, bool)) -> (bool, bool) {
    let (outcome, repeated) = outcome;
    if let Err(reason) = &outcome {
        assert_eq!(*reason, own("own"));
    }
    (outcome.is_ok(), repeated)
}

#[test]
fn a_policy_is_asked_once_about_calls_that_look_the_same_to_it() {
    let policy = only_if(
        r#"input.action.method == "GET"; "read" in split(input.context.subject_claims.scope, " ")"#,
    );
    let mut snapshot = snapshot_with(Some(&policy));
    let call = Call::with(json!({"scope": "read write"}));
    let mut asked = |call: &Call| is_allow(call.repeated_by(&mut snapshot));
    assert_eq!(asked(&call), (true, false));
    assert_eq!(asked(&call), (true, true));
    // Another path and query, and the same operation.
    assert_eq!(
        asked(&call.clone().to("GET", "/demo/items?page=2")),
        (true, true)
    );
    // Another operation, whose refusal is known afterwards as well.
    let write = call.clone().to("POST", "/demo/items");
    assert_eq!(asked(&write), (false, false));
    assert_eq!(asked(&write), (false, true));
    // Another operation that looks the same to it.
    let seventh = call.clone().to("GET", "/demo/items/7");
    assert_eq!(asked(&seventh), (true, true));
    // Another mandate that looks the same to it, and one that does not.
    let another = |jti, scope| Call::with(json!({"jti": jti, "scope": scope}));
    assert_eq!(asked(&another("jti-2", "read write")), (true, true));
    assert_eq!(asked(&another("jti-3", "read")), (true, false));
    assert_eq!(asked(&another("jti-4", "read")), (true, true));
}

#[test]
fn mandates_that_differ_in_what_is_read_are_asked_about_each() {
    let seventh = json!({
        "sub": "seventh", "jti": "jti-7", "agent_session_id": "s-7", "tier": 7, "act": {"sub": "agent"},
    });
    for (condition, other) in [
        (
            r#"input.context.subject_claims.sub == "seventh""#,
            json!({"sub": "eighth"}),
        ),
        (
            r#"input.context.subject_claims.jti == "jti-7""#,
            json!({"jti": "jti-8"}),
        ),
        ("input.context.subject_claims.tier == 7", json!({"tier": 8})),
        (
            "input.context.subject_claims.tier == 7",
            json!({"tier": "7"}),
        ),
        (
            "input.context.subject_claims.tier == 7",
            json!({"tier": [7]}),
        ),
        (
            "input.context.subject_claims.tier == 7",
            json!({"tier": null}),
        ),
        (
            r#"input.context.subject_claims.act.sub == "agent""#,
            json!({"act": {"sub": "agent "}}),
        ),
        (
            r#"input.context.subject_claims.act == {"sub": "agent"}"#,
            json!({"act": {"sub": "agent", "also": {}}}),
        ),
        // The same text in the place of something else.
        (
            "count({x | some x in [input.context.agent_session_id]} - {x | some x in [input.context.delegation_edge_id]}) == 1",
            json!({"agent_session_id": null, "delegation_edge_id": "s-7"}),
        ),
    ] {
        let mut snapshot = snapshot_with(Some(&only_if(condition)));
        let mut claims = seventh.clone();
        let yes = Call::with(claims.clone());
        let members = other.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(members);
        let no = Call::with(claims);
        for repeated in [false, true] {
            for (call, allows) in [(&yes, true), (&no, false)] {
                let outcome = is_allow(call.repeated_by(&mut snapshot));
                assert_eq!(outcome, (allows, repeated), "{condition} {other}");
            }
        }
    }
}

#[test]
fn what_is_said_of_one_resource_does_not_count_for_another() {
    let policy = only_if(r#"input.resource.identifier == "resource://demo""#);
    let mut snapshot = snapshot_with(Some(&policy));
    for repeated in [false, true] {
        assert_eq!(
            is_allow(read().repeated_by(&mut snapshot)),
            (true, repeated)
        );
        assert_eq!(
            is_allow(rpc().to("POST", "/mcp").repeated_by(&mut snapshot)),
            (false, repeated)
        );
    }
}

#[test]
fn a_policy_that_reads_what_is_the_calls_own_is_asked_about_each_that_differs() {
    let item = |target| read().to("GET", target);
    let (seventh, eighth) = (item("/demo/items/7"), item("/demo/items/8"));
    let here = "gateway.example.com:8081";
    for (condition, no, comes_again) in [
        (r#"input.action.path == "/demo/items/7""#, &eighth, true),
        (r#"input["action"].path == "/demo/items/7""#, &eighth, false),
        (
            r#"some name, value in input.action; name == "path"; value == "/demo/items/7""#,
            &eighth,
            true,
        ),
        (r#"own(input)"#, &eighth, false),
        (
            r#"action := input.action; action.path == "/demo/items/7""#,
            &eighth,
            true,
        ),
        (
            &format!(r#"input.action.host == "{here}""#),
            &seventh.clone().at("other.example.com"),
            true,
        ),
        (
            &format!(r#"input.action.host == "{here}"; input.context.time > 0"#),
            &seventh.clone().at("other.example.com"),
            false,
        ),
    ] {
        let helper = r#"own(all) if all.action.path == "/demo/items/7""#;
        let mut snapshot = snapshot_with(Some(&format!("{}\n{helper}", only_if(condition))));
        let mut asked = |call: &Call| is_allow(call.repeated_by(&mut snapshot));
        for repeated in [false, comes_again] {
            assert_eq!(asked(&seventh), (true, repeated), "{condition}");
            assert_eq!(asked(no), (false, repeated), "{condition}");
        }
    }
}

#[test]
fn what_another_policy_said_does_not_count() {
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, false));
    assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, true));
    let mut next = snapshot_with(Some(&only_if("false")));
    next.keep_mandates(100, TAG_KEY, Some(snapshot));
    assert_eq!(next.cached_mandates(), 1);
    assert_eq!(is_allow(read().repeated_by(&mut next)), (false, false));
    assert_eq!(is_allow(read().repeated_by(&mut next)), (false, true));
}

#[test]
fn what_the_policy_before_said_does_not_count() {
    for condition in ["true", r#"startswith(input.action.path, "/")"#] {
        let mut snapshot = snapshot_with(Some(&only_if(condition)));
        for repeated in [false, true] {
            let asked = read().repeated_by(&mut snapshot);
            assert_eq!(is_allow(asked), (true, repeated));
        }
        let narrow = Module {
            name: "policy.rego".to_owned(),
            source: only_if(&format!("not {condition}")),
        };
        let compiled = compile(&[narrow]).unwrap();
        snapshot
            .set_policy(PolicyOrigin::default(), &compiled)
            .unwrap();
        for repeated in [false, true] {
            let asked = read().repeated_by(&mut snapshot);
            assert_eq!(is_allow(asked), (false, repeated), "{condition}");
        }
    }
}

#[test]
fn what_is_known_spares_no_other_check() {
    let mut snapshot = snapshot_with(Some(&only_if("true")));
    for _ in 0..2 {
        allowed("known", read().decided_by(&mut snapshot));
    }
    let revoked = revoking(&[(AnchorKind::Jti, "jti-1")]);
    let refused = read().judged_with(&mut snapshot, &revoked, NOW).0;
    denied("revoked", refused, Reason::TokenRevoked);
    let refused = read().to("POST", "/demo/items").decided_by(&mut snapshot);
    denied("another scope", refused, Reason::ScopeMissing);
    let refused = read().decided_at(&mut snapshot, NOW.plus(960));
    denied("expired", refused, Reason::TokenExpired);
}

#[test]
fn the_number_of_answers_that_are_kept_of_a_mandate_is_bounded() {
    let known = Known::default();
    let question = |method| Question {
        snapshot: 1,
        resource: 2,
        method,
        operation: None,
    };
    let said = || Said {
        refusal: None,
        evaluated: Arc::default(),
    };
    let methods = ["A", "B", "C", "D", "E", "F", "G", "H"];
    for method in methods {
        assert!(known.answer(&question(method)).is_none());
        known.keep(&question(method), said());
    }
    assert!(
        methods
            .iter()
            .all(|method| known.answer(&question(method)).is_some())
    );
    known.keep(&question("ONE-MORE"), said());
    assert!(
        known.answer(&question("A")).is_none(),
        "the oldest made room"
    );
    assert!(known.answer(&question("H")).is_some());
    let long = "METHOD-OF-MORE-THAN-THIRTY-TWO-BYTES";
    known.keep(&question(long), said());
    assert!(known.answer(&question(long)).is_none());
}

#[test]
fn what_is_known_of_a_mandate_answers_the_same_question_only() {
    let question = Question {
        snapshot: 1,
        resource: 2,
        method: "GET",
        operation: Some(3),
    };
    let known = Known::default();
    let said = Said {
        refusal: Some(Reason::ScopeMissing),
        evaluated: Arc::default(),
    };
    known.keep(&question, said);
    let answer = known.answer(&question).unwrap();
    assert_eq!(answer.refusal, Some(Reason::ScopeMissing));
    for other in [
        Question {
            snapshot: 2,
            ..question
        },
        Question {
            resource: 3,
            ..question
        },
        Question {
            method: "HEAD",
            ..question
        },
        Question {
            operation: Some(2),
            ..question
        },
        Question {
            operation: None,
            ..question
        },
    ] {
        assert!(known.answer(&other).is_none(), "{other:?}");
    }
}

#[test]
fn the_number_of_answers_that_are_kept_of_a_policy_is_bounded() {
    let policy = only_if("input.action.path");
    let mut snapshot = snapshot_with(Some(&policy));
    // As many as mandates are kept, of which there is room for a hundred.
    let mut repeated = |number: usize| {
        let path = format!("/mcp/{number}").leak();
        is_allow(rpc().to("GET", path).repeated_by(&mut snapshot)).1
    };
    for number in 0..200 {
        assert!(!repeated(number), "{number}");
    }
    assert!(repeated(199) && repeated(100) && !repeated(0));
}

#[test]
fn what_a_caller_or_a_policy_makes_long_is_not_kept() {
    let mut snapshot = snapshot_with(Some(&only_if("input.action.path")));
    let long = format!("/mcp/{}", "x".repeat(5_000)).leak();
    for _ in 0..2 {
        let asked = rpc().to("GET", long).repeated_by(&mut snapshot);
        assert_eq!(is_allow(asked), (true, false));
    }
    let remark = "x".repeat(1_100);
    let talkative = authored(&format!(
        r#"result := {{"decision": "allow", "evaluation_status": "complete", "determining_policies": [],
        "diagnostics": [{{"remark": "{remark}"}}]}}"#
    ));
    let mut snapshot = snapshot_with(Some(&talkative));
    for _ in 0..2 {
        assert_eq!(is_allow(read().repeated_by(&mut snapshot)), (true, false));
    }
}

#[test]
fn mandates_share_what_is_said_of_them_where_it_is_the_same() {
    let policy = authored(
        r#"result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [],
	"diagnostics": [{"method": input.action.method}]}"#,
    );
    let mut snapshot = snapshot_with(Some(&policy));
    let mut said = |jti: &str, method: &'static str| {
        let call = Call::with(json!({"scope": "read write", "jti": jti})).to(method, "/demo/items");
        let (outcome, account) = call.accounted_by(&mut snapshot);
        assert!(outcome.is_ok(), "{outcome:?}");
        let evaluated = account.evaluated.unwrap();
        assert_eq!(json!(evaluated.diagnostics), json!([{"method": method}]));
        evaluated
    };
    let (first, second) = (said("jti-1", "GET"), said("jti-2", "GET"));
    assert!(Arc::ptr_eq(&first, &second));
    // Another answer takes no one's place.
    assert!(!Arc::ptr_eq(&first, &said("jti-1", "POST")));
    assert!(Arc::ptr_eq(&first, &said("jti-1", "GET")));
    said("jti-3", "GET");
}
