//! `caracal policy-set`, and putting a manifest in force.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{Client, path, with_members},
    error::CliError,
    output::Field,
    policy::number,
    policy_source::read_json,
};

const COLUMNS: [Field; 3] = [("id", "id"), ("name", "name"), ("created", "created_at")];
const VERSIONS: [Field; 5] = [
    ("version", "version"),
    ("id", "version_id"),
    ("active", "active"),
    ("manifest sha256", "manifest_sha256"),
    ("created", "created_at"),
];
const ACTIVATED: [Field; 3] = [
    ("version", "version"),
    ("version id", "version_id"),
    ("sequence", "sequence"),
];

#[derive(Debug, Subcommand)]
pub(super) enum PolicySetCommand {
    /// List policy sets
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// List the versions of a policy set
    Versions {
        /// Id or name
        set: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Put a version of a policy set in force, such as an earlier one
    #[command(
        after_help = "Example, back to version 3:\n  caracal policy-set activate main 3 --zone demo"
    )]
    Activate {
        /// Id or name
        set: String,
        /// Version, by number or id
        version: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Ask a version of a policy set what it would decide on an input document
    #[command(
        after_help = "Example:\n  caracal policy-set simulate main 4 --input input.json --zone demo"
    )]
    Simulate {
        /// Id or name
        set: String,
        /// Version, by number or id
        version: String,
        /// JSON file with the input document (- for standard input)
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        #[command(flatten)]
        zone: ZoneArg,
    },
}

pub(super) fn run(command: &PolicySetCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    match command {
        PolicySetCommand::List { zone } => context
            .output
            .list(&client.items(&collection(&context.zone(zone)?))?, &COLUMNS),
        PolicySetCommand::Versions { set, zone } => {
            let zone = context.zone(zone)?;
            let versions = versions(&client, &found(&client, &zone, set)?)?;
            let zone = client.get(&path(&["v1", "zones", &zone]))?;
            let active = zone
                .get("active_policy_set_version_id")
                .filter(|active| active.is_string());
            let marked = |version: Value| {
                let is_active = active.is_some() && version.get("version_id") == active;
                with_members(version, [("active", json!(is_active))])
            };
            let versions: Vec<Value> = versions.into_iter().map(marked).collect();
            context.output.list(&versions, &VERSIONS)
        }
        PolicySetCommand::Activate { set, version, zone } => {
            let set = found(&client, &context.zone(zone)?, set)?;
            let (version_id, number) = version_of(&client, &set, version)?;
            let activated = client.post(
                &format!("{set}/activate"),
                &json!({"version_id": version_id}),
            )?;
            let activated = with_members(activated, [("version", json!(number))]);
            context.output.record(&activated, &ACTIVATED)
        }
        PolicySetCommand::Simulate {
            set,
            version,
            input,
            zone,
        } => {
            let document = read_json(input)?;
            let set = found(&client, &context.zone(zone)?, set)?;
            let (version_id, _) = version_of(&client, &set, version)?;
            let request = json!({"version_id": version_id, "input": document});
            let result = client.post(&format!("{set}/simulate"), &request)?;
            context.output.either(&format!("{result:#}\n"), &result)
        }
    }
}

pub(super) fn collection(zone: &str) -> String {
    path(&["v1", "zones", zone, "policy-sets"])
}

/// Path of the set that `reference` names.
pub(super) fn found(client: &Client, zone: &str, reference: &str) -> Result<String, CliError> {
    let collection = collection(zone);
    let id = client.id("policy set", &collection, &["name"], reference)?;
    Ok(format!("{collection}/{id}"))
}

/// Versions of the set at `set`, oldest first.
pub(super) fn versions(client: &Client, set: &str) -> Result<Vec<Value>, CliError> {
    let mut versions = client.items(&format!("{set}/versions"))?;
    versions.sort_by_key(number);
    Ok(versions)
}

/// Id and number of the version that `reference` names.
pub(super) fn version_of(
    client: &Client,
    set: &str,
    reference: &str,
) -> Result<(String, u64), CliError> {
    let wanted: Option<u64> = reference.parse().ok();
    let versions = versions(client, set)?;
    let matches = |version: &&Value| {
        wanted == Some(number(version))
            || version.get("version_id").and_then(Value::as_str) == Some(reference)
    };
    let version = versions.iter().find(matches);
    let version = version
        .ok_or_else(|| CliError::Reference(format!("the set has no version {reference}")))?;
    Ok((client.member(version, "version_id")?, number(version)))
}

/// A version that the server has, and the path of its set.
pub(super) struct StoredVersion {
    pub(super) set: String,
    pub(super) version: Value,
}

/// The version of the set `name` with `manifest`; set and version are made if need be. Nothing of it is
/// put in force.
pub(super) fn store(
    client: &Client,
    zone: &str,
    name: &str,
    manifest: &Value,
) -> Result<StoredVersion, CliError> {
    let collection = collection(zone);
    let is_it = |set: &&Value| {
        set.get("name")
            .and_then(Value::as_str)
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    };
    let known = client
        .items(&collection)?
        .iter()
        .find(is_it)
        .map(|set| client.member(set, "id"))
        .transpose()?;
    let id = match known {
        Some(id) => id,
        None => client.member(&client.post(&collection, &json!({"name": name}))?, "id")?,
    };
    let set = format!("{collection}/{id}");
    // The server knows a version again by its manifest.
    let version = client.post(&format!("{set}/versions"), &json!({"manifest": manifest}))?;
    Ok(StoredVersion { set, version })
}

/// Stores `manifest` as a version of the set `name`, and activates it.
pub(super) fn put_in_force(
    client: &Client,
    zone: &str,
    name: &str,
    manifest: &Value,
) -> Result<Value, CliError> {
    let StoredVersion { set, version } = store(client, zone, name, manifest)?;
    let version_id = client.member(&version, "version_id")?;
    let activated = client.post(
        &format!("{set}/activate"),
        &json!({"version_id": version_id}),
    )?;
    let member = |name: &str| version.get(name).cloned().unwrap_or_default();
    let described = [
        ("policy_set", json!(name)),
        ("policy_set_id", member("policy_set_id")),
        ("version", member("version")),
        ("manifest_sha256", member("manifest_sha256")),
    ];
    Ok(with_members(activated, described))
}
