//! Taking authority away in front of real gateways: what is revoked is refused by every worker, also in
//! the middle of an answer, also while parts of the system are down, and nothing else is.

// The lints let tests fail loudly, but not the functions that tests share.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use authority::revocation::{AnchorKind, Changes, Content, HashKey, Publication};
use e2e::{
    PATIENCE, eventually,
    http::{Connection, Request},
    mandates::{APPLICATION, Issuer, RESOURCE, claims_of, grants, roles},
    publisher::{HASH_KEY, Publisher, bundle, whole},
    refusals::{self, Expected, unauthorized, unavailable},
    site::Site,
    sts::{Application, Sts, Zone},
    upstream::Upstream,
};
use serde_json::{Value, json};

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new("key-1", 7));

fn call(mandate: &str) -> Request {
    Request::get("/demo/items").bearer(mandate)
}

fn revoked() -> Expected {
    unauthorized("token_revoked")
}

/// Revokes as an operator.
fn revoke(zone: &Zone<'_>, anchor_type: &str, id: &str) {
    let body = json!({"anchor_type": anchor_type, "id": id, "reason": "test"});
    zone.admin("POST", "/revocations", &body).ok();
}

fn id(mandate: &str, claim: &str) -> String {
    claims_of(mandate)[claim].as_str().unwrap().to_owned()
}

/// A lead that has delegated to a worker, and the worker's mandate.
struct Team {
    agent: Application,
    lead: String,
    worker: String,
    edge: String,
}

impl Team {
    fn new(zone: &Zone<'_>) -> Self {
        let agent = zone.application("agent");
        zone.resource(RESOURCE, "/demo/");
        zone.activate(&zone.policy("roles", &roles(&agent.id)));
        Self::of(zone, agent)
    }

    fn of(zone: &Zone<'_>, agent: Application) -> Self {
        let lead = zone.session(&agent, "lead", None);
        let worker = zone.session(&agent, "reader", Some(&lead));
        let edge = zone.delegate((&agent, &lead), (&agent, &worker), &["demo:read"]);
        Self {
            agent,
            lead,
            worker,
            edge,
        }
    }

    fn mint(&self, zone: &Zone<'_>) -> String {
        let fields = [
            ("agent_session_id", self.worker.as_str()),
            ("delegation_edge_id", &self.edge),
        ];
        zone.try_mint(&self.agent, "demo:read", &fields)
            .text("access_token")
    }
}

#[test]
fn every_anchor_kills_on_every_worker_what_carries_it_and_nothing_else() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(4);
    let bystander = zone.mint(&application, "demo:read");
    site.until_allowed(|| call(&bystander));
    for claim in ["jti", "sid", "root_sid"] {
        let mandate = zone.mint(&application, "demo:read");
        // Cached by every worker, and refused all the same.
        site.until_allowed(|| call(&mandate));
        revoke(&zone, claim, &id(&mandate, claim));
        site.until_refused(|| call(&mandate), &revoked());
        site.until_allowed(|| call(&bystander));
    }
    // A key: what it signed is refused, what its successor signs is good, with no gap that stays.
    let keys = zone.admin("GET", "/keys", &json!(null)).ok();
    let kid = keys["items"][0]["kid"].as_str().unwrap().to_owned();
    revoke(&zone, "kid", &kid);
    site.until_refused(|| call(&bystander), &unauthorized("key_unknown"));
    let fresh = zone.mint(&application, "demo:read");
    site.until_allowed(|| call(&fresh));
    // An application, until it is taken back.
    revoke(&zone, "client_id", &application.id);
    site.until_refused(|| call(&fresh), &revoked());
    assert_eq!(zone.try_mint(&application, "demo:read", &[]).status, 403);
    let path = format!("/revocations/client_id/{}", application.id);
    zone.admin("DELETE", &path, &json!(null)).ok();
    site.until_allowed(|| call(&fresh));
    // Up to a time.
    let until = claims_of(&fresh)["iat"].as_u64().unwrap();
    let body = json!({"anchor_type": "sub", "id": application.id, "issued_until": until});
    zone.admin("POST", "/revocations", &body).ok();
    site.until_refused(|| call(&fresh), &revoked());
    let later = eventually("a mandate of another second", || {
        let later = zone.try_mint(&application, "demo:read", &[]);
        (later.status == 200).then(|| later.text("access_token"))
    });
    site.until_allowed(|| call(&later));
    // The zone.
    revoke(&zone, "zone_id", &zone.id);
    site.until_refused(|| call(&later), &revoked());
}

#[test]
fn what_a_session_started_falls_with_it_and_a_suspended_one_comes_back() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let team = Team::new(&zone);
    let site = zone.site(2);
    let change = |session: &str, what: &str| {
        zone.governed("PATCH", &format!("/agents/{session}/{what}"), &json!({}))
            .ok();
    };
    let mandate = team.mint(&zone);
    site.until_allowed(|| call(&mandate));
    for session in [&team.lead, &team.worker] {
        change(session, "suspend");
        site.until_refused(|| call(&mandate), &revoked());
        change(session, "resume");
        site.until_allowed(|| call(&mandate));
    }
    let edge = format!("/delegations/{}/revoke", team.edge);
    zone.governed("PATCH", &edge, &json!({})).ok();
    site.until_refused(|| call(&mandate), &revoked());

    let next = Team::of(&zone, team.agent.clone());
    let mandate = next.mint(&zone);
    site.until_allowed(|| call(&mandate));
    zone.governed("DELETE", &format!("/agents/{}", next.lead), &Value::Null)
        .ok();
    site.until_refused(|| call(&mandate), &revoked());

    let last = Team::of(&zone, team.agent.clone());
    let mandate = last.mint(&zone);
    site.until_allowed(|| call(&mandate));
    let path = format!("/applications/{}", team.agent.id);
    zone.admin("DELETE", &path, &json!(null)).ok();
    site.until_refused(|| call(&mandate), &revoked());
}

#[test]
fn an_answer_under_way_is_cut_and_says_why_where_it_can() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(2);
    let probe = zone.mint(&application, "demo:read");
    site.until_allowed(|| call(&probe));
    let flow = |mandate: &str, flow: &str| {
        let mut connection = Connection::open(site.gateway.address()).unwrap();
        let request = Request::get(format!("/demo/items?{flow}")).bearer(mandate);
        assert_eq!(connection.begin(&request).unwrap(), 200);
        connection
    };
    let (one, other) = (
        zone.mint(&application, "demo:read"),
        zone.mint(&application, "demo:read"),
    );
    let mut events = flow(&one, "events");
    let mut idle = flow(&one, "one-event");
    let mut chunks = flow(&one, "chunks");
    // Who goes on sending is not given the time for a last word.
    let mut grpc = Connection::open(site.gateway.address()).unwrap();
    let request = Request::get("/demo/items?events").bearer(&one);
    let request = request.header("content-type", "application/grpc");
    assert_eq!(grpc.begin(&request).unwrap(), 200);
    // Somebody else's stream goes on.
    let mut others = flow(&other, "events");
    let (request, tag) = Request::get("/demo/items?silent").bearer(&one).tagged();
    let address = site.gateway.address();
    let silent = thread::spawn(move || request.send(address).unwrap());
    eventually("the silent request is under way", || {
        site.upstream.arrival(&tag)
    });
    revoke(&zone, "jti", &id(&one, "jti"));
    // The last word: an event of its own.
    let said = events.until_cut();
    let last = said.rsplit("event: error").next().unwrap();
    assert!(said.contains("event: error"), "{said}");
    assert!(last.contains(r#""reason":"token_revoked""#), "{said}");
    assert!(!last.contains("tick"), "{said}");
    // Where nothing flows, or nothing can be said, the end is all there is.
    for connection in [&mut idle, &mut chunks, &mut grpc] {
        let said = connection.until_cut();
        assert!(!said.contains("event: error"), "{said}");
        assert!(!said.ends_with("0\r\n\r\n"), "as if it were whole: {said}");
    }
    // Where the answer had not begun, a refusal is the answer.
    refusals::check(&silent.join().unwrap(), &revoked(), "silent");
    let cut: u64 = site
        .gateway
        .stats("caracal_streams_cut")
        .iter()
        .map(|(_, count)| count)
        .sum();
    assert_eq!(cut, 5);
    revoke(&zone, "jti", &id(&other, "jti"));
    assert!(others.until_cut().contains("token_revoked"));
}

#[test]
fn a_gateway_that_is_not_let_look_at_answers_cuts_them_without_a_word() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    for looks in [true, false] {
        let upstream = Upstream::start();
        let mut spec = zone.gateway_spec(1, upstream.address());
        let allowed = &mut spec.capabilities;
        assert!(allowed.contains(&"proxy_on_response_body"));
        allowed.retain(|name| looks || *name != "proxy_on_response_body");
        let site = Site {
            gateway: spec.start(),
            upstream,
        };
        let mandate = zone.mint(&application, "demo:read");
        site.until_allowed(|| call(&mandate));
        let mut events = Connection::open(site.gateway.address()).unwrap();
        let request = Request::get("/demo/items?events").bearer(&mandate);
        assert_eq!(events.begin(&request).unwrap(), 200);
        revoke(&zone, "jti", &id(&mandate, "jti"));
        let said = events.until_cut();
        assert_eq!(said.contains("token_revoked"), looks, "{said}");
        assert!(
            looks || !said.ends_with("0\r\n\r\n"),
            "as if it were whole: {said}"
        );
        site.until_refused(|| call(&mandate), &revoked());
    }
}

#[test]
fn a_stream_ends_with_its_mandate_where_the_resource_says_so() {
    let mut plugin = e2e::mandates::stand_alone(&ISSUER);
    plugin["resources"][0]["end_streams_at_expiry"] = json!(true);
    let site = Site::stand_alone(plugin);
    // What a verifier forgives is over in five seconds.
    let ends = e2e::mandates::now() - 55;
    let short = ISSUER.changed(|claims| {
        claims["iat"] = json!(ends - 100);
        claims["exp"] = json!(ends);
    });
    let mut connection = Connection::open(site.gateway.address()).unwrap();
    let request = Request::get("/demo/items?events").bearer(&short);
    assert_eq!(connection.begin(&request).unwrap(), 200);
    let said = connection.until_cut();
    assert!(said.contains(r#""reason":"token_expired""#), "{said}");
}

#[test]
fn a_revocation_that_was_answered_is_never_lost_whenever_the_sts_dies() {
    let mut sts = Sts::start();
    let (zone_id, slug, application, site) = {
        let zone = sts.zone("demo");
        let application = zone.govern();
        let site = zone.site(2);
        (zone.id.clone(), zone.slug, application, site)
    };
    let probe = sts
        .known_zone(&zone_id, &slug)
        .mint(&application, "demo:read");
    site.until_allowed(|| call(&probe));
    let mut dead = Vec::new();
    for round in 0..50_usize {
        let mandates: Vec<String> = {
            let zone = sts.known_zone(&zone_id, &slug);
            (0..4)
                .map(|_| zone.mint(&application, "demo:read"))
                .collect()
        };
        let (address, token) = (sts.address(), sts.admin_token());
        let path = format!("/v1/zones/{slug}/revocations");
        let answered = Arc::new(AtomicUsize::new(0));
        let revoking = thread::spawn({
            let answered = Arc::clone(&answered);
            move || {
                let mut acknowledged = Vec::new();
                for mandate in mandates {
                    let body = json!({"anchor_type": "jti", "id": id(&mandate, "jti")});
                    let request = Request::new("POST", path.as_str())
                        .bearer(&token)
                        .header("content-type", "application/json")
                        .body(&body.to_string());
                    if request
                        .send(address)
                        .is_ok_and(|answer| answer.status == 200)
                    {
                        acknowledged.push(mandate);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
                acknowledged
            }
        });
        // At another moment each time: between the answers, before, in and after the next commit.
        let deadline = Instant::now() + PATIENCE;
        while answered.load(Ordering::Relaxed) < round % 4 {
            assert!(Instant::now() < deadline, "nothing is answered");
            thread::sleep(Duration::from_micros(100));
        }
        thread::sleep(Duration::from_micros(round as u64 * 7_919 % 5_000));
        sts.stop();
        dead.extend(revoking.join().unwrap());
        sts.resume();
    }
    assert!(dead.len() >= 73, "only {} were acknowledged", dead.len());
    site.until_allowed(|| call(&probe));
    for mandate in &dead {
        site.until_refused(|| call(mandate), &revoked());
    }
}

#[test]
fn what_was_revoked_while_the_gateway_was_away_is_refused_before_it_decides_again() {
    let mut sts = Sts::start();
    let (zone_id, slug) = {
        let zone = sts.zone("demo");
        (zone.id.clone(), zone.slug)
    };
    let application = sts.known_zone(&zone_id, &slug).govern();
    let (site, mandate, other) = {
        let zone = sts.known_zone(&zone_id, &slug);
        (
            zone.site(2),
            zone.mint(&application, "demo:read"),
            zone.mint(&application, "demo:read"),
        )
    };
    site.until_allowed(|| call(&mandate));
    sts.stop();
    site.until_refused(|| call(&mandate), &unavailable("stale_state"));
    sts.resume();
    {
        // It is told of both at once, or first of the revocation: never is the mandate let pass again.
        let zone = sts.known_zone(&zone_id, &slug);
        revoke(&zone, "jti", &id(&mandate, "jti"));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (response, arrival) = site.send(call(&mandate));
        if response.status == 401 {
            break;
        }
        // Between the restart and the revocation it was good, and may have been heard of as such.
        assert!(response.status == 503 || arrival.is_some(), "{response}");
        assert!(Instant::now() < deadline);
    }
    site.until_refused(|| call(&mandate), &revoked());
    site.until_allowed(|| call(&other));
}

#[test]
fn a_gateway_process_that_slept_asks_before_it_decides() {
    let sts = Sts::start();
    let zone = sts.zone("demo");
    let application = zone.govern();
    let site = zone.site(2);
    let (mandate, other) = (
        zone.mint(&application, "demo:read"),
        zone.mint(&application, "demo:read"),
    );
    site.until_allowed(|| call(&mandate));
    // As a laptop does, or a machine that is moved: for longer than it may be out of touch.
    site.gateway.pause();
    revoke(&zone, "jti", &id(&mandate, "jti"));
    thread::sleep(Duration::from_secs(8));
    site.gateway.unpause();
    for _ in 0..20 {
        let (response, arrival) = site.send(call(&mandate));
        assert!([401, 503].contains(&response.status), "{response}");
        assert!(arrival.is_none());
    }
    site.until_refused(|| call(&mandate), &revoked());
    site.until_allowed(|| call(&other));
}

/// Publications of revocations that could not be taken over.
fn refused_publications(site: &Site) -> u64 {
    let stats = site.gateway.stats("caracal_sync_failures");
    stats
        .iter()
        .filter(|(name, _)| name.contains("artifact.revocations"))
        .map(|(_, count)| count)
        .sum()
}

fn delta(after: u64, epoch: u64, added: &[&str], removed: &[&str]) -> Publication {
    let digests = |ids: &[&str]| {
        ids.iter()
            .map(|id| {
                let kind = AnchorKind::Jti;
                HASH_KEY.digest(authority::revocation::Anchor { kind, id })
            })
            .collect()
    };
    Publication {
        changes: Changes {
            cutoffs: Vec::new(),
            added: digests(added),
            removed: digests(removed),
        },
        content: Content::Delta { after },
        ..whole(epoch, &[])
    }
}

#[test]
fn a_publication_that_is_not_this_gateways_is_not_taken_over() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, Some(&allow)));
    let mandate = ISSUER.mandate("demo:read");
    let jti = id(&mandate, "jti");
    let anchors = [(AnchorKind::Jti, jti.as_str())];
    publisher.publish_revocations(&ISSUER, &whole(5, &anchors));
    let site = publisher.site();
    site.until_refused(|| call(&mandate), &revoked());

    // Each of these would let the mandate pass again.
    let stranger = Issuer::new("key-1", 8);
    let unknown = Issuer::new("key-9", 7);
    let mut foreign = whole(6, &[]);
    foreign.zone_id = "zone-2".into();
    let mut rehashed = delta(5, 6, &[], &[&jti]);
    rehashed.key = HashKey([1; 16]);
    let good = delta(5, 6, &[], &[&jti]).encode();
    let signed = ISSUER.sign_revocations(&good);
    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let as_bundle = ISSUER.sign_bundle(&good);
    let of = |signer: &Issuer, publication: &Publication| {
        let body = publication.encode();
        let signature = signer.sign_revocations(&body);
        (body, signature)
    };
    for (name, (body, signature)) in [
        ("by a stranger", of(&stranger, &delta(5, 6, &[], &[&jti]))),
        (
            "by an unknown key",
            of(&unknown, &delta(5, 6, &[], &[&jti])),
        ),
        ("of another zone", of(&ISSUER, &foreign)),
        ("with another key", of(&ISSUER, &rehashed)),
        ("an older whole", of(&ISSUER, &whole(4, &[]))),
        ("with a gap", of(&ISSUER, &delta(6, 7, &[], &[&jti]))),
        ("tampered", (tampered, signed.clone())),
        (
            "truncated",
            (good[..good.len() - 1].to_vec(), signed.clone()),
        ),
        ("unsigned", (good.clone(), String::new())),
        ("signed as a bundle", (good.clone(), as_bundle)),
        ("empty", (Vec::new(), ISSUER.sign_revocations(b""))),
        (
            "noise",
            (vec![0xff; 1000], ISSUER.sign_revocations(&[0xff; 1000])),
        ),
    ] {
        let before = refused_publications(&site);
        publisher.publish_revocation_bytes(body, signature, 99);
        eventually(&format!("{name} is refused"), || {
            (refused_publications(&site) > before).then_some(())
        });
        site.refused(call(&mandate), &revoked());
    }
    // A replay of an old delta is no failure, and no news.
    let (body, signature) = of(&ISSUER, &delta(3, 5, &[], &[&jti]));
    publisher.publish_revocation_bytes(body, signature, 99);
    thread::sleep(Duration::from_millis(500));
    site.refused(call(&mandate), &revoked());
    // The same from the right hand, in the right order, is.
    publisher.publish_revocation_bytes(good, signed, 6);
    site.until_allowed(|| call(&mandate));
}

#[test]
fn an_answer_that_breaks_off_changes_nothing_and_is_asked_for_again() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, Some(&allow)));
    let mandate = ISSUER.mandate("demo:read");
    let site = publisher.site();
    site.until_allowed(|| call(&mandate));
    publisher.cut_revocations(true);
    let before = refused_publications(&site);
    let jti = id(&mandate, "jti");
    publisher.publish_revocations(&ISSUER, &delta(0, 1, &[&jti], &[]));
    eventually("the answer is refused", || {
        (refused_publications(&site) > before).then_some(())
    });
    site.allowed(call(&mandate));
    publisher.cut_revocations(false);
    site.until_refused(|| call(&mandate), &revoked());
}

#[test]
fn what_the_filter_suspects_the_sts_settles_and_without_it_the_suspicion_stands() {
    let allow = grants(APPLICATION, &[RESOURCE], &["demo:read"]);
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, Some(&allow)));
    let mandate = ISSUER.mandate("demo:read");
    let jti = id(&mandate, "jti");
    let others: Vec<String> = (0..5_000).map(|number| format!("other-{number}")).collect();
    let mut anchors: Vec<(AnchorKind, &str)> = others
        .iter()
        .map(|id| (AnchorKind::Jti, id.as_str()))
        .collect();
    anchors.push((AnchorKind::Jti, &jti));
    let filter = |epoch| whole(epoch, &anchors);
    publisher.publish_revocations(&ISSUER, &whole(1, &[]));
    let site = publisher.site();
    site.until_allowed(|| call(&mandate));
    let hits = |outcome: &str| {
        let stats = site
            .gateway
            .stats(&format!("caracal_revocation_hits.outcome.{outcome}"));
        stats.iter().map(|(_, count)| count).sum::<u64>()
    };
    // A false alarm: asked once, and not again until more is known.
    publisher.answer_checks(Some(false));
    publisher.publish_revocations(&ISSUER, &filter(2));
    eventually("the STS is asked", || {
        site.allowed(call(&mandate));
        (publisher.checked() > 0).then_some(())
    });
    for _ in 0..20 {
        site.allowed(call(&mandate));
    }
    assert_eq!((publisher.checked(), hits("false")), (1, 1));

    // A flood of hits is one question.
    publisher.answer_checks(Some(true));
    publisher.publish_revocations(&ISSUER, &filter(3));
    site.until_refused(|| call(&mandate), &revoked());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    site.refused(call(&mandate), &revoked());
                }
            });
        }
    });
    assert_eq!((publisher.checked(), hits("confirmed")), (1, 1));

    // Nobody answers: it stands, and the request does not wait for ever.
    publisher.answer_checks(None);
    publisher.publish_revocations(&ISSUER, &filter(4));
    eventually("the STS is asked, and says nothing", || {
        site.refused(call(&mandate), &revoked());
        (hits("unconfirmed") > 0).then_some(())
    });

    // An exception settles it without a question.
    let mut excepted = filter(5);
    excepted.changes = delta(0, 1, &[], &[&jti]).changes;
    publisher.publish_revocations(&ISSUER, &excepted);
    site.until_allowed(|| call(&mandate));
    publisher.answer_checks(Some(true));
    for _ in 0..20 {
        site.allowed(call(&mandate));
    }
    assert_eq!(publisher.checked(), 0);
}

#[test]
fn a_worker_that_broke_knows_at_once_what_is_revoked() {
    let publisher = Publisher::start(&ISSUER, &bundle(&ISSUER, 1, Some(&e2e::wasm::greedy())));
    let mandate = ISSUER.mandate("demo:read");
    let dead = ISSUER.changed(|claims| claims["jti"] = json!("dead"));
    publisher.publish_revocations(&ISSUER, &whole(1, &[]));
    let dir = tempfile::tempdir().unwrap();
    let site = publisher.site_with(2, Some(e2e::wasm::starved(dir.path())));
    site.until_allowed(|| call(&mandate));
    publisher.publish_revocations(&ISSUER, &delta(1, 2, &["dead"], &[]));
    site.until_refused(|| call(&dead), &revoked());
    // From here on nobody can be asked: what a new VM knows, it has from the others.
    publisher.stop();
    for _ in 0..2 {
        let (response, _) = site.send(Request::get("/demo/items/boom").bearer(&mandate));
        assert_eq!(response.status, 503, "{response}");
        eventually("every worker is back", || {
            let answers = site.on_every_worker(|| call(&dead));
            for (response, arrival) in &answers {
                assert!([401, 503].contains(&response.status), "{response}");
                assert!(arrival.is_none(), "it arrived");
            }
            let back = answers.iter().all(|(response, _)| response.status == 401);
            back.then_some(())
        });
    }
    site.until_allowed(|| call(&mandate));
    site.until_refused(|| call(&dead), &revoked());
}

/// A second implementation of the format, by its description, in another language.
#[test]
fn an_independent_reader_agrees_on_every_sample() {
    let samples = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../authority/testdata/revocation"
    );
    let said = e2e::clients::run("revocation_filter.py", &[samples], &[]);
    assert_eq!(said.trim(), "4 samples, 268 answers");
}
