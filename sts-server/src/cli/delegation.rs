//! `caracal delegation`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, ZoneArg, client::path, delegation_tree, error::CliError, output::Field};

const FIELDS: [Field; 16] = [
    ("id", "id"),
    ("status", "status"),
    ("from session", "source_session_id"),
    ("of application", "issuer_application_id"),
    ("to session", "target_session_id"),
    ("of application", "receiver_application_id"),
    ("passes on", "parent_edge_id"),
    ("path", "delegation_path"),
    ("scopes", "scopes"),
    ("resources", "resources"),
    ("hops", "max_hops"),
    ("longest mandate, seconds", "mandate_ttl_seconds"),
    ("budget", "budget"),
    ("made", "created_at"),
    ("expires", "expires_at"),
    ("revoked", "revoked_at"),
];
pub(super) const COLUMNS: [Field; 7] = [
    ("id", "id"),
    ("status", "status"),
    ("from", "source_session_id"),
    ("to", "target_session_id"),
    ("scopes", "scopes"),
    ("resources", "resources"),
    ("expires", "expires_at"),
];
const IMPACT: [Field; 3] = [
    ("delegations that fall", "revoked_edges"),
    ("sessions that lose them", "affected_sessions"),
    ("sessions", "affected_agents"),
];

#[derive(Debug, Subcommand)]
pub(super) enum DelegationCommand {
    /// Pass authority of one session on to another
    #[command(after_help = "Example:\n  \
        caracal delegation create --from $LEAD --to $CHILD --zone demo \\\n    \
        --resource resource://demo --scope demo:read --ttl 600")]
    Create(CreateArgs),
    /// List the delegations in force, or all from or to a session
    List {
        #[command(flatten)]
        zone: ZoneArg,
        /// Given by this session
        #[arg(long, value_name = "SESSION_ID", conflicts_with = "to")]
        from: Option<String>,
        /// Given to this session
        #[arg(long, value_name = "SESSION_ID")]
        to: Option<String>,
    },
    /// Show a delegation
    Show(DelegationArg),
    /// Say what would fall with a delegation
    Impact(DelegationArg),
    /// Take a delegation back, and all that rest on it
    Revoke(DelegationArg),
    /// Draw the sessions of a zone and what they have delegated to one another
    #[command(after_help = "Example:\n  caracal delegation tree --zone demo")]
    Tree(delegation_tree::TreeArgs),
}

/// A delegation.
#[derive(Args, Debug)]
pub(super) struct DelegationArg {
    /// Id
    delegation: String,
    #[command(flatten)]
    zone: ZoneArg,
}

#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    zone: ZoneArg,
    /// The session that passes it on
    #[arg(long, value_name = "SESSION_ID")]
    from: String,
    /// The session that gets it
    #[arg(long, value_name = "SESSION_ID")]
    to: String,
    /// Scope; may be given more than once
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// Identifier of a resource; may be given more than once [default: those that are passed on from]
    #[arg(long = "resource", value_name = "IDENTIFIER")]
    resources: Vec<String>,
    /// Seconds to live
    #[arg(long, value_name = "SECONDS")]
    ttl: u64,
    /// How many delegations may follow one another, this one included [default: 1]
    #[arg(long, value_name = "NUMBER")]
    hops: Option<u32>,
    /// Longest life of a mandate under it, in seconds
    #[arg(long, value_name = "SECONDS")]
    mandate_ttl: Option<u64>,
    /// What may be spent under it
    #[arg(long, value_name = "NUMBER")]
    budget: Option<u64>,
    /// Which of the delegations that the session holds is passed on from, if there are several
    #[arg(long, value_name = "DELEGATION_ID")]
    parent: Option<String>,
}

impl CreateArgs {
    /// The body, with the applications of the two sessions.
    fn body(&self, issuer: &str, receiver: &str) -> Value {
        let mut constraints = Map::new();
        let members = [
            ("max_hops", self.hops.map(u64::from)),
            ("ttl_seconds", self.mandate_ttl),
            ("budget", self.budget),
        ];
        for (name, value) in members {
            if let Some(value) = value {
                constraints.insert(name.to_owned(), json!(value));
            }
        }
        if !self.resources.is_empty() {
            constraints.insert("resources".to_owned(), json!(self.resources));
        }
        json!({
            "issuer_application_id": issuer,
            "receiver_application_id": receiver,
            "source_session_id": self.from,
            "target_session_id": self.to,
            "parent_edge_id": self.parent,
            "scopes": self.scopes,
            "constraints": constraints,
            "ttl_seconds": self.ttl,
        })
    }
}

pub(super) fn run(command: &DelegationCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let one = |argument: &DelegationArg, rest: &[&str]| {
        let zone = context.zone(&argument.zone)?;
        let segments = [&["zones", &zone, "delegations", &argument.delegation], rest].concat();
        Ok::<_, CliError>(path(&segments))
    };
    match command {
        DelegationCommand::Create(arguments) => {
            let zone = context.zone(&arguments.zone)?;
            let application = |session: &str| {
                let found = client.get(&path(&["zones", &zone, "agents", session]))?;
                client.member(&found, "application_id")
            };
            let body = arguments.body(&application(&arguments.from)?, &application(&arguments.to)?);
            let made = client.post(&path(&["zones", &zone, "delegations"]), &body)?;
            context.output.record(&made, &FIELDS)
        }
        DelegationCommand::List { zone, from, to } => {
            let zone = context.zone(zone)?;
            let list = match (from, to) {
                (Some(session), _) => path(&["zones", &zone, "delegations", "outbound", session]),
                (None, Some(session)) => path(&["zones", &zone, "delegations", "inbound", session]),
                (None, None) => path(&["zones", &zone, "delegations", "active"]),
            };
            context.output.list(&client.items(&list)?, &COLUMNS)
        }
        DelegationCommand::Show(argument) => context
            .output
            .record(&client.get(&one(argument, &[])?)?, &FIELDS),
        DelegationCommand::Impact(argument) => context
            .output
            .record(&client.get(&one(argument, &["impact"])?)?, &IMPACT),
        DelegationCommand::Revoke(argument) => {
            let done = client.patch(&one(argument, &["revoke"])?, &json!({}))?;
            context.output.record(
                &done,
                &[
                    ("revoked delegations", "revoked_edges"),
                    ("sessions that lose them", "affected_sessions"),
                ],
            )
        }
        DelegationCommand::Tree(arguments) => delegation_tree::run(arguments, &client, context),
    }
}
