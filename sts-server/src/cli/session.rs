//! `caracal session`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Context, ZoneArg,
    client::{Client, encoded, path},
    error::CliError,
    output::Field,
};

const FIELDS: [Field; 17] = [
    ("id", "id"),
    ("status", "status"),
    ("application", "application_id"),
    ("parent", "parent_id"),
    ("path", "session_path"),
    ("lifecycle", "lifecycle"),
    ("labels", "labels"),
    ("metadata", "metadata"),
    ("subject", "subject"),
    ("started", "started_at"),
    ("expires", "expires_at"),
    ("lease until", "heartbeat_deadline_at"),
    ("lease generation", "lease_generation"),
    ("suspended", "suspended_at"),
    ("ended", "ended_at"),
    ("end reason", "end_reason"),
    ("delegation", "delegation_edge_id"),
];
const COLUMNS: [Field; 7] = [
    ("id", "id"),
    ("status", "status"),
    ("application", "application_id"),
    ("lifecycle", "lifecycle"),
    ("labels", "labels"),
    ("children", "child_count"),
    ("started", "started_at"),
];

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Start a session of an application
    #[command(after_help = "Example:\n  \
        caracal session start agent --zone demo --label reader --ttl 600")]
    Start(StartArgs),
    /// List sessions
    #[command(
        after_help = "Example:\n  caracal session list --zone demo --status active --label reader"
    )]
    List {
        #[command(flatten)]
        zone: ZoneArg,
        /// active, suspended, terminated or expired
        #[arg(long)]
        status: Option<String>,
        /// task or service
        #[arg(long)]
        lifecycle: Option<String>,
        /// Of this application, by id or name
        #[arg(long)]
        app: Option<String>,
        /// With this label
        #[arg(long)]
        label: Option<String>,
    },
    /// Show a session
    Show(SessionArg),
    /// List the sessions that a session has started
    Children(SessionArg),
    /// Show what a session may do by what was delegated to it
    Authority(SessionArg),
    /// Keep a session, and everything below it, from acting
    Suspend(SessionArg),
    /// Let a suspended session go on
    Resume(SessionArg),
    /// End a session and everything below it
    End {
        #[command(flatten)]
        session: SessionArg,
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
}

/// A session.
#[derive(Args, Debug)]
pub(super) struct SessionArg {
    /// Id
    session: String,
    #[command(flatten)]
    zone: ZoneArg,
}

#[derive(Args, Debug)]
pub(super) struct StartArgs {
    /// Application, by id or name
    app: String,
    #[command(flatten)]
    zone: ZoneArg,
    /// A label, such as a role in a grant; may be given more than once
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// The session to start it below
    #[arg(long, value_name = "SESSION_ID")]
    parent: Option<String>,
    /// Begin with nothing, rather than with what the parent holds
    #[arg(long, requires = "parent")]
    bare: bool,
    /// Seconds to live [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// A service, which has a lease instead of an end
    #[arg(long, conflicts_with = "ttl")]
    service: bool,
}

impl StartArgs {
    fn body(&self, application: &str) -> Value {
        let mut body = Map::new();
        body.insert("application_id".to_owned(), json!(application));
        body.insert("labels".to_owned(), json!(self.labels));
        if let Some(parent) = &self.parent {
            body.insert("parent_id".to_owned(), json!(parent));
        }
        if self.bare {
            body.insert("parent_authority".to_owned(), json!("none"));
        }
        if let Some(ttl) = self.ttl {
            body.insert("ttl_seconds".to_owned(), json!(ttl));
        }
        if self.service {
            body.insert("lifecycle".to_owned(), json!("service"));
        }
        Value::Object(body)
    }
}

/// The id of an application of a zone.
pub(super) fn application_id(
    client: &Client,
    zone: &str,
    reference: &str,
) -> Result<String, CliError> {
    let collection = path(&["v1", "zones", zone, "applications"]);
    client.id("application", &collection, &["name"], reference)
}

pub(super) fn run(command: &SessionCommand, context: &Context<'_>) -> Result<(), CliError> {
    let client = context.admin()?;
    let one = |argument: &SessionArg, rest: &[&str]| {
        let zone = context.zone(&argument.zone)?;
        let segments = [&["zones", &zone, "agents", &argument.session], rest].concat();
        Ok::<_, CliError>(path(&segments))
    };
    match command {
        SessionCommand::Start(arguments) => {
            let zone = context.zone(&arguments.zone)?;
            let application = application_id(&client, &zone, &arguments.app)?;
            let started = client.post(
                &path(&["zones", &zone, "agents"]),
                &arguments.body(&application),
            )?;
            context.output.record(&started, &FIELDS)
        }
        SessionCommand::List {
            zone,
            status,
            lifecycle,
            app,
            label,
        } => {
            let zone = context.zone(zone)?;
            let app = app
                .as_ref()
                .map(|app| application_id(&client, &zone, app))
                .transpose()?;
            let filter: Vec<(&str, &str)> = [
                ("status", status),
                ("lifecycle", lifecycle),
                ("application_id", &app),
                ("label", label),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
            let sessions = client.items_where(&path(&["zones", &zone, "agents"]), &filter)?;
            context.output.list(&sessions, &COLUMNS)
        }
        SessionCommand::Show(argument) => context
            .output
            .record(&client.get(&one(argument, &[])?)?, &FIELDS),
        SessionCommand::Children(argument) => context
            .output
            .list(&client.items(&one(argument, &["children"])?)?, &COLUMNS),
        SessionCommand::Authority(argument) => {
            let found = client.get(&one(argument, &["effective-authority"])?)?;
            let edges = found.get("inbound_edges").and_then(Value::as_array);
            let edges = edges.cloned().unwrap_or_default();
            match context.output.format() {
                super::output::Format::Json => context.output.either("", &found),
                super::output::Format::Text => {
                    context.output.list(&edges, &super::delegation::COLUMNS)
                }
            }
        }
        SessionCommand::Suspend(argument) => {
            let done = client.patch(&one(argument, &["suspend"])?, &json!({}))?;
            context.output.record(&done, &[("suspended", "suspended")])
        }
        SessionCommand::Resume(argument) => {
            let done = client.patch(&one(argument, &["resume"])?, &json!({}))?;
            context.output.record(&done, &[("resumed", "resumed")])
        }
        SessionCommand::End { session, reason } => {
            let mut target = one(session, &[])?;
            if let Some(reason) = reason {
                target += &format!("?reason={}", encoded(reason));
            }
            client.delete(&target)?;
            let id = &session.session;
            context.output.either(
                &format!("ended session {id}, and everything below it\n"),
                &json!({"ended": true, "id": id}),
            )
        }
    }
}
