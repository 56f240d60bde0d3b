//! A gateway and its STS: what is wrong is not taken over, and a gateway that is cut off stops deciding, and starts again by itself.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::LazyLock;

use authority::{bundle::Bundle, revocation::AnchorKind};
use e2e::{
    eventually,
    gateway::GatewaySpec,
    http::Request,
    mandates::{APPLICATION, Issuer, RESOURCE, grants},
    publisher::{Publisher, bundle, whole},
    refusals::{denied, unauthorized, unavailable},
    site::Site,
    sts::Sts,
    upstream::Upstream,
};
use serde_json::json;

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));

#[test]
fn cut_off_a_gateway_goes_on_until_it_knows_too_little_and_recovers_by_itself() {
    let mut sts = Sts::start();
    let (site, mandate) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        (zone.site(2), zone.mint(&application, "demo:read"))
    };
    let call = || Request::get("/demo/items").bearer(&mandate);
    site.until_allowed(call);

    sts.stop();
    // What is known is fresh enough for a while, so the first answers after the stop are still yes.
    site.allowed(call());
    site.until_refused(call, &unavailable("stale_state"));
    // Nothing gets through any more, and nobody learns more than that.
    for _ in 0..20 {
        site.refused(call(), &unavailable("stale_state"));
        site.refused(Request::get("/demo/items"), &unavailable("stale_state"));
    }

    sts.resume();
    site.until_allowed(call);
    for _ in 0..20 {
        site.allowed(call());
    }
}

#[test]
fn a_gateway_with_a_wrong_token_or_another_zones_gets_nothing_and_decides_nothing() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let other = sts.zone("other").gateway_token();
    for (token, status) in [("gt_wrong", 401), (other.as_str(), 403)] {
        let upstream = Upstream::start();
        let spec = GatewaySpec {
            sts: Some(sts.address()),
            token: Some(token.to_owned()),
            ..GatewaySpec::new(zone.plugin(), upstream.address())
        };
        let site = Site {
            gateway: spec.start(),
            upstream,
        };
        let told = format!("the STS answered {status}");
        eventually(&told, || site.gateway.log().contains(&told).then_some(()));
        let call = Request::get("/demo/items").bearer(&mandate);
        site.refused(call, &unavailable("not_ready"));
        assert!(
            !site.gateway.log().contains(token),
            "the token is in the log"
        );
    }
}

#[test]
fn a_revoked_gateway_stops_deciding() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let mandate = zone.mint(&application, "demo:read");
    let call = || Request::get("/demo/items").bearer(&mandate);
    let site = zone.site(1);
    site.until_allowed(call);
    let gateways = zone.admin("GET", "/gateways", &json!(null)).ok();
    let id = gateways["items"][0]["id"].as_str().unwrap();
    zone.admin("DELETE", &format!("/gateways/{id}"), &json!(null))
        .ok();
    site.until_refused(call, &unavailable("stale_state"));
}

/// Bundles of a gateway that could not be taken over.
fn refused_bundles(site: &Site) -> u64 {
    let stats = site.gateway.stats("caracal_sync_failures");
    stats
        .iter()
        .filter(|(name, _)| name.contains("artifact.bundle"))
        .map(|(_, count)| count)
        .sum()
}

#[test]
fn a_gateway_asks_again_while_it_still_waits_for_the_answer_to_a_poll_that_was_lost() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, Some(&allow)));
    let mandate = ISSUER.mandate("demo:read");
    let doomed = ISSUER.changed(|claims| claims["jti"] = json!("doomed"));
    let site = publisher.site();
    site.until_allowed(|| Request::get("/demo/items").bearer(&doomed));

    publisher.lose_polls();
    eventually("a poll of each kind is lost", || {
        (publisher.lost() == 2).then_some(())
    });
    let revoked = whole(1, &[(AnchorKind::Jti, "doomed")]);
    publisher.publish_revocations(&ISSUER, &revoked);
    publisher.publish(&ISSUER, &bundle(&ISSUER, 2, None));
    let call = |mandate: &str| Request::get("/demo/items").bearer(mandate);
    site.until_refused(|| call(&doomed), &unauthorized("token_revoked"));
    site.until_refused(|| call(&mandate), &denied("no_active_policy_set"));
    assert_eq!(publisher.lost(), 2, "the news waited for the lost polls");
    // Given up in the end, and that changes nothing.
    eventually("the lost polls are given up", || {
        (publisher.lost() == 0).then_some(())
    });
    publisher.publish(&ISSUER, &bundle(&ISSUER, 3, Some(&allow)));
    site.until_allowed(|| call(&mandate));
    site.refused(call(&doomed), &unauthorized("token_revoked"));
}

#[test]
fn a_bundle_that_is_not_this_gateways_is_not_taken_over() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let good = |sequence| bundle(&ISSUER, sequence, None);
    let publisher = Publisher::start(&ISSUER, &good(5));
    let site = publisher.site();
    let call = || Request::get("/demo/items").bearer(&ISSUER.mandate("demo:read"));
    let closed = denied("no_active_policy_set");
    site.until_refused(call, &closed);

    // Each of these would open the gate.
    let open = |sequence| bundle(&ISSUER, sequence, Some(&allow));
    let mut other_zone = open(6);
    other_zone.zone_id = "zone-2".into();
    other_zone.zone_slug = "zone-2".to_owned();
    let mut other_issuer = open(6);
    other_issuer.issuer = "https://other.test".to_owned();
    let mut other_compiler = open(6);
    other_compiler.policy.as_mut().unwrap().compiler = "regorus-0.0.0/rvm-0".to_owned();
    let body = |bundle: &Bundle| json!(bundle).to_string();
    let signed = |signer: &Issuer, bundle: &Bundle| {
        let body = body(bundle);
        let signature = signer.sign_bundle(body.as_bytes());
        (body, signature)
    };
    // The bytes of a good bundle with another's signature, and with one letter of it changed.
    let (_, foreign_signature) = signed(&ISSUER, &good(6));
    let (whole, signature) = signed(&ISSUER, &open(6));
    let mut letters = signature.clone().into_bytes();
    let place = letters.len() - 10;
    letters[place] = if letters[place] == b'A' { b'B' } else { b'A' };
    let damaged_signature = String::from_utf8(letters).unwrap();
    let closed_body = body(&good(6)).replacen("demo:read", "demo:reed", 1);
    let attacker = Issuer::new("key-1", 9);
    for ((body, signature), told) in [
        (signed(&ISSUER, &other_zone), "is for the zone zone-2"),
        (
            signed(&ISSUER, &other_issuer),
            "is for the issuer https://other.test",
        ),
        (
            signed(&ISSUER, &other_compiler),
            "was compiled by regorus-0.0.0",
        ),
        // Rightly signed, of this zone, and from before.
        (signed(&ISSUER, &open(4)), "has sequence 4, older than 5"),
        (signed(&attacker, &open(6)), "the signature does not verify"),
        (
            signed(&Issuer::new("key-2", 9), &open(6)),
            "by the key \"key-2\", which is not known",
        ),
        (
            (whole.clone(), foreign_signature.clone()),
            "the signature does not verify",
        ),
        (
            (whole.clone(), damaged_signature),
            "the signature does not verify",
        ),
        ((whole.clone(), String::new()), "not a detached JWS"),
        (
            (format!("{whole} "), signature),
            "the signature does not verify",
        ),
        (
            (closed_body, foreign_signature),
            "the signature does not verify",
        ),
    ] {
        let (counted, log) = (refused_bundles(&site), site.gateway.log().len());
        publisher.publish_bytes(body, signature);
        // When it asks again, it has decided on what it got before.
        eventually("the bundle is asked for twice", || {
            (publisher.asked() >= 2).then_some(())
        });
        site.refused(call(), &closed);
        eventually("the refusal shows in log and metrics", || {
            let log = site.gateway.log().split_off(log);
            let told = log.contains("bundle not taken over") && log.contains(told);
            (told && refused_bundles(&site) > counted).then_some(())
        });
        // A good one again, so that the gateway does not wait longer after each failure.
        publisher.publish(&ISSUER, &good(5));
        eventually("the bundle is asked for twice", || {
            (publisher.asked() >= 2).then_some(())
        });
    }
    publisher.publish(&ISSUER, &open(7));
    site.until_allowed(call);
    // An open gate stays open, too: what is kept is the last good bundle, whatever it says.
    publisher.publish(&ISSUER, &good(6));
    eventually("the bundle is asked for twice", || {
        (publisher.asked() >= 2).then_some(())
    });
    site.allowed(call());
}
