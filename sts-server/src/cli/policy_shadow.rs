//! `caracal policy shadow`: a version that is evaluated beside the one in force, and what came of it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{path, with_members},
    error::CliError,
    output::{Field, lines, table},
    policy_files::candidate,
    policy_set::collection,
    policy_trial::verdict,
};

const SHADOWED: [Field; 4] = [
    ("version", "version"),
    ("version id", "version_id"),
    ("manifest sha256", "manifest_sha256"),
    ("sequence", "sequence"),
];
const ACCOUNT: [Field; 5] = [
    ("version id", "version_id"),
    ("since", "since"),
    ("ended", "ended_at"),
    ("same", "same"),
    ("different", "different"),
];
const DISAGREEMENTS: [Field; 9] = [
    ("count", "count"),
    ("moment", "moment"),
    ("client", "client_id"),
    ("resource", "resource"),
    ("method", "method"),
    ("path", "path"),
    ("enforced", "enforced"),
    ("shadow", "shadow"),
    ("last seen", "last_seen"),
];

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  caracal policy shadow grants.rego --zone demo\n  \
    caracal policy shadow --list --zone demo\n  caracal policy shadow --off --zone demo"
)]
pub(super) struct ShadowArgs {
    #[command(flatten)]
    what: ShadowWhat,
    /// Policy set that the version is of, or that takes the files
    #[arg(long, value_name = "NAME", default_value = "main")]
    set: String,
    #[command(flatten)]
    zone: ZoneArg,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ShadowWhat {
    /// Files, or directories with .rego and .json files; stored, and not put in force
    files: Vec<PathBuf>,
    /// Version of the set, by number or id
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// End the shadow
    #[arg(long)]
    off: bool,
    /// List where the shadow disagreed with what was enforced
    #[arg(long)]
    list: bool,
}

pub(super) fn run(arguments: &ShadowArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let zone = context.zone(&arguments.zone)?;
    let account = path(&["v1", "zones", &zone, "shadow"]);
    let ShadowWhat {
        files,
        version,
        off,
        list,
    } = &arguments.what;
    if *list {
        let account = client.get(&account)?;
        return context.output.either(&shown(&account), &account);
    }
    if *off {
        let account = client.get(&account)?;
        let set = client.member(&account, "policy_set_id")?;
        client.delete(&format!("{}/{set}/shadow", collection(&zone)))?;
        return context
            .output
            .either("the shadow is off\n", &json!({"shadow": null}));
    }
    let candidate = candidate(
        &client,
        &zone,
        &arguments.set,
        version.as_deref(),
        files,
        context,
    )?
    .ok_or_else(|| CliError::usage("name files, or a version with --version"))?;
    let shadowed = client.post(
        &format!("{}/shadow", candidate.set),
        &json!({"version_id": candidate.version_id}),
    )?;
    context.output.record(&shadowed, &SHADOWED)
}

fn shown(account: &Value) -> String {
    let items = account.get("items").and_then(Value::as_array);
    let rows: Vec<Value> = items
        .into_iter()
        .flatten()
        .map(|item| {
            let said = |name| (name, json!(verdict(item.get(name))));
            with_members(item.clone(), [said("enforced"), said("shadow")])
        })
        .collect();
    let mut text = lines(account, &ACCOUNT);
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&table(&rows, &DISAGREEMENTS));
    }
    text
}
