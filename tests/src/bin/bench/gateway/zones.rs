//! Zones of an STS, what has come together in them, and mandates that were minted there.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use e2e::{
    clients,
    gateway::GatewaySpec,
    mandates::{self, RESOURCE},
    sts::{Application, Sts, Zone},
};
use serde_json::json;

/// Agents whose mandates repeat.
pub(super) const WARM: usize = 1_000;
const MINTERS: usize = 4;
/// They live for a quarter of an hour, of which this leaves the longest round what it takes.
const YOUNG: Duration = Duration::from_secs(240);

/// Mandates of a zone.
pub(super) struct Mandates {
    /// The file that has them for the load to read.
    pub(super) file: String,
    pub(super) zone_id: String,
    slug: String,
    application: Application,
    /// What they are asked for with, beside scope and resource.
    fields: Vec<(&'static str, String)>,
    number: usize,
    minted: Option<Instant>,
    pub(super) all: Vec<String>,
}

impl Mandates {
    /// So many of an application, none of which is minted yet.
    pub(super) fn of(
        zone: &Zone<'_>,
        application: &Application,
        file: &str,
        number: usize,
    ) -> Self {
        Self {
            file: file.to_owned(),
            zone_id: zone.id.clone(),
            slug: zone.slug.clone(),
            application: application.clone(),
            fields: Vec::new(),
            number,
            minted: None,
            all: Vec::new(),
        }
    }

    /// Mints them, unless those that there are will do for a while, and leaves them in `dir`.
    pub(super) fn mint(&mut self, sts: &Sts, dir: &Path) {
        if self.minted.is_some_and(|at| at.elapsed() < YOUNG) {
            return;
        }
        self.minted = Some(Instant::now());
        let zone = sts.known_zone(&self.zone_id, &self.slug);
        let fields = self.fields.iter();
        let fields: Vec<_> = fields
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mint = || {
            let minted = zone.try_mint(&self.application, "demo:read", &fields);
            minted.text("access_token")
        };
        let share = || -> Vec<String> { (0..self.number / MINTERS).map(|_| mint()).collect() };
        self.all = thread::scope(|scope| {
            let minters: Vec<_> = (0..MINTERS).map(|_| scope.spawn(share)).collect();
            let minted = minters.into_iter().map(|minter| minter.join().unwrap());
            minted.flatten().collect()
        });
        fs::write(dir.join(&self.file), self.all.join("\n")).unwrap();
    }
}

/// How much has come together in a zone.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// Delegations that each mandate rests on.
    pub(super) hops: usize,
    /// Resources that are bound, the one that is asked for among them.
    pub(super) resources: usize,
    /// Anchors that are revoked, none of which is any mandate's.
    pub(super) revoked: usize,
}

/// What a gateway of a zone is.
pub(super) fn gateway_spec(sts: &Sts, mandates: &Mandates, workers: u32) -> GatewaySpec {
    let zone = sts.known_zone(&mandates.zone_id, &mandates.slug);
    let mut spec = zone.gateway_spec(workers, sts.address());
    // Evidence of all requests of a round: load and STS share the processors, and it is all counted however late the
    // STS has it.
    spec.plugin["audit"] = json!({"buffer_events": 500_000});
    spec.answers_itself = true;
    spec
}

/// Binds as many resources as an extent says, for a gateway of such a zone.
pub(super) fn bind(spec: &mut GatewaySpec, extent: Extent) {
    let resources = spec.plugin["resources"].as_array_mut().unwrap();
    resources.extend((1..extent.resources).map(|number| {
        let (identifier, prefix) = further(number);
        json!({"identifier": identifier, "path_prefix": prefix})
    }));
}

/// A resource that nobody asks for, and where it is.
fn further(number: usize) -> (String, String) {
    (format!("resource://r{number}"), format!("/r{number}/"))
}

/// Zones in which so much has come together, and a thousand mandates of each to be minted.
pub(super) fn grown(sts: &mut Sts, zones: &[(&str, Extent)]) -> Vec<Mandates> {
    let made: Vec<(String, Application)> = zones
        .iter()
        .map(|(slug, extent)| {
            let zone = sts.zone(slug);
            let application = zone.govern();
            for number in 1..extent.resources {
                let (identifier, prefix) = further(number);
                zone.resource(&identifier, &prefix);
            }
            if extent.hops > 0 {
                zone.activate(&zone.policy("roles", &mandates::roles(&application.id)));
            }
            (zone.id, application)
        })
        .collect();
    sts.stop();
    let database = sts.data_dir().join("caracal.db");
    for ((_, extent), (zone_id, _)) in zones.iter().zip(&made) {
        if extent.revoked > 0 {
            let count = extent.revoked.to_string();
            let arguments = [database.to_str().unwrap(), zone_id, &count];
            clients::run("fill_revocations.py", &arguments, &[]);
        }
    }
    sts.resume();
    let made = zones.iter().zip(made);
    made.map(|((slug, extent), (zone_id, application))| {
        let zone = sts.known_zone(&zone_id, slug);
        let mut mandates = Mandates::of(&zone, &application, slug, WARM);
        if extent.hops > 0 {
            let (session, edge) = chain(&zone, &application, extent.hops);
            mandates.fields = vec![("agent_session_id", session), ("delegation_edge_id", edge)];
        }
        mandates
    })
    .collect()
}

/// Delegates from session to session: the last of each.
fn chain(zone: &Zone<'_>, application: &Application, hops: usize) -> (String, String) {
    let mut session = zone.session(application, "lead", None);
    let mut edge = String::new();
    for left in (0..hops).rev() {
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
