//! `caracal audit`: looking for events, and following them as they happen.

use std::io::{BufRead, BufReader};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Context, ZoneArg, audit_convert, audit_export, audit_verify,
    client::{Client, encoded, path, with_members},
    error::CliError,
    output::{Field, Format, printable},
};

const COLUMNS: [Field; 8] = [
    ("seq", "seq"),
    ("when", "occurred_at"),
    ("decision", "decision"),
    ("what", "what"),
    ("who", "who"),
    ("on", "on"),
    ("reason", "reason"),
    ("request", "request_id"),
];
/// Events that are asked for at once.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Find events, the newest first
    #[command(after_help = "Examples:\n  \
        caracal audit query --zone demo --decision deny --since 2026-11-01T00:00:00Z\n  \
        caracal audit query --zone demo --session-tree $LEAD --resource resource://demo\n  \
        caracal audit query --zone demo --app reader --limit 5000 --csv > reader.csv")]
    Query {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many events at most
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
        /// As comma-separated values
        #[arg(long)]
        csv: bool,
    },
    /// Follow events as they are written
    Tail {
        #[command(flatten)]
        filter: FilterArgs,
    },
    /// Write the ledger, or the end of it, to a file that anyone can verify
    #[command(after_help = "Examples:\n  \
        caracal audit export --zone demo --to demo.jsonl --keys demo.keys.json\n  \
        caracal audit export --zone demo --since 2026-11-01T00:00:00Z --to november.jsonl\n  \
        caracal audit export --zone demo --to demo.parquet\n\n\
        An export that was broken off goes on where it ended when the command is given again.")]
    Export(audit_export::ExportArgs),
    /// Check an export with nothing but the zone's public keys
    #[command(after_help = "Examples:\n  \
        caracal audit verify demo.jsonl --keys demo.keys.json\n  \
        caracal audit verify demo.jsonl --keys demo.keys.json --checkpoint last-month.json")]
    Verify(audit_verify::VerifyArgs),
    /// Make a file for other tools of an export: Parquet, or JSON Lines, in OCSF
    #[command(after_help = "Examples:\n  \
        caracal audit convert demo.jsonl --to demo.parquet\n  \
        caracal audit convert demo.jsonl --to demo.ocsf.jsonl --as ocsf")]
    Convert(audit_convert::ConvertArgs),
    /// Write where the ledger stands, signed, for holding later exports against it
    Checkpoint {
        #[command(flatten)]
        zone: ZoneArg,
    },
    /// Write the public keys by which exports are verified, those included that sign no more
    Keys {
        #[command(flatten)]
        zone: ZoneArg,
    },
}

#[derive(Args, Debug)]
pub(super) struct FilterArgs {
    #[command(flatten)]
    zone: ZoneArg,
    /// Not before this time, as in 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What was decided
    #[arg(long, value_enum)]
    decision: Option<DecisionArg>,
    /// What happened: token_exchange, gateway_request, admin_change, session, delegation, revocation,
    /// activation, audit_gap or audit_pruned
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Why something was denied
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Of one request
    #[arg(long, value_name = "REQUEST_ID")]
    request: Option<String>,
    /// By an application
    #[arg(long, value_name = "NAME|ID")]
    app: Option<String>,
    /// On behalf of a subject
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// In one session
    #[arg(long, value_name = "SESSION_ID")]
    session: Option<String>,
    /// In a session or one below it
    #[arg(long, value_name = "SESSION_ID")]
    session_tree: Option<String>,
    /// With one mandate, by its jti
    #[arg(long, value_name = "JTI")]
    mandate: Option<String>,
    /// Under a delegation
    #[arg(long, value_name = "DELEGATION_ID")]
    delegation: Option<String>,
    /// On a resource
    #[arg(long, value_name = "IDENTIFIER")]
    resource: Option<String>,
    /// Decided by one version of a policy set
    #[arg(long, value_name = "VERSION_ID")]
    policy_version: Option<String>,
    /// Changes to one object
    #[arg(long, value_name = "ID")]
    object: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DecisionArg {
    Allow,
    Deny,
}

impl FilterArgs {
    /// As a query, which begins with `?`.
    fn query(&self, client: &Client, zone: &str) -> Result<String, CliError> {
        let application = match &self.app {
            Some(app) => {
                let collection = path(&["v1", "zones", zone, "applications"]);
                Some(client.id("application", &collection, &["name"], app)?)
            }
            None => None,
        };
        let decision = self.decision.map(|decision| {
            match decision {
                DecisionArg::Allow => "allow",
                DecisionArg::Deny => "deny",
            }
            .to_owned()
        });
        let fields = [
            ("since", &self.since),
            ("until", &self.until),
            ("decision", &decision),
            ("event_type", &self.event_type),
            ("reason", &self.reason),
            ("request_id", &self.request),
            ("application_id", &application),
            ("subject", &self.subject),
            ("session_id", &self.session),
            ("session_tree", &self.session_tree),
            ("jti", &self.mandate),
            ("delegation_id", &self.delegation),
            ("resource", &self.resource),
            ("policy_set_version_id", &self.policy_version),
            ("object_id", &self.object),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_ref()?)));
        Ok(given.fold("?".to_owned(), |query, (name, value)| {
            let joint = if query.len() == 1 { "" } else { "&" };
            format!("{query}{joint}{name}={}", encoded(value))
        }))
    }
}

pub(super) fn run(command: &AuditCommand, context: &Context<'_>) -> Result<(), CliError> {
    match command {
        AuditCommand::Query { filter, limit, csv } => query(filter, *limit, *csv, context),
        AuditCommand::Tail { filter } => tail(filter, context),
        AuditCommand::Export(arguments) => audit_export::run(arguments, context),
        AuditCommand::Convert(arguments) => audit_convert::run(arguments, context),
        AuditCommand::Verify(arguments) => audit_verify::run(arguments, context),
        AuditCommand::Checkpoint { zone } => show(zone, "checkpoint", context),
        AuditCommand::Keys { zone } => show(zone, "keys", context),
    }
}

/// Something that is for programs and files, in either form of output.
fn show(zone: &ZoneArg, what: &str, context: &Context<'_>) -> Result<(), CliError> {
    let zone = context.zone(zone)?;
    let found = context
        .admin()?
        .get(&path(&["v1", "zones", &zone, "audit", what]))?;
    context.output.either(&format!("{found}\n"), &found)
}

fn query(
    filter: &FilterArgs,
    limit: usize,
    csv: bool,
    context: &Context<'_>,
) -> Result<(), CliError> {
    let client = context.admin()?;
    let zone = context.zone(&filter.zone)?;
    let query = filter.query(&client, &zone)?;
    let collection = path(&["v1", "zones", &zone, "audit"]);
    let mut items: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut header = true;
    let mut found = 0;
    while found < limit {
        let page = (limit - found).min(PAGE);
        let mut url = format!("{collection}{query}&limit={page}");
        if let Some(cursor) = &cursor {
            url += &format!("&cursor={}", encoded(cursor));
        }
        let next = if csv {
            let (text, next) = client.text(&format!("{url}&format=csv"), "x-next-cursor")?;
            let (head, rows) = text.split_once("\r\n").unwrap_or((&text, ""));
            let shown = if header {
                format!("{head}\r\n{rows}")
            } else {
                rows.to_owned()
            };
            context.output.raw(shown.as_bytes())?;
            header = false;
            found += rows.matches("\r\n").count();
            next
        } else {
            let mut answer = client.get(&url)?;
            if let Some(Value::Array(more)) = answer.get_mut("items").map(Value::take) {
                found += more.len();
                items.extend(more);
            }
            let next = answer.get("next_cursor").and_then(Value::as_str);
            next.map(str::to_owned)
        };
        if next.is_none() {
            break;
        }
        cursor = next;
    }
    if csv {
        return Ok(());
    }
    if context.output.format() == Format::Text {
        items = items.into_iter().map(in_short).collect();
    }
    context.output.list(&items, &COLUMNS)
}

/// An event with the members that a line of a table shows.
pub(super) fn in_short(event: Value) -> Value {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let what = match (text("action"), text("method")) {
        (Some("cut"), Some(method)) => format!("cut {method}"),
        (Some(action), _) => action.to_owned(),
        (None, Some(method)) => format!("{method} {}", text("path").unwrap_or_default()),
        (None, None) => text("event_type").unwrap_or_default().to_owned(),
    };
    let actor = event.get("actor").and_then(|actor| {
        let id = actor.get("id").and_then(Value::as_str);
        id.or_else(|| actor.get("type").and_then(Value::as_str))
    });
    let who = text("client_id").or(actor);
    let resources = event.get("resources").and_then(Value::as_array);
    let asked: Vec<&str> = resources
        .into_iter()
        .flatten()
        .filter_map(|resource| resource.get("identifier")?.as_str())
        .collect();
    let object = event
        .get("object")
        .and_then(|object| object.get("id")?.as_str());
    let on = match (text("resource"), asked.as_slice(), object) {
        (Some(resource), ..) => resource.to_owned(),
        (None, [], Some(object)) => object.to_owned(),
        (None, asked, _) => asked.join(" "),
    };
    let members = [
        ("what", json!(what)),
        ("who", json!(who)),
        ("on", json!(on)),
    ];
    with_members(event.clone(), members)
}

fn tail(filter: &FilterArgs, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let zone = context.zone(&filter.zone)?;
    let query = filter.query(&client, &zone)?;
    let stream = client.stream(&format!(
        "{}{query}",
        path(&["v1", "zones", &zone, "audit", "tail"])
    ))?;
    for line in BufReader::new(stream.body).lines() {
        let line = line.map_err(|error| CliError::Unreachable {
            url: client.url().to_owned(),
            problem: error.to_string(),
        })?;
        let Some(event) = line
            .strip_prefix("data: ")
            .and_then(|data| serde_json::from_str::<Value>(data).ok())
        else {
            continue;
        };
        let text = match context.output.format() {
            Format::Json => format!("{event}\n"),
            Format::Text => {
                let event = in_short(event);
                let cells = COLUMNS
                    .iter()
                    .filter_map(|(_, name)| event.get(name))
                    .filter(|value| !value.is_null())
                    .map(|value| {
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    });
                format!("{}\n", printable(&cells.collect::<Vec<_>>().join("  ")))
            }
        };
        context.output.raw(text.as_bytes())?;
    }
    Ok(())
}
