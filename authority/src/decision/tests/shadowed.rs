//! A shadow policy beside the one in force: it changes nothing and is compared with all that is decided.

use base64ct::{Base64, Encoding};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::bundle::BundlePolicy;

fn bundle_policy(source: &str, version: &str) -> BundlePolicy {
    let module = Module {
        name: "policy.rego".to_owned(),
        source: source.to_owned(),
    };
    let compiled = compile(&[module]).unwrap_or_else(|errors| panic!("{errors:?}"));
    BundlePolicy::new("set-1".into(), version.into(), "00".to_owned(), &compiled)
}

fn shadowed(policy: Option<&str>, shadow: BundlePolicy) -> Snapshot {
    let binding = BindingSpec {
        identifier: DEMO.to_owned(),
        hosts: vec!["*".to_owned()],
        path_prefix: "/demo/".to_owned(),
    };
    let mut bundle = bundle();
    bundle.policy = policy.map(|source| bundle_policy(source, "enforced"));
    bundle.shadow = Some(shadow);
    use_clock();
    Snapshot::from_bundle(bundle, Bindings::new(vec![binding]).unwrap(), None).unwrap()
}

fn judged(policy: Option<&str>, shadow: &str) -> (Decision, Option<ShadowVerdict>) {
    let mut snapshot = shadowed(policy, bundle_policy(shadow, "shadow"));
    read()
        .to("GET", "/demo/items/7?secret=1")
        .judged_at(&mut snapshot, NOW)
}

fn result(decision: &str, reason: &str) -> String {
    authored(&format!(
        r#"result := {{"decision": "{decision}", "evaluation_status": "complete", "determining_policies": [],
        "diagnostics": [{{"reason": "{reason}"}}]}}"#
    ))
}

#[test]
fn a_shadow_changes_no_decision_and_says_where_it_differs() {
    let endless = authored(
        "r := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\nresult := count([1 | some a in r; some b in r; some c in r; some d in r; some e in r; some f in r])",
    );
    let undefined = authored("result := 1 if input.never");
    let (yes, no) = (result("allow", "fine"), result("deny", "closed"));
    // What the policy does not ask for.
    let reads = format!("{} if input.context.subject_claims.scope", yes.trim_end());
    for (policy, shadow, expected) in [
        (&yes, &result("allow", "otherwise"), None),
        (&no, &result("deny", "closed"), None),
        (&yes, &reads, None),
        (&yes, &no, Some((Verdict::Allow, Verdict::deny("closed")))),
        (&no, &yes, Some((Verdict::deny("closed"), Verdict::Allow))),
        (
            &no,
            &result("deny", "other"),
            Some((Verdict::deny("closed"), Verdict::deny("other"))),
        ),
        (
            &yes,
            &endless,
            Some((Verdict::Allow, Verdict::deny("policy_eval_failed"))),
        ),
        (
            &yes,
            &undefined,
            Some((Verdict::Allow, Verdict::deny("policy_undefined"))),
        ),
        (&undefined, &undefined, None),
    ] {
        let (decision, verdict) = judged(Some(policy), shadow);
        assert_eq!(matches!(decision, Decision::Allow(_)), policy == &yes);
        match (verdict.unwrap(), expected) {
            (ShadowVerdict::Same, None) => {}
            (ShadowVerdict::Different(row), Some((enforced, shadow))) => {
                assert_eq!((&row.enforced, &row.shadow), (&enforced, &shadow));
                assert_eq!(row.client_id.as_str(), APP);
                assert_eq!(row.resource.as_str(), DEMO);
                assert_eq!(row.method.as_ref().unwrap().as_str(), "GET");
                assert_eq!(row.path.as_ref().unwrap().as_str(), "/demo/items/7");
            }
            (verdict, expected) => panic!("{verdict:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn a_shadow_is_compared_even_where_nothing_is_in_force() {
    let (decision, verdict) = judged(None, &result("allow", "fine"));
    denied("nothing in force", decision, Reason::NoActivePolicySet);
    let Some(ShadowVerdict::Different(row)) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(row.enforced, Verdict::deny("no_active_policy_set"));
}

#[test]
fn a_shadow_is_not_asked_about_what_no_policy_decides() {
    let mut snapshot = shadowed(Some(DATA), bundle_policy(DATA, "shadow"));
    assert_eq!(
        snapshot.shadow_origin().unwrap().policy_set_version_id,
        "shadow"
    );
    let (decision, verdict) = read()
        .to("POST", "/demo/items")
        .judged_at(&mut snapshot, NOW);
    denied("write", decision, Reason::ScopeMissing);
    assert!(verdict.is_none());
    let (_, verdict) = read().authorized_by(&[]).judged_at(&mut snapshot, NOW);
    assert!(verdict.is_none());
}

#[test]
fn a_shadow_that_cannot_be_used_costs_nothing_else() {
    let mut broken = bundle_policy(DATA, "shadow");
    broken.program = Base64::encode_string(b"not bytecode");
    let mut foreign = bundle_policy(DATA, "shadow");
    foreign.compiler = "regorus-0.1/rvm-1".to_owned();
    for shadow in [broken, foreign] {
        let mut snapshot = shadowed(Some(DATA), shadow);
        assert!(snapshot.shadow_origin().is_none() && snapshot.shadow_error().is_some());
        let (decision, verdict) = read().judged_at(&mut snapshot, NOW);
        allowed("read", decision);
        assert!(verdict.is_none());
    }
}
