//! The console in a real browser, against a real STS and a real gateway.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use e2e::{
    browser::Browser,
    eventually,
    http::Request,
    mandates,
    sts::{Sts, Zone},
};
use serde_json::{Value, json};

fn log_in(browser: &Browser, sts: &Sts) {
    browser.open(&format!("{}/console", sts.issuer()));
    browser.enter("#token", &sts.admin_token());
    browser.click("#enter");
    browser.sees("h1", "Live decisions");
}

#[test]
fn an_operator_watches_decisions_and_follows_one_to_its_story() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let site = zone.site(1);
    site.until_allowed(|| Request::get("/demo/items").bearer(&mandate));

    let browser = Browser::start();
    browser.open(&format!("{}/console", sts.issuer()));
    browser.enter("#token", "not the admin token");
    browser.click("#enter");
    browser.sees(".error", "admin token");
    assert!(!browser.complaints().is_empty(), "a 401 is in the log");
    browser.enter("#token", &sts.admin_token());
    browser.click("#enter");
    browser.sees("#status", "Following");

    // A tail tells what happens from now on, so something happens until it does.
    eventually("a decision shows", || {
        site.allowed(Request::get("/demo/items").bearer(&mandate));
        (browser.count("#events tr") > 0).then_some(())
    });
    browser.sees("#events", "GET /demo/items");
    // What a stranger sends is text, whatever it looks like.
    let script = "/demo/<img src=x onerror=alert(1)>";
    site.send(Request::get(script.replace(' ', "%20")));
    browser.sees("#events", "token_missing");
    assert_eq!(browser.count("#events img"), 0);
    browser.script("document.querySelector('#decision').value = 'deny'; document.querySelector('#decision').dispatchEvent(new Event('change'))");
    eventually("only denials show", || {
        site.allowed(Request::get("/demo/items").bearer(&mandate));
        site.send(Request::new("POST", "/demo/items").bearer(&mandate));
        let text = browser.script("return document.querySelector('#events').innerText");
        let text = text.as_str().unwrap();
        (text.contains("scope_missing") && !text.contains("allow")).then_some(())
    });

    browser.click("#events tr a");
    browser.sees("#story", "Decision: deny");
    browser.sees("#story", "agent");
    browser.sees("#story", "caracal-direct-mint");
    // Where else it leads, and back by hand.
    browser.enter("#request-id", "no-such-request");
    browser.click("main form button");
    browser.sees("#story", "request_not_found");

    browser.click("nav a[href='#/gateways']");
    let told = browser.sees("#gateways", "connected");
    assert!(told.contains("edge"), "{told}");
    browser.click("#leave");
    browser.sees("h1", "Caracal console");
    assert_eq!(browser.count("#events"), 0);
    let complaints: Vec<String> = browser
        .complaints()
        .into_iter()
        .filter(|told| !told.contains("404"))
        .collect();
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn an_operator_revokes_a_session_after_seeing_what_falls_and_activates_a_policy() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let lead = zone.session(&application, "lead", None);
    let child = zone.session(&application, "reader", Some(&lead));
    let other = zone.session(&application, "other", None);
    zone.delegate(
        (&application, &lead),
        (&application, &child),
        &["demo:read"],
    );
    let first = active(&zone);
    let content = mandates::grants(&application.id, &[mandates::RESOURCE], &["demo:read"]);
    zone.policy("narrower", &content);

    let browser = Browser::start();
    log_in(&browser, &sts);
    browser.click("nav a[href='#/sessions']");
    browser.sees(".graph", "agent reader");
    assert_eq!((browser.count(".node"), browser.count(".grant")), (3, 1));
    browser.click(&format!("[data-session='{lead}']"));
    browser.sees("#panel", "lead");
    browser.click("#revoke");
    let told = browser.sees("#dry-run", "sessions");
    let numbers: Vec<&str> = told
        .split_whitespace()
        .filter(|word| word.parse::<u64>().is_ok())
        .collect();
    assert_eq!(numbers[..2], ["2", "1"], "{told}");
    let status = |id: &str| {
        zone.governed("GET", &format!("/agents/{id}"), &Value::Null)
            .ok()["status"]
            .clone()
    };
    assert_eq!(status(&lead), "active", "a dry run changes nothing");
    browser.click("#yes");
    eventually("the session and what it started are gone", || {
        (browser.count(".node") == 1).then_some(())
    });
    assert_eq!(
        (status(&lead), status(&child), status(&other)),
        (json!("terminated"), json!("terminated"), json!("active"))
    );

    browser.click("nav a[href='#/policies']");
    browser.sees("main", "in force");
    browser.click("button[data-version]");
    browser.sees("dialog", "decides from then on");
    browser.click("#yes");
    eventually("another version is in force", || {
        (active(&zone) != first).then_some(())
    });
    browser.sees("main", "No policy rides along");
    let complaints = browser.complaints();
    assert!(
        complaints.iter().all(|told| told.contains("404")),
        "{complaints:?}"
    );
}

fn active(zone: &Zone<'_>) -> Value {
    zone.admin("GET", "", &Value::Null).ok()["active_policy_set_version_id"].clone()
}
