//! Policy sets: versions compiled when they are made, each known by its manifest's hash. Which one is
//! in force is the matter of `activations`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use authority::{
    bundle::manifest_sha256,
    ids::{PolicySetId, PolicySetVersionId},
    policy::{COMPILER, Compiled, MAX_MODULES, Module, Policy, PolicyError, compile},
};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    pace::Pace,
    policies,
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

/// A version that is loaded, and what evidence says of it.
pub(crate) struct Loaded {
    pub(crate) policy_set_id: PolicySetId,
    pub(crate) version_id: PolicySetVersionId,
    pub(crate) manifest_sha256: String,
    pub(crate) policy: Policy,
    /// How fast it answers: it may take as long as its bound.
    pub(crate) pace: Pace,
}

/// A version with what the compiler remarked on it.
#[derive(Debug, Serialize)]
pub(crate) struct CreatedVersion {
    #[serde(flatten)]
    version: PolicySetVersion,
    /// The constructs for which it runs on the slower of the two machines, placed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<PolicyError>,
}

/// A module as it is stored.
pub(crate) struct StoredModule {
    pub(crate) module: Module,
    pub(crate) version_id: String,
    pub(crate) content_sha256: String,
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

    pub(crate) fn load(&self, version: &PolicySetVersion) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.get(version.id.as_str()) {
            return Ok(loaded);
        }
        let loaded = Arc::new(Loaded {
            policy_set_id: version.policy_set_id.clone(),
            version_id: version.id.clone(),
            manifest_sha256: version.manifest_sha256.clone(),
            policy: Policy::load(&version.program).map_err(Error::internal)?,
            pace: Pace::default(),
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
            active_version_id: None,
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
        let created = Changed::new("policy_set.create", &set.id).after(&set);
        change.record(&zone.id, created).await?;
        change.commit().await?;
        Ok(set)
    }

    /// The version of a set with this manifest, and whether it is new: a version is known by the hash
    /// of its manifest.
    pub(crate) async fn create_policy_set_version(
        &self,
        zone: &Zone,
        set: &PolicySet,
        new: NewVersion,
    ) -> Result<(CreatedVersion, bool)> {
        let (compiled, manifest_sha256) = self.compile(zone, &new.manifest).await?;
        let notes = compiled.notes;
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
        if let Some(same) = change
            .policy_set_version_of_manifest(&set.id, &version.manifest_sha256, &version.compiler)
            .await?
        {
            return Ok((
                CreatedVersion {
                    version: same,
                    notes,
                },
                false,
            ));
        }
        change
            .insert_policy_set_version(&zone.id, &mut version)
            .await?;
        let created = Changed::new("policy_set_version.create", &version.id).after(&version);
        change.record(&zone.id, created).await?;
        change.commit().await?;
        Ok((CreatedVersion { version, notes }, true))
    }

    /// The policy that decides in `zone`.
    pub(crate) async fn active_policy(&self, zone: &Zone) -> Result<Option<Arc<Loaded>>> {
        match &zone.active_policy_set_version_id {
            Some(id) => self.loaded(zone, id).await.map(Some),
            None => Ok(None),
        }
    }

    /// The version with this id, which the zone names as its own.
    pub(crate) async fn loaded(&self, zone: &Zone, id: &str) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.programs.get(id) {
            return Ok(loaded);
        }
        let version = self
            .store
            .policy_set_version(&zone.id, id)
            .await?
            .ok_or_else(|| Error::internal(format!("the policy set version {id} is missing")))?;
        self.programs.load(&self.current(zone, version).await?)
    }

    /// The version of this set with this id, ready to run.
    pub(crate) async fn version_of(
        &self,
        zone: &Zone,
        set: &PolicySet,
        id: &str,
    ) -> Result<PolicySetVersion> {
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

    /// Compiles anew, after an upgrade, what is in use and was compiled by another version.
    pub(crate) async fn recompile_active(&self) -> Result<()> {
        for (zone, version) in self.store.used_versions_not_by(COMPILER).await? {
            let zone = self.zone(&zone).await?;
            let Some(version) = self.store.policy_set_version(&zone.id, &version).await? else {
                continue;
            };
            let id = version.id.clone();
            let compiled = self.current(&zone, version).await;
            let mut change = self.store.begin().await?;
            let version = match compiled {
                Ok(version) => version,
                Err(error) if zone.active_policy_set_version_id.as_deref() != Some(id.as_str()) => {
                    // A shadow is no reason not to start.
                    tracing::warn!(zone = %zone.id, version = %id, %error, "the shadow policy no longer compiles and is ended");
                    change.end_shadow(&zone.id, &id, Moment::now()).await?;
                    self.publish(change, &zone.id).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            change.recompile_policy_set_version(&version).await?;
            self.publish(change, &zone.id).await?;
            tracing::info!(zone = %zone.id, version = %version.id, compiler = COMPILER, "policy set version compiled anew");
        }
        Ok(())
    }

    async fn compile(&self, zone: &Zone, manifest: &[ManifestEntry]) -> Result<(Compiled, String)> {
        let stored = self.modules_of(zone, manifest).await?;
        let hashes = stored
            .iter()
            .map(|stored| (stored.version_id.as_str(), stored.content_sha256.as_str()));
        let manifest_sha256 = manifest_sha256(hashes);
        let modules: Vec<Module> = stored.into_iter().map(|stored| stored.module).collect();
        let compiled = tokio::task::spawn_blocking(move || compile(&modules))
            .await
            .map_err(Error::internal)?
            .map_err(|errors| policies::invalid(Code::INVALID_POLICY_CONTRACT, &errors))?;
        Ok((compiled, manifest_sha256))
    }

    /// The modules that a manifest names, in order.
    pub(crate) async fn modules_of(
        &self,
        zone: &Zone,
        manifest: &[ManifestEntry],
    ) -> Result<Vec<StoredModule>> {
        if manifest.is_empty() || manifest.len() > MAX_MODULES {
            return Err(Error::invalid(format!(
                "manifest: expected 1 to {MAX_MODULES} policy versions, got {}",
                manifest.len()
            )));
        }
        let mut modules = Vec::with_capacity(manifest.len());
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
                told_apart(&named.name, id)
            };
            modules.push(StoredModule {
                module: Module {
                    name,
                    source: named.version.content,
                },
                version_id: id.clone(),
                content_sha256: named.version.content_sha256,
            });
        }
        Ok(modules)
    }
}

/// `name` with `id` in it. What a module holds is told by the end of its name, so that stays.
fn told_apart(name: &str, id: &str) -> String {
    match name.strip_suffix(".json") {
        Some(stem) => format!("{stem} ({id}).json"),
        None => format!("{name} ({id})"),
    }
}
