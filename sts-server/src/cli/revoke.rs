//! `caracal revoke` and `caracal revocation`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Context, ZoneArg,
    client::{Client, path},
    error::CliError,
    instant,
    output::Field,
};

const FIELDS: [Field; 7] = [
    ("revoked", "what"),
    ("id", "id"),
    ("mandates issued up to", "issued_until"),
    ("sessions that fall", "sessions"),
    ("delegations that fall", "delegations"),
    ("mandates that fall", "mandates"),
    ("dry run", "dry_run"),
];
const COLUMNS: [Field; 7] = [
    ("epoch", "epoch"),
    ("anchor", "anchor_type"),
    ("id", "id"),
    ("issued until", "issued_until"),
    ("revoked", "revoked_at"),
    ("withdrawn", "withdrawn_at"),
    ("reason", "reason"),
];

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    caracal revoke --session $LEAD --zone demo --dry-run\n  \
    caracal revoke --session $LEAD --zone demo --reason 'reads what it should not'\n  \
    caracal revoke --app reader --zone demo --up-to-now")]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    zone: ZoneArg,
    /// Only mandates issued so far; those issued from now on are good (with --app or --whole-zone)
    #[arg(long)]
    up_to_now: bool,
    /// Why; it is kept with the revocation
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only say what would fall
    #[arg(long)]
    dry_run: bool,
    /// Take back a revocation of an application, a subject or the zone
    #[arg(long, conflicts_with_all = ["up_to_now", "reason", "dry_run"])]
    withdraw: bool,
}

/// What is revoked: one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct What {
    /// A session, and everything that it started
    #[arg(long, value_name = "SESSION_ID")]
    session: Option<String>,
    /// A delegation, and all that rest on it
    #[arg(long, value_name = "DELEGATION_ID")]
    delegation: Option<String>,
    /// An application: all of its mandates, and those that came of its delegations
    #[arg(long, value_name = "NAME|ID")]
    app: Option<String>,
    /// A subject: its mandates issued so far
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// One mandate, by its jti
    #[arg(long, value_name = "JTI")]
    mandate: Option<String>,
    /// An authority record, by its sid, and what came of its mandate
    #[arg(long, value_name = "SID")]
    record: Option<String>,
    /// Everything that came of one first exchange, by its root_sid
    #[arg(long, value_name = "ROOT_SID")]
    root: Option<String>,
    /// A signing key, and every mandate that it signed
    #[arg(long, value_name = "KID")]
    key: Option<String>,
    /// Every mandate of the zone
    #[arg(long)]
    whole_zone: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum RevocationCommand {
    /// List what is revoked, the oldest change first
    List {
        #[command(flatten)]
        zone: ZoneArg,
    },
}

impl What {
    /// The anchor: its type, and its id.
    fn anchor(&self, client: &Client, zone: &str) -> Result<(&'static str, String), CliError> {
        let given = [
            ("agent_session_id", &self.session),
            ("delegation_edge_id", &self.delegation),
            ("sub", &self.subject),
            ("jti", &self.mandate),
            ("sid", &self.record),
            ("root_sid", &self.root),
            ("kid", &self.key),
        ];
        if let Some((anchor_type, Some(id))) = given.into_iter().find(|(_, id)| id.is_some()) {
            return Ok((anchor_type, id.clone()));
        }
        if let Some(app) = &self.app {
            let collection = path(&["v1", "zones", zone, "applications"]);
            let id = client.id("application", &collection, &["name"], app)?;
            return Ok(("client_id", id));
        }
        let found = client.get(&path(&["v1", "zones", zone]))?;
        Ok(("zone_id", client.member(&found, "id")?))
    }
}

pub(super) fn run(arguments: &RevokeArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let zone = context.zone(&arguments.zone)?;
    let (anchor_type, id) = arguments.what.anchor(&client, &zone)?;
    if arguments.withdraw {
        client.delete(&path(&[
            "v1",
            "zones",
            &zone,
            "revocations",
            anchor_type,
            &id,
        ]))?;
        return context.output.either(
            &format!("withdrew the revocation of {anchor_type} {id}\n"),
            &json!({"withdrawn": true, "anchor_type": anchor_type, "id": id}),
        );
    }
    let body = json!({
        "anchor_type": anchor_type,
        "id": id,
        "reason": arguments.reason,
        "issued_until": arguments.up_to_now.then(instant::now),
        "dry_run": arguments.dry_run,
    });
    let done = client.post(&path(&["v1", "zones", &zone, "revocations"]), &body)?;
    let falls = |name: &str| done.get("falls").and_then(|falls| falls.get(name)).cloned();
    let shown = json!({
        "what": anchor_type,
        "id": id,
        "issued_until": done.get("issued_until").and_then(Value::as_u64).map(instant::rfc3339),
        "sessions": falls("sessions"),
        "delegations": falls("delegations"),
        "mandates": falls("mandates"),
        "dry_run": arguments.dry_run,
        "revoked_at": done.get("revoked_at"),
    });
    context.output.record(&shown, &FIELDS)
}

pub(super) fn run_list(command: &RevocationCommand, context: &Context<'_>) -> Result<(), CliError> {
    let RevocationCommand::List { zone } = command;
    let client = context.admin()?;
    let collection = path(&["v1", "zones", &context.zone(zone)?, "revocations"]);
    context.output.list(&client.items(&collection)?, &COLUMNS)
}
