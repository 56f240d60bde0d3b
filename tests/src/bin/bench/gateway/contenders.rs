//! Who is compared: Envoy with nothing in it, with its own filters, with an authoriser beside it, and with
//! the plugin.

use std::{fs, path::Path, thread, time::Duration};

use e2e::{
    eventually,
    gateway::{Gateway, GatewaySpec},
    http::Request,
    mandates::{self, RESOURCE},
    sts::Sts,
    wasm,
};
use serde_json::{Value, json};

use super::{
    Options, PATH,
    authoriser::{Authoriser, Spec},
    filters::{ext_authz, jwt_authn, rbac},
    instructions, is_asked_for, opa,
    zones::{self, Extent, Mandates, WARM},
};

/// Mandates of which each comes again only when it is forgotten.
const COLD: usize = 6_000;
const COLD_CACHE: usize = 1_000;
/// Some of the plugin's ticks.
const WAKING: Duration = Duration::from_millis(200);
/// Between the length of a poll and the age at which a gateway counts as stale, in these gateways.
const FRESH_MS: u64 = 3_000;

pub(super) const NOTHING: &str = "nothing";
pub(super) const JWT_CACHED_RBAC: &str = "jwt_authn, cached + rbac";
pub(super) const OURS_WARM: &str = "caracal, warm";
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

/// Those that ask somebody who verifies and evaluates.
pub(super) const STAND_IN: &str = "ext_authz, stand-in that verifies and evaluates";
pub(super) const OPA: &str = "ext_authz, OPA";

/// One of those that are compared.
pub(super) struct Contender<'a> {
    pub(super) name: String,
    pub(super) gateway: Gateway,
    pub(super) mandates: &'a Mandates,
    sts: Option<&'a Sts>,
    authoriser: Option<Authoriser>,
    /// What stands behind it, kept running.
    _upstream: Option<Gateway>,
}

/// The time in which a contender runs; the others stand still, so that nothing they do is in its figures.
pub(super) struct Turn<'c>(&'c Gateway);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pause();
    }
}

impl<'a> Contender<'a> {
    pub(super) fn start(name: &str, mandates: &'a Mandates, spec: &GatewaySpec) -> Self {
        Self {
            name: name.to_owned(),
            gateway: spec.start(),
            mandates,
            sts: None,
            authoriser: None,
            _upstream: None,
        }
    }

    /// One of ours, which an STS works with.
    pub(super) fn with_sts(self, sts: &'a Sts) -> Self {
        Self {
            sts: Some(sts),
            ..self
        }
    }

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
        let token = self.mandates.all.first().unwrap();
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

type Make<'f> = Box<dyn Fn(&str) -> Contender<'f> + 'f>;

/// What all contenders stand on.
pub(super) struct Field<'o> {
    options: &'o Options,
    sts: Sts,
    warm: Mandates,
    cold: Mandates,
    /// What is granted to them.
    granted: String,
    handwritten: Mandates,
    apart: Mandates,
    grown: Option<(Sts, Mandates)>,
    /// Whether there is an OPA to ask.
    opa: bool,
}

const GROWN: &str = "caracal, grown: 5 hops, 1,000 resources, 1,000,000 revoked";
const MUCH: Extent = Extent {
    hops: 5,
    resources: 1_000,
    revoked: 1_000_000,
};

impl<'o> Field<'o> {
    /// Starts the STS, and fills its zones.
    pub(super) fn prepare(options: &'o Options) -> Self {
        let sts = Sts::start();
        println!("filling zones");
        let wanted = |names: &[&str]| {
            let any = names.iter().any(|name| is_wanted(options, name));
            if any { COLD } else { 0 }
        };
        let contract = sts.zone("contract");
        let application = contract.govern();
        let scopes = ["demo:read", "demo:write"];
        let granted = mandates::grants(&application.id, &[RESOURCE], &scopes);
        let warm = Mandates::of(&contract, &application, "warm", WARM);
        let cold = Mandates::of(&contract, &application, "cold", wanted(&COLD_CONTRACT));
        let by_hand = |slug: &str, policy: &str, name| {
            let zone = sts.zone(slug);
            let application = zone.govern();
            zone.activate(&zone.policy(slug, policy));
            Mandates::of(&zone, &application, slug, wanted(&[name]))
        };
        let lines = ::micro::HANDWRITTEN;
        let handwritten = by_hand("handwritten", lines, COLD_HANDWRITTEN);
        let apart = by_hand("apart", &format!("{lines}{TELLS_APART}"), COLD_APART);
        let grown = is_wanted(options, GROWN).then(|| {
            // Its own, so that what it takes is no other zone's.
            let mut sts = Sts::start();
            let mandates = zones::grown(&mut sts, &[("grown", MUCH)]).remove(0);
            (sts, mandates)
        });
        let mut field = Self {
            options,
            warm,
            cold,
            granted,
            handwritten,
            apart,
            grown,
            opa: false,
            sts,
        };
        if is_wanted(options, OPA) {
            field.opa = opa::start(&field.asked(true)).is_some();
            if !field.opa {
                println!(
                    "ext_authz asks a stand-in alone: native, and with less to do than OPA has"
                );
            }
        }
        field
    }

    /// Has mandates for what comes now.
    pub(super) fn mint(&mut self, dir: &Path) {
        let zones = [
            &mut self.warm,
            &mut self.cold,
            &mut self.handwritten,
            &mut self.apart,
        ];
        for mandates in zones {
            mandates.mint(&self.sts, dir);
        }
        if let Some((sts, mandates)) = &mut self.grown {
            mandates.mint(sts, dir);
        }
    }

    /// Those that were asked for, running.
    pub(super) fn contenders(&self) -> Vec<Contender<'_>> {
        let names = self.names().into_iter();
        names.filter_map(|name| self.start(name)).collect()
    }

    /// The names of those that were asked for.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let all = self.all().into_iter().map(|(name, _)| name);
        all.filter(|name| is_wanted(self.options, name))
            .filter(|name| *name != OPA || self.opa)
            .collect()
    }

    /// Starts one, and lets it stand still until its turn.
    pub(super) fn start(&self, name: &str) -> Option<Contender<'_>> {
        let (name, make) = self.all().into_iter().find(|(own, _)| *own == name)?;
        let started = make(name);
        drop(started.turn());
        Some(started)
    }

    fn all(&self) -> Vec<(&'static str, Make<'_>)> {
        let (warm, cold) = (&self.warm, &self.cold);
        let verify = |cache| jwt_authn(&self.sts.issuer(), &self.keys(), cache);
        let cached = move || verify(Some(2 * WARM));
        let uncached = move || verify(None);
        vec![
            (
                NOTHING,
                Box::new(move |name| self.other(name, warm, vec![])),
            ),
            (
                "wasm that does nothing",
                Box::new(move |name| self.noop(name, warm)),
            ),
            (
                "jwt_authn, cached",
                Box::new(move |name| self.other(name, warm, vec![cached()])),
            ),
            (
                JWT_CACHED_RBAC,
                Box::new(move |name| self.other(name, warm, vec![cached(), rbac()])),
            ),
            (
                OURS_WARM,
                Box::new(move |name| self.ours(name, warm, 10_000)),
            ),
            (
                OURS_UNSEEN,
                Box::new(move |name| self.ours_unseen(name, warm)),
            ),
            (
                COLD_CONTRACT[0],
                Box::new(move |name| self.other(name, cold, vec![uncached()])),
            ),
            (
                COLD_CONTRACT[1],
                Box::new(move |name| self.other(name, cold, vec![uncached(), rbac()])),
            ),
            (
                COLD_HANDWRITTEN,
                Box::new(move |name| self.ours(name, &self.handwritten, COLD_CACHE)),
            ),
            (
                COLD_APART,
                Box::new(move |name| self.ours(name, &self.apart, COLD_CACHE)),
            ),
            (
                COLD_CONTRACT[2],
                Box::new(move |name| self.ours(name, cold, COLD_CACHE)),
            ),
            (
                "ext_authz, stand-in that evaluates",
                Box::new(move |name| self.authorised(name, warm, self.stand_in(false))),
            ),
            (
                STAND_IN,
                Box::new(move |name| self.authorised(name, warm, self.stand_in(true))),
            ),
            (
                OPA,
                Box::new(move |name| {
                    let opa = opa::start(&self.asked(true)).unwrap();
                    self.authorised(name, warm, opa)
                }),
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
        ]
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
        mandates: &'a Mandates,
        spec: &GatewaySpec,
    ) -> Contender<'a> {
        let mut spec = spec.clone();
        if self.options.instructions {
            spec.under = instructions::counted(self.options.caches);
        }
        Contender::start(name, mandates, &spec)
    }

    fn other<'a>(&self, name: &str, mandates: &'a Mandates, filters: Vec<Value>) -> Contender<'a> {
        let mut spec = self.spec();
        spec.others = Some(filters);
        self.contender(name, mandates, &spec)
    }

    fn noop<'a>(&self, name: &str, mandates: &'a Mandates) -> Contender<'a> {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = self.spec();
        let file = dir.path().join("noop.wasm");
        fs::write(&file, wasm::does_nothing()).unwrap();
        spec.wasm = Some(file);
        // It is called for what ours is not.
        let called = ["proxy_on_response_headers", "proxy_on_done"];
        spec.capabilities.extend(called);
        self.contender(name, mandates, &spec)
    }

    fn ours<'a>(&'a self, name: &str, mandates: &'a Mandates, cache: usize) -> Contender<'a> {
        let spec = self.ours_spec(mandates, cache);
        self.contender(name, mandates, &spec).with_sts(&self.sts)
    }

    /// Without being called for each part of an answer, as is right where none is a stream of events.
    fn ours_unseen<'a>(&'a self, name: &str, mandates: &'a Mandates) -> Contender<'a> {
        let mut spec = self.ours_spec(mandates, 10_000);
        spec.capabilities
            .retain(|name| *name != "proxy_on_response_body");
        self.contender(name, mandates, &spec).with_sts(&self.sts)
    }

    fn ours_spec(&self, mandates: &Mandates, cache: usize) -> GatewaySpec {
        let mut spec = zones::gateway_spec(&self.sts, mandates, self.options.workers);
        spec.plugin["mandate_cache"] = json!(cache);
        spec
    }

    fn ours_grown(&self, name: &str) -> Contender<'_> {
        let (sts, mandates) = self.grown.as_ref().unwrap();
        let mut spec = zones::gateway_spec(sts, mandates, self.options.workers);
        zones::bind(&mut spec, MUCH);
        self.contender(name, mandates, &spec).with_sts(sts)
    }

    fn authorised<'a>(
        &self,
        name: &str,
        mandates: &'a Mandates,
        authoriser: Authoriser,
    ) -> Contender<'a> {
        let mut spec = self.spec();
        spec.others = Some(vec![ext_authz()]);
        spec.authoriser = Some(authoriser.address);
        let mut contender = self.contender(name, mandates, &spec);
        contender.authoriser = Some(authoriser);
        contender
    }

    fn stand_in(&self, verifies: bool) -> Authoriser {
        Authoriser::start(&self.asked(verifies))
    }

    /// What one that `ext_authz` asks is to know.
    fn asked(&self, verifies: bool) -> Spec {
        Spec {
            zone: self.warm.zone_id.clone(),
            issuer: self.sts.issuer(),
            keys: self.keys(),
            policy: self.granted.clone(),
            verifies,
        }
    }

    /// With a second Envoy behind it that answers. `filters` in place of ours.
    fn with_upstream(&self, name: &str, filters: Option<Vec<Value>>) -> Contender<'_> {
        let mut behind = self.spec();
        behind.others = Some(vec![]);
        let behind = behind.start();
        let ours = filters.is_none();
        let mut spec = if ours {
            zones::gateway_spec(&self.sts, &self.warm, self.options.workers)
        } else {
            self.spec()
        };
        (spec.upstream, spec.answers_itself) = (behind.address(), false);
        spec.others = filters;
        let mut contender = self.contender(name, &self.warm, &spec);
        contender.sts = ours.then_some(&self.sts);
        contender._upstream = Some(behind);
        contender
    }

    fn keys(&self) -> Value {
        let keys = format!("/.well-known/jwks.json?zone_id={}", self.warm.zone_id);
        self.sts.admin("GET", &keys, &Value::Null).ok()
    }
}

fn is_wanted(options: &Options, name: &str) -> bool {
    name == NOTHING || is_asked_for(&options.only, name)
}
