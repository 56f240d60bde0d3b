//! Who is compared: Envoy with nothing in it, with its own filters, with an authoriser beside it, and with
//! the plugin.

use std::{fs, path::Path, thread, time::Duration};

use e2e::{
    clients, eventually,
    gateway::{Gateway, GatewaySpec},
    http::Request,
    mandates::{self, RESOURCE},
    sts::{Application, Sts, Zone},
    wasm,
};
use serde_json::{Value, json};

use super::{
    Full, Options, PATH,
    authoriser::{Authoriser, Spec},
    instructions, load, write_tokens,
};
use crate::median;

/// Agents whose mandates repeat, and mandates of which each comes again only when it is forgotten.
const WARM: usize = 1_000;
const COLD: usize = 6_000;
const COLD_CACHE: usize = 1_000;
const MINTERS: usize = 4;
/// Some of the plugin's ticks.
const WAKING: Duration = Duration::from_millis(200);
/// Between the length of a poll and the age at which a gateway counts as stale, in these gateways.
const FRESH_MS: u64 = 3_000;
/// What the grown zone has.
const HOPS: usize = 5;
const RESOURCES: usize = 1_000;
const ANCHORS: usize = 1_000_000;

const NOTHING: &str = "nothing";
pub(super) const JWT_CACHED_RBAC: &str = "jwt_authn, cached + rbac";
const OURS_WARM: &str = "caracal, warm";
const OURS_UNSEEN: &str = "caracal, warm, not called for answers";
const COLD_HANDWRITTEN: &str = "caracal, cold, 30 lines of Rego";
const COLD_APART: &str = "caracal, cold, 30 lines of Rego, none alike";
/// By which no two mandates are: nothing that was said of one answers for another.
const TELLS_APART: &str = "\nmay_pass if input.context.subject_claims.jti == \"\"\n";
const COLD_CONTRACT: [&str; 3] = [
    "jwt_authn",
    "jwt_authn + rbac",
    "caracal, cold, the contract",
];

/// One of those that are compared.
pub(super) struct Contender<'a> {
    pub(super) name: String,
    pub(super) gateway: Gateway,
    pub(super) tokens_name: &'static str,
    pub(super) tokens: &'a [String],
    sts: Option<&'a Sts>,
    authoriser: Option<Authoriser>,
    /// What stands behind it, kept running.
    _upstream: Option<Gateway>,
}

/// By how much a contender's requests are later than those to nothing.
pub(super) struct Added {
    pub(super) name: &'static str,
    /// Requests a second.
    pub(super) rate: u32,
    /// Microseconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// The time in which a contender runs; the others stand still, so that nothing they do is in its figures.
pub(super) struct Turn<'c>(&'c Gateway);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

impl Contender<'_> {
    /// Lets it run, from when it serves: ours has to hear from its STS first.
    pub(super) fn turn(&self) -> Turn<'_> {
        self.gateway.unpause();
        if self.sts.is_some() {
            // What stood still tells of the time before until its clock has ticked.
            thread::sleep(WAKING);
            eventually("the gateway has heard from its STS", || {
                let ages = self.gateway.stats("caracal_state_age_ms");
                let oldest = ages.iter().map(|(_, age)| *age).max();
                oldest.filter(|age| *age < FRESH_MS)
            });
        }
        let token = self.tokens.first().unwrap();
        eventually(&self.name, || {
            let answer = Request::get(PATH).bearer(token);
            let answer = answer.send(self.gateway.address()).unwrap();
            (answer.status == 200).then_some(())
        });
        Turn(&self.gateway)
    }

    /// The processor time of all that works with the gateway.
    pub(super) fn beside(&self) -> Duration {
        let sts = self.sts.map(Sts::processor_time).unwrap_or_default();
        let authoriser = self.authoriser.as_ref().map(Authoriser::processor_time);
        sts + authoriser.unwrap_or_default()
    }
}

/// A zone of an STS, and mandates of it.
struct Mandates {
    zone_id: String,
    slug: &'static str,
    policy: String,
    warm: Vec<String>,
    cold: Vec<String>,
}

/// What all contenders stand on.
pub(super) struct Field<'o> {
    options: &'o Options,
    sts: Sts,
    contract: Mandates,
    handwritten: Mandates,
    apart: Mandates,
    grown: Option<(Sts, Mandates)>,
}

const GROWN: &str = "caracal, grown: 5 hops, 1,000 resources, 1,000,000 revoked";

impl<'o> Field<'o> {
    /// Starts the STS, and mints.
    pub(super) fn prepare(options: &'o Options, dir: &Path) -> Self {
        let sts = Sts::start();
        println!("minting, and filling a zone");
        let mints_for = |names: &[&str], zone: &Zone<'_>, application: &Application| {
            let wanted = names.iter().any(|name| is_wanted(options, name));
            let number = if wanted { COLD } else { 0 };
            mints(zone, application, number, &[])
        };
        let contract = {
            let zone = sts.zone("contract");
            let application = zone.govern();
            let policy =
                mandates::grants(&application.id, &[RESOURCE], &["demo:read", "demo:write"]);
            Mandates {
                policy,
                warm: mints(&zone, &application, WARM, &[]),
                cold: mints_for(&COLD_CONTRACT, &zone, &application),
                zone_id: zone.id,
                slug: "contract",
            }
        };
        let by_hand = |slug, policy: String, name| {
            let zone = sts.zone(slug);
            let application = zone.govern();
            zone.activate(&zone.policy(slug, &policy));
            Mandates {
                policy,
                warm: Vec::new(),
                cold: mints_for(&[name], &zone, &application),
                zone_id: zone.id,
                slug,
            }
        };
        let lines = ::micro::HANDWRITTEN;
        let handwritten = by_hand("handwritten", lines.to_owned(), COLD_HANDWRITTEN);
        let apart = by_hand("apart", format!("{lines}{TELLS_APART}"), COLD_APART);
        let grown = is_wanted(options, GROWN).then(grown);
        write_tokens(dir, "warm", &contract.warm);
        write_tokens(dir, "cold", &contract.cold);
        write_tokens(dir, "handwritten", &handwritten.cold);
        write_tokens(dir, "apart", &apart.cold);
        if let Some((_, mandates)) = &grown {
            write_tokens(dir, "grown", &mandates.warm);
        }
        Self {
            options,
            sts,
            contract,
            handwritten,
            apart,
            grown,
        }
    }

    /// Those that were asked for, running.
    pub(super) fn contenders(&self) -> Vec<Contender<'_>> {
        let warm = || ("warm", self.contract.warm.as_slice());
        let cold = || ("cold", self.contract.cold.as_slice());
        let by_hand = || ("handwritten", self.handwritten.cold.as_slice());
        let apart = || ("apart", self.apart.cold.as_slice());
        let cached = || self.jwt_authn(Some(2 * WARM));
        let uncached = || self.jwt_authn(None);
        type Make<'m> = Box<dyn Fn(&str) -> Contender<'m> + 'm>;
        let all: Vec<(&str, Make<'_>)> = vec![
            (
                NOTHING,
                Box::new(move |name| self.other(name, warm(), vec![])),
            ),
            (
                "wasm that does nothing",
                Box::new(move |name| self.noop(name, warm())),
            ),
            (
                "jwt_authn, cached",
                Box::new(move |name| self.other(name, warm(), vec![cached()])),
            ),
            (
                JWT_CACHED_RBAC,
                Box::new(move |name| self.other(name, warm(), vec![cached(), rbac()])),
            ),
            (
                OURS_WARM,
                Box::new(move |name| self.ours(name, &self.contract, warm(), 10_000)),
            ),
            (
                OURS_UNSEEN,
                Box::new(move |name| self.ours_unseen(name, warm())),
            ),
            (
                COLD_CONTRACT[0],
                Box::new(move |name| self.other(name, cold(), vec![uncached()])),
            ),
            (
                COLD_CONTRACT[1],
                Box::new(move |name| self.other(name, cold(), vec![uncached(), rbac()])),
            ),
            (
                COLD_HANDWRITTEN,
                Box::new(move |name| self.ours(name, &self.handwritten, by_hand(), COLD_CACHE)),
            ),
            (
                COLD_APART,
                Box::new(move |name| self.ours(name, &self.apart, apart(), COLD_CACHE)),
            ),
            (
                COLD_CONTRACT[2],
                Box::new(move |name| self.ours(name, &self.contract, cold(), COLD_CACHE)),
            ),
            (
                "ext_authz, stand-in that evaluates",
                Box::new(move |name| self.authorised(name, warm(), false)),
            ),
            (
                "ext_authz, stand-in that verifies and evaluates",
                Box::new(move |name| self.authorised(name, warm(), true)),
            ),
            (GROWN, Box::new(move |name| self.ours_grown(name))),
            (
                "with an upstream: nothing",
                Box::new(move |name| self.with_upstream(name, Some(vec![]))),
            ),
            (
                "with an upstream: jwt_authn, cached + rbac",
                Box::new(move |name| self.with_upstream(name, Some(vec![cached(), rbac()]))),
            ),
            (
                "with an upstream: caracal, warm",
                Box::new(move |name| self.with_upstream(name, None)),
            ),
        ];
        println!(
            "ext_authz asks a stand-in for OPA: native, and with less to do than OPA has. No figure is OPA's own."
        );
        let wanted = all
            .into_iter()
            .filter(|(name, _)| is_wanted(self.options, name));
        wanted.map(|(name, make)| make(name)).collect()
    }

    /// By how much a warm governed request is later than one to nothing, at half of what it can do, and one to what
    /// it is compared with at the same rate.
    pub(super) fn added_latency(
        &self,
        options: &Options,
        contenders: &[Contender<'_>],
        full: &[Full],
    ) -> Vec<Added> {
        let place = |name: &str| contenders.iter().position(|one| one.name == name);
        let (Some(nothing), Some(ours)) = (place(NOTHING), place(OURS_WARM)) else {
            return Vec::new();
        };
        let rate = (full[ours].requests_a_second / 2.0) as u32;
        let steady = |place: usize| {
            let lasting = Duration::from_secs(options.seconds.into());
            load::steady(&contenders[place], rate, lasting)
        };
        let mut added: Vec<_> = [OURS_WARM, JWT_CACHED_RBAC]
            .into_iter()
            .filter_map(|name| Some((name, place(name)?, Vec::new(), Vec::new())))
            .collect();
        for _ in 0..options.rounds {
            let without = steady(nothing);
            for (_, place, p50, p99) in &mut added {
                let with = steady(*place);
                p50.push(with.p50 - without.p50);
                p99.push(with.p99 - without.p99);
            }
        }
        added
            .into_iter()
            .map(|(name, _, p50, p99)| Added {
                name,
                rate,
                p50: median(p50),
                p99: median(p99),
            })
            .collect()
    }

    fn spec(&self) -> GatewaySpec {
        let nowhere = self.sts.address();
        GatewaySpec {
            workers: self.options.workers,
            answers_itself: true,
            ..GatewaySpec::new(json!({}), nowhere)
        }
    }

    fn contender<'a>(
        &self,
        name: &str,
        tokens: (&'static str, &'a [String]),
        spec: &GatewaySpec,
    ) -> Contender<'a> {
        let mut spec = spec.clone();
        if self.options.instructions {
            spec.under = instructions::counted(self.options.caches);
        }
        Contender {
            name: name.to_owned(),
            gateway: spec.start(),
            tokens_name: tokens.0,
            tokens: tokens.1,
            sts: None,
            authoriser: None,
            _upstream: None,
        }
    }

    fn other<'a>(
        &self,
        name: &str,
        tokens: (&'static str, &'a [String]),
        filters: Vec<Value>,
    ) -> Contender<'a> {
        let mut spec = self.spec();
        spec.others = Some(filters);
        self.contender(name, tokens, &spec)
    }

    fn noop<'a>(&self, name: &str, tokens: (&'static str, &'a [String])) -> Contender<'a> {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = self.spec();
        let file = dir.path().join("noop.wasm");
        fs::write(&file, wasm::does_nothing()).unwrap();
        spec.wasm = Some(file);
        // It is called for what ours is not.
        let called = ["proxy_on_response_headers", "proxy_on_done"];
        spec.capabilities.extend(called);
        self.contender(name, tokens, &spec)
    }

    fn ours<'a>(
        &'a self,
        name: &str,
        mandates: &Mandates,
        tokens: (&'static str, &'a [String]),
        cache: usize,
    ) -> Contender<'a> {
        let mut ours = self.contender(name, tokens, &self.ours_spec(mandates, cache));
        ours.sts = Some(&self.sts);
        ours
    }

    /// Without being called for each part of an answer, as is right where none is a stream of events.
    fn ours_unseen<'a>(
        &'a self,
        name: &str,
        tokens: (&'static str, &'a [String]),
    ) -> Contender<'a> {
        let mut spec = self.ours_spec(&self.contract, 10_000);
        spec.capabilities
            .retain(|name| *name != "proxy_on_response_body");
        let mut ours = self.contender(name, tokens, &spec);
        ours.sts = Some(&self.sts);
        ours
    }

    fn ours_spec(&self, mandates: &Mandates, cache: usize) -> GatewaySpec {
        let zone = self.sts.known_zone(&mandates.zone_id, mandates.slug);
        let mut spec = zone.gateway_spec(self.options.workers, self.sts.address());
        spec.plugin["mandate_cache"] = json!(cache);
        spec.plugin["audit"] = room_for_evidence();
        spec.answers_itself = true;
        spec
    }

    fn ours_grown(&self, name: &str) -> Contender<'_> {
        let (sts, mandates) = self.grown.as_ref().unwrap();
        let zone = sts.known_zone(&mandates.zone_id, mandates.slug);
        let mut spec = zone.gateway_spec(self.options.workers, sts.address());
        let bound = (1..RESOURCES).map(|number| {
            json!({"identifier": format!("resource://r{number}"), "path_prefix": format!("/r{number}/")})
        });
        let resources = spec.plugin["resources"].as_array_mut().unwrap();
        resources.extend(bound);
        spec.plugin["audit"] = room_for_evidence();
        spec.answers_itself = true;
        let mut ours = self.contender(name, ("grown", &mandates.warm), &spec);
        ours.sts = Some(sts);
        ours
    }

    fn authorised<'a>(
        &self,
        name: &str,
        tokens: (&'static str, &'a [String]),
        verifies: bool,
    ) -> Contender<'a> {
        let authoriser = Authoriser::start(&Spec {
            zone: self.contract.zone_id.clone(),
            issuer: self.sts.issuer(),
            keys: self.keys(),
            policy: self.contract.policy.clone(),
            verifies,
        });
        let mut spec = self.spec();
        spec.others = Some(vec![ext_authz()]);
        spec.authoriser = Some(authoriser.address);
        let mut contender = self.contender(name, tokens, &spec);
        contender.authoriser = Some(authoriser);
        contender
    }

    /// With a second Envoy behind it that answers. `filters` in place of ours.
    fn with_upstream(&self, name: &str, filters: Option<Vec<Value>>) -> Contender<'_> {
        let mut behind = self.spec();
        behind.others = Some(vec![]);
        let behind = behind.start();
        let zone = self
            .sts
            .known_zone(&self.contract.zone_id, self.contract.slug);
        let ours = filters.is_none();
        let mut spec = self.spec();
        if ours {
            spec = zone.gateway_spec(self.options.workers, behind.address());
            spec.plugin["audit"] = room_for_evidence();
        }
        (spec.upstream, spec.answers_itself) = (behind.address(), false);
        spec.others = filters;
        let mut contender = self.contender(name, ("warm", &self.contract.warm), &spec);
        contender.sts = ours.then_some(&self.sts);
        contender._upstream = Some(behind);
        contender
    }

    fn keys(&self) -> Value {
        let keys = format!("/.well-known/jwks.json?zone_id={}", self.contract.zone_id);
        self.sts.admin("GET", &keys, &Value::Null).ok()
    }

    fn jwt_authn(&self, cache: Option<usize>) -> Value {
        let mut provider = json!({
            "issuer": self.sts.issuer(),
            "local_jwks": {"inline_string": self.keys().to_string()},
            "payload_in_metadata": "claims",
        });
        if let Some(tokens) = cache {
            provider["jwt_cache_config"] = json!({"jwt_cache_size": tokens});
        }
        json!({
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"sts": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "sts"}}],
            },
        })
    }
}

fn is_wanted(options: &Options, name: &str) -> bool {
    let only = &options.only;
    only.is_empty() || name == NOTHING || only.iter().any(|part| name.contains(part.as_str()))
}

fn mints(
    zone: &Zone<'_>,
    application: &Application,
    number: usize,
    more: &[(&str, &str)],
) -> Vec<String> {
    let one = || {
        zone.try_mint(application, "demo:read", more)
            .text("access_token")
    };
    thread::scope(|scope| {
        let minters: Vec<_> = (0..MINTERS)
            .map(|_| {
                scope.spawn(|| -> Vec<String> { (0..number / MINTERS).map(|_| one()).collect() })
            })
            .collect();
        let minted = minters.into_iter().map(|minter| minter.join().unwrap());
        minted.flatten().collect()
    })
}

/// An STS with a zone in which much has come together.
fn grown() -> (Sts, Mandates) {
    let mut sts = Sts::start();
    let (zone_id, application) = {
        let zone = sts.zone("grown");
        let application = zone.application("agent");
        zone.resource(RESOURCE, "/demo/");
        for number in 1..RESOURCES {
            zone.resource(&format!("resource://r{number}"), &format!("/r{number}/"));
        }
        zone.activate(&zone.policy("roles", &mandates::roles(&application.id)));
        (zone.id, application)
    };
    sts.stop();
    let database = sts.data_dir().join("caracal.db");
    let arguments = [database.to_str().unwrap(), &zone_id, &ANCHORS.to_string()];
    clients::run("fill_revocations.py", &arguments, &[]);
    sts.resume();
    let warm = {
        let zone = sts.known_zone(&zone_id, "grown");
        let (session, edge) = chain(&zone, &application);
        let more = [
            ("agent_session_id", session.as_str()),
            ("delegation_edge_id", edge.as_str()),
        ];
        mints(&zone, &application, WARM, &more)
    };
    let mandates = Mandates {
        zone_id,
        slug: "grown",
        policy: String::new(),
        warm,
        cold: Vec::new(),
    };
    (sts, mandates)
}

/// Delegates from session to session: the last of each.
fn chain(zone: &Zone<'_>, application: &Application) -> (String, String) {
    let mut session = zone.session(application, "lead", None);
    let mut edge = String::new();
    for left in (0..HOPS).rev() {
        let next = zone.session(application, "lead", Some(&session));
        let body = json!({
            "issuer_application_id": application.id, "source_session_id": session,
            "receiver_application_id": application.id, "target_session_id": next,
            "resource_id": RESOURCE, "scopes": ["demo:read"], "ttl_seconds": 3600,
            "constraints": {"max_hops": left + 1},
        });
        edge = zone
            .governed("POST", "/delegations", &body)
            .text("delegation_edge_id");
        session = next;
    }
    (session, edge)
}

/// Evidence of all requests of a round: load and STS share the processors, and it is all counted however late
/// the STS has it.
fn room_for_evidence() -> Value {
    json!({"buffer_events": 500_000})
}

/// Lets `GET` below `/demo/` pass with the scope: the little of a policy that this filter can hold.
fn rbac() -> Value {
    let metadata = "envoy.filters.http.jwt_authn";
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": {"read": {
                "permissions": [{"and_rules": {"rules": [
                    {"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                    {"url_path": {"path": {"prefix": "/demo/"}}},
                ]}}],
                "principals": [{"metadata": {
                    "filter": metadata,
                    "path": [{"key": "claims"}, {"key": "scope"}],
                    "value": {"string_match": {"exact": "demo:read"}},
                }}],
            }}},
        },
    })
}

fn ext_authz() -> Value {
    json!({
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "authoriser"}, "timeout": "2s"},
        },
    })
}
