//! Files as versions on the server: stored where they changed, made a set, put in force or only tried.

use std::{collections::BTreeSet, path::PathBuf};

use authority::{
    bundle::content_sha256,
    policy::{Module, PolicyError, PolicyKind},
};
use serde_json::{Value, json};

use super::{
    Context,
    client::{Client, with_members},
    error::{CliError, placed},
    output::{Field, Format},
    policy::{collection, number, versions},
    policy_set,
    policy_source::{compile, policy_name, read_modules},
};

const ACTIVATED: [Field; 5] = [
    ("policy set", "policy_set"),
    ("version", "version"),
    ("version id", "version_id"),
    ("manifest sha256", "manifest_sha256"),
    ("sequence", "sequence"),
];

/// Stores files, makes a set of them, and puts it in force.
pub(super) fn activate(
    files: &[PathBuf],
    set: &str,
    zone: &str,
    context: &Context<'_>,
) -> Result<(), CliError> {
    let client = context.admin()?;
    let (kind, policies) = store_files(&client, zone, files, context)?;
    let activated = policy_set::put_in_force(&client, zone, set, &manifest(&policies))?;
    let stored = policies.iter().map(StoredPolicy::json).collect();
    let activated = with_members(activated, [("kind", json!(kind)), ("policies", stored)]);
    if context.output.format() == Format::Text {
        for policy in &policies {
            let what = if policy.changed {
                "stored"
            } else {
                "unchanged"
            };
            context.output.note(&format!(
                "{} version {} ({what})",
                policy.name, policy.version
            ));
        }
    }
    context.output.record(&activated, &ACTIVATED)
}

/// A policy version that the server has.
struct StoredPolicy {
    name: String,
    version_id: String,
    version: u64,
    changed: bool,
}

impl StoredPolicy {
    fn json(&self) -> Value {
        json!({"name": self.name, "version_id": self.version_id, "version": self.version, "changed": self.changed})
    }
}

/// Stores `files`, which have to make a set, as versions of the policies of their names.
fn store_files(
    client: &Client,
    zone: &str,
    files: &[PathBuf],
    context: &Context<'_>,
) -> Result<(PolicyKind, Vec<StoredPolicy>), CliError> {
    let modules = read_modules(files)?;
    let compiled = compile(&modules).map_err(CliError::Policy)?;
    remark(context, &compiled.notes);
    let mut names = BTreeSet::new();
    for module in &modules {
        let name = policy_name(&module.name)?;
        if !names.insert(name.to_lowercase()) {
            return Err(CliError::usage(format!(
                "two files give the policy {name:?}; policies are named after files"
            )));
        }
    }
    let collection = collection(zone);
    let stored = client.items(&collection)?;
    let policies: Result<_, _> = modules
        .iter()
        .map(|module| store(client, &collection, &stored, module))
        .collect();
    Ok((compiled.kind, policies?))
}

fn manifest(policies: &[StoredPolicy]) -> Value {
    policies
        .iter()
        .map(|policy| json!({"policy_version_id": policy.version_id}))
        .collect()
}

/// A version to be tried: path of its set, id and number.
pub(super) struct Candidate {
    pub(super) set: String,
    pub(super) version_id: String,
    pub(super) number: u64,
}

/// The version `version` of the set `set`, or the one that `files` make, which is stored for it.
pub(super) fn candidate(
    client: &Client,
    zone: &str,
    set: &str,
    version: Option<&str>,
    files: &[PathBuf],
    context: &Context<'_>,
) -> Result<Option<Candidate>, CliError> {
    if let Some(version) = version {
        let set = policy_set::found(client, zone, set)?;
        let (version_id, number) = policy_set::version_of(client, &set, version)?;
        return Ok(Some(Candidate {
            set,
            version_id,
            number,
        }));
    }
    if files.is_empty() {
        return Ok(None);
    }
    let (_, policies) = store_files(client, zone, files, context)?;
    let stored = policy_set::store(client, zone, set, &manifest(&policies))?;
    Ok(Some(Candidate {
        set: stored.set,
        version_id: client.member(&stored.version, "version_id")?,
        number: number(&stored.version),
    }))
}

/// Makes sure that the newest version of the module's policy is the module's text.
fn store(
    client: &Client,
    collection: &str,
    stored: &[Value],
    module: &Module,
) -> Result<StoredPolicy, CliError> {
    let name = policy_name(&module.name)?;
    let text =
        |value: &Value, member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
    // Names are not unique; the newest of a name is last.
    let known = stored
        .iter()
        .rfind(|policy| text(policy, "name").is_some_and(|own| own.eq_ignore_ascii_case(&name)));
    let Some(known) = known else {
        let created = client.post(collection, &json!({"name": name, "content": module.source}))?;
        let version_id = client.member(&created, "version_id")?;
        let version = created.get("version").map_or(1, number);
        return Ok(StoredPolicy {
            name,
            version_id,
            version,
            changed: true,
        });
    };
    let id = client.member(known, "id")?;
    let newest = versions(client, collection, &id)?.pop();
    let digest = content_sha256(module.source.as_bytes());
    if let Some(newest) = newest
        && text(&newest, "content_sha256").as_ref() == Some(&digest)
    {
        let version_id = client.member(&newest, "id")?;
        return Ok(StoredPolicy {
            name,
            version_id,
            version: number(&newest),
            changed: false,
        });
    }
    let created = client.post(
        &format!("{collection}/{id}/versions"),
        &json!({"content": module.source}),
    )?;
    let version_id = client.member(&created, "id")?;
    Ok(StoredPolicy {
        name,
        version_id,
        version: number(&created),
        changed: true,
    })
}

/// Says for which constructs a set runs on the slower of the two machines.
pub(super) fn remark(context: &Context<'_>, notes: &[PolicyError]) {
    if context.output.format() == Format::Text {
        for note in notes {
            context.output.note(&format!("note: {}", placed(note)));
        }
    }
}
