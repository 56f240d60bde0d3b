//! The plugin's configuration: read once at start, refused as a whole with the name of the key that
//! is wrong, and turned into values that need no further checks.

mod audit;
#[cfg(test)]
mod tests;

use std::time::Duration;

#[cfg(feature = "text-policies")]
use authority::policy::{self, Module};
use authority::{
    binding::{BindingSpec, Bindings},
    ids::ApplicationId,
    jwks::KeySet,
    key::host::{HostError, Verifier},
    policy::Compiled,
    resource::{Forward, Operation, OperationEnforcement, ResourceSpec},
    snapshot::{PolicyOrigin, Snapshot},
};
use serde::Deserialize;

use self::audit::RawAudit;
use crate::{evidence::Audit, structure, sync::OVERDUE};

/// Longest wait that the STS grants a poll, in seconds.
const MAX_LONG_POLL_SECONDS: u64 = 25;
/// Time that `max_staleness` leaves a poll beyond its wait, in seconds.
const POLL_SLACK_SECONDS: u64 = 2;
/// An answer that is overdue leaves as much time again for asking without a wait.
const _: () = assert!(POLL_SLACK_SECONDS >= 2 * OVERDUE.as_secs());
/// Most mandates that a worker may be told to keep.
const MAX_MANDATE_CACHE: usize = 1_000_000;

/// How many mandates for a single use a gateway may be told to remember.
const REPLAY_SET: std::ops::RangeInclusive<usize> = 1_000..=10_000_000;
const NEEDS_STS: &str = "resource_mandate needs an STS to get it from";

/// Why the configuration is refused. The text names the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, an unknown key, or a wrong type.
    #[error("{key}: {problem}")]
    Key {
        /// Path of the key, such as `sts.cluster`.
        key: String,
        /// What is wrong.
        problem: String,
    },
}

fn wrong(key: impl Into<String>, problem: impl ToString) -> ConfigError {
    ConfigError::Key {
        key: key.into(),
        problem: problem.to_string(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    zone: String,
    issuer: String,
    sts: Option<RawSts>,
    max_staleness_seconds: Option<u64>,
    #[serde(default)]
    resources: Vec<RawResource>,
    #[serde(default)]
    forward: Forward,
    mandate_cache: Option<usize>,
    #[serde(default)]
    signature_verification: Verifier,
    replay_set: Option<usize>,
    audit: Option<RawAudit>,
    realm: Option<String>,
    resource_metadata_url: Option<String>,
    jwks: Option<serde_json::Value>,
    policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSts {
    cluster: String,
    authority: String,
    token: Option<String>,
    token_env: Option<String>,
    long_poll_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResource {
    identifier: String,
    hosts: Option<Vec<String>>,
    path_prefix: Option<String>,
    scopes: Option<Vec<String>>,
    operations: Option<Vec<Operation>>,
    operation_enforcement: Option<OperationEnforcement>,
    single_use: Option<bool>,
    end_streams_at_expiry: Option<bool>,
    require_chain_contains: Option<Vec<ApplicationId>>,
    forward: Option<Forward>,
}

/// How to reach the STS.
#[derive(Clone)]
pub struct Sts {
    /// Envoy cluster.
    pub cluster: String,
    /// `:authority` of the requests.
    pub authority: String,
    /// The gateway's bearer token.
    pub token: String,
    /// How long a poll waits for news.
    pub long_poll: Duration,
    /// How old the last contact may be before nothing is decided any more.
    pub max_staleness: Duration,
}

/// What a refusal tells clients about where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `realm` of `WWW-Authenticate`.
    pub realm: String,
    /// `resource_metadata` of `WWW-Authenticate` (RFC 9728 section 5.1).
    pub resource_metadata_url: Option<String>,
}

/// Where keys, resources and policy come from.
pub enum Source {
    /// Polled from the STS.
    Sts(Sts),
    /// Written in the configuration; the worker takes the snapshot out of it.
    Inline(Option<Box<Snapshot>>),
}

/// The configuration, checked.
pub struct Config {
    /// Zone, by id or slug.
    pub zone: String,
    /// The one issuer whose mandates count.
    pub issuer: String,
    /// Which resource a request is for.
    pub bindings: Bindings,
    /// What the upstream sees in `Authorization`.
    pub forward: Forward,
    /// Verified mandates kept by each worker.
    pub mandate_cache: usize,
    /// Mandates for a single use that the gateway remembers.
    pub replay_set: usize,
    /// How evidence is kept.
    pub audit: Audit,
    /// For `WWW-Authenticate`.
    pub challenge: Challenge,
    /// Keys, resources and policy.
    pub source: Source,
}

impl Config {
    /// Reads the configuration, JSON text or a `google.protobuf.Struct`; `environment` looks up
    /// variables of the VM, and `settle` settles who verifies signatures, before there are keys.
    ///
    /// # Errors
    /// [`ConfigError`], with the path of the key.
    pub fn parse(
        configuration: &[u8],
        environment: impl Fn(&str) -> Option<String>,
        settle: impl FnOnce(Verifier) -> Result<(), HostError>,
    ) -> Result<Self, ConfigError> {
        let json = structure::read(configuration).map_err(|error| wrong("configuration", error))?;
        let raw: Raw = serde_path_to_error::deserialize(json)
            .map_err(|error| wrong(error.path().to_string(), error.inner()))?;
        settle(raw.signature_verification)
            .map_err(|error| wrong("signature_verification", error))?;
        raw.check(environment)
    }
}

impl Raw {
    fn check(self, environment: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        for (key, text) in [("zone", &self.zone), ("issuer", &self.issuer)] {
            if text.trim().is_empty() {
                return Err(wrong(key, "is empty"));
            }
        }
        let mandate_cache = self.mandate_cache.unwrap_or(10_000);
        if mandate_cache > MAX_MANDATE_CACHE {
            return Err(wrong(
                "mandate_cache",
                format!("{MAX_MANDATE_CACHE} at most"),
            ));
        }
        let replay_set = self.replay_set.unwrap_or(100_000);
        if !REPLAY_SET.contains(&replay_set) {
            return Err(wrong(
                "replay_set",
                format!("between {} and {}", REPLAY_SET.start(), REPLAY_SET.end()),
            ));
        }
        let challenge = Challenge {
            realm: quotable("realm", self.realm.unwrap_or_else(|| "caracal".to_owned()))?,
            resource_metadata_url: self
                .resource_metadata_url
                .map(|url| quotable("resource_metadata_url", url))
                .transpose()?,
        };
        let audit = self.audit.unwrap_or_default().check(self.sts.is_some())?;
        let bindings = bindings(&self.resources)?;
        let source = match (self.sts, self.jwks, self.policy) {
            (Some(sts), None, None) => {
                refuse_inline_resources(&self.resources)?;
                let staleness = self.max_staleness_seconds.unwrap_or(60);
                Source::Sts(sts.check(staleness, environment)?)
            }
            (Some(_), Some(_), _) => return Err(wrong("jwks", "belongs to a gateway without sts")),
            (Some(_), None, Some(_)) => {
                return Err(wrong("policy", "belongs to a gateway without sts"));
            }
            (None, Some(jwks), Some(policy)) => {
                if self.max_staleness_seconds.is_some() {
                    return Err(wrong(
                        "max_staleness_seconds",
                        "belongs to a gateway with sts",
                    ));
                }
                if self.forward == Forward::ResourceMandate {
                    return Err(wrong("forward", NEEDS_STS));
                }
                let snapshot = inline(
                    &self.zone,
                    &self.issuer,
                    &jwks,
                    policy,
                    self.resources,
                    bindings.clone(),
                )?;
                Source::Inline(Some(Box::new(snapshot)))
            }
            (None, None, _) => {
                return Err(wrong(
                    "sts",
                    "is missing; a gateway without an STS has jwks and policy",
                ));
            }
            (None, Some(_), None) => return Err(wrong("policy", "is missing beside jwks")),
        };
        Ok(Config {
            zone: self.zone,
            issuer: self.issuer,
            bindings,
            forward: self.forward,
            mandate_cache,
            replay_set,
            audit,
            challenge,
            source,
        })
    }
}

impl RawSts {
    fn check(
        self,
        max_staleness_seconds: u64,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Sts, ConfigError> {
        for (key, text) in [
            ("sts.cluster", &self.cluster),
            ("sts.authority", &self.authority),
        ] {
            if text.is_empty() {
                return Err(wrong(key, "is empty"));
            }
        }
        let token = match (self.token, self.token_env) {
            (Some(token), None) => token,
            (None, Some(name)) => environment(&name).ok_or_else(|| {
                wrong(
                    "sts.token_env",
                    format!("{name} is not in the VM's environment; set it and name it in vm_config.environment_variables.host_env_keys"),
                )
            })?,
            (Some(_), Some(_)) => return Err(wrong("sts.token_env", "stands beside token; one of the two")),
            (None, None) => return Err(wrong("sts.token", "is missing; token_env takes it from the environment")),
        };
        let token = token.trim().to_owned();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "sts.token",
                "is empty or has characters that no token has",
            ));
        }
        let long_poll = self.long_poll_seconds.unwrap_or(
            MAX_LONG_POLL_SECONDS.min(
                max_staleness_seconds
                    .saturating_sub(POLL_SLACK_SECONDS)
                    .max(1),
            ),
        );
        if long_poll == 0 || long_poll > MAX_LONG_POLL_SECONDS {
            return Err(wrong(
                "sts.long_poll_seconds",
                format!("between 1 and {MAX_LONG_POLL_SECONDS}"),
            ));
        }
        // A poll without news is the only contact for its whole length.
        if max_staleness_seconds < long_poll + POLL_SLACK_SECONDS {
            return Err(wrong(
                "max_staleness_seconds",
                format!(
                    "at least {POLL_SLACK_SECONDS} more than sts.long_poll_seconds, or a quiet zone would count as stale"
                ),
            ));
        }
        Ok(Sts {
            cluster: self.cluster,
            authority: self.authority,
            token,
            long_poll: Duration::from_secs(long_poll),
            max_staleness: Duration::from_secs(max_staleness_seconds),
        })
    }
}

fn bindings(resources: &[RawResource]) -> Result<Bindings, ConfigError> {
    let mut specs = Vec::new();
    let mut places = Vec::new();
    for (place, resource) in resources.iter().enumerate() {
        if resource.hosts.is_none() && resource.path_prefix.is_none() {
            continue; // named by the routing header only
        }
        places.push(place);
        specs.push(BindingSpec {
            identifier: resource.identifier.clone(),
            hosts: resource
                .hosts
                .clone()
                .unwrap_or_else(|| vec!["*".to_owned()]),
            path_prefix: resource
                .path_prefix
                .clone()
                .unwrap_or_else(|| "/".to_owned()),
        });
    }
    Bindings::new(specs).map_err(|(spec, error)| {
        wrong(
            format!("resources[{}]", places.get(spec).copied().unwrap_or(spec)),
            error,
        )
    })
}

fn refuse_inline_resources(resources: &[RawResource]) -> Result<(), ConfigError> {
    for (place, resource) in resources.iter().enumerate() {
        let inline = [
            ("scopes", resource.scopes.is_some()),
            ("operations", resource.operations.is_some()),
            (
                "operation_enforcement",
                resource.operation_enforcement.is_some(),
            ),
            ("single_use", resource.single_use.is_some()),
            (
                "end_streams_at_expiry",
                resource.end_streams_at_expiry.is_some(),
            ),
            (
                "require_chain_contains",
                resource.require_chain_contains.is_some(),
            ),
            ("forward", resource.forward.is_some()),
        ];
        if let Some((key, _)) = inline.into_iter().find(|(_, present)| *present) {
            return Err(wrong(
                format!("resources[{place}].{key}"),
                "comes from the STS",
            ));
        }
    }
    Ok(())
}

fn inline(
    zone: &str,
    issuer: &str,
    jwks: &serde_json::Value,
    policy: String,
    resources: Vec<RawResource>,
    bindings: Bindings,
) -> Result<Snapshot, ConfigError> {
    let jwks = jwks
        .as_str()
        .map_or_else(|| jwks.to_string(), str::to_owned);
    let keys = KeySet::parse(jwks.as_bytes()).map_err(|error| wrong("jwks", error))?;
    let specs = resources
        .into_iter()
        .enumerate()
        .map(|(place, resource)| {
            Ok(ResourceSpec {
                id: resource.identifier.as_str().into(),
                identifier: resource.identifier,
                scopes: resource.scopes.ok_or_else(|| {
                    wrong(
                        format!("resources[{place}].scopes"),
                        "is missing in a gateway without sts",
                    )
                })?,
                operations: resource.operations.unwrap_or_default(),
                operation_enforcement: resource.operation_enforcement.unwrap_or_default(),
                single_use: resource.single_use.unwrap_or_default(),
                end_streams_at_expiry: resource.end_streams_at_expiry.unwrap_or_default(),
                require_chain_contains: resource.require_chain_contains.unwrap_or_default(),
                forward: match resource.forward {
                    Some(Forward::ResourceMandate) => {
                        return Err(wrong(format!("resources[{place}].forward"), NEEDS_STS));
                    }
                    other => other,
                },
            })
        })
        .collect::<Result<_, _>>()?;
    let mut snapshot = Snapshot::new(zone.into(), issuer.to_owned(), keys, specs, bindings)
        .map_err(|error| wrong("resources", error))?;
    let (origin, compiled) = compiled(policy)?;
    snapshot
        .set_policy(origin, &compiled)
        .map_err(|error| wrong("policy", error))?;
    Ok(snapshot)
}

#[cfg(feature = "text-policies")]
fn compiled(source: String) -> Result<(PolicyOrigin, Compiled), ConfigError> {
    let name = "policy".to_owned();
    let compiled = policy::compile(&[Module { name, source }]).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        wrong("policy", errors.join("; "))
    })?;
    let text = compiled.modules.first();
    let text = text.map(|module| module.sha256.as_str());
    let origin = PolicyOrigin::new("inline".to_owned(), text.unwrap_or_default());
    Ok((origin, compiled))
}

#[cfg(not(feature = "text-policies"))]
fn compiled(_: String) -> Result<(PolicyOrigin, Compiled), ConfigError> {
    let problem = "is text, for which this filter has no compiler; caracal.wasm has it";
    Err(wrong("policy", problem))
}

/// What stands between quotes in a header (RFC 9110 section 5.6.4) without needing escapes.
fn quotable(key: &str, text: String) -> Result<String, ConfigError> {
    let plain = text
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
    if plain && !text.is_empty() {
        Ok(text)
    } else {
        Err(wrong(
            key,
            "is empty or has characters that cannot stand in a header",
        ))
    }
}
