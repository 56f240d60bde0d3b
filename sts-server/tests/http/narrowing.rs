//! Whatever is called in whatever order: no mandate is more than what it rests on, authority never flows
//! in a circle, and what was taken back mints nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use authority::mandate::{Claims, MandateUse};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::{
    governed::Governed,
    world::{World, instant, now},
};

/// A call; the numbers choose among what there is by then.
#[derive(Clone, Debug)]
enum Call {
    Start {
        parent: Option<usize>,
        inherit: bool,
        ttl: u64,
    },
    Delegate {
        source: usize,
        /// Passed on from this delegation, by the session that it is to.
        parent: Option<usize>,
        target: usize,
        scopes: usize,
        hops: u32,
        ttl: u64,
        mandate_ttl: Option<u64>,
    },
    Mint {
        edge: usize,
        scopes: usize,
        /// Of what was passed on, rather than of anything.
        fits: bool,
    },
    Act {
        source: usize,
        target: usize,
        scopes: usize,
    },
    Suspend {
        session: usize,
    },
    Resume {
        session: usize,
    },
    End {
        session: usize,
    },
    Revoke {
        edge: usize,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let any = 0..100usize;
    // Which scopes and, in threes, which resources.
    let (wide, scopes) = (0..9usize, 0..6usize);
    prop_oneof![
        4 => (prop::option::weighted(0.7, any.clone()), proptest::bool::ANY, 300..900u64)
            .prop_map(|(parent, inherit, ttl)| Call::Start { parent, inherit, ttl }),
        8 => (
            any.clone(), prop::option::of(any.clone()), any.clone(), wide,
            1..5u32, 60..1000u64, prop::option::weighted(0.2, 30..90u64),
        )
            .prop_map(|(source, parent, target, scopes, hops, ttl, mandate_ttl)|
                Call::Delegate { source, parent, target, scopes, hops, ttl, mandate_ttl }),
        8 => (any.clone(), scopes.clone(), proptest::bool::weighted(0.6))
            .prop_map(|(edge, scopes, fits)| Call::Mint { edge, scopes, fits }),
        3 => (any.clone(), any.clone(), scopes).prop_map(|(source, target, scopes)|
            Call::Act { source, target, scopes }),
        1 => any.clone().prop_map(|session| Call::Suspend { session }),
        1 => any.clone().prop_map(|session| Call::Resume { session }),
        1 => any.clone().prop_map(|session| Call::End { session }),
        1 => any.prop_map(|edge| Call::Revoke { edge }),
    ]
}

const SCOPES: [&str; 3] = ["read", "write", "read write"];
const RESOURCES: [&[&str]; 3] = [
    &["resource://demo"],
    &["resource://third"],
    &["resource://demo", "resource://third"],
];

/// The fields of a request for these scopes of one resource.
fn asked<'a>(scopes: usize) -> [(&'a str, &'a str); 2] {
    let resource = RESOURCES[scopes / 3][0];
    [("scope", SCOPES[scopes % 3]), ("resource", resource)]
}

/// What the test knows of a zone: nothing but what it was answered.
struct Known<'a> {
    zone: Governed<'a>,
    sessions: Vec<String>,
    edges: BTreeMap<String, Value>,
    order: Vec<String>,
    minted: u32,
    refused: u32,
}

impl Known<'_> {
    fn session(&self, index: usize) -> Option<&String> {
        self.sessions.get(index % self.sessions.len().max(1))
    }

    fn edge(&self, index: usize) -> Option<&Value> {
        self.edges
            .get(self.order.get(index % self.order.len().max(1))?)
    }

    fn show(&self, rest: &str) -> Value {
        self.zone
            .call("GET", rest, &self.zone.token, None)
            .expect(200)
            .body
    }

    fn learn(&mut self, id: &str) {
        let edge = self.show(&format!("/delegations/{id}"));
        if self.edges.insert(id.to_owned(), edge).is_none() {
            self.order.push(id.to_owned());
        }
    }

    fn make(&mut self, call: &Call) {
        let token = self.zone.token.clone();
        match call {
            Call::Start {
                parent,
                inherit,
                ttl,
            } => {
                let parent = parent.and_then(|index| self.session(index).cloned());
                let authority = if *inherit { "inherit" } else { "none" };
                let reply = self.zone.try_start(json!({
                    "parent_id": parent, "parent_authority": authority, "ttl_seconds": ttl,
                }));
                if reply.status == 201 {
                    self.sessions.push(reply.text("id"));
                    if let Some(edge) = reply.body["delegation_edge_id"].as_str() {
                        self.learn(edge);
                    }
                }
            }
            Call::Delegate {
                source,
                parent,
                target,
                scopes,
                hops,
                ttl,
                mandate_ttl,
            } => {
                let parent = parent.and_then(|index| self.edge(index));
                let source = match parent {
                    Some(edge) => edge["target_session_id"].as_str(),
                    None => self.session(*source).map(String::as_str),
                };
                let (Some(source), Some(target)) = (source, self.session(*target)) else {
                    return;
                };
                let resources = RESOURCES[*scopes / 3];
                let scopes: Vec<&str> = SCOPES[*scopes % 3].split(' ').collect();
                let mut constraints = json!({"max_hops": hops, "resources": resources});
                if let Some(ttl) = mandate_ttl {
                    constraints["ttl_seconds"] = json!(ttl);
                }
                let more = json!({
                    "scopes": scopes, "ttl_seconds": ttl, "constraints": constraints,
                    "parent_edge_id": parent.map(|edge| &edge["id"]), "resource_id": null,
                });
                let reply = self.zone.try_delegate(source, target, more);
                if reply.status == 201 {
                    let id = reply.text("id");
                    self.learn(&id);
                }
            }
            Call::Mint { edge, scopes, fits } => {
                let Some(edge) = self.edge(*edge) else { return };
                let mut fields = asked(*scopes);
                if *fits {
                    fields[0].1 = edge["scopes"][0].as_str().unwrap();
                    fields[1].1 = edge["resources"][0].as_str().unwrap();
                }
                let session = edge["target_session_id"].as_str().unwrap().to_owned();
                let id = edge["id"].as_str().unwrap().to_owned();
                let stands = self.stands(&id);
                let reply = self.zone.mint(&session, &id, &fields);
                assert!(reply.status == 200 || reply.status == 403, "{reply:?}");
                if reply.status == 200 {
                    assert!(stands, "minted on what does not stand: {id}");
                    self.check(&reply.text("access_token"));
                } else {
                    self.refused += 1;
                }
            }
            Call::Act {
                source,
                target,
                scopes,
            } => {
                let (Some(source), Some(target)) = (self.session(*source), self.session(*target))
                else {
                    return;
                };
                let bind = |session: &str| {
                    let changes = [("scope", "agent:lifecycle"), ("agent_session_id", session)];
                    let reply = self.zone.demo.exchange(&changes);
                    (reply.status == 200).then(|| reply.text("access_token"))
                };
                if let (Some(subject), Some(actor)) = (bind(source), bind(target)) {
                    let reply = self.zone.act(&subject, &actor, &asked(*scopes));
                    if reply.status == 200 {
                        self.check(&reply.text("access_token"));
                    }
                }
            }
            Call::Suspend { session } | Call::Resume { session } => {
                let what = if matches!(call, Call::Suspend { .. }) {
                    "suspend"
                } else {
                    "resume"
                };
                if let Some(id) = self.session(*session) {
                    self.zone
                        .call("PATCH", &format!("/agents/{id}/{what}"), &token, None);
                }
            }
            Call::End { session } => {
                if let Some(id) = self.session(*session) {
                    self.zone.terminate(id);
                }
            }
            Call::Revoke { edge } => {
                if let Some(edge) = self.edge(*edge) {
                    self.zone.revoke(edge["id"].as_str().unwrap()).expect(200);
                }
            }
        }
    }

    /// Whether a delegation, all that it rests on and all their sessions are active, as each says alone.
    fn stands(&self, id: &str) -> bool {
        let edge = self.show(&format!("/delegations/{id}"));
        let path = edge["delegation_path"].as_array().unwrap().clone();
        path.iter().all(|id| {
            let edge = self.show(&format!("/delegations/{}", id.as_str().unwrap()));
            edge["status"] == "active"
                && ["source_session_id", "target_session_id"]
                    .iter()
                    .all(|end| {
                        let session =
                            self.show(&format!("/agents/{}", edge[*end].as_str().unwrap()));
                        session["status"] == "active"
                    })
        })
    }

    /// Holds a mandate against every delegation and session that it rests on.
    fn check(&mut self, token: &str) {
        self.minted += 1;
        let claims: Claims = self.zone.demo.zone.claims(token, MandateUse::Gateway);
        let scopes: BTreeSet<&str> = claims.scopes().collect();
        assert_eq!(
            claims.hop_count,
            Some(u32::try_from(claims.delegation_path.len()).unwrap())
        );
        assert!(!claims.delegation_path.is_empty() && claims.delegation_path.len() <= 10);
        let mut hops_left = u64::MAX;
        for (index, id) in claims.delegation_path.iter().enumerate() {
            self.learn(id.as_str());
            let edge = &self.edges[id.as_str()];
            let strings = |member: &str| -> BTreeSet<&str> {
                edge[member]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item.as_str().unwrap())
                    .collect()
            };
            assert!(
                scopes.is_subset(&strings("scopes")),
                "{claims:?} over {edge}"
            );
            let targets: BTreeSet<&str> =
                claims.target.iter().map(|target| target.as_str()).collect();
            assert!(
                targets.is_subset(&strings("resources")),
                "{claims:?} over {edge}"
            );
            assert!(
                claims.exp.seconds() <= seconds(&edge["expires_at"]),
                "{claims:?} over {edge}"
            );
            if let Some(ttl) = edge["mandate_ttl_seconds"].as_u64() {
                assert!(
                    claims.exp.seconds() - claims.iat.seconds() <= ttl,
                    "{claims:?} over {edge}"
                );
            }
            let hops = edge["max_hops"].as_u64().unwrap();
            let costs = edge["inherited"] == false;
            assert!(index == 0 || hops < hops_left || !costs && hops == hops_left);
            hops_left = hops;
            for end in ["source_session_id", "target_session_id"] {
                let session = self.show(&format!("/agents/{}", edge[end].as_str().unwrap()));
                assert_eq!(session["status"], "active", "{claims:?}");
                assert!(claims.exp.seconds() <= seconds(&session["expires_at"]));
                if index == 0 && end == "source_session_id" {
                    assert!(edge["parent_edge_id"].is_null());
                }
            }
        }
        assert!(claims.exp > now() && claims.exp.seconds() <= claims.iat.seconds() + 900);
    }

    /// Authority that is in force flows to nobody twice.
    fn check_acyclic(&self) {
        let active = self.show("/delegations/active?limit=500");
        let mut flows: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for edge in active["items"].as_array().unwrap() {
            let end = |name: &str| edge[name].as_str().unwrap().to_owned();
            flows
                .entry(end("source_session_id"))
                .or_default()
                .push(end("target_session_id"));
        }
        for start in flows.keys() {
            let (mut seen, mut next) = (BTreeSet::new(), flows[start].clone());
            while let Some(session) = next.pop() {
                assert_ne!(&session, start, "authority flows in a circle");
                if seen.insert(session.clone()) {
                    next.extend(flows.get(&session).cloned().unwrap_or_default());
                }
            }
        }
    }
}

/// An RFC 3339 text in UTC as seconds since the Unix epoch.
fn seconds(text: &Value) -> u64 {
    u64::try_from(instant(text).unix_timestamp()).unwrap()
}

/// How often a mint and a revocation race.
const RACES: u64 = 1_000;

#[tokio::test]
async fn a_mint_that_races_a_revocation_came_before_it_or_is_none() {
    let mut world = World::with(|config| config.mints_per_minute = u32::MAX);
    let (minted, refused, zone_id) = {
        let zone = world.governed();
        let root = zone.start(json!({}));
        let child = zone.child(&root);
        let (mut minted, mut refused) = (0, 0);
        for race in 0..RACES {
            let edge = zone.delegate(&root, &child, json!({}));
            let reply = std::thread::scope(|scope| {
                let revoked = scope.spawn(|| {
                    // From well before the mint to well after it, whichever of the two is quicker.
                    std::thread::sleep(Duration::from_micros(race * 37 % 50 * 400));
                    zone.revoke(&edge).expect(200);
                });
                std::thread::sleep(Duration::from_millis(10));
                let reply = zone.mint(&child, &edge, &[]);
                revoked.join().unwrap();
                reply
            });
            match reply.status {
                200 => minted += 1,
                403 => refused += 1,
                _ => panic!("{reply:?}"),
            }
            assert_eq!(
                zone.mint(&child, &edge, &[]).status,
                403,
                "minted after the revocation"
            );
        }
        (minted, refused, zone.demo.zone.id)
    };
    assert!(
        minted > 40 && refused > 40,
        "no race: {minted} minted, {refused} refused"
    );
    world.stop();
    let url = format!("sqlite:{}", world.dir.path().join("caracal.db").display());
    let database = sqlx::SqlitePool::connect(&url).await.unwrap();
    let sql = "SELECT event ->> 'occurred_at', revoked_at FROM audit_entries JOIN delegations ON delegations.id = event -> 'delegation_path' ->> 0
               WHERE event ->> 'decision' = 'allow' AND event ->> 'event_type' = 'token_exchange'
               AND event ->> 'zone_id' = ?";
    let mints: Vec<(String, i64)> = sqlx::query_as(sql)
        .bind(&zone_id)
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(mints.len(), minted);
    for (occurred_at, revoked_at) in mints {
        // Events tell microseconds and delegations milliseconds: both are taken down to the millisecond.
        let millis = instant(&json!(occurred_at)).unix_timestamp_nanos() / 1_000_000;
        assert!(
            millis <= i128::from(revoked_at),
            "minted at {occurred_at}, revoked at {revoked_at}"
        );
    }
}

#[test]
fn no_sequence_of_calls_yields_more_than_an_ancestor_holds() {
    let config = Config::with_cases(12);
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(
        Config {
            failure_persistence: None,
            ..config
        },
        rng,
    );
    let (mut minted, mut refused) = (0, 0);
    let world = World::with(|config| config.mints_per_minute = u32::MAX);
    for _ in 0..12 {
        let calls = vec(call(), 80).new_tree(&mut runner).unwrap().current();
        let mut known = Known {
            zone: world.governed(),
            sessions: Vec::new(),
            edges: BTreeMap::new(),
            order: Vec::new(),
            minted: 0,
            refused: 0,
        };
        for call in &calls {
            known.make(call);
        }
        known.check_acyclic();
        minted += known.minted;
        refused += known.refused;
    }
    // A sequence that mints nothing, or is refused nothing, would show nothing.
    assert!(
        minted > 40 && refused > 40,
        "{minted} minted, {refused} refused"
    );
}
