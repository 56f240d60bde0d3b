//! `caracal policy`.

use std::path::{Path, PathBuf};

use authority::policy::{Module, PolicyKind};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{Client, path, with_members},
    error::CliError,
    output::{Field, Format},
    policy_eval, policy_files, policy_history, policy_shadow,
    policy_source::{check, compile, read_modules, read_text},
    policy_test, policy_trial,
};

const FIELDS: [Field; 7] = [
    ("id", "id"),
    ("name", "name"),
    ("version", "version"),
    ("version id", "version_id"),
    ("kind", "kind"),
    ("sha256", "content_sha256"),
    ("created", "created_at"),
];
const COLUMNS: [Field; 3] = [("id", "id"), ("name", "name"), ("created", "created_at")];
const VERSIONS: [Field; 5] = [
    ("version", "version"),
    ("id", "id"),
    ("kind", "kind"),
    ("sha256", "content_sha256"),
    ("created", "created_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Store a policy; it is in force only once a set with it is activated
    #[command(after_help = "Example:\n  caracal policy create grants grants.rego --zone demo")]
    Create {
        /// Name, unique in the zone
        name: String,
        /// File with the Rego text (- for standard input)
        file: PathBuf,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// List policies
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Show a policy's text, of its newest version or of another
    #[command(
        after_help = "Example:\n  caracal policy show grants --zone demo --version 3 > grants.rego"
    )]
    Show {
        /// Id or name
        policy: String,
        /// Version number [default: the newest]
        #[arg(long, value_name = "NUMBER")]
        version: Option<u64>,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// List the versions of a policy
    Versions {
        /// Id or name
        policy: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Check policies without a server: each file, then all of them as one set
    #[command(
        after_help = "Examples:\n  caracal policy check grants.rego\n  caracal policy check policies/"
    )]
    Check {
        /// Files, or directories with .rego and .json files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run the tests of policies: every test_ rule under the directories, as `opa test` does
    #[command(after_help = "\
Examples:
  caracal policy test policies/
  caracal policy test policies/ --filter 'data.caracal.authz_test.*' --coverage

Exit code: 0 if all tests passed, 2 if any failed, 1 if the files could not be used.")]
    Test(policy_test::TestArgs),
    /// Evaluate policies on an input without a server
    Eval(policy_eval::EvalArgs),
    /// Ask the server what a version, or files, would decide; nothing of it is put in force
    Simulate(policy_trial::SimulateArgs),
    /// Show what differs between two versions of a policy set
    Diff(policy_history::DiffArgs),
    /// Put the version in force that was in force before
    Rollback(policy_history::RollbackArgs),
    /// Evaluate a version beside the one in force without enforcing it, and list where the two disagree
    Shadow(policy_shadow::ShadowArgs),
    /// Put files in force as the zone's policy: store what changed, make a set of them, activate it
    #[command(
        after_help = "Examples:\n  caracal policy activate --zone demo grants.rego\n  \
        caracal policy activate --zone demo policies/"
    )]
    Activate {
        /// Files, or directories with .rego and .json files; each becomes a version of the policy of its name
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Policy set that takes them
        #[arg(long, value_name = "NAME", default_value = "main")]
        set: String,
        #[command(flatten)]
        zone: ZoneArg,
    },
}

pub(super) fn run(command: &PolicyCommand, context: &Context<'_>) -> Result<(), CliError> {
    match command {
        PolicyCommand::Check { files } => check_files(files, context),
        PolicyCommand::Test(arguments) => policy_test::run(arguments, context),
        PolicyCommand::Create { name, file, zone } => {
            create(name, file, &context.zone(zone)?, context)
        }
        PolicyCommand::List { zone } => context.output.list(
            &context.admin()?.items(&collection(&context.zone(zone)?))?,
            &COLUMNS,
        ),
        PolicyCommand::Show {
            policy,
            version,
            zone,
        } => show(policy, *version, &context.zone(zone)?, context),
        PolicyCommand::Versions { policy, zone } => {
            let client = context.admin()?;
            context.output.list(
                &versions(&client, &collection(&context.zone(zone)?), policy)?,
                &VERSIONS,
            )
        }
        PolicyCommand::Eval(arguments) => policy_eval::run(arguments, context),
        PolicyCommand::Simulate(arguments) => policy_trial::run(arguments, context),
        PolicyCommand::Diff(arguments) => policy_history::diff(arguments, context),
        PolicyCommand::Rollback(arguments) => policy_history::roll_back(arguments, context),
        PolicyCommand::Shadow(arguments) => policy_shadow::run(arguments, context),
        PolicyCommand::Activate { files, set, zone } => {
            policy_files::activate(files, set, &context.zone(zone)?, context)
        }
    }
}

pub(super) fn collection(zone: &str) -> String {
    path(&["v1", "zones", zone, "policies"])
}

/// The versions of a policy, oldest first.
pub(super) fn versions(
    client: &Client,
    collection: &str,
    policy: &str,
) -> Result<Vec<Value>, CliError> {
    let id = client.id("policy", collection, &["name"], policy)?;
    let mut versions = client.items(&format!("{collection}/{id}/versions"))?;
    versions.sort_by_key(number);
    Ok(versions)
}

pub(super) fn number(version: &Value) -> u64 {
    version
        .get("version")
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn check_files(files: &[PathBuf], context: &Context<'_>) -> Result<(), CliError> {
    let modules = read_modules(files)?;
    let compiled = compile(&modules).map_err(CliError::Policy)?;
    let (code, decides) = match compiled.kind {
        PolicyKind::Data => ("data", "data documents, decided by Caracal's contract"),
        PolicyKind::Authored => ("authored", "a policy of its own"),
    };
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let text = format!("ok: {} ({decides})\n", names.join(" "));
    policy_files::remark(context, &compiled.notes);
    let reads_the_call = compiled.reads_the_call();
    if reads_the_call && context.output.format() == Format::Text {
        context.output.note(
            "note: it may read the path, the host or the time of a call, so a gateway asks it for every call",
        );
    }
    context.output.either(
        &text,
        &json!({
            "valid": true,
            "kind": code,
            "files": names,
            "notes": compiled.notes,
            "reads_the_call": reads_the_call,
        }),
    )
}

fn create(name: &str, file: &Path, zone: &str, context: &Context<'_>) -> Result<(), CliError> {
    let module = Module {
        name: file.display().to_string(),
        source: read_text(file)?,
    };
    // Checked here first, so that an error names the user's own file.
    check(std::slice::from_ref(&module)).map_err(CliError::Policy)?;
    let created = context.admin()?.post(
        &collection(zone),
        &json!({"name": name, "content": module.source}),
    )?;
    let version = created.get("version").cloned().unwrap_or_default();
    let member = |name: &str| version.get(name).cloned().unwrap_or_default();
    let shown = match context.output.format() {
        Format::Text => {
            let names = ["version", "kind", "content_sha256"];
            with_members(created, names.map(|name| (name, member(name))))
        }
        Format::Json => created,
    };
    context.output.record(&shown, &FIELDS)
}

fn show(
    policy: &str,
    version: Option<u64>,
    zone: &str,
    context: &Context<'_>,
) -> Result<(), CliError> {
    let client = context.admin()?;
    let versions = versions(&client, &collection(zone), policy)?;
    let wanted = match version {
        Some(wanted) => versions.iter().find(|own| number(own) == wanted),
        None => versions.last(),
    };
    let absent = || match version {
        Some(version) => format!("policy {policy} has no version {version}"),
        None => format!("policy {policy} has no versions"),
    };
    let wanted = wanted.ok_or_else(|| CliError::Reference(absent()))?;
    context
        .output
        .either(&client.member(wanted, "content")?, wanted)
}
