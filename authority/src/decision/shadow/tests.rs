//! The account of disagreements: complete in its counts, bounded in what it lists.

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;

fn disagreement(path: &str) -> Disagreement {
    Disagreement {
        moment: Moment::Request,
        client_id: Text::cut("app-1"),
        resource: Text::cut("resource://demo"),
        method: Some(Text::cut("GET")),
        path: Some(Text::cut(path)),
        enforced: Verdict::Allow,
        shadow: Verdict::deny("too_late"),
    }
}

fn different(path: &str) -> ShadowVerdict {
    ShadowVerdict::Different(Box::new(disagreement(path)))
}

#[test]
fn what_is_past_the_bound_is_counted_and_not_listed() {
    let mut tally = Tally::listing(2);
    assert_eq!(tally.take(), None);
    for path in ["/a", "/b", "/c", "/a"] {
        tally.add("v1", different(path));
    }
    tally.add("v1", ShadowVerdict::Same);
    let report = tally.take().unwrap();
    assert_eq!((report.same, report.different), (1, 4));
    let counts: Vec<u64> = report.rows.iter().map(|row| row.count).collect();
    assert_eq!(counts, [2, 1]);
    assert_eq!(tally.take(), None);
}

#[test]
fn an_undelivered_report_is_counted_again_but_not_for_another_shadow() {
    let mut tally = Tally::listing(2);
    tally.add("v1", different("/a"));
    let report = tally.take().unwrap();
    tally.add("v1", different("/a"));
    tally.put_back(report.clone());
    assert_eq!(tally.take().unwrap().rows[0].count, 2);
    tally.add("v2", ShadowVerdict::Same);
    tally.put_back(report);
    let newer = tally.take().unwrap();
    assert_eq!((newer.version_id.as_str(), newer.different), ("v2", 0));
}

#[test]
fn a_report_goes_over_the_wire_within_its_bounds() {
    let mut tally = Tally::listing(8);
    tally.add("v1", different(&"/é".repeat(400)));
    let report = tally.take().unwrap();
    let path = report.rows[0].disagreement.path.as_ref().unwrap();
    assert!(path.as_str().len() <= MAX_PATH_BYTES && path.as_str().ends_with(['/', 'é']));
    let mut wire = serde_json::to_value(&report).unwrap();
    assert_eq!(
        wire["rows"][0]["shadow"],
        serde_json::json!({"decision": "deny", "reason": "too_late"})
    );
    assert_eq!(
        serde_json::from_value::<Report>(wire.clone()).unwrap(),
        report
    );
    wire["rows"][0]["client_id"] = "x".repeat(MAX_NAME_BYTES + 1).into();
    assert!(serde_json::from_value::<Report>(wire).is_err());
}
