//! Taking authority away: what is published, what falls, and what tokens are worth afterwards. What
//! gateways make of it is tested in front of real ones.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use authority::{
    ids::ZoneId,
    jwks::KeySet,
    mandate::{Expected, Mandate, MandateUse, verify},
    revocation::{Anchor, AnchorKind, Content, Filter, Finding, Publication, open},
    time::Timestamp,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{
    governed::Governed,
    world::{Reply, World, Zone},
};

/// A gateway: what it has been told.
struct Gateway<'a, 'w> {
    zone: &'a Zone<'w>,
    bearer: String,
    filter: Option<Filter>,
}

impl<'a, 'w> Gateway<'a, 'w> {
    fn new(zone: &'a Zone<'w>) -> Self {
        let mut gateway = Self {
            bearer: format!("Bearer {}", zone.gateway("edge")),
            zone,
            filter: None,
        };
        gateway.poll(0);
        gateway
    }

    fn filter(&self) -> &Filter {
        self.filter.as_ref().unwrap()
    }

    fn fetch(&self, query: &str) -> Reply {
        let path = self.zone.path(&format!("/gateway/revocations{query}"));
        let headers = [("authorization", self.bearer.as_str())];
        self.zone.world.send("GET", &path, &headers, None)
    }

    fn opened(&self, reply: &Reply) -> Publication {
        let keys = keys(self.zone);
        let signature = reply.header("x-caracal-signature");
        open(
            &reply.bytes,
            signature,
            &keys,
            &ZoneId::from(self.zone.id.as_str()),
        )
        .unwrap()
    }

    /// Asks for what is new, and waits for it. Whether there was something.
    fn poll(&mut self, wait: u64) -> bool {
        let query = match &self.filter {
            Some(filter) => format!("?after={}&wait={wait}", filter.epoch()),
            None => "?wait=0".to_owned(),
        };
        let reply = self.fetch(&query);
        if reply.status == 304 {
            return false;
        }
        let publication = self.opened(&reply.expect(200));
        match &mut self.filter {
            Some(filter) => filter.apply(publication).unwrap(),
            None => {
                self.filter = Some(Filter::new(publication).unwrap());
                true
            }
        }
    }

    fn find(&mut self, token: &str) -> Finding {
        self.poll(0);
        self.filter().find(&verified(self.zone, token))
    }

    fn check(&self, anchors: &Value) -> Reply {
        let path = self.zone.path("/gateway/revocations/check");
        let headers = [
            ("authorization", self.bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let body = serde_json::to_vec(&json!({"anchors": anchors})).unwrap();
        self.zone.world.send("POST", &path, &headers, Some(&body))
    }
}

fn keys(zone: &Zone<'_>) -> KeySet {
    let path = format!("/.well-known/jwks.json?zone_id={}", zone.id);
    KeySet::parse(&zone.world.send("GET", &path, &[], None).bytes).unwrap()
}

fn verified(zone: &Zone<'_>, token: &str) -> Arc<Mandate> {
    let id = ZoneId::from(zone.id.as_str());
    let expected = Expected {
        issuer: "http://sts.test",
        zone: &id,
        uses: &[
            MandateUse::Gateway,
            MandateUse::Resource,
            MandateUse::Session,
        ],
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    verify(token, &keys(zone), &expected, Timestamp(now.as_secs())).unwrap()
}

fn revoke(zone: &Zone<'_>, anchor_type: &str, id: &str) -> Reply {
    let body = json!({"anchor_type": anchor_type, "id": id, "reason": "test"});
    zone.admin("POST", "/revocations", Some(&body))
}

/// `active`, as the client or, without one, the operator is told.
fn is_active(zone: &Zone<'_>, token: &str, client: Option<(&str, &str)>) -> bool {
    let mut form = vec![("token", token)];
    let bearer = format!("Bearer {}", zone.world.admin_token);
    let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
    match client {
        Some((id, secret)) => form.extend([("client_id", id), ("client_secret", secret)]),
        None => {
            headers.push(("authorization", &bearer));
            form.push(("zone_id", &zone.id));
        }
    }
    let reply = zone
        .world
        .send(
            "POST",
            "/oauth/2/introspect",
            &headers,
            Some(encoded(&form).as_bytes()),
        )
        .expect(200);
    reply.body["active"].as_bool().unwrap()
}

fn encoded(form: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(form);
    text.finish()
}

/// A session below a root, a delegation to it, and mandates of both.
struct Family {
    root: String,
    child: String,
    edge: String,
    roots: String,
    delegated: String,
}

fn family(zone: &Governed<'_>) -> Family {
    let root = zone.start(json!({}));
    let child = zone.child(&root);
    let edge = zone.delegate(&root, &child, json!({}));
    // What the root holds comes from a session beside it, which stays.
    let beside = zone.start(json!({}));
    let given = zone.delegate(&beside, &root, json!({}));
    let roots = zone
        .mint(&root, &given, &[])
        .expect(200)
        .text("access_token");
    let delegated = zone
        .mint(&child, &edge, &[])
        .expect(200)
        .text("access_token");
    Family {
        root,
        child,
        edge,
        roots,
        delegated,
    }
}

#[test]
fn each_kind_of_anchor_kills_what_carries_it_and_mints_nothing_more() {
    let world = World::new();
    let own = |mandate: &Mandate, kind: &str| {
        let claims = mandate.claims();
        match kind {
            "jti" => claims.jti.to_string(),
            "sid" => claims.sid.to_string(),
            "root_sid" => claims.root_sid.to_string(),
            "client_id" => claims.client_id.to_string(),
            "zone_id" => claims.zone_id.to_string(),
            "sub" => claims.sub.to_string(),
            _ => mandate.key_id().to_string(),
        }
    };
    // How many mandates fall, and whether the application may go on.
    for (kind, goes_on) in [
        ("jti", true),
        ("sid", true),
        ("root_sid", true),
        ("client_id", false),
        ("zone_id", false),
        ("sub", true),
        ("kid", true),
    ] {
        let demo = world.demo_in(&format!("by-{}", kind.replace('_', "-")));
        let mut gateway = Gateway::new(&demo.zone);
        let mint = || demo.exchange(&[("scope", "read")]);
        let token = mint().expect(200).text("access_token");
        let other = mint().expect(200).text("access_token");
        let mandate = verified(&demo.zone, &token);
        assert_eq!(gateway.find(&token), Finding::Clear);
        assert!(is_active(&demo.zone, &token, None));
        let id = own(&mandate, kind);
        let body = json!({"anchor_type": kind, "id": id, "dry_run": true});
        let dry = demo
            .zone
            .admin("POST", "/revocations", Some(&body))
            .expect(200);
        assert_eq!(dry.body["dry_run"], true);
        assert!(
            dry.body["falls"]["mandates"].as_i64().unwrap() >= 1,
            "{kind}: {dry:?}"
        );
        assert!(!gateway.poll(0), "{kind}: a dry run changes nothing");
        let epoch = gateway.filter().epoch();
        let done = revoke(&demo.zone, kind, &id).expect(200);
        assert_eq!(done.body["falls"], dry.body["falls"], "{kind}");
        gateway.poll(0);
        assert!(gateway.filter().epoch() > epoch);
        assert_eq!(gateway.filter().find(&mandate), Finding::Revoked, "{kind}");
        if kind != "kid" {
            let lone = ["jti", "sid", "root_sid"].contains(&kind);
            let expected = if lone {
                Finding::Clear
            } else {
                Finding::Revoked
            };
            assert_eq!(gateway.find(&other), expected, "{kind}");
            assert_eq!(is_active(&demo.zone, &other, None), lone, "{kind}");
        }
        assert!(!is_active(&demo.zone, &token, None), "{kind}");
        if kind == "sub" {
            // What is issued within the second of the cut is cut as well, so nothing is.
            let deadline = Instant::now() + Duration::from_secs(10);
            while mint().status != 200 {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(50));
            }
        }
        let again = mint();
        assert_eq!(again.status == 200, goes_on, "{kind}: {again:?}");
        if goes_on {
            let fresh = again.text("access_token");
            assert_eq!(gateway.find(&fresh), Finding::Clear, "{kind}");
            assert!(is_active(&demo.zone, &fresh, None), "{kind}");
        } else {
            assert_eq!(again.body["reason"], "token_revoked", "{kind}");
            let path = format!("/revocations/{kind}/{id}");
            demo.zone.admin("DELETE", &path, None).expect(204);
            demo.zone.admin("DELETE", &path, None).expect(404);
            assert_eq!(gateway.find(&token), Finding::Clear, "{kind}");
            assert!(is_active(&demo.zone, &token, None), "{kind}");
            mint().expect(200);
        }
    }
}

#[test]
fn sessions_and_delegations_fall_and_come_back_as_what_they_are() {
    let world = World::new();
    let zone = world.governed();
    let plain = &zone.demo.zone;
    let mut gateway = Gateway::new(plain);
    let mut find = |family: &Family| {
        [&family.roots, &family.delegated].map(|token| {
            let found = gateway.find(token);
            assert_eq!(is_active(plain, token, None), found == Finding::Clear);
            found == Finding::Clear
        })
    };
    let patch = |path: &str| zone.call("PATCH", path, &zone.token, None);

    let one = family(&zone);
    assert_eq!(find(&one), [true, true]);
    zone.revoke(&one.edge).expect(200);
    assert_eq!(find(&one), [true, false]);

    let one = family(&zone);
    patch(&format!("/agents/{}/suspend", one.child)).expect(200);
    assert_eq!(find(&one), [true, false]);
    patch(&format!("/agents/{}/resume", one.child)).expect(200);
    assert_eq!(find(&one), [true, true]);
    // The parent and the child, each for itself.
    patch(&format!("/agents/{}/suspend", one.child)).expect(200);
    patch(&format!("/agents/{}/suspend", one.root)).expect(200);
    assert_eq!(find(&one), [false, false]);
    patch(&format!("/agents/{}/resume", one.root)).expect(200);
    assert_eq!(find(&one), [true, false]);
    patch(&format!("/agents/{}/resume", one.child)).expect(200);
    assert_eq!(find(&one), [true, true]);
    zone.terminate(&one.root);
    assert_eq!(find(&one), [false, false]);

    // By the anchor itself: the session ends, the delegation is revoked.
    let one = family(&zone);
    let falls = revoke(plain, "delegation_edge_id", &one.edge)
        .expect(200)
        .body["falls"]
        .clone();
    assert_eq!(
        falls,
        json!({"sessions": 0, "delegations": 1, "mandates": 1})
    );
    assert_eq!(find(&one), [true, false]);
    let falls = revoke(plain, "agent_session_id", &one.root)
        .expect(200)
        .body["falls"]
        .clone();
    assert_eq!(
        falls,
        json!({"sessions": 2, "delegations": 1, "mandates": 2})
    );
    assert_eq!(find(&one), [false, false]);
    let shown = zone.call("GET", &format!("/agents/{}", one.child), &zone.token, None);
    assert_eq!(shown.expect(200).body["status"], "terminated");
    let refused = plain.admin(
        "DELETE",
        &format!("/revocations/agent_session_id/{}", one.root),
        None,
    );
    assert_eq!(refused.error(), (409, "revocation_final"));

    // An application that is archived takes its sessions and what it delegated with it.
    let one = family(&zone);
    let path = format!("/applications/{}", zone.demo.agent);
    plain.admin("DELETE", &path, None).expect(204);
    assert_eq!(find(&one), [false, false]);
}

#[test]
fn a_session_elsewhere_in_the_tree_takes_what_it_delegated_with_it_by_one_anchor() {
    let world = World::new();
    let zone = world.governed();
    let mut gateway = Gateway::new(&zone.demo.zone);
    let lead = zone.start(json!({}));
    let middle = zone.child(&lead);
    let far = zone.start(json!({}));
    let first = zone.delegate(&lead, &middle, json!({"constraints": {"max_hops": 3}}));
    let second = zone.delegate(&middle, &far, json!({"parent_edge_id": first}));
    let token = zone
        .mint(&far, &second, &[])
        .expect(200)
        .text("access_token");
    assert_eq!(gateway.find(&token), Finding::Clear);
    let patch = |what: &str| {
        zone.call(
            "PATCH",
            &format!("/agents/{lead}/{what}"),
            &zone.token,
            None,
        )
        .expect(200);
    };
    let epoch = gateway.filter().epoch();
    patch("suspend");
    assert_eq!(gateway.find(&token), Finding::Revoked);
    patch("resume");
    assert_eq!(gateway.find(&token), Finding::Clear);
    zone.terminate(&lead);
    assert_eq!(gateway.find(&token), Finding::Revoked);
    assert_eq!(gateway.filter().epoch(), epoch + 3, "one anchor each");
}

#[test]
fn a_client_revokes_its_own_tokens_and_what_came_of_them() {
    let world = World::new();
    let demo = world.demo();
    let (peer, peer_secret) = demo.zone.application("peer");
    let plain = &demo.zone;
    let mut gateway = Gateway::new(plain);
    let session = demo.session();
    let derived = demo
        .exchange_on(&session, &[("scope", "read")])
        .expect(200)
        .text("access_token");
    let send = |token: &str, id: &str, secret: &str| {
        let form = encoded(&[
            ("token", token),
            ("client_id", id),
            ("client_secret", secret),
        ]);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        world.send("POST", "/oauth/2/revoke", &headers, Some(form.as_bytes()))
    };
    let others = send(&session, &peer, &peer_secret);
    assert_eq!(others.error(), (400, "invalid_grant"));
    assert_eq!(
        send(&session, &demo.agent, "wrong-secret-wrong").error(),
        (401, "invalid_client")
    );
    assert_eq!(
        send(&session, "nobody", &demo.secret).error(),
        (401, "invalid_client")
    );
    let own = Some((demo.agent.as_str(), demo.secret.as_str()));
    assert!(is_active(plain, &session, own) && is_active(plain, &derived, own));
    send(&session, &demo.agent, &demo.secret).expect(200);
    assert!(!is_active(plain, &session, own) && !is_active(plain, &derived, own));
    assert_eq!(gateway.find(&derived), Finding::Revoked);
    let again = demo.exchange_on(&session, &[("scope", "read")]);
    assert_eq!(again.body["reason"], "token_revoked");
    // What is no token is revoked already.
    for nothing in [session.as_str(), "a.b.c", "x"] {
        send(nothing, &demo.agent, &demo.secret).expect(200);
    }
    // A single mandate, and no other.
    let mint = || {
        demo.exchange(&[("scope", "read")])
            .expect(200)
            .text("access_token")
    };
    let (one, other) = (mint(), mint());
    send(&one, &demo.agent, &demo.secret).expect(200);
    assert_eq!(
        (gateway.find(&one), gateway.find(&other)),
        (Finding::Revoked, Finding::Clear)
    );
    // Another zone's client learns nothing of it.
    let elsewhere = world.governed();
    let stranger = Some((
        elsewhere.demo.agent.as_str(),
        elsewhere.demo.secret.as_str(),
    ));
    assert!(is_active(plain, &other, own) && !is_active(plain, &other, stranger));
}

#[test]
fn news_is_told_at_once_and_the_epoch_never_goes_back() {
    let mut world = World::new();
    let (zone_id, slug, token);
    {
        let demo = world.demo();
        let plain = &demo.zone;
        let mut gateway = Gateway::new(plain);
        let one = demo
            .exchange(&[("scope", "read")])
            .expect(200)
            .text("access_token");
        thread::scope(|scope| {
            let told = scope.spawn(|| gateway.poll(20));
            thread::sleep(Duration::from_millis(200));
            assert!(!told.is_finished());
            let jti = verified(plain, &one).claims().jti.clone();
            revoke(plain, "jti", &jti).expect(200);
            assert!(told.join().unwrap());
        });
        assert_eq!(gateway.filter().epoch(), 1);
        assert!(gateway.filter().changed_at() > 0);
        (zone_id, slug, token) = (plain.id.clone(), plain.slug.clone(), gateway.bearer);
    }
    world.stop();
    world.start();
    let zone = Zone {
        world: &world,
        id: zone_id,
        slug,
    };
    let mut gateway = Gateway {
        zone: &zone,
        bearer: token,
        filter: None,
    };
    gateway.poll(0);
    assert_eq!((gateway.filter().epoch(), gateway.filter().load()), (1, 1));
    // A gateway that has seen more than this database has.
    assert_eq!(gateway.fetch("?after=2").error(), (409, "epoch_ahead"));
    assert!(world.log.text().contains("restored from an older state"));
    gateway.fetch("?after=1&wait=0").expect(304);
    let strangers = [("authorization", "Bearer gt_wrong")];
    let path = zone.path("/gateway/revocations");
    assert_eq!(
        world.send("GET", &path, &strangers, None).error(),
        (401, "invalid_token")
    );
}

#[test]
fn what_is_asked_exactly_is_answered_exactly() {
    let world = World::new();
    let zone = world.governed();
    let plain = &zone.demo.zone;
    let gateway = Gateway::new(plain);
    let one = zone.start(json!({}));
    let other = zone.start(json!({}));
    zone.terminate(&one);
    let anchors = json!([
        {"anchor_type": "agent_session_id", "id": one},
        {"anchor_type": "agent_session_id", "id": other},
        {"anchor_type": "delegation_edge_id", "id": one},
        {"anchor_type": "jti", "id": "never minted"},
    ]);
    let reply = gateway.check(&anchors).expect(200);
    assert_eq!(
        reply.body,
        json!({"epoch": 1, "revoked": [true, false, false, false]})
    );
    for (anchors, code) in [
        (json!([{"anchor_type": "x", "id": "y"}]), 400),
        (json!([{"anchor_type": "jti", "id": ""}]), 400),
        (
            json!(vec![json!({"anchor_type": "jti", "id": "y"}); 1_001]),
            400,
        ),
        (json!([]), 200),
    ] {
        gateway.check(&anchors).expect(code);
    }
}

#[test]
fn a_request_that_makes_no_sense_revokes_nothing() {
    let world = World::new();
    let zone = world.governed();
    let plain = &zone.demo.zone;
    let mut gateway = Gateway::new(plain);
    let session = zone.start(json!({}));
    let elsewhere = world.governed();
    let foreign = elsewhere.start(json!({}));
    let named = |anchor_type: &str, id: &str| json!({"anchor_type": anchor_type, "id": id});
    for (body, expected) in [
        (json!({}), (400, "invalid_request")),
        (named("session", &session), (400, "invalid_request")),
        (named("agent_session_id", ""), (400, "invalid_request")),
        (
            named("agent_session_id", "nobody"),
            (404, "anchor_not_found"),
        ),
        (
            named("agent_session_id", &foreign),
            (404, "anchor_not_found"),
        ),
        (
            named("zone_id", &elsewhere.demo.zone.id),
            (404, "anchor_not_found"),
        ),
        (
            named("client_id", &elsewhere.demo.agent),
            (404, "anchor_not_found"),
        ),
        (named("kid", "nothing"), (404, "anchor_not_found")),
        (named("jti", "nothing"), (404, "anchor_not_found")),
        (json!({"anchors": []}), (400, "invalid_request")),
        (
            json!({"anchors": [named("agent_session_id", &session)], "id": "x"}),
            (400, "invalid_request"),
        ),
        (
            json!({"anchor_type": "agent_session_id", "id": session, "issued_until": 1}),
            (400, "invalid_request"),
        ),
        (
            json!({"anchor_type": "sub", "id": "x", "issued_until": 99_999_999_999u64}),
            (400, "invalid_request"),
        ),
        (
            json!({"anchor_type": "agent_session_id", "id": session, "reason": "a\nb"}),
            (400, "invalid_request"),
        ),
        // Of several, all or none.
        (
            json!({"anchors": [named("agent_session_id", &session), named("jti", "nothing")]}),
            (404, "anchor_not_found"),
        ),
    ] {
        let reply = plain.admin("POST", "/revocations", Some(&body));
        assert_eq!(reply.error(), expected, "{body}");
    }
    assert!(!gateway.poll(0));
    let shown = plain.admin("GET", "/revocations", None).expect(200);
    assert_eq!(shown.body["items"], json!([]));
    let many: Vec<Value> = (0..3)
        .map(|_| named("agent_session_id", &zone.start(json!({}))))
        .collect();
    plain
        .admin("POST", "/revocations", Some(&json!({"anchors": many})))
        .expect(200);
    let shown = plain.admin("GET", "/revocations?limit=2", None).expect(200);
    assert_eq!(shown.body["items"].as_array().unwrap().len(), 2);
    let path = format!("/revocations?cursor={}", shown.text("next_cursor"));
    let rest = plain.admin("GET", &path, None).expect(200);
    assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest.body["items"][0]["reason"], "requested");
}

/// As many anchors as travel as a filter: the exact list must not be all that is ever tested.
#[test]
fn many_anchors_travel_as_a_filter_and_live_ids_are_never_suspected() {
    let world = World::new();
    let zone = world.governed();
    let plain = &zone.demo.zone;
    let subjects: Vec<Value> = (0..5_000)
        .map(|number| json!({"anchor_type": "sub", "id": format!("user-{number}")}))
        .collect();
    plain
        .admin("POST", "/revocations", Some(&json!({"anchors": subjects})))
        .expect(200);
    let mut early = Gateway::new(plain);
    // A subject is cut off by time, and that is no matter of a filter.
    assert!(matches!(
        early.opened(&early.fetch("")).content,
        Content::Whole { load: 0, .. }
    ));
    let mut sessions = Vec::new();
    for _ in 0..40 {
        sessions.push(zone.start(json!({})));
    }
    for session in &sessions[..20] {
        zone.terminate(session);
    }
    early.poll(0);
    let late = Gateway::new(plain);
    for gateway in [&early, &late] {
        for (number, id) in sessions.iter().enumerate() {
            let anchor = Anchor {
                kind: AnchorKind::Session,
                id,
            };
            assert_eq!(gateway.filter().is_revoked(anchor), Some(number < 20));
        }
        assert_eq!(gateway.filter().epoch(), 5_020);
    }
}

/// What a random history may contain.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Child(usize),
    Suspend(usize),
    Resume(usize),
    Terminate(usize),
    Poll,
}

#[test]
fn gateways_agree_with_introspection_whatever_happened() {
    let world = World::new();
    let minted = std::cell::Cell::new(0);
    let step = prop_oneof![
        2 => Just(Step::Start),
        3 => any::<usize>().prop_map(Step::Child),
        3 => any::<usize>().prop_map(Step::Suspend),
        3 => any::<usize>().prop_map(Step::Resume),
        1 => any::<usize>().prop_map(Step::Terminate),
        2 => Just(Step::Poll),
    ];
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    )
    .run(&prop::collection::vec(step, 1..25), |steps| {
        let zone = world.governed();
        let plain = &zone.demo.zone;
        let mut gateway = Gateway::new(plain);
        let beside = zone.start(json!({}));
        let mut sessions: Vec<String> = Vec::new();
        let mut tokens = BTreeMap::new();
        for step in steps {
            let of = |sessions: &[String], index: usize| {
                (!sessions.is_empty()).then(|| sessions[index % sessions.len()].clone())
            };
            let patch = |id: &str, what: &str| {
                zone.call("PATCH", &format!("/agents/{id}/{what}"), &zone.token, None);
            };
            match step {
                Step::Start => sessions.push(zone.start(json!({}))),
                Step::Child(parent) => {
                    if let Some(parent) = of(&sessions, parent) {
                        let begun = zone
                            .try_start(json!({"parent_id": parent, "parent_authority": "none"}));
                        if begun.status == 201 {
                            sessions.push(begun.text("agent_session_id"));
                        }
                    }
                }
                Step::Suspend(index) => {
                    if let Some(id) = of(&sessions, index) {
                        patch(&id, "suspend");
                    }
                }
                Step::Resume(index) => {
                    if let Some(id) = of(&sessions, index) {
                        patch(&id, "resume");
                    }
                }
                Step::Terminate(index) => {
                    if let Some(id) = of(&sessions, index) {
                        zone.terminate(&id);
                    }
                }
                Step::Poll => {
                    gateway.poll(0);
                }
            }
            for id in &sessions {
                if !tokens.contains_key(id) {
                    let given = zone.try_delegate(&beside, id, json!({}));
                    if given.status != 201 {
                        continue;
                    }
                    let minted = zone.mint(id, &given.text("delegation_edge_id"), &[]);
                    if minted.status == 200 {
                        tokens.insert(id.clone(), minted.text("access_token"));
                    }
                }
            }
        }
        let mut late = Gateway::new(plain);
        minted.set(minted.get() + tokens.len());
        for token in tokens.values() {
            let active = is_active(plain, token, None);
            prop_assert_eq!(gateway.find(token) == Finding::Clear, active);
            prop_assert_eq!(late.find(token) == Finding::Clear, active);
        }
        Ok(())
    })
    .unwrap();
    assert!(minted.get() > 12, "{}", minted.get());
}

#[test]
fn what_was_cut_off_by_time_stays_so_when_a_later_revocation_is_taken_back() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let mut gateway = Gateway::new(zone);
    let token = demo
        .exchange(&[("scope", "read")])
        .expect(200)
        .text("access_token");
    let issued = verified(zone, &token).claims().iat.seconds();
    let cut = json!({"anchor_type": "client_id", "id": demo.agent, "issued_until": issued});
    zone.admin("POST", "/revocations", Some(&cut)).expect(200);
    revoke(zone, "client_id", &demo.agent).expect(200);
    let mut dead = || {
        let late = Gateway::new(zone).find(&token);
        assert_eq!(gateway.find(&token), late);
        assert_eq!(is_active(zone, &token, None), late == Finding::Clear);
        late == Finding::Revoked
    };
    assert!(dead());
    let path = format!("/revocations/client_id/{}", demo.agent);
    zone.admin("DELETE", &path, None).expect(204);
    assert!(dead(), "it was cut off before");
    zone.admin("DELETE", &path, None).expect(204);
    assert!(!dead());
    zone.admin("DELETE", &path, None).expect(404);
}

#[test]
fn the_gateways_of_a_zone_that_is_archived_hear_of_it() {
    let world = World::new();
    let demo = world.demo();
    let zone = &demo.zone;
    let mut gateway = Gateway::new(zone);
    let token = demo
        .exchange(&[("scope", "read")])
        .expect(200)
        .text("access_token");
    assert_eq!(gateway.find(&token), Finding::Clear);
    let (known, mandate) = (keys(zone), verified(zone, &token));
    zone.admin("DELETE", "", None).expect(204);
    let reply = gateway.fetch("?after=0").expect(200);
    let signature = reply.header("x-caracal-signature");
    let id = ZoneId::from(zone.id.as_str());
    let publication = open(&reply.bytes, signature, &known, &id).unwrap();
    let mut filter = gateway.filter.unwrap();
    assert_eq!(filter.apply(publication), Ok(true));
    assert_eq!(filter.find(&mandate), Finding::Revoked);
}
