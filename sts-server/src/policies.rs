//! Policies: each version is checked on upload and never changes.

use authority::{
    bundle::content_sha256,
    policy::{self, Module, PolicyError, PolicyKind},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    clock::Moment,
    entropy,
    error::{Code, Error, Result},
    ledger::Changed,
    name,
    store::{Policy, PolicyVersion, Zone},
    sts::Sts,
};

/// A policy to be made, with its first version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicy {
    name: String,
    content: String,
}

/// A text to be checked, under the name that its module would have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    name: Option<String>,
    content: String,
}

/// The text of a version.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    content: String,
}

/// A policy with the version that was just made.
#[derive(Debug, Serialize)]
pub(crate) struct CreatedPolicy {
    #[serde(flatten)]
    policy: Policy,
    version_id: String,
    version: PolicyVersion,
}

impl Sts {
    /// The policy with this id in this zone.
    pub(crate) async fn policy(&self, zone: &Zone, id: &str) -> Result<Policy> {
        self.store
            .policy(&zone.id, id)
            .await?
            .ok_or_else(|| Error::new(Code::POLICY_NOT_FOUND, "no policy of this zone has this id"))
    }

    pub(crate) async fn create_policy(&self, zone: &Zone, new: NewPolicy) -> Result<CreatedPolicy> {
        let policy = Policy {
            id: entropy::id(),
            zone_id: zone.id.clone(),
            name: name::name(&new.name)?,
            created_at: Moment::now(),
        };
        let mut version = version_of(&policy, new.content).await?;
        let mut change = self.store.begin().await?;
        change.insert_policy(&policy).await?;
        change.insert_policy_version(&zone.id, &mut version).await?;
        let recorded = vec![
            Changed::new("policy.create", &policy.id).after(&policy),
            version_made(&version),
        ];
        change.record_all(&zone.id, recorded).await?;
        change.commit().await?;
        version.content.clear(); // the client has it
        Ok(CreatedPolicy {
            policy,
            version_id: version.id.clone(),
            version,
        })
    }

    /// The version of a policy with this text, and whether it is new: the text of the newest makes no
    /// other.
    pub(crate) async fn create_policy_version(
        &self,
        zone: &Zone,
        policy: &Policy,
        content: Content,
    ) -> Result<(PolicyVersion, bool)> {
        let mut version = version_of(policy, content.content).await?;
        let mut change = self.store.begin().await?;
        let newest = change.newest_policy_version(&policy.id).await?;
        if let Some(mut newest) = newest
            && newest.content_sha256 == version.content_sha256
        {
            newest.content.clear(); // the client has it
            return Ok((newest, false));
        }
        change.insert_policy_version(&zone.id, &mut version).await?;
        change.record(&zone.id, version_made(&version)).await?;
        change.commit().await?;
        version.content.clear();
        Ok((version, true))
    }
}

fn version_made(version: &PolicyVersion) -> Changed {
    Changed::new("policy_version.create", &version.id).after(&json!({
        "policy_id": version.policy_id,
        "version": version.version,
        "content_sha256": version.content_sha256,
        "kind": version.kind,
    }))
}

/// Checks `draft` as a policy that is not kept.
pub(crate) async fn validate(draft: Draft) -> Result<PolicyKind> {
    let name = draft
        .name
        .as_deref()
        .map_or(Ok("policy".to_owned()), name::name)?;
    check(name, draft.content).await.map(|(kind, _)| kind)
}

async fn version_of(policy: &Policy, content: String) -> Result<PolicyVersion> {
    let (kind, content) = check(policy.name.clone(), content).await?;
    Ok(PolicyVersion {
        id: entropy::id(),
        policy_id: policy.id.clone(),
        version: 0, // the store gives the number
        content_sha256: content_sha256(content.as_bytes()),
        content,
        kind,
        created_at: Moment::now(),
    })
}

async fn check(name: String, source: String) -> Result<(PolicyKind, String)> {
    let module = Module { name, source };
    let check = move || policy::check(&module).map(|kind| (kind, module.source));
    tokio::task::spawn_blocking(check)
        .await
        .map_err(Error::internal)?
        .map_err(|errors| invalid(Code::INVALID_REGO, &errors))
}

/// All that is wrong with a policy, the first of it in words.
pub(crate) fn invalid(code: Code, errors: &[PolicyError]) -> Error {
    let first = errors
        .first()
        .map_or_else(|| "the policy is not valid".to_owned(), ToString::to_string);
    let description = match errors.len() {
        0 | 1 => first,
        more => format!("{first} (and {} more, see errors)", more - 1),
    };
    Error::new(code, description).member("errors", json!(errors))
}
