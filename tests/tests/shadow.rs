//! A shadow policy at a real gateway and a real STS: it changes no answer, and where it disagrees is
//! listed.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use e2e::{
    eventually,
    http::{Connection, Request},
    mandates::{RESOURCE, grants},
    refusals::denied,
    site::Site,
    sts::{Sts, Zone},
};
use serde_json::{Value, json};

/// What the gateway counted of shadow decisions.
fn counted(site: &Site, agreement: &str) -> u64 {
    let name = format!("caracal_shadow_decisions.agreement.{agreement}");
    let stats = site.gateway.stats("caracal_shadow_decisions");
    let own = stats.iter().filter(|(own, _)| own.contains(&name));
    own.map(|(_, count)| count).sum()
}

fn account(zone: &Zone<'_>) -> Value {
    zone.admin("GET", "/shadow", &Value::Null).ok()
}

fn rows<'a>(account: &'a Value, moment: &str) -> Vec<&'a Value> {
    let items = account["items"].as_array().unwrap();
    let own = items.iter().filter(|item| item["moment"] == moment);
    own.collect()
}

#[test]
fn a_shadow_that_disagrees_changes_no_answer_and_its_disagreements_are_listed_from_both_sides() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let narrow = grants(&application.id, &[RESOURCE], &["demo:write"]);
    let narrow = zone.policy("narrow", &narrow);
    let site = zone.site(4);
    let (read, write) = (
        zone.mint(&application, "demo:read"),
        zone.mint(&application, "demo:write"),
    );
    let call = || Request::get("/demo/items?secret=1").bearer(&read);
    site.until_allowed(call);

    zone.shadow(&narrow);
    // Of a gateway that has just heard of it, some workers count before others.
    let mut connections: Vec<Connection> = (0..8)
        .map(|_| Connection::open(site.gateway.address()).unwrap())
        .collect();
    eventually("every worker evaluates the shadow", || {
        let all = connections.iter_mut().all(|connection| {
            let before = counted(&site, "different");
            let (response, arrival) = site.send_on(connection, call());
            assert_eq!(
                (response.status, arrival.is_some()),
                (200, true),
                "{response}"
            );
            counted(&site, "different") > before
        });
        all.then_some(())
    });
    for _ in 0..10 {
        site.allowed(Request::new("POST", "/demo/items").bearer(&write));
    }
    assert!(counted(&site, "same") >= 10);
    for _ in 0..3 {
        zone.mint(&application, "demo:read");
    }
    let (same, different) = (counted(&site, "same"), counted(&site, "different"));
    let told = eventually("all that the workers counted is listed", || {
        let told = account(&zone);
        let reported: u64 = rows(&told, "Request")
            .iter()
            .filter_map(|row| row["count"].as_u64())
            .sum();
        (reported == different && told["same"] == same).then_some(told)
    });
    let requests = rows(&told, "Request");
    assert_eq!(requests.len(), 1, "{told}");
    let expected = json!({
        "client_id": application.id, "resource": RESOURCE, "method": "GET", "path": "/demo/items",
        "enforced": {"decision": "allow"},
        "shadow": {"decision": "deny", "reason": "role_scope_mismatch"},
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&requests[0][name], value, "{told}");
    }
    let exchanges = rows(&told, "TokenExchange");
    assert_eq!(exchanges[0]["count"], 3, "{told}");
    assert!(!told.to_string().contains("secret"));

    // Put in force, it is what counts.
    zone.activate(&narrow);
    site.until_refused(call, &denied("role_scope_mismatch"));
    let counted_then = counted(&site, "different") + counted(&site, "same");
    site.refused(call(), &denied("role_scope_mismatch"));
    assert_eq!(
        counted(&site, "different") + counted(&site, "same"),
        counted_then
    );
}

#[test]
fn a_shadow_that_fails_or_never_ends_costs_no_request_its_answer() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(1);
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);
    let endless = "package caracal.authz\n\nimport rego.v1\n\nten := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\n\
        result := 1 if count([1 | some a in ten; some b in ten; some c in ten; some d in ten; some e in ten; some f in ten]) > 0\n";
    for (name, policy) in [
        ("endless", endless),
        (
            "malformed",
            "package caracal.authz\n\nimport rego.v1\n\nresult := true\n",
        ),
    ] {
        zone.shadow(&zone.policy(name, policy));
        eventually("the shadow's failures are listed", || {
            site.allowed(call());
            let told = account(&zone);
            let row = *rows(&told, "Request").first()?;
            assert_eq!(row["shadow"]["reason"], "policy_eval_failed", "{told}");
            Some(())
        });
    }
}
