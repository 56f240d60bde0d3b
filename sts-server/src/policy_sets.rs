//! Policy sets: versions compiled when they are made, one of them active in a zone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use authority::{
    bundle::manifest_sha256,
    ids::{PolicySetId, PolicySetVersionId},
    policy::{COMPILER, Compiled, MAX_MODULES, Module, Policy, compile, input::PolicyInput},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    name, policies,
    store::{ManifestEntry, PolicySet, PolicySetVersion, StoreError, Zone},
    sts::Sts,
};

/// Most programs that are kept loaded.
const MAX_LOADED: usize = 1024;

/// A policy set to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicySet {
    name: String,
}

/// A version to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewVersion {
    manifest: Vec<ManifestEntry>,
}

/// Which version to activate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    version_id: String,
}

/// Which version to try on what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Simulation {
    version_id: String,
    input: serde_json::Map<String, Value>,
}

/// What an activation did.
#[derive(Debug, Serialize)]
pub(crate) struct Activated {
    activated: bool,
    version_id: PolicySetVersionId,
    sequence: u64,
}

/// A version that is loaded, and what evidence says of it.
pub(crate) struct Loaded {
    pub(crate) policy_set_id: PolicySetId,
    pub(crate) version_id: PolicySetVersionId,
    pub(crate) manifest_sha256: String,
    pub(crate) policy: Policy,
}

/// Loaded versions, none of which ever changes what it means.
#[derive(Default)]
pub(crate) struct Programs(Mutex<HashMap<String, Arc<Loaded>>>);

impl Programs {
    fn get(&self, version_id: &str) -> Option<Arc<Loaded>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(version_id)
            .cloned()
    }

    fn load(&self, version: &PolicySetVersion) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.get(version.id.as_str()) {
            return Ok(loaded);
        }
        let loaded = Arc::new(Loaded {
            policy_set_id: version.policy_set_id.clone(),
            version_id: version.id.clone(),
            manifest_sha256: version.manifest_sha256.clone(),
            policy: Policy::load(&version.program).map_err(Error::internal)?,
        });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_LOADED {
            all.clear();
        }
        all.insert(version.id.to_string(), Arc::clone(&loaded));
        Ok(loaded)
    }
}

impl Sts {
    /// The policy set with this id in this zone.
    pub(crate) async fn policy_set(&self, zone: &Zone, id: &str) -> Result<PolicySet> {
        self.store.policy_set(&zone.id, id).await?.ok_or_else(|| {
            Error::new(
                Code::POLICY_SET_NOT_FOUND,
                "no policy set of this zone has this id",
            )
        })
    }

    pub(crate) async fn create_policy_set(
        &self,
        zone: &Zone,
        new: NewPolicySet,
    ) -> Result<PolicySet> {
        let set = PolicySet {
            id: PolicySetId::from(entropy::id()),
            zone_id: zone.id.clone(),
            name: name::name(&new.name)?,
            created_at: Moment::now(),
        };
        let mut change = self.store.begin().await?;
        change
            .insert_policy_set(&set)
            .await
            .map_err(|error| match error {
                StoreError::Conflict => Error::new(
                    Code::POLICY_SET_NAME_CONFLICT,
                    format!("a policy set of this zone is already named {:?}", set.name),
                ),
                other => other.into(),
            })?;
        change.commit().await?;
        Ok(set)
    }

    pub(crate) async fn create_policy_set_version(
        &self,
        zone: &Zone,
        set: &PolicySet,
        new: NewVersion,
    ) -> Result<PolicySetVersion> {
        let (compiled, manifest_sha256) = self.compile(zone, &new.manifest).await?;
        let mut version = PolicySetVersion {
            id: PolicySetVersionId::from(entropy::id()),
            policy_set_id: set.id.clone(),
            version: 0, // the store gives the number
            manifest: new.manifest,
            manifest_sha256,
            kind: compiled.kind,
            modules: compiled.modules,
            compiler: compiled.compiler,
            program: compiled.program,
            created_at: Moment::now(),
        };
        let mut change = self.store.begin().await?;
        change
            .insert_policy_set_version(&zone.id, &mut version)
            .await?;
        change.commit().await?;
        Ok(version)
    }

    /// Makes a version the policy of its zone, once it is certain that it runs.
    pub(crate) async fn activate(
        &self,
        zone: &Zone,
        set: &PolicySet,
        activation: &Activation,
    ) -> Result<Activated> {
        let version = self.version_of(zone, set, &activation.version_id).await?;
        self.programs.load(&version)?;
        let mut change = self.store.begin().await?;
        change.recompile_policy_set_version(&version).await?; // differs only after an upgrade
        change
            .activate_policy_set_version(&zone.id, version.id.as_str())
            .await?;
        let sequence = self.publish(change, &zone.id).await?;
        tracing::info!(zone = %zone.id, version = %version.id, sequence, "policy set version activated");
        Ok(Activated {
            activated: true,
            version_id: version.id,
            sequence,
        })
    }

    /// The policy that decides in `zone`.
    pub(crate) async fn active_policy(&self, zone: &Zone) -> Result<Option<Arc<Loaded>>> {
        let Some(id) = &zone.active_policy_set_version_id else {
            return Ok(None);
        };
        if let Some(loaded) = self.programs.get(id) {
            return Ok(Some(loaded));
        }
        let version = self
            .store
            .policy_set_version(&zone.id, id)
            .await?
            .ok_or_else(|| {
                Error::internal(format!("the active policy set version {id} is missing"))
            })?;
        self.programs
            .load(&self.current(zone, version).await?)
            .map(Some)
    }

    /// What a version says to an input document.
    pub(crate) async fn simulate(
        &self,
        zone: &Zone,
        set: &PolicySet,
        simulation: Simulation,
    ) -> Result<Value> {
        let version = self.version_of(zone, set, &simulation.version_id).await?;
        let policy = self.programs.load(&version)?.policy.clone();
        let input = PolicyInput::from_json(Value::Object(simulation.input));
        let result = tokio::task::spawn_blocking(move || policy.evaluator().evaluate(&input))
            .await
            .map_err(Error::internal)?
            .map_err(|error| Error::new(Code::SIMULATION_FAILED, error.to_string()))?;
        serde_json::to_value(result).map_err(Error::internal)
    }

    async fn version_of(&self, zone: &Zone, set: &PolicySet, id: &str) -> Result<PolicySetVersion> {
        let version = self
            .store
            .policy_set_version(&zone.id, id)
            .await?
            .filter(|version| version.policy_set_id == set.id)
            .ok_or_else(|| {
                Error::new(
                    Code::POLICY_SET_VERSION_NOT_FOUND,
                    "no version of this policy set has this id",
                )
            })?;
        self.current(zone, version).await
    }

    /// `version` as this compiler makes it: a gateway runs no other's bytecode.
    async fn current(&self, zone: &Zone, version: PolicySetVersion) -> Result<PolicySetVersion> {
        if version.compiler == COMPILER {
            return Ok(version);
        }
        let (compiled, _) = self.compile(zone, &version.manifest).await?;
        let Compiled {
            program,
            modules,
            compiler,
            ..
        } = compiled;
        Ok(PolicySetVersion {
            program,
            modules,
            compiler,
            ..version
        })
    }

    /// Compiles anew, after an upgrade, what is active and was compiled by another version.
    pub(crate) async fn recompile_active(&self) -> Result<()> {
        for (zone, version) in self.store.active_versions_not_by(COMPILER).await? {
            let zone = self.zone(&zone).await?;
            let Some(version) = self.store.policy_set_version(&zone.id, &version).await? else {
                continue;
            };
            let version = self.current(&zone, version).await?;
            let mut change = self.store.begin().await?;
            change.recompile_policy_set_version(&version).await?;
            self.publish(change, &zone.id).await?;
            tracing::info!(zone = %zone.id, version = %version.id, compiler = COMPILER, "policy set version compiled anew");
        }
        Ok(())
    }

    async fn compile(&self, zone: &Zone, manifest: &[ManifestEntry]) -> Result<(Compiled, String)> {
        if manifest.is_empty() || manifest.len() > MAX_MODULES {
            return Err(Error::invalid(format!(
                "manifest: expected 1 to {MAX_MODULES} policy versions, got {}",
                manifest.len()
            )));
        }
        let mut modules = Vec::with_capacity(manifest.len());
        let mut hashes = Vec::with_capacity(manifest.len());
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        for ManifestEntry {
            policy_version_id: id,
        } in manifest
        {
            if !ids.insert(id) {
                return Err(Error::invalid(format!(
                    "manifest: the policy version {id} is listed twice"
                )));
            }
            let named = self
                .store
                .policy_version(&zone.id, id)
                .await?
                .ok_or_else(|| {
                    Error::new(
                        Code::POLICY_VERSION_NOT_FOUND,
                        format!("no policy version of this zone has the id {id:?}"),
                    )
                })?;
            // Two policies may go by one name; modules may not.
            let name = if names.insert(named.name.clone()) {
                named.name
            } else {
                format!("{} ({id})", named.name)
            };
            modules.push(Module {
                name,
                source: named.version.content,
            });
            hashes.push((id.as_str(), named.version.content_sha256));
        }
        let manifest_sha256 =
            manifest_sha256(hashes.iter().map(|(id, sha256)| (*id, sha256.as_str())));
        let compiled = tokio::task::spawn_blocking(move || compile(&modules))
            .await
            .map_err(Error::internal)?
            .map_err(|errors| policies::invalid(Code::INVALID_POLICY_CONTRACT, &errors))?;
        Ok((compiled, manifest_sha256))
    }
}
