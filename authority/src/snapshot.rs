//! What a gateway worker knows: keys, resources, bindings and policy, with the working memory that
//! belongs to them. Everything in it has been checked; a bundle that does not hold together never
//! becomes a snapshot.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    binding::Bindings,
    bundle::{Bundle, BundleError, BundlePolicy},
    decision::{Answers, Evaluated},
    ids::ZoneId,
    jwks::{JwksError, KeySet},
    mandate::MandateCache,
    number,
    policy::{COMPILER, Compiled, Evaluator, LoadError, Policy},
    resource::{Resource, ResourceError, ResourceSpec},
    tags::TagKey,
};

/// Why there can be no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bundle's own form.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] JwksError),
    /// A resource.
    #[error("resource {identifier}: {error}")]
    Resource {
        /// Its identifier.
        identifier: String,
        /// What is wrong with it.
        error: ResourceError,
    },
    /// The same identifier twice.
    #[error("two resources have the identifier {0}")]
    DuplicateResource(String),
    /// The policy was compiled for another version.
    #[error("the policy was compiled by {found}, this gateway runs {COMPILER}")]
    Compiler {
        /// The compiler of the bundle.
        found: String,
    },
    /// The policy's bytecode.
    #[error(transparent)]
    Policy(#[from] LoadError),
}

/// Where the active policy came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOrigin {
    /// The active version of the policy set.
    pub policy_set_version_id: String,
    /// The hash of its manifest, as it stands in events: `sha256:` and that in hexadecimal.
    pub manifest_sha: String,
}

impl PolicyOrigin {
    /// The version whose manifest has this SHA-256, in hexadecimal.
    pub fn new(policy_set_version_id: String, manifest_sha256: &str) -> Self {
        Self {
            policy_set_version_id,
            manifest_sha: format!("sha256:{manifest_sha256}"),
        }
    }
}

/// What a worker decides by.
#[derive(Debug)]
pub struct Snapshot {
    number: u64,
    pub(crate) zone: ZoneId,
    pub(crate) issuer: String,
    pub(crate) keys: KeySet,
    pub(crate) resources: BTreeMap<String, Arc<Resource>>,
    pub(crate) bindings: Bindings,
    pub(crate) policy: Option<(Arc<PolicyOrigin>, Evaluator)>,
    pub(crate) shadow: Option<(Arc<PolicyOrigin>, Evaluator)>,
    shadow_error: Option<SnapshotError>,
    /// What the policy said last, which many mandates share.
    pub(crate) last_said: Arc<Evaluated>,
    /// What it said to inputs that may come again.
    pub(crate) answers: Answers,
    pub(crate) cache: MandateCache,
}

impl Snapshot {
    /// A snapshot without a policy, which denies everything.
    ///
    /// # Errors
    /// [`SnapshotError::Resource`], [`SnapshotError::DuplicateResource`].
    pub fn new(
        zone: ZoneId,
        issuer: String,
        keys: KeySet,
        specs: Vec<ResourceSpec>,
        bindings: Bindings,
    ) -> Result<Self, SnapshotError> {
        Self::after(None, zone, issuer, keys, specs, bindings)
    }

    /// The same, with those resources of `previous` that have not changed.
    fn after(
        previous: Option<&Self>,
        zone: ZoneId,
        issuer: String,
        keys: KeySet,
        specs: Vec<ResourceSpec>,
        bindings: Bindings,
    ) -> Result<Self, SnapshotError> {
        let mut resources = BTreeMap::new();
        for spec in specs {
            let identifier = spec.identifier.clone();
            let known = previous.and_then(|previous| previous.resources.get(&identifier));
            let resource =
                match known.filter(|known| *known.spec() == spec) {
                    Some(known) => Arc::clone(known),
                    None => Resource::new(spec).map(Arc::new).map_err(|error| {
                        SnapshotError::Resource {
                            identifier: identifier.clone(),
                            error,
                        }
                    })?,
                };
            if resources.insert(identifier.clone(), resource).is_some() {
                return Err(SnapshotError::DuplicateResource(identifier));
            }
        }
        Ok(Self {
            number: number::next(),
            zone,
            issuer,
            keys,
            resources,
            bindings,
            policy: None,
            shadow: None,
            shadow_error: None,
            last_said: Arc::default(),
            answers: Answers::new(0, TagKey::NONE),
            cache: MandateCache::new(0, TagKey::NONE),
        })
    }

    /// The snapshot that a bundle describes. The bundle's signature has been checked by
    /// [`bundle::open`](crate::bundle::open). A shadow policy that cannot be used is left out: it may
    /// not cost the gateway what it decides by. What has not changed since `previous` is taken from there.
    ///
    /// # Errors
    /// Every variant of [`SnapshotError`].
    pub fn from_bundle(
        bundle: Bundle,
        bindings: Bindings,
        previous: Option<&Self>,
    ) -> Result<Self, SnapshotError> {
        let keys = KeySet::from_jwks(&bundle.keys)?;
        let policy = bundle.policy.as_ref().map(load).transpose()?;
        let (shadow, shadow_error) = match bundle.shadow.as_ref().map(load).transpose() {
            Ok(shadow) => (shadow, None),
            Err(error) => (None, Some(error)),
        };
        let mut snapshot = Self::after(
            previous,
            bundle.zone_id,
            bundle.issuer,
            keys,
            bundle.resources,
            bindings,
        )?;
        snapshot.policy = policy;
        snapshot.shadow = shadow;
        snapshot.shadow_error = shadow_error;
        Ok(snapshot)
    }

    /// Decides by `compiled` from now on: for a gateway that has its policy in its configuration.
    ///
    /// # Errors
    /// [`SnapshotError::Policy`].
    pub fn set_policy(
        &mut self,
        origin: PolicyOrigin,
        compiled: &Compiled,
    ) -> Result<(), SnapshotError> {
        self.policy = Some((
            Arc::new(origin),
            Policy::load(&compiled.program)?.evaluator(),
        ));
        self.number = number::next();
        self.answers.clear();
        Ok(())
    }

    /// Makes the keys ready for many mandates and keeps up to `mandates` that were verified, and what the policy says,
    /// by this key. What `previous` had of keys and mandates is taken over where it would come out the same.
    pub fn keep_mandates(&mut self, mandates: usize, key: TagKey, previous: Option<Snapshot>) {
        self.answers = Answers::new(mandates, key);
        let nothing = KeySet::default();
        let known = previous
            .as_ref()
            .map_or(&nothing, |previous| &previous.keys);
        self.keys = std::mem::take(&mut self.keys).prepared(known);
        self.cache = match previous {
            Some(previous)
                if previous.cache.capacity() == mandates
                    && previous.zone == self.zone
                    && previous.issuer == self.issuer
                    && previous.keys == self.keys =>
            {
                previous.cache
            }
            _ => MandateCache::new(mandates, key),
        };
    }

    /// Takes in other keys, and forgets what was verified by the old ones.
    pub fn replace_keys(&mut self, keys: KeySet) {
        self.keys = keys.prepared(&self.keys);
        self.cache.clear();
    }

    /// No other snapshot of this process has it, and none with another policy had it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The keys that mandates and bundles are verified by.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// The zone.
    pub fn zone(&self) -> &ZoneId {
        &self.zone
    }

    /// Where the active policy came from, if there is one.
    pub fn policy_origin(&self) -> Option<&PolicyOrigin> {
        self.policy.as_ref().map(|(origin, _)| &**origin)
    }

    /// Where the shadow policy came from, if there is one.
    pub fn shadow_origin(&self) -> Option<&PolicyOrigin> {
        self.shadow.as_ref().map(|(origin, _)| &**origin)
    }

    /// Why the bundle's shadow policy was left out, if it was.
    pub fn shadow_error(&self) -> Option<&SnapshotError> {
        self.shadow_error.as_ref()
    }

    /// How many verified mandates are kept.
    pub fn cached_mandates(&self) -> usize {
        self.cache.len()
    }
}

fn load(policy: &BundlePolicy) -> Result<(Arc<PolicyOrigin>, Evaluator), SnapshotError> {
    if policy.compiler != COMPILER {
        return Err(SnapshotError::Compiler {
            found: policy.compiler.clone(),
        });
    }
    let version = policy.policy_set_version_id.to_string();
    let origin = PolicyOrigin::new(version, &policy.manifest_sha256);
    Ok((
        Arc::new(origin),
        Policy::load(&policy.program()?)?.evaluator(),
    ))
}
